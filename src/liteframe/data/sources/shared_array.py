"""Arrays that processes share, however they are started, and never copy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from liteframe.data.sources.checksums import BLOCK_BYTES, DamagedFile, block_checksums
from liteframe.errors import DataError


class SharedArray(ABC):
    """An array that is handed to another process without its values."""

    @property
    @abstractmethod
    def values(self) -> np.ndarray:
        """Its values, (N,); not to be written to."""

    def part(self, start: int, end: int) -> bytes:
        """The bytes of the values from `start` to before `end`."""
        return self.values[start:end].tobytes()


class HeldArray(SharedArray):
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


class MappedArray(SharedArray):
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
        return _map_again, (type(self), self._path, self._dtype)


class CheckedBytes(MappedArray):
    """Bytes in a file, mapped, whose blocks are checked when a process takes a `part` of them for the first time.

    Args:
        path: of the file.
        checksums: `block_checksums` of what was written to it.
    """

    def __init__(self, path: Path, checksums: MappedArray) -> None:
        super().__init__(path, np.uint8)
        self._checksums, self._is_checked = checksums, bytearray(len(checksums.values))

    def part(self, start: int, end: int) -> bytes:
        """As of SharedArray. Raises DamagedFile where the file has other bytes than were written to it."""
        first, behind = start // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        if 0 in self._is_checked[first:behind]:
            bytes_N = self._values[first * BLOCK_BYTES : behind * BLOCK_BYTES]
            if not np.array_equal(block_checksums(bytes_N), self._checksums.values[first:behind]):
                raise DamagedFile(self._path)
            self._is_checked[first:behind] = b"\1" * (behind - first)
        return super().part(start, end)

    def __reduce__(self) -> tuple[Any, ...]:
        return _map_again, (type(self), self._path, self._checksums)


def _map_again(kind: type[MappedArray], path: Path, needed: Any) -> MappedArray:
    """What a process that is handed a MappedArray makes of it."""
    try:
        return kind(path, needed)
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent}: was deleted while a run used it; start the run again, and delete such folders while no run"
            " uses them"
        ) from error
