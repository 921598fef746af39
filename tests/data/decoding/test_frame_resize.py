from __future__ import annotations

import numpy as np
import pytest

from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.transforms import resize_uint8

SIZES = [
    *((240, 427, 224, 224), (1080, 1920, 448, 448), (90, 61, 448, 300), (448, 448, 448, 112), (448, 448, 112, 448)),
    *((64, 64, 64, 64), (1, 1, 20, 30), (1, 300, 16, 16), (2160, 40, 8, 8), (7, 5, 3, 2), (33, 70, 1, 1)),
]


@pytest.mark.parametrize("source_and_size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "black and white", "smooth"])
def test_pixels_are_those_of_torch(source_and_size: tuple[int, int, int, int], kind: str) -> None:
    height, width, *size = source_and_size
    random = np.random.default_rng(height * width)
    frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "black and white":
        frame = np.where(frame > 127, 255, 0).astype(np.uint8)
    if kind == "smooth":
        frame = np.add.outer(np.add.outer(np.arange(height), np.arange(width)), np.arange(3) * 50).astype(np.uint8)
    expected = resize_uint8(frame[None], (size[0], size[1]))[0].permute(1, 2, 0).numpy()
    found = FrameResize((height, width), (size[0], size[1]))(frame)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_frames_that_are_turned_or_mirrored_in_memory_are_read_as_they_are_seen() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for seen in (np.rot90(frame), frame[::-1], frame[:, ::-1]):
        resize = FrameResize(seen.shape[:2], (32, 48))
        np.testing.assert_array_equal(resize(seen), resize(seen.copy()))
