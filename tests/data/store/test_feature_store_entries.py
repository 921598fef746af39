"""Finite numbers by their bits, against torch; and what a record has to say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from liteframe.data.store.entries import DTYPES, Entry, is_finite, source_of
from liteframe.data.store.sealed_json import unseal
from liteframe.errors import StoreError


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -3e4, torch.nan, torch.inf, -torch.inf, "max", "min", "tiny"])
def test_finite_is_what_torch_says(dtype: str, value: float | str) -> None:
    limits = torch.finfo(DTYPES[dtype])
    number = {"max": limits.max, "min": limits.min, "tiny": limits.smallest_normal / 4}.get(value, value)  # type: ignore[call-overload]
    numbers = torch.tensor([1.0, number, 2.0], dtype=torch.float64).to(DTYPES[dtype])
    data = bytearray(numbers.view(torch.uint8).numpy().tobytes())
    assert is_finite(data, dtype) == bool(torch.isfinite(numbers).all())


GOOD: dict[str, Any] = {"path": "a.mp4", "frame_indices": [3, 7, -1, -1], "valid_frames": 2}


def test_a_record_says_what_was_read() -> None:
    assert source_of(GOOD) == ("a.mp4", (3, 7), None)
    assert source_of({**GOOD, "decoder": "pyav", "order": 7}) == ("a.mp4", (3, 7), "pyav")
    for field, value in [("valid_frames", 3), ("valid_frames", 5), ("path", None), ("frame_indices", [3.0, 7.0])]:
        with pytest.raises(ValueError, match=f"field {'frame_indices' if value == 3 else field}"):
            source_of({**GOOD, field: value})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_record_with_a_number_that_is_none_is_refused(number: str) -> None:
    targets = ["BF16", [1, 1, 1, 4], 8, 0]
    value = {"id": "a", "targets": targets, "frames": None, "record": json.loads(f'{{"x": {number}}}')}
    with pytest.raises(ValueError, match="JSON"):
        Entry.from_json(value, 16)
    with pytest.raises(StoreError, match=r"x\.json: is damaged"):
        unseal(f'{{"skipped": [{number}]}}'.encode(), "x.json")
