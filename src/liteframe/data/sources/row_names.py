"""Names of rows, told apart in a few bytes each: a list of ten million has as many."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np

from liteframe.data.sources.id_keys import id_key
from liteframe.data.sources.row_block import RowBlock, number_of
from liteframe.data.sources.video_row import ParsedRow, unusable
from liteframe.errors import ManifestError

_FULL = 0.7
Blocks = Generator[RowBlock, None, None]


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
        self._make_room(1)
        slot = self._slot(id_key(name))
        self._keys[slot], self._places[slot], self._uses[slot] = id_key(name), place, 1
        self._names += 1

    def add_new(self, keys: Sequence[int], places: Sequence[int]) -> bool:
        """Takes in names by their `id_key`, if none of them is there and all differ; otherwise takes in none.

        Returns:
            whether it has taken them in.
        """
        keys_N, places_N = np.array(keys, np.int64), np.array(places, np.uint32)
        if len(np.unique(keys_N)) < len(keys_N) or self._has_any(keys_N):
            return False
        self._make_room(len(keys_N))
        self._put(keys_N, places_N, np.ones(len(keys_N), np.uint32))
        self._names += len(keys_N)
        return True

    def _has_any(self, keys_N: np.ndarray) -> bool:
        slot_keys, _, uses = self._arrays()
        slots_N = keys_N & self._mask
        while len(keys_N):
            held_N = uses[slots_N] > 0
            if (slot_keys[slots_N[held_N]] == keys_N[held_N]).any():
                return True
            keys_N, slots_N = keys_N[held_N], (slots_N[held_N] + 1) & self._mask
        return False

    def _make_room(self, count: int) -> None:
        slots = len(self._keys)
        while self._names + count > _FULL * slots:
            slots *= 2
        if slots > len(self._keys):
            keys, places, uses = self._arrays()
            self._make(slots)
            held_N = np.flatnonzero(uses)
            self._put(keys[held_N], places[held_N], uses[held_N])

    def _put(self, keys_N: np.ndarray, places_N: np.ndarray, uses_N: np.ndarray) -> None:
        """Puts names that are not there, and differ, into free slots."""
        keys, places, uses = self._arrays()
        left_N, slots_N = np.arange(len(keys_N)), keys_N & self._mask
        while len(left_N):
            free_N = np.flatnonzero(uses[slots_N] == 0)
            taken_N, first_N = np.unique(slots_N[free_N], return_index=True)
            put_N = left_N[free_N[first_N]]
            keys[taken_N], places[taken_N], uses[taken_N] = keys_N[put_N], places_N[put_N], uses_N[put_N]
            stay_N = np.ones(len(left_N), bool)
            stay_N[free_N[first_N]] = False
            left_N, slots_N = left_N[stay_N], (slots_N[stay_N] + 1) & self._mask

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys, places and uses of all slots, which share their memory: single values are read faster without them."""
        places, uses = (np.frombuffer(values, np.uint32) for values in (self._places, self._uses))
        return np.frombuffer(self._keys, np.int64), places, uses

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
        parsed.row.id = self._name(parsed.row.id, parsed.keeps_id, where)

    def named(self, blocks: Blocks, source: int, keep_unusable: bool) -> Blocks:
        """The blocks with each row named as by `add`.

        Args:
            blocks: all rows of the list; they are closed with this.
            source: number of the list.
            keep_unusable: what stands for an unusable row is in place of one whose id has to stay and is taken.

        Raises:
            ManifestError: a row's id has to stay and is taken, or a block has a fault.
        """
        with closing(blocks):
            for block in blocks:
                self._add_block(block, source, keep_unusable)
                yield block
                if block.fault is not None:
                    raise block.fault

    def _add_block(self, block: RowBlock, source: int, keep_unusable: bool) -> None:
        if self._taken.add_new(block.id_keys, block.numbers):
            return
        for index in range(len(block)):
            place = block.places[index]
            try:
                name = self._name(block.ids[index], block.keeps_id[index], place)
            except ManifestError as error:
                if not keep_unusable:
                    raise
                block.replace(index, unusable(place, error), source)
                name = self._name(block.ids[index], False, place)
            if name != block.ids[index]:
                block.rename(index, name)

    def _name(self, wanted: str, keeps_id: bool, where: str) -> str:
        name = wanted
        while name in self._taken:
            if keeps_id:
                first = f"{where.rstrip('0123456789')}{self._taken.place(name)}"
                raise ManifestError(
                    f"{where}: field 'id': {name!r} is the id of {first} already;"
                    " give each row an id of its own, or none"
                )
            name = f"{wanted}@{self._taken.use(wanted)}"
        self._taken.add(name, number_of(where))
        return name


def named_apart(blocks: Blocks, number: int, taken: NameTable) -> Blocks:
    """The blocks; ids that other lists have got get `@<number>`.

    Args:
        blocks: of a list; they are closed with this.
        number: of the list.
        taken: ids of the lists before; those of the blocks are added.
    """
    with closing(blocks):
        for block in blocks:
            if not taken.add_new(block.id_keys, block.numbers):
                for index, name in enumerate(block.ids):
                    while name in taken:
                        name = f"{name}@{number}"
                    taken.add(name)
                    if name != block.ids[index]:
                        block.rename(index, name)
            yield block
