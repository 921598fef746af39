"""What is not finite is named, whatever its type, and large values are not taken for it."""

from __future__ import annotations

import pytest
import torch

from liteframe.models.finite import not_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_element_is_named(dtype: torch.dtype, value: float) -> None:
    tensors = {f"w{i}": torch.randn(50, 30).to(dtype) for i in range(5)}
    assert not_finite(tensors) == []
    tensors["w3"][17, 4] = value
    assert not_finite(tensors) == ["w3"]


def test_large_empty_and_whole_numbers_are_finite() -> None:
    tensors = {"large": torch.full((9,), 3e38), "half": torch.full((9,), 6e4).half(), "none": torch.zeros(0)}
    assert not_finite({**tensors, "count": torch.arange(3), "scalar": torch.tensor(1.0)}) == []
    assert not_finite({}) == []
