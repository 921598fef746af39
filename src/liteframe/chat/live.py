"""Questions about a video that goes on: encoded as it comes, in a bounded memory, answered about what was seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import torch

from liteframe.chat.answer import Answer
from liteframe.chat.model import ChatModel
from liteframe.chat.video_chat import Seen, VideoChat
from liteframe.data.decoding.live.frames import LiveClip, LiveFrames
from liteframe.data.transforms import resize_uint8
from liteframe.errors import DataError
from liteframe.models.video_llm.clip_memory import ClipMemory
from liteframe.models.video_llm.stopwatch import Stopwatch

_AT_ONCE = {"cpu": 1}
_AT_ONCE_ELSEWHERE = 8
"""Clips that are encoded together: a question waits for them."""
_LOOK_S = 0.05


@dataclass
class LiveAnswer(Answer):
    """An answer about what was seen of a stream so far.

    Attributes:
        seen_s: second of the stream up to which it was seen.
        held: groups of frames in the memory; some may stand for several.
        seen: groups of frames that were seen in all.
        dropped: frames that were dropped because they came faster than they are encoded.
        damaged: frames that were left out because they were damaged.
        ended: why the stream has ended; empty as long as it goes on.
    """

    seen_s: float = 0.0
    held: int = 0
    seen: int = 0
    dropped: int = 0
    damaged: int = 0
    ended: str = ""

    def summary(self) -> str:
        """As of any answer, with what was seen of the stream."""
        told = f"seen to {self.seen_s:.1f} s, holds {self.held} of {self.seen} clips"
        told += f", {self.dropped} frames dropped" if self.dropped else ""
        told += f", {self.damaged} damaged frames left out" if self.damaged else ""
        told += f" | the stream has ended: {self.ended}" if self.ended else ""
        return f"{super().summary()} | {told}"


class LiveChat:
    """Questions about a stream, which is watched in the background; `ChatModel.stream` makes one. A context manager.

    Each question stands on its own: what the LLM sees has changed when the next one comes.

    Args:
        model: answers.
        frames: of the stream, in clips of the model's.
        memory: of what was seen.

    Attributes:
        last: the last answer; None before the first.
    """

    def __init__(self, model: ChatModel, frames: LiveFrames, memory: ClipMemory) -> None:
        self._model, self._frames, self._memory = model, frames, memory
        self._at_once = _AT_ONCE.get(model.device.type, _AT_ONCE_ELSEWHERE)
        self._encoder = threading.Lock()
        self._changed = threading.Condition()
        self._seen_frames = self._asking = 0
        self._fault: BaseException | None = None
        self._done = False
        self.last: LiveAnswer | None = None
        self._thread = threading.Thread(target=self._watch, name="liteframe-watch", daemon=True)
        self._thread.start()

    def ask(self, question: str, max_tokens: int = 256) -> LiveAnswer:
        """The whole answer to a question about what was seen up to now. Raises as `stream`."""
        for _ in self.stream(question, max_tokens):
            pass
        assert self.last is not None
        return self.last

    def stream(self, question: str, max_tokens: int = 256) -> Iterator[str]:
        """Pieces of the answer as they come; `last` is the whole of it afterwards.

        Raises:
            DataError: as `Conversation.reply`, or nothing was seen yet.
            DecodeError: the stream could not be read at all.
        """
        clock = Stopwatch(self._model.device)
        with torch.inference_mode():
            memory, frames = self._so_far(clock)
            with self._autocast(), clock.stage("project"):
                visual_BTNC = self._model.model.project(memory.tokens())
        middles = tuple((one.start_s + one.end_s) / 2 for one in memory.held)
        groups = middles if self._model.model.host.timed else len(middles)
        talk = VideoChat(self._model.model, Seen(visual_BTNC, frames, clock.finish(), None, groups), self._model.dtype)
        yield from talk.stream(question, max_tokens)
        assert talk.last is not None
        end = self._frames.end if self._done else None
        self.last = LiveAnswer(
            **{field.name: getattr(talk.last, field.name) for field in fields(Answer)},
            seen_s=memory.held[-1].end_s,
            held=len(memory.held),
            seen=memory.seen,
            dropped=self._frames.dropped,
            damaged=self._frames.damaged,
            ended="" if end is None else end.reason,
        )

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until the stream has ended and all of it was seen; False where the time is up before.

        Raises:
            DecodeError: the stream could not be read at all.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._done, timeout_s)
            self._require_sound()
            return self._done

    def await_first_frame(self) -> None:
        """Waits until something was seen.

        Raises:
            DecodeError: the stream could not be read at all.
            DataError: it has ended without a frame.
        """
        with self._changed:
            while not (self._seen_frames or self._done or self._frames.tail_after(0)):
                self._changed.wait(_LOOK_S)  # nobody tells of frames that are no whole clip
            self._require_sound()
            if not (self._seen_frames or self._frames.tail_after(0)):
                raise DataError(f"{self._frames.source.told}: nothing was seen of it")

    def close(self) -> None:
        """Ends the watching and the process that reads the stream."""
        self._frames.close()
        self._thread.join()

    def __enter__(self) -> LiveChat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_sound(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _so_far(self, clock: Stopwatch) -> tuple[ClipMemory, int]:
        """The memory with the frames that no whole clip has come of yet, and how many frames were seen."""
        while True:
            self.await_first_frame()
            with self._encoder_for_question():
                with self._changed:
                    self._require_sound()
                    memory, frames = self._memory.copy(), self._seen_frames
                    tail = self._frames.tail_after(frames)
                if tail is not None:
                    self._add(memory, [tail], clock)
                    frames += len(tail.frames_THWC)
            if memory.held:  # a tail that has just become a clip waits to be encoded
                return memory, frames

    @contextmanager
    def _encoder_for_question(self) -> Iterator[None]:
        """The encoder, next: a lock alone may go back to the thread that watches, again and again."""
        with self._changed:
            self._asking += 1
        try:
            with self._encoder:
                yield
        finally:
            with self._changed:
                self._asking -= 1
                self._changed.notify_all()

    @torch.inference_mode()
    def _watch(self) -> None:
        try:
            while clips := self._frames.take(self._at_once):
                with self._changed:
                    self._changed.wait_for(lambda: not self._asking)
                with self._encoder:
                    memory = self._memory.copy()
                    self._add(memory, clips, Stopwatch(self._model.device))
                    with self._changed:
                        self._memory = memory
                        self._seen_frames += sum(len(clip.frames_THWC) for clip in clips)
                        self._changed.notify_all()
            _ = self._frames.end  # raises why nothing could be read
        except BaseException as error:
            self._fault = error
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _add(self, memory: ClipMemory, clips: list[LiveClip], clock: Stopwatch) -> None:
        """Encodes clips, of which the last may be short, and remembers their groups of frames."""
        model = self._model.model
        with clock.stage("preprocess"):
            frames_THWC = np.concatenate([clip.frames_THWC for clip in clips])
            frames_TCHW = resize_uint8(frames_THWC, frames_THWC.shape[1:3])  # they were scaled where they were read
            frames_BTCHW = frames_TCHW.to(self._model.device)[None]
        with self._autocast(), clock.stage("encode"):
            tokens_THWC = model.encode(frames_BTCHW)[0]
        times_T = np.concatenate([clip.times_s for clip in clips])
        for number, tokens_HWC in enumerate(tokens_THWC):
            group_T = times_T[number * model.frames_per_group :][: model.frames_per_group]
            memory.add(tokens_HWC.clone(), float(group_T[0]), float(group_T[-1]))  # a view would keep the whole chunk

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._model.device.type, self._model.dtype, enabled=self._model.dtype is not None)
