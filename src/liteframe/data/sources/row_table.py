"""The rows of lists, held as bytes: about as large as the lists, and not copied by loader processes.

As Python objects, rows take several times the size of their list, and each loader process soon has a copy of its own,
because counting references writes to the objects that are read.
"""

from __future__ import annotations

import hashlib
import pickle
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np

from liteframe.data.remote.file import is_url
from liteframe.data.sources.video_row import VideoRow

_APART = ("id", "error", "own_id", "name")
_FIELDS = tuple(field.name for field in fields(VideoRow) if field.name not in _APART)


class _ByteStrings:
    """Byte strings behind one another, in tensors: torch shares those with processes that it starts.

    Args:
        data: the strings.
        ends: 0, and where each of them ends.
    """

    def __init__(self, data: bytearray, ends: array[int]) -> None:
        import torch  # here, as commands that read no list are quick without it

        self._data = torch.frombuffer(data or bytearray(1), dtype=torch.uint8)
        self._ends = torch.frombuffer(ends, dtype=torch.int64)

    def __getitem__(self, index: int) -> bytes:
        start, end = self._ends[index : index + 2].tolist()
        return self._data.numpy()[start:end].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        data, ends = self._data.numpy(), self._ends.numpy()
        return (data[start:end].tobytes() for start, end in pairwise(ends))


class RowTable(Sequence[VideoRow]):
    """Rows of lists, one after the other. Each access makes a row anew; a change to it changes nothing here.

    Args:
        parts: the rows of each list.

    Attributes:
        sizes: number of rows of each list.
        errors: why a row cannot be used, by its index; of those rows alone.
        first_url: the first path that is a URL, if there is one.
    """

    def __init__(self, parts: Iterable[Iterable[VideoRow]]) -> None:
        self.sizes: list[int] = []
        self.errors: dict[int, str] = {}
        self.first_url: str | None = None
        import torch  # here, as commands that read no list are quick without it

        rows, ids = bytearray(), bytearray()
        row_ends, id_ends, keys = array("q", [0]), array("q", [0]), array("q")
        for number, part in enumerate(parts):
            before = len(id_ends)
            for row in part:
                if row.error:
                    self.errors[len(id_ends) - 1] = row.error
                if self.first_url is None and is_url(row.path):
                    self.first_url = row.path
                rows += pickle.dumps([getattr(row, name) for name in _FIELDS], protocol=5)
                ids += row.id.encode(errors="surrogatepass")
                row_ends.append(len(rows))
                id_ends.append(len(ids))
                keys.append(_sample_key(row, number))
            self.sizes.append(len(id_ends) - before)
        self._sample_keys = torch.from_numpy(numbered(np.array(keys, np.int64)))
        self._rows, self._ids = _ByteStrings(rows, row_ends), _ByteStrings(ids, id_ends)

    def __len__(self) -> int:
        return sum(self.sizes)

    @overload
    def __getitem__(self, index: int) -> VideoRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[VideoRow]: ...
    def __getitem__(self, index: int | slice) -> VideoRow | list[VideoRow]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        values = dict(zip(_FIELDS, pickle.loads(self._rows[place]), strict=True))
        return VideoRow(**values, id=self.id_of(place), error=self.errors.get(place))

    def id_of(self, index: int) -> str:
        """Id of a row, for less than the row."""
        return self._ids[index].decode(errors="surrogatepass")

    def ids(self) -> Iterator[str]:
        """Id of each row."""
        return (name.decode(errors="surrogatepass") for name in self._ids)

    @cached_property
    def keys_N(self) -> np.ndarray:
        """`id_key` of each row, int64 (N,)."""
        return id_keys(self.ids())

    @property
    def sample_keys_N(self) -> np.ndarray:
        """A key of each row that does not follow from its place in its list, int64 (N,).

        It stands for the row's own id; where it has none, for its content. Rows of equal content are numbered.
        """
        keys_N: np.ndarray = self._sample_keys.numpy()
        return keys_N

    @property
    def usable_N(self) -> np.ndarray:
        """Indices of the rows without an error, int64."""
        return np.delete(np.arange(len(self)), list(self.errors))


def _sample_key(row: VideoRow, source: int) -> int:
    known_by = row.content() if row.own_id is None else f"id {row.own_id}"
    return id_key(f"{source} {known_by}")


def numbered(keys_N: np.ndarray) -> np.ndarray:
    """The keys, with others in place of the second, third, ... of those that are equal."""
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N = keys_N[order_N]
    ordinal_N = np.arange(len(keys_N)) - np.searchsorted(sorted_N, sorted_N)
    distinct_N = keys_N.copy()
    for place in np.flatnonzero(ordinal_N).tolist():
        distinct_N[order_N[place]] = id_key(f"{sorted_N[place]} {ordinal_N[place]}")
    return distinct_N


def id_key(name: str) -> int:
    """A number of 64 bits that stands for an id; in any process the same."""
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def id_keys(names: Iterable[str]) -> np.ndarray:
    """`id_key` of each id, int64 (N,)."""
    return np.fromiter(map(id_key, names), dtype=np.int64)


class IdSet(Container[str]):
    """Ids that can be asked for one by one, in 8 bytes each.

    Args:
        keys_N: their `id_key`.
    """

    def __init__(self, keys_N: np.ndarray) -> None:
        self._keys_N = np.unique(keys_N)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = id_key(name)
        place = np.searchsorted(self._keys_N, key)
        return bool(place < len(self._keys_N) and self._keys_N[place] == key)
