"""Mean and deviation of all targets of a feature store: gathered in float64, kept as float32, checked when read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from liteframe.data.store.entries import DTYPES, Piece
from liteframe.data.store.files import STATISTICS_FILE
from liteframe.data.store.format import Source, write_tensors
from liteframe.data.store.sealed_json import inside, read_bounded
from liteframe.errors import StoreError

MIN_STD = 1e-6
_MOST_BYTES = 1 << 26


class Moments:
    """Sums a channel in float64; numpy adds the rows in turn, so the number of threads does not show."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sum_C = np.zeros(channels)
        self.square_C = np.zeros(channels)

    def add(self, data: bytearray, piece: Piece) -> None:
        values = torch.frombuffer(data, dtype=DTYPES[piece.dtype]).double().numpy().reshape(-1, piece.shape[-1])
        self.count += len(values)
        self.sum_C += values.sum(axis=0)
        self.square_C += np.square(values).sum(axis=0)

    def merge(self, other: Moments) -> None:
        self.count += other.count
        self.sum_C += other.sum_C
        self.square_C += other.square_C

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        mean_C = self.sum_C / self.count
        variance_C = np.maximum(self.square_C / self.count - np.square(mean_C), 0.0)
        return mean_C.astype(np.float32), np.maximum(np.sqrt(variance_C), MIN_STD).astype(np.float32)


def write_statistics(folder: Path, moments: Moments) -> None:
    """Raises StoreError where they are not finite, so that a store of broken targets is not finished."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean_C, std_C = moments.mean_std()
    if not (np.isfinite(mean_C).all() and np.isfinite(std_C).all()):
        raise StoreError(f"{folder}: mean or deviation of the targets is not finite; look at the teacher, make it anew")
    sources = [
        Source("mean_C", "F32", mean_C.shape, mean_C.tobytes),
        Source("std_C", "F32", std_C.shape, std_C.tobytes),
    ]
    write_tensors(folder / STATISTICS_FILE, sources)


def read_statistics(folder: Path, mark: dict[str, Any], advice: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean_C, std_C), float32.

    Args:
        folder: of the store.
        mark: size and sha256 of the file, as COMPLETE has them.
        advice: what to do where it cannot be used.

    Raises:
        StoreError: the file is missing or has changed, or its numbers are not finite or not above 0.
    """
    path = inside(folder, STATISTICS_FILE)
    try:
        data = read_bounded(path, _MOST_BYTES)
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != mark["sha256"]:
        raise StoreError(f"{path}: missing or changed since it was written; {advice}")
    try:
        tensors = load(data)
        mean_C, std_C = tensors["mean_C"], tensors["std_C"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: holds no statistics ({error}); {advice}") from error
    good = mean_C.ndim == 1 and mean_C.shape == std_C.shape and mean_C.dtype == std_C.dtype == torch.float32
    if not good or not torch.isfinite(mean_C).all() or not torch.isfinite(std_C).all() or not (std_C > 0).all():
        raise StoreError(f"{path}: mean or deviation is not finite, not above 0, or not of a channel each; {advice}")
    return mean_C, std_C
