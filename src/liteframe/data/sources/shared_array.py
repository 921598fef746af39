"""Arrays that processes share, however they are started, and never copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np


class SharedArray(Protocol):
    """An array that is handed to another process without its values."""

    @property
    def values(self) -> np.ndarray:
        """Its values, (N,); not to be written to."""
        ...


class HeldArray:
    """An array in memory, held as a tensor, because torch shares those with processes that it starts.

    Args:
        values: (N,); they are not copied.
    """

    def __init__(self, values: np.ndarray) -> None:
        import torch  # here, as commands that read no list are quick without it

        self._tensor = torch.from_numpy(values)

    @property
    def values(self) -> np.ndarray:
        values: np.ndarray = self._tensor.numpy()
        return values


class MappedArray:
    """An array in a file, mapped: its pages are read as they are used, and given up where memory is short.

    Args:
        path: of the file, which holds the values and nothing else.
        dtype: of the values.
    """

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._path, self._dtype = path, dtype
        is_empty = path.stat().st_size == 0  # which cannot be mapped
        self._values = np.empty(0, dtype) if is_empty else np.asarray(np.memmap(path, dtype, mode="r"))

    @property
    def values(self) -> np.ndarray:
        return self._values

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedArray, (self._path, self._dtype)
