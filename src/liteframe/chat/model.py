"""A Video LLM that takes video files and questions: `liteframe.load`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor
from typing_extensions import Unpack

from liteframe.chat.answer import Answer, Stopwatch
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool
from liteframe.data.decoding.processes.reader_threads import threads_for
from liteframe.data.remote.file import local_path
from liteframe.data.sampling import FpsCapped, FrameSampler, UniformMidpoints
from liteframe.data.sampling.frame_times import require_span
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import ConfigError, DecodeError
from liteframe.hf.engine import TORCH, require_engine
from liteframe.hf.loading import load_video_llm
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.video_llm.generation import Conversation, answer_batch, prompt_ids
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.precision import AUTO, dtype_named, on_device, set_precision
from liteframe.models.video_llm.text_stream import TextStream, decode

_USUAL_FRAMES = 64


class Watch(TypedDict, total=False):
    """What to look at, see `ChatModel.watch`."""

    frames: int | None
    fps: float | None
    start: float | None
    end: float | None
    sampler: FrameSampler | None
    image_size: int | None
    truncated: Literal["error", "use"]


@dataclass
class Seen:
    """What the LLM sees of a video: (1, T, N, C_llm), the frames behind it, and the time that it took."""

    visual_BTNC: Tensor
    frames: int
    ms: dict[str, float]

    @property
    def tokens(self) -> int:
        return self.visual_BTNC.shape[1] * self.visual_BTNC.shape[2]


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

    def __init__(self, model: VideoLLM, dtype: str | None = None, decode_deadline_s: float = 120.0) -> None:
        self.model = model.eval()
        weight: Any = model.language_model.get_input_embeddings().weight
        self.device: torch.device = weight.device
        name = dtype_named(dtype, self.device) or str(weight.dtype).removeprefix("torch.")
        self.dtype = set_precision(model, name)
        self._pool = DecodePool(deadline_s=decode_deadline_s, threads=threads_for(1), setting="decode_deadline_s")
        if isinstance(model.backbone, LiteFrameBackbone):
            model.backbone.encoder.save_memory(CLIPS_AT_ONCE)

    def answer(self, video: str | Path, question: str, max_tokens: int = 256, **watch: Unpack[Watch]) -> Answer:
        """One answer to one question about one video.

        Args:
            video: a file.
            question: in words that the model knows.
            max_tokens: of the answer.
            watch: `frames`, `fps` and so on, see `watch`.

        Raises:
            LiteFrameError: see `watch` and `Conversation.reply`.
        """
        return self.chat(video, **watch).ask(question, max_tokens)

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
        clock = Stopwatch(self.device)
        with clock.stage("llm"):
            ids = answer_batch(self.model, [one.visual_BTNC for one in seen], asked, max_tokens, self.dtype)
        return [
            Answer(
                decode(self.model.prompts.tokenizer, answer),
                one.frames,
                one.tokens,
                prompt_tokens=len(prompt_ids(self.model, one.visual_BTNC, question)),
                cached_tokens=0,
                answer_tokens=len(answer),
                ms={**one.ms, **clock.ms},
            )
            for one, question, answer in zip(seen, asked, ids, strict=True)
        ]

    def chat(self, video: str | Path, **watch: Unpack[Watch]) -> VideoChat:
        """A conversation about one video, which is watched once (see `watch`)."""
        return VideoChat(self, self.watch(video, **watch))

    @torch.inference_mode()
    def watch(
        self,
        video: str | Path,
        frames: int | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        sampler: FrameSampler | None = None,
        image_size: int | None = None,
        truncated: Literal["error", "use"] = "error",
    ) -> Seen:
        """Decodes a video and encodes it for the LLM.

        Args:
            video: a file.
            frames: to look at; with `fps`, the most. None is as many as the model was trained on at most, or 64.
            fps: frames to take of each second; None chooses them as in training where that is known, else evenly.
            start, end: seconds between which to look, from the frame on screen at the first of them.
            sampler: chooses the frames, in place of `fps`.
            image_size: side in pixels that frames are resized to; None is what the model was made for.
            truncated: "error", or "use" for what is there of a file that is cut short.

        Raises:
            DecodeError: the file cannot be read, or has no frame there.
            ConfigError: a setting makes no sense.
        """
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
        size = made_for.image_size if image_size is None else (image_size, image_size)
        assert size is not None, "every encoder of a Video LLM has a size"
        self.model.require_size(size, "image_size")
        job = DecodeJob(local, sampler, frames, start_s=start, end_s=end, size=size, truncated=truncated)
        decoded = self._pool.run([job])[0]
        if isinstance(decoded, DecodeError):
            raise decoded
        clock = Stopwatch(self.device)
        clock.add("decode", 1e3 * decoded.decode_s)
        with clock.stage("preprocess"):
            resized_TCHW = resize_uint8(decoded.frames_THWC, size)
            frames_BTCHW = normalize(resized_TCHW.to(self.device))[None]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            with clock.stage("encode"):
                tokens_BTHWC = self.model.encode(frames_BTCHW)
            with clock.stage("project"):
                visual_BTNC = self.model.project(tokens_BTHWC)
        return Seen(visual_BTNC, len(decoded.frames_THWC), clock.ms)


class VideoChat:
    """Questions about one video in turns; the keys and values of the video and of all that was said are kept.

    Args:
        model: answers.
        seen: the video.

    Attributes:
        last: the last answer, with what it took; None before the first.
    """

    def __init__(self, model: ChatModel, seen: Seen) -> None:
        self._seen = seen
        self._tokenizer = model.model.prompts.tokenizer
        self._conversation = Conversation(model.model, seen.visual_BTNC, model.dtype)
        self.last: Answer | None = None

    def ask(self, question: str, max_tokens: int = 256) -> Answer:
        """The whole answer to the next question. Raises DataError as `Conversation.reply` does."""
        for _ in self.stream(question, max_tokens):
            pass
        assert self.last is not None
        return self.last

    def stream(self, question: str, max_tokens: int = 256) -> Iterator[str]:
        """Pieces of the answer to the next question as they come; `last` is the whole of it afterwards."""
        talk, pieces = self._conversation, TextStream(self._tokenizer)
        cached, ms = talk.cached, {} if self.last else dict(self._seen.ms)
        tokens, text, times = talk.reply(question, max_tokens), "", []
        count = 0
        while True:
            began = time.perf_counter()
            token = next(tokens, None)
            times.append(1e3 * (time.perf_counter() - began))
            piece = pieces.finish() if token is None else pieces.push(token)
            if piece:
                text += piece
                yield piece
            if token is None:
                break
            count += 1
        if count == max_tokens:
            times.pop()  # the end was not asked of the LLM
        if times:
            ms["prefill"] = times[0]
        if times[1:]:
            ms["token"] = sum(times[1:]) / len(times[1:])
        prompt = len(talk.ids) - count - cached
        self.last = Answer(text, self._seen.frames, self._seen.tokens, prompt, cached, count, ms)


def load(
    model: str | Path,
    device: str = "auto",
    dtype: str | None = AUTO,
    attention: str | None = None,
    engine: str = TORCH,
) -> ChatModel:
    """A Video LLM that answers questions about video files.

    What its generation config asks for, and greedy answers do not follow, is said on stderr.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of an InternVL.
        device: "cpu", "cuda", ...; "auto" is a GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; None is the one of the LLM's weights. "auto" is that too, but on a
            CPU the faster of float32 and bfloat16, measured once a machine: where that is float32, bfloat16 weights
            are converted and take twice the memory.
        attention: attention implementation of the LLM, "eager" or "sdpa"; None is transformers' choice.
        engine: that runs the encoder: "torch", or "openvino-int8", eight bits on a CPU, out of a folder that `liteframe
            export --engine openvino-int8` wrote.

    Raises:
        ConfigError: nothing there that is a Video LLM, or a setting that makes no sense.
    """
    device = require_engine(engine, device)
    dtype = dtype_named(dtype, device)
    # An adapter is merged into weights of that dtype: rounded to fewer bits first, much of it would be lost.
    found = load_video_llm(model, attention, torch.float32 if dtype == "float32" else None, engine)
    if found.not_applied:
        asked = ", ".join(found.not_applied)
        print(f"liteframe: answers are greedy; of its generation config {asked} is not applied", file=sys.stderr)
    return ChatModel(on_device(found, device), dtype)
