"""Time to the first token where frames are fetched while those before them are encoded, and where they are not.

A run has one stage, "to_first_token", as overlapping stages have no times of their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from liteframe.bench.real_size.runs import PipelineRun, count, seen_by_llm
from liteframe.bench.real_size.subjects import Subject
from liteframe.errors import ConfigError
from liteframe.models.clip_chunks import CLIPS_AT_ONCE

STAGE = "to_first_token"
IN_ORDER, OVERLAPPED = "in order", "overlapped"
_AHEAD = 2
"""Chunks that may wait for the encoder."""
_FRAMES_A_SECOND = 30

Source = Callable[[], Iterable[Tensor]]
"""What gives the chunks of a video anew, uint8 (1, t, 3, H, W) on the device."""


class StreamedRun(PipelineRun):
    """Chunks of a video to the first answer token.

    Args:
        subject: the method.
        source: of the chunks.
        overlap: fetch chunks while others are encoded; else all of them first.
    """

    def __init__(self, subject: Subject, source: Source, overlap: bool) -> None:
        super().__init__(subject, torch.empty(0))
        self._source, self._overlap = source, overlap

    def __call__(self, timer: Any) -> None:
        model = self.subject.model
        weight = next(self.subject.video_llm.backbone.parameters())
        with timer.stage(STAGE):
            chunks = fetched_ahead(self._source, weight.device) if self._overlap else list(self._source())
            encoded, projected = [], []
            for pixels_BTCHW in chunks:
                encoded.append(model.encode(pixels_BTCHW))
                projected.append(model.project(encoded[-1]))
            visual_BTNC, lines = seen_by_llm(torch.cat(projected, dim=1))
            if self._ids_BL is None:
                self.counts = count(torch.cat(encoded, dim=1), visual_BTNC)
                self._prepare_prompt(visual_BTNC, lines)
            self.prefill(visual_BTNC).argmax(dim=-1)


def fetched_ahead(source: Source, device: torch.device) -> Iterator[Tensor]:
    """The chunks of a source, which a thread fetches on a CUDA stream of its own, a few of them ahead."""
    waiting: Queue[Any] = Queue(_AHEAD)
    cuda = device.type == "cuda"

    def fetch() -> None:
        stream = torch.cuda.Stream(device) if cuda else None
        try:
            with torch.inference_mode(), torch.cuda.stream(stream) if stream else nullcontext():
                for chunk in source():
                    waiting.put((chunk, stream.record_event() if stream else None))
            waiting.put(None)
        except Exception as error:
            waiting.put(error)

    Thread(target=fetch, daemon=True).start()
    while (item := waiting.get()) is not None:
        if isinstance(item, Exception):
            raise item
        chunk, fetched = item
        if fetched is not None:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(fetched)
            chunk.record_stream(stream)
        yield chunk


def uploaded(pixels_BTCHW: Tensor, device: torch.device, clip_frames: int) -> Source:
    """Chunks of the frames of one video that lie in the host's memory, pinned for a GPU."""
    chunks = pixels_BTCHW.split(CLIPS_AT_ONCE * clip_frames, dim=1)
    return lambda: (chunk.to(device, non_blocking=True) for chunk in chunks)


def decoded(path: Path, frames: int, device: torch.device, clip_frames: int) -> Source:
    """Chunks of the frames of a video file by torchcodec, on a GPU by NVDEC.

    Raises:
        ConfigError: torchcodec is not installed, does not load, or cannot decode it there.
    """
    decoders = _torchcodec("decoders")
    step = CLIPS_AT_ONCE * clip_frames

    def chunks() -> Iterator[Tensor]:
        decoder = decoders.VideoDecoder(str(path), device=str(device))
        for start in range(0, frames, step):
            yield decoder.get_frames_in_range(start, min(start + step, frames)).data[None]

    try:
        next(chunks())
    except (RuntimeError, ValueError, IndexError) as error:
        raise ConfigError(f"no decoder: torchcodec cannot decode on {device}: {error}") from error
    return chunks


def write_video(path: Path, frames: int, side: int) -> None:
    """A video of moving stripes, made by torchcodec.

    Raises:
        ConfigError: torchcodec is not installed, does not load, or cannot encode.
    """
    encoders = _torchcodec("encoders")
    places = torch.arange(side)
    stripes_HW = places[:, None] + 2 * places
    moving_TCHW = (stripes_HW + 3 * torch.arange(frames)[:, None, None])[:, None].expand(-1, 3, -1, -1)
    try:
        encoders.VideoEncoder(moving_TCHW.to(torch.uint8), frame_rate=_FRAMES_A_SECOND).to_file(str(path))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"torchcodec cannot write a video: {error}") from error


def _torchcodec(part: str) -> Any:
    try:
        return importlib.import_module(f"torchcodec.{part}")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(f"no decoder: torchcodec does not load ({type(error).__name__})") from error
