"""Frames that a row of a list names as those to look at.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from liteframe.errors import DataError

_MOST_FRAMES = 2**40


def checked_keys(keys: Any) -> list[int | list[int]]:
    """The `key_frames` of a row, none where it has none. Raises DataError where they are no frames or pairs of them."""
    if keys is None:
        return []
    if not isinstance(keys, list | tuple) or not all(_is_frame(key) or _is_span(key) for key in keys):
        raise DataError(
            f"key_frames: frame numbers, or pairs [start, stop) of them, are needed, not {reprlib.repr(keys)}; correct"
            " the list"
        )
    return [key if isinstance(key, int) else list(key) for key in keys]


def _is_frame(key: Any) -> bool:
    return isinstance(key, int) and not isinstance(key, bool) and 0 <= key < _MOST_FRAMES


def _is_span(key: Any) -> bool:
    return isinstance(key, list | tuple) and len(key) == 2 and all(map(_is_frame, key)) and key[0] < key[1]


def key_frames(total: int, count: int, keys: Sequence[int | Sequence[int]], rng: np.random.Generator) -> np.ndarray:
    """The given frames (a random part of them where they are more than `count`), filled up with random others.

    A key is a frame number, or a pair [start, stop) out of which one frame is drawn.

    Raises:
        DataError: a key is neither, or lies outside of the video.
    """
    keys = checked_keys(keys)
    drawn = [key if isinstance(key, int) else int(rng.integers(key[0], key[1])) for key in keys]
    own = np.unique(np.asarray(drawn, dtype=np.int64))
    if len(own) and not (own[0] >= 0 and own[-1] < total):
        raise DataError(f"key_frames {own.tolist()} lie outside of a video of {total} frames; correct the manifest")
    count = min(count, total)
    if len(own) > count:
        own = rng.choice(own, count, replace=False)
    others = np.setdiff1d(np.arange(total, dtype=np.int64), own)
    return np.sort(np.concatenate([own, rng.choice(others, count - len(own), replace=False)]))


def shift_keys(keys: Sequence[int | Sequence[int]], low: int, high: int) -> list[int | list[int]]:
    """Keys of a whole video as keys of its frames [low, high); those that lie outside are left out.

    Raises:
        DataError: as `key_frames`.
    """
    keys = checked_keys(keys)
    spans = [[max(key[0], low) - low, min(key[1], high) - low] for key in keys if not isinstance(key, int)]
    frames = [key - low for key in keys if isinstance(key, int) and low <= key < high]
    return [*frames, *(span for span in spans if span[0] < span[1])]
