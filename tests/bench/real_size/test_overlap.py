"""Frames that are fetched meanwhile give the same answer, in their order, and errors of the fetching are not lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.bench.real_size.overlap import STAGE, StreamedRun, decoded, fetched_ahead, uploaded, write_video
from liteframe.bench.real_size.runs import PipelineRun
from liteframe.bench.real_size.shapes import shapes
from liteframe.bench.real_size.subjects import Llm, build_subject
from liteframe.errors import ConfigError

CPU = torch.device("cpu")


class Stages:
    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.names.append(name)
        yield


@torch.inference_mode()
@pytest.mark.parametrize("name", ["student", "teacher", "teacher+wap"])
@pytest.mark.parametrize("overlap", [False, True])
def test_the_answer_is_that_of_the_video_at_once(name: str, overlap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tiny = shapes("tiny", "")
    subject = build_subject(name, tiny, Llm.build(tiny, CPU, torch.float32), CPU, torch.float32)
    prefill, logits = PipelineRun.prefill, []

    def kept(self: PipelineRun, visual_BTNC: Tensor) -> Tensor:
        logits.append(prefill(self, visual_BTNC))
        return logits[-1]

    monkeypatch.setattr(PipelineRun, "prefill", kept)
    monkeypatch.setattr("liteframe.bench.real_size.overlap.CLIPS_AT_ONCE", 2)
    frames = 12 if name == "teacher+wap" else 11  # a student fills the last clip up
    pixels_BTCHW, stages = subject.pixels(frames), Stages()
    PipelineRun(subject, pixels_BTCHW)(Stages())
    run = StreamedRun(subject, uploaded(pixels_BTCHW, CPU, subject.video_llm.clip_frames), overlap)
    run(stages)
    run(stages)
    assert stages.names == [STAGE] * 2
    for found in logits[1:]:
        torch.testing.assert_close(found, logits[0], rtol=1e-4, atol=1e-5)
    groups, tokens = (11, 4) if name == "teacher" else (3, 1)
    assert run.counts.llm == groups * tokens and run.prompt_tokens == groups * (tokens + 8) + 64


def test_chunks_come_in_order_and_a_few_ahead() -> None:
    fetched: list[int] = []
    seen: list[int] = []

    def source() -> Iterable[Tensor]:
        for number in range(8):
            fetched.append(number)
            yield torch.tensor(number)

    for chunk in fetched_ahead(source, CPU):
        assert len(fetched) <= len(seen) + 5, "two wait, one is being put, one is here, one is being made"
        seen.append(int(chunk))
    assert seen == list(range(8))


def test_an_error_in_fetching_comes_out_where_chunks_are_used() -> None:
    def source() -> Iterable[Tensor]:
        yield torch.tensor(0)
        raise RuntimeError("a broken packet")

    before = set(threading.enumerate())
    chunks = fetched_ahead(source, CPU)
    assert int(next(chunks)) == 0
    with pytest.raises(RuntimeError, match="a broken packet"):
        next(chunks)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


class Decoder:
    """Of torchcodec's interface."""

    devices: tuple[str, ...] = ("cpu",)

    def __init__(self, source: str, device: str) -> None:
        if device not in self.devices:
            raise RuntimeError(f"Unsupported device: {device}")
        self._frames = torch.load(source)

    def get_frames_in_range(self, start: int, stop: int) -> Any:
        return SimpleNamespace(data=self._frames[start:stop])


class Encoder:
    def __init__(self, frames: Tensor, *, frame_rate: float) -> None:
        assert frames.dtype == torch.uint8 and frames.ndim == 4 and frame_rate > 0
        self._frames = frames

    def to_file(self, path: str) -> None:
        torch.save(self._frames.clone(), path)


@pytest.fixture
def torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"decoders": {"VideoDecoder": Decoder}, "encoders": {"VideoEncoder": Encoder}}
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    for part, names in parts.items():
        found = ModuleType(f"torchcodec.{part}")
        vars(found).update(names)
        monkeypatch.setitem(sys.modules, found.__name__, found)


@pytest.mark.usefixtures("torchcodec")
def test_a_file_is_decoded_in_chunks_of_all_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.bench.real_size.overlap.CLIPS_AT_ONCE", 2)
    write_video(tmp_path / "video.mp4", 11, 28)
    source = decoded(tmp_path / "video.mp4", 11, CPU, 4)
    for _ in range(2):
        chunks = list(source())
        assert [chunk.shape for chunk in chunks] == [(1, 8, 3, 28, 28), (1, 3, 3, 28, 28)]
        whole = torch.cat(chunks, dim=1)[0]
        assert all(not torch.equal(one, other) for one, other in pairwise(whole)), "it moves"
    with pytest.raises(ConfigError, match="no decoder: torchcodec cannot decode on cuda: Unsupported device"):
        decoded(tmp_path / "video.mp4", 11, torch.device("cuda"), 4)


def test_without_torchcodec_there_is_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(ConfigError, match="no decoder: torchcodec does not load"):
        write_video(tmp_path / "video.mp4", 4, 28)
