"""Which kernel attention ran on is told from what ran, and follows what is preferred."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from liteframe.models.acceleration.attention_kernel import KERNELS, KernelsThatRan, preferring, rank_kernels

QUERY = torch.randn(1, 2, 8, 16)


@torch.no_grad()
@pytest.mark.parametrize(
    ("names", "ran"),
    [
        ([], ["flash_attention_for_cpu"]),
        (["flash", "math"], ["flash_attention_for_cpu"]),
        (["cudnn", "flash", "math"], ["flash_attention_for_cpu"]),
        (["math"], []),
    ],
)
def test_the_kernel_that_ran_has_the_first_preference_that_there_is(names: list[str], ran: list[str]) -> None:
    with KernelsThatRan() as kernels, preferring(names):
        for _ in range(2):
            found = F.scaled_dot_product_attention(QUERY, QUERY, QUERY)
    by_hand = (QUERY @ QUERY.mT / 4).softmax(-1) @ QUERY
    torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-5)
    assert [name for name in kernels.names if name != "attention_math"] == ran


@torch.no_grad()
def test_kernels_are_ranked_by_their_time_and_those_that_cannot_run_are_left_out() -> None:
    times = {"flash": 2.0, "math": 1.0}
    ran = []

    def time_of(attend: Callable[[], object]) -> float:
        attend()
        ran.append(next(name for name in ("flash", "math") if name not in ran))
        return times[ran[-1]]

    ranked = rank_kernels(QUERY, time_of)
    assert list(ranked) == ["math", "flash"] and ranked == {"math": 1.0, "flash": 2.0}
    assert set(KERNELS) - set(ranked) == {"cudnn", "efficient"}, "a CPU has none of these"
