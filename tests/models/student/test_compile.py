"""Compiled for chunks of clips, the encoder has one graph for any number of frames, and the tokens that it had."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from liteframe.errors import ConfigError
from small_students import small_student

LENGTHS = ((1, 3), (1, 8), (2, 17))


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def video(batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, 3, 28, 28, generator=torch.Generator().manual_seed(frames))


@torch.no_grad()
def test_one_graph_for_all_lengths_and_the_same_tokens() -> None:
    model, eager, counter = small_student(), small_student(), CompileCounter()
    model.compile_chunks(2, backend=counter, fullgraph=True)
    for shape in LENGTHS:
        found = model(video(*shape)).last_hidden_state
        torch.testing.assert_close(found, eager(video(*shape)).last_hidden_state, rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1


@torch.no_grad()
def test_compiled_as_a_whole_it_has_more_than_one() -> None:
    """What the count above is to be seen against."""
    counter = CompileCounter()
    whole = torch.compile(small_student(), backend=counter, dynamic=False)
    for shape in LENGTHS[:2]:
        whole(video(*shape))
    assert counter.frame_count > 1


def test_it_learns_and_its_copy_has_weights_of_its_own() -> None:
    model, eager = small_student().train(), small_student().train()
    model.compile_chunks(2, backend="eager")
    for one in (model, eager):
        one(video(1, 5)).last_hidden_state.square().sum().backward()
    for (name, parameter), expected in zip(model.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-4, atol=1e-4, msg=name)
    with torch.no_grad():
        twin = copy.deepcopy(model)
        twin.head.bias.add_(1.0)
        difference = twin(video(1, 4)).last_hidden_state - model(video(1, 4)).last_hidden_state
    torch.testing.assert_close(difference, torch.ones_like(difference), rtol=1e-4, atol=1e-4)


def test_chunks_of_no_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="chunk_clips is 0"):
        small_student().compile_chunks(0)
