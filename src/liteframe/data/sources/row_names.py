"""Names of rows, told apart in a few bytes each: a list of ten million has as many."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator

from liteframe.data.sources.id_keys import id_key
from liteframe.data.sources.video_row import ParsedRow, VideoRow
from liteframe.errors import ManifestError

_NUMBER = re.compile(r"\d*\Z")
_FULL = 0.7
_MOST_PLACE = 2**32 - 1


class NameTable:
    """Names with where each was first and how often it has been used, found by their `id_key` in 16 bytes a slot."""

    def __init__(self) -> None:
        self._names = 0
        self._make(1 << 10)

    def _make(self, slots: int) -> None:
        # Open addressing: a name is in the first slot from its key on that is its own, and `uses` is 0 in free ones.
        self._mask = slots - 1
        self._keys = array("q", bytes(8 * slots))
        self._places, self._uses = (array("I", bytes(4 * slots)) for _ in range(2))

    def _slot(self, key: int) -> int:
        keys, uses, slot = self._keys, self._uses, key & self._mask
        while uses[slot] and keys[slot] != key:
            slot = (slot + 1) & self._mask
        return slot

    def __contains__(self, name: str) -> bool:
        return self._uses[self._slot(id_key(name))] > 0

    def add(self, name: str, place: int = 0) -> None:
        """Takes in a name that is not there."""
        if self._names > _FULL * self._mask:
            keys, places, uses = self._keys, self._places, self._uses
            self._make(2 * len(keys))
            for old in range(len(keys)):
                if uses[old]:
                    self._put(keys[old], places[old], uses[old])
        self._put(id_key(name), place, 1)
        self._names += 1

    def _put(self, key: int, place: int, uses: int) -> None:
        slot = self._slot(key)
        self._keys[slot], self._places[slot], self._uses[slot] = key, place, uses

    def use(self, name: str) -> int:
        """How often a name that is there has been used, with this time."""
        slot = self._slot(id_key(name))
        self._uses[slot] += 1
        return self._uses[slot]

    def place(self, name: str) -> int:
        """What a name that is there was added with."""
        return self._places[self._slot(id_key(name))]


class ListNames:
    """Ids of the rows of a list so far, which all differ."""

    def __init__(self) -> None:
        self._taken = NameTable()

    def add(self, parsed: ParsedRow, where: str) -> None:
        """Gives the row's id a number behind it where it is taken; ManifestError where it has to stay as it is.

        Args:
            parsed: a row of the list.
            where: its place; all of a list differ in the number at their end alone.
        """
        row, name = parsed.row, parsed.row.id
        number = _NUMBER.search(where)
        assert number is not None
        while row.id in self._taken:
            if parsed.gives_id and not parsed.foreign:
                first = f"{where[: number.start()]}{self._taken.place(row.id)}"
                raise ManifestError(
                    f"{where}: field 'id': {row.id!r} is the id of {first} already;"
                    " give each row an id of its own, or none"
                )
            row.id = f"{name}@{self._taken.use(name)}"
        self._taken.add(row.id, min(int(number[0] or 0), _MOST_PLACE))


def named_apart(rows: Iterable[VideoRow], number: int, taken: NameTable) -> Iterator[VideoRow]:
    """The rows; ids that other lists have got get `@<number>`.

    Args:
        rows: of a list.
        number: of the list.
        taken: ids of the lists before; those of the rows are added.
    """
    for row in rows:
        while row.id in taken:
            row.id = f"{row.id}@{number}"
        taken.add(row.id)
        yield row
