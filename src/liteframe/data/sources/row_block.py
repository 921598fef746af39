"""Some rows of a list in the form that a table holds them in, as one process hands them to another."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

from liteframe.data.remote.file import is_url
from liteframe.data.sources.id_keys import id_key
from liteframe.data.sources.json_list import json_list, unicode_json
from liteframe.data.sources.row_split import Splits, count_split, split_of
from liteframe.data.sources.video_row import ParsedRow, VideoRow, unusable
from liteframe.errors import ManifestError

ENCODED = tuple(field.name for field in fields(VideoRow) if field.name not in ("id", "error", "own_id", "name"))
"""The fields of a row that `RowBlock.rows` has."""
_BLOCK_BYTES, _BLOCK_ROWS = 1 << 20, 8192
_NUMBER = re.compile(r"\d{0,18}\Z")
_MOST_NUMBER = 2**32 - 1

EncodeRow = Callable[[list[Any]], bytes]


def as_pickle(values: list[Any]) -> bytes:
    """Of values of any kind."""
    return pickle.dumps(values, protocol=5)


def as_json(values: list[Any]) -> bytes:
    """Of values of JSON; `json.loads` reads it."""
    return json_list(values, unicode_json).encode(errors="surrogatepass")


@dataclass
class RowBlock:
    """Consecutive rows of a list, encoded.

    Attributes:
        rows: the `ENCODED` fields of each.
        ids: of each.
        id_keys: `id_key` of each id.
        sample_keys: as `RowTable.sample_keys_N`, but those of rows of equal content are equal.
        listed: `VideoRow.as_listed` of each.
        places: of each, for messages.
        numbers: of each in its list; 0 where it has none.
        keeps_id: whether each gives an id of its own, which no other row of its list may have.
        errors: why a row cannot be used, by its index.
        unreadable: indices of the rows that could not be read.
        first_url: the first path that is a URL.
        splits: how many are of which split, see `row_split`.
        fault: why the row behind these cannot be read, where that ends the reading.
    """

    rows: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    id_keys: list[int] = field(default_factory=list)
    sample_keys: list[int] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    keeps_id: list[bool] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    first_url: str | None = None
    splits: Splits = field(default_factory=dict)
    fault: ManifestError | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: VideoRow, keeps_id: bool, source: int, encode: EncodeRow) -> None:
        """Adds a row of the list of number `source`."""
        if row.error:
            self.errors[len(self)] = row.error
            if not row.place:
                self.unreadable.add(len(self))
        if self.first_url is None and is_url(row.path):
            self.first_url = row.path
        self.rows.append(encode([getattr(row, name) for name in ENCODED]))
        self.ids.append(row.id)
        self.id_keys.append(id_key(row.id))
        self.sample_keys.append(_sample_key(row, source))
        self.listed.append(row.as_listed())
        place = row.place or row.id
        self.places.append(place)
        self.numbers.append(number_of(place))
        self.keeps_id.append(keeps_id)
        count_split(self.splits, split_of(row.extra), place)

    def replace(self, index: int, row: VideoRow, source: int) -> None:
        """Puts a row that could not be read in the place of another one."""
        other = RowBlock()
        other.add(row, False, source, as_json)
        for name in ("rows", "ids", "id_keys", "sample_keys", "listed", "places", "numbers", "keeps_id"):
            getattr(self, name)[index] = getattr(other, name)[0]
        self.errors[index] = other.errors[0]
        self.unreadable.add(index)
        if self.first_url is not None:
            self.first_url = next(filter(is_url, (json.loads(encoded)[0] for encoded in self.rows)), None)

    def rename(self, index: int, name: str) -> None:
        """Gives a row another id."""
        self.ids[index], self.id_keys[index] = name, id_key(name)
        if index not in self.unreadable:
            told = json.loads(self.listed[index])
            told[VideoRow.ID_AS_LISTED] = name
            self.listed[index] = json_list(told)


def blocks_of(
    rows: Iterable[tuple[str, ParsedRow | ManifestError]],
    source: int,
    keep_unusable: bool,
    most_bytes: float = _BLOCK_BYTES,
) -> Generator[RowBlock, None, None]:
    """The rows of a list as `each_row` gives them, in blocks, encoded by `as_json`; ids may repeat.

    Args:
        rows: the rows.
        source: number of the list.
        keep_unusable: what stands for a row that cannot be read is in its place; otherwise it ends the reading.
        most_bytes: of the encoded rows of a block, from which on it ends.
    """
    block, held = RowBlock(), 0
    try:
        for where, parsed in rows:
            if isinstance(parsed, ManifestError):
                if not keep_unusable:
                    raise parsed
                block.add(unusable(where, parsed), False, source, as_json)
            else:
                block.add(parsed.row, parsed.keeps_id, source, as_json)
            held += len(block.rows[-1])
            if held >= most_bytes:
                yield block
                block, held = RowBlock(), 0
    except ManifestError as error:
        block.fault = error
    if len(block) or block.fault:
        yield block


def blocks_of_videos(rows: Iterable[VideoRow], source: int) -> Iterator[RowBlock]:
    """Rows whose ids differ, in blocks, encoded by `as_pickle`; of `source` as of `blocks_of`."""
    upcoming = iter(rows)
    while some := list(islice(upcoming, _BLOCK_ROWS)):
        block = RowBlock()
        for row in some:
            block.add(row, False, source, as_pickle)
        yield block


def number_of(place: str) -> int:
    """The number at the end of a row's place; 0 where there is none."""
    number = _NUMBER.search(place)
    assert number is not None
    return min(int(number[0] or 0), _MOST_NUMBER)


def _sample_key(row: VideoRow, source: int) -> int:
    known_by = row.content() if row.own_id is None else f"id {row.own_id}"
    return id_key(f"{source} {known_by}")
