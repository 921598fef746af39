"""A Video LLM that takes video files and questions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from typing_extensions import Unpack

from liteframe.chat.answer import Answer
from liteframe.chat.video_chat import Seen, VideoChat
from liteframe.data.decoding.live.frames import LiveFrames
from liteframe.data.decoding.live.source import LiveSource
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.decoding.read_video import DEADLINE_S
from liteframe.data.remote.file import local_path
from liteframe.data.sampling import FpsCapped, FrameSampler, UniformMidpoints
from liteframe.data.sampling.frame_times import require_span
from liteframe.errors import ConfigError
from liteframe.hf.engine import compile_ahead
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.video_llm.clip_memory import ClipMemory, Forget
from liteframe.models.video_llm.generation import answer_batch, prompt_ids
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.precision import dtype_named, set_precision
from liteframe.models.video_llm.reading import chunk_frames, read_video
from liteframe.models.video_llm.stopwatch import Stopwatch
from liteframe.models.video_llm.text_stream import decode
from liteframe.system.cancellation import Cancellation

if TYPE_CHECKING:
    from liteframe.chat.live import LiveChat

_USUAL_FRAMES = 64
_NICE = 5
"""By how much decoding gives way to an encoder on the same cores: that takes what it needs, decoding the rest."""


class Watch(TypedDict, total=False):
    """What to look at, see `ChatModel.watch`."""

    frames: int | None
    fps: float | None
    start: float | None
    end: float | None
    sampler: FrameSampler | None
    image_size: int | None
    truncated: Literal["error", "use"]


class ChatModel:
    """Answers questions about video files, by greedy choice.

    `liteframe.load` makes one; its encoder then takes clips in chunks, so that long videos need no more memory.

    Args:
        model: the Video LLM.
        dtype: "bfloat16" or "float16", of autocast; "float32" converts the weights too, as any does those of
            the other half precision; "auto" is as in `load`; None is the one of the LLM's.
        decode_deadline_s: seconds without progress after which decoding a video is given up (20 times as many in all,
            and a second for each 32 KiB of the file).

    Raises:
        ConfigError: no such dtype.
    """

    def __init__(self, model: VideoLLM, dtype: str | None = None, decode_deadline_s: float = DEADLINE_S) -> None:
        self.model = model.eval()
        weight: Any = model.language_model.get_input_embeddings().weight
        self.device: torch.device = weight.device
        name = dtype_named(dtype, self.device) or str(weight.dtype).removeprefix("torch.")
        self.dtype = set_precision(model, name)
        self._pool = DecodePool(
            deadline_s=decode_deadline_s,
            threads=threads_for(1),
            setting="decode_deadline_s",
            nice=_NICE if self.device.type == "cpu" else 0,
        )
        if isinstance(model.backbone, LiteFrameBackbone):
            model.backbone.encoder.save_memory(CLIPS_AT_ONCE)
        compile_ahead(model, self.dtype)

    def answer(
        self,
        video: str | Path,
        question: str,
        max_tokens: int = 256,
        cancellation: Cancellation | None = None,
        **watch: Unpack[Watch],
    ) -> Answer:
        """One answer to one question about one video.

        Args:
            video: a file.
            question: in words that the model knows.
            max_tokens: of the answer.
            cancellation: ends it from another thread.
            watch: `frames`, `fps` and so on, see `watch`.

        Raises:
            LiteFrameError: see `watch` and `Conversation.reply`.
            Cancelled: by `cancellation`.
        """
        return self.chat(video, cancellation, **watch).ask(question, max_tokens, cancellation)

    def answers(
        self,
        videos: Sequence[str | Path],
        questions: str | Sequence[str],
        max_tokens: int = 256,
        **watch: Unpack[Watch],
    ) -> list[Answer]:
        """Answers about several videos, which go through the LLM together.

        Args:
            videos: files; their lengths may differ.
            questions: one for all, or one for each.
            max_tokens: of an answer.
            watch: `frames`, `fps` and so on, see `watch`.

        Raises:
            LiteFrameError: see `watch` and `answer_batch`.
        """
        asked = [questions] * len(videos) if isinstance(questions, str) else list(questions)
        if len(asked) != len(videos):
            raise ConfigError(f"{len(asked)} questions about {len(videos)} videos; give one for all or one for each")
        if not videos:
            return []
        seen = [self.watch(video, **watch) for video in videos]
        began = time.perf_counter()
        groups = [one.visual_BTNC.shape[1] if one.groups is None else one.groups for one in seen]
        ids = answer_batch(self.model, [one.visual_BTNC for one in seen], asked, max_tokens, self.dtype, groups)
        llm_ms = {"llm": 1e3 * (time.perf_counter() - began)}
        return [
            Answer(
                decode(self.model.prompts.tokenizer, answer),
                one.frames,
                one.tokens,
                prompt_tokens=len(prompt_ids(self.model, one.visual_BTNC, question, one.groups)),
                cached_tokens=0,
                answer_tokens=len(answer),
                ms={**one.ms, **llm_ms},
            )
            for one, question, answer in zip(seen, asked, ids, strict=True)
        ]

    def chat(self, video: str | Path, cancellation: Cancellation | None = None, **watch: Unpack[Watch]) -> VideoChat:
        """A conversation about one video, which is watched once (see `watch`)."""
        # Where decoding and the LLM share the cores, reading ahead only costs.
        seen = self._watch(video, self.device.type != "cpu", cancellation, **watch)
        return VideoChat(self.model, seen, self.dtype)

    def watch(self, video: str | Path, cancellation: Cancellation | None = None, **watch: Unpack[Watch]) -> Seen:
        """Decodes a video and encodes it for the LLM, as far as can be at the same time.

        Args:
            video: a file.
            cancellation: ends it from another thread; its decode process is killed.
            watch: any of
                frames: to look at; with `fps`, the most. None is as many as the model was trained on at most, or 64.
                fps: frames to take of each second; None chooses them as in training where that is known, else evenly.
                start, end: seconds between which to look, from the frame on screen at the first of them.
                sampler: chooses the frames, in place of `fps`.
                image_size: side in pixels that frames are resized to; None is what the model was made for.
                truncated: "error", or "use" for what is there of a file that is cut short.

        Raises:
            DecodeError: the file cannot be read, or has no frame there.
            ConfigError: a setting makes no sense.
            Cancelled: by `cancellation`.
        """
        return self._watch(video, False, cancellation, **watch)

    def stream(
        self,
        source: str | Path,
        fps: float = 2.0,
        memory: int | None = None,
        forget: Forget = "window",
        image_size: int | None = None,
        drop: bool | None = None,
        idle_s: float = 10.0,
    ) -> LiveChat:
        """Questions about a video that goes on, which is watched in the background until the chat is closed.

        Args:
            source: a file that grows, a pipe ("-" is stdin), a camera (/dev/video0), or the URL of a stream (rtsp, udp,
                http, ...).
            fps: frames a second to take.
            memory: clips that are held at most, as many `Frame` lines; None is what the model was trained on at most,
                or 64 frames of it.
            forget: "window" forgets the oldest clips, "merge" makes one of neighbours, see `ClipMemory`.
            image_size: side in pixels that frames are resized to; None is what the model was made for.
            drop: whether frames that come faster than they are encoded are dropped, the oldest first; otherwise the
                source waits. None drops those of cameras and of streams that do not wait.
            idle_s: seconds without anything new after which the stream has ended.

        Raises:
            DecodeError: nothing there that can be read; what cannot be opened is said when it is asked about.
            ConfigError: a setting makes no sense.
        """
        from liteframe.chat.live import LiveChat

        model = self.model
        for name, value in (("fps", fps), ("idle_s", idle_s)):
            if not value > 0:
                raise ConfigError(f"{name} is {value}; give a number above 0")
        if memory is None:
            memory = max(2, (model.frames.most_frames or _USUAL_FRAMES) // model.frames_per_group)
        held = ClipMemory(memory, forget)
        size = self._size(image_size)
        return LiveChat(
            self, LiveFrames(LiveSource.of(str(source)), fps, size, model.clip_frames, drop=drop, idle_s=idle_s), held
        )

    def _size(self, image_size: int | None) -> tuple[int, int]:
        """Height and width of the frames that it is shown. Raises ConfigError for those that it does not take."""
        size = self.model.frames.image_size if image_size is None else (image_size, image_size)
        assert size is not None, "every encoder of a Video LLM has a size"
        self.model.require_size(size, "image_size")
        return size

    @torch.inference_mode()
    def _watch(
        self,
        video: str | Path,
        prefill: bool,
        cancellation: Cancellation | None,
        frames: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        sampler: FrameSampler | None = None,
        image_size: int | None = None,
        truncated: Literal["error", "use"] = "error",
    ) -> Seen:
        clock = Stopwatch(self.device)
        made_for = self.model.frames
        frames = (made_for.most_frames or _USUAL_FRAMES) if frames is None else frames
        if frames < 1:
            raise ConfigError(f"frames is {frames}; give 1 or more")
        if fps is not None and not fps > 0:
            raise ConfigError(f"fps is {fps}; give a rate above 0")
        if fps is not None and sampler is not None:
            raise ConfigError(f"fps is {fps}, and a sampler is given, which chooses otherwise; leave one out")
        require_span(start, end)
        local = local_path(video)
        if sampler is None:
            sampler = (made_for.sampler or UniformMidpoints()) if fps is None else FpsCapped(fps)
        size = self._size(image_size)
        job = DecodeJob(local, sampler, frames, start_s=start, end_s=end, size=size, truncated=truncated)
        with (
            self._pool.stream(job, chunk_frames(self.model, size, self.device)) as stream,
            (cancellation or Cancellation()).ending(stream.cancel),
        ):
            visual_BTNC, prefix = read_video(self.model, stream, size, self.device, self.dtype, clock, prefill)
            beside = {"decode": 1e3 * stream.decode_s, "transfer": 1e3 * stream.transfer_s}
            groups = self.model.groups_of(len(stream.indices), stream.times_s)  # type: ignore[arg-type]
            return Seen(visual_BTNC, len(stream.indices), {**clock.finish(), **beside}, prefix, groups)
