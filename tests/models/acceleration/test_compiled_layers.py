"""Layers of one class are compiled once, keep their own weights, and run as they are where no compiler can help."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from liteframe.models.acceleration.compiled_layers import compile_layers
from liteframe.models.acceleration.fallback import FallbackWarning


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layers() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))


@torch.no_grad()
def test_equal_layers_share_one_graph_and_keep_their_weights() -> None:
    counter, compiled, plain = CompileCounter(), layers(), layers()
    compile_layers(compiled, backend=counter, dynamic=False)
    rows = torch.randn(5, 6)
    torch.testing.assert_close(compiled(rows), plain(rows))
    assert counter.frame_count == 1
    twin = copy.deepcopy(compiled)
    twin[3].bias.add_(1.0)
    torch.testing.assert_close(twin(rows), plain(rows) + 1.0)
    torch.testing.assert_close(compiled(rows), plain(rows))


@torch.no_grad()
def test_nothing_that_was_compiled_for_other_layers_is_taken() -> None:
    counters = [CompileCounter() for _ in range(3)]
    for counter in counters:
        compiled = layers()
        compile_layers(compiled, backend=counter, dynamic=False)
        compiled(torch.randn(5, 6))
    assert [counter.frame_count for counter in counters] == [1, 1, 1]


@torch.no_grad()
def test_a_compiler_that_fails_is_told_once_and_left_out() -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError("no C compiler here")

    compiled, plain, rows = layers(), layers(), torch.randn(5, 6)
    running = compile_layers(compiled, backend=failing)
    with pytest.warns(FallbackWarning, match=r"torch.compile is left out, as it failed: .*no C compiler here"):
        torch.testing.assert_close(compiled(rows), plain(rows))
    assert running.failed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(compiled(2 * rows), plain(2 * rows))


def test_layers_of_several_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="layers of 2 classes"):
        compile_layers([nn.Linear(2, 2), nn.LayerNorm(2)])
    with pytest.raises(ValueError, match="layers of 0 classes"):
        compile_layers([])
