"""CUDA graphs, with a capture that only notes what it was given: which are made, when, and what comes of failures."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.acceleration import cuda_graphs
from liteframe.models.acceleration.cuda_graphs import CapturedGraph, CUDAGraphs
from liteframe.models.acceleration.fallback import FallbackWarning
from small_students import small_student


class Recorder:
    """Stands for the capture: replays write into memory that all graphs of a shape share, as they do on a GPU."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, forward: Callable[[Tensor], Any], tensor: Tensor, autocast: Any, pool: Any) -> CapturedGraph:
        self.shapes.append(tuple(tensor.shape))
        static_input = tensor.clone()
        output = forward(static_input)

        def replay() -> None:
            again = forward(static_input)
            if isinstance(output, Tensor):
                output.copy_(again)
            else:
                for name, value in again.items():
                    output[name].copy_(value)

        return CapturedGraph(replay, static_input, output)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(cuda_graphs, "_on_cuda", lambda tensor: True)
    monkeypatch.setattr(cuda_graphs, "capture", made)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    return made


def video(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, 3, 28, 28, generator=torch.Generator().manual_seed(frames))


@torch.no_grad()
def test_a_shape_is_captured_once_and_what_it_gave_stays(recorder: Recorder) -> None:
    graphs, ones = CUDAGraphs(), torch.ones(2, 3)
    first = graphs(lambda tensor: {"sum": tensor.sum(), "twice": 2 * tensor}, ones)
    second = graphs(lambda tensor: {"sum": tensor.sum(), "twice": 2 * tensor}, 5 * ones)
    assert (first["sum"], second["sum"]) == (6, 30), "of the first call nothing was written over"
    assert torch.equal(second["twice"], 10 * ones)
    for other in (torch.ones(3, 3), ones.double(), torch.ones(3, 2).T):
        graphs(lambda tensor: tensor + 1, other)
    assert recorder.shapes == [(2, 3), (3, 3), (2, 3), (2, 3)], "another shape, dtype, layout"


@torch.no_grad()
def test_tokens_are_the_encoders_and_graphs_no_more_than_clips_of_a_chunk(recorder: Recorder) -> None:
    model, eager = small_student(), small_student()
    model.graph_chunks(2)
    for batch, frames in ((1, 3), (1, 8), (2, 17), (3, 4), (1, 8)):
        found = model(video(batch, frames)).last_hidden_state
        torch.testing.assert_close(found, eager(video(batch, frames)).last_hidden_state, rtol=1e-5, atol=1e-5)
    assert sorted(recorder.shapes) == [(1, 4, 3, 28, 28), (2, 4, 3, 28, 28)]


@torch.no_grad()
def test_graphs_go_with_the_memory_of_the_weights(recorder: Recorder) -> None:
    model = small_student()
    model.graph_chunks(2)
    model(video(1, 4))
    model.double()
    assert model(video(1, 4).double()).last_hidden_state.dtype == torch.float64
    twin = copy.deepcopy(model)
    twin.head.bias.add_(1.0)
    difference = twin(video(1, 4).double()).last_hidden_state - model(video(1, 4).double()).last_hidden_state
    torch.testing.assert_close(difference, torch.ones_like(difference))
    assert len(recorder.shapes) == 3, "anew after the change of dtype, and for the copy"


def test_gradients_flow_as_without(recorder: Recorder) -> None:
    model = small_student().train()
    model.graph_chunks(2)
    model(video(1, 5)).last_hidden_state.square().sum().backward()
    assert recorder.shapes == [] and all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_a_capture_that_fails_is_told_once_and_left_out(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> CapturedGraph:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(cuda_graphs, "capture", failing)
    model, eager = small_student(), small_student()
    model.graph_chunks()
    with pytest.warns(
        FallbackWarning, match=r"a CUDA graph is left out, as it failed: operation not .* capturing more of it$"
    ):
        found = model(video(1, 4)).last_hidden_state
    torch.testing.assert_close(found, eager(video(1, 4)).last_hidden_state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(video(2, 8))

    def full(*_: Any) -> CapturedGraph:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(cuda_graphs, "capture", full)
    model.graph_chunks()
    with pytest.raises(torch.OutOfMemoryError):
        model(video(1, 4))


@torch.no_grad()
def test_on_a_cpu_nothing_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "capture", None)
    model = small_student()
    model.graph_chunks()
    torch.testing.assert_close(model(video(1, 6)).last_hidden_state, small_student()(video(1, 6)).last_hidden_state)
    with pytest.raises(ConfigError, match="chunk_clips is 0"):
        model.graph_chunks(0)
