"""The rows of lists, held as bytes: about as large as the lists, and not copied by loader processes.

As Python objects, rows take several times the size of their list, and each loader process soon has a copy of its own,
because counting references writes to the objects that are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from liteframe.data.sources.checksums import DamagedFile, block_checksums, checksum, read_checked, write_checked
from liteframe.data.sources.id_keys import numbered
from liteframe.data.sources.row_block import ENCODED, RowBlock, blocks_of_videos
from liteframe.data.sources.row_split import Splits, add_splits
from liteframe.data.sources.shared_array import CheckedBytes, HeldArray, MappedArray, SharedArray
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import DataError

_COLUMNS: dict[str, type[np.generic]] = {
    "rows": np.uint8,
    "row_ends": np.int64,
    "ids": np.uint8,
    "id_ends": np.int64,
    "id_keys": np.int64,
    "sample_keys": np.int64,
}
"""What a table consists of. Texts lie behind one another; their `ends` are 0 and where each of them ends."""
_ROWS, _ROW_CHECKSUMS, _FACTS, _ERRORS = "rows.bin", "row_checksums.bin", "facts.json", "errors.json"
_DECODER = json.JSONDecoder()
TABLE_FILES = (*(f"{name}.bin" for name in _COLUMNS), _ROW_CHECKSUMS, _ERRORS, _FACTS)
"""Names of the files that a table is kept in; without the last it is damaged."""


@dataclass
class _Facts:
    """What is known of a table as a whole.

    Attributes:
        sizes: number of rows of each list.
        first_url: the first path that is a URL.
        first_unreadable: index of the first row that could not be read.
        splits: how many rows of each list are of which split, see `row_split`.
        sha256: of the rows `as_listed`.
        checksums: of each file of numbers or ids by its name, where they are in files. Rows have `_ROW_CHECKSUMS`.
    """

    sizes: list[int] = field(default_factory=list)
    first_url: str | None = None
    first_unreadable: int | None = None
    splits: list[Splits] = field(default_factory=list)
    sha256: str = ""
    checksums: dict[str, int] = field(default_factory=dict)


class RowTable(Sequence[VideoRow]):
    """Rows of lists, one after the other. Each access makes a row anew; a change to it changes nothing here.

    Args:
        parts: the rows of each list. They are held in memory; see `write` and `open` for files.

    Attributes:
        sizes: number of rows of each list.
        splits: how many of each list are of which split, see `row_split`.
        errors: why a row cannot be used, by its index; of those rows alone.
        first_url: the first path that is a URL, if there is one.
        first_unreadable: why the first row that could not be read could not, if there is one.
    """

    def __init__(self, parts: Iterable[Iterable[VideoRow]]) -> None:
        self._hold((blocks_of_videos(part, number) for number, part in enumerate(parts)), pickle.loads)

    @classmethod
    def of_blocks(cls, parts: Iterable[Iterable[RowBlock]]) -> RowTable:
        """The table, held in memory, of the rows of each list, encoded by `as_json`."""
        table = cls.__new__(cls)
        table._hold(parts, json.loads)
        return table

    def _hold(self, parts: Iterable[Iterable[RowBlock]], decode: Callable[[bytes], list[Any]]) -> None:
        columns: dict[str, BytesIO] = {name: BytesIO() for name in _COLUMNS}
        facts, errors = _write(parts, columns)
        held = {name: np.frombuffer(columns[name].getbuffer(), dtype) for name, dtype in _COLUMNS.items()}
        held["sample_keys"] = numbered(held["sample_keys"])
        self._set({name: HeldArray(values) for name, values in held.items()}, facts, errors, decode)

    @staticmethod
    def write(parts: Iterable[Iterable[RowBlock]], folder: Path) -> None:
        """Writes the rows of each list, encoded by `as_json`, into files in `folder` (`TABLE_FILES`), for `open`."""
        with ExitStack() as stack:
            files = {name: stack.enter_context(open(folder / f"{name}.bin", "wb", 1 << 20)) for name in _COLUMNS}
            facts, errors = _write(parts, files)
        keys_path = folder / "sample_keys.bin"
        numbered(np.fromfile(keys_path, np.int64)).tofile(keys_path)
        block_checksums(MappedArray(folder / _ROWS, np.uint8).values).tofile(folder / _ROW_CHECKSUMS)
        facts.checksums = {path.name: _file_checksum(path) for path in folder.glob("*.bin") if path.name != _ROWS}
        write_checked(folder / _ERRORS, json.dumps(list(errors.items())))
        write_checked(folder / _FACTS, json.dumps(asdict(facts)))

    @classmethod
    def open(cls, folder: Path) -> RowTable:
        """The table that was written into `folder`. Rows are checked as they are used, all else is now.

        Raises:
            OSError, ValueError: its files are not there, or damaged.
        """
        facts = _Facts(**json.loads(read_checked(folder / _FACTS)))
        errors = dict(json.loads(read_checked(folder / _ERRORS)))
        for name, written in facts.checksums.items():
            if _file_checksum(folder / name) != written:
                raise DamagedFile(folder / name)
        columns = {name: MappedArray(folder / f"{name}.bin", dtype) for name, dtype in _COLUMNS.items()}
        columns["rows"] = CheckedBytes(folder / _ROWS, MappedArray(folder / _ROW_CHECKSUMS, np.uint32))
        if len(columns["rows"].values) != columns["row_ends"].values[-1]:
            raise DamagedFile(folder / _ROWS)
        table = cls.__new__(cls)
        table._set(columns, facts, errors, json.loads, folder)
        return table

    def _set(
        self,
        columns: Mapping[str, SharedArray],
        facts: _Facts,
        errors: dict[int, str],
        decode: Callable[[bytes], list[Any]],
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._columns, self._decode, self._rows = columns, decode, sum(facts.sizes)
        self.sizes, self.errors, self.first_url = facts.sizes, errors, facts.first_url
        self.splits = facts.splits
        self._sha256 = facts.sha256
        self.first_unreadable = None if facts.first_unreadable is None else errors[facts.first_unreadable]

    @property
    def folder(self) -> Path | None:
        """Where its files are; None for a table that is held in memory."""
        return self._folder

    def keep_open(self, handle: int) -> None:
        """Takes a file handle that keeps the files of this table from being removed, to close it with the table."""
        self._handle = _Handle(handle)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_handle"}

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, index: int) -> VideoRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[VideoRow]: ...
    def __getitem__(self, index: int | slice) -> VideoRow | list[VideoRow]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        values = dict(zip(ENCODED, self._decode(self._text("rows", "row_ends", place)), strict=True))
        return VideoRow(**values, id=self.id_of(place), error=self.errors.get(place))

    def _text(self, column: str, ends: str, place: int) -> bytes:
        start, end = self._columns[ends].values[place : place + 2].tolist()
        try:
            return self._columns[column].part(start, end)
        except DamagedFile as error:
            raise self._given_up(error) from error

    def _given_up(self, error: DamagedFile) -> DataError:
        assert self._folder is not None
        with suppress(OSError):  # where it may only be read
            (self._folder / _FACTS).unlink(missing_ok=True)
        return DataError(f"{error}; start the run again, which reads the list anew, or else delete {self._folder}")

    def id_of(self, index: int) -> str:
        """Id of a row, for less than the row."""
        return self._text("ids", "id_ends", index).decode(errors="surrogatepass")

    def ids(self) -> Iterator[str]:
        """Id of each row."""
        return map(self.id_of, range(len(self)))

    def paths(self) -> Iterator[str]:
        """Path of each row, for less than the rows."""
        for place in range(len(self)):
            encoded = self._text("rows", "row_ends", place)
            if self._decode is json.loads:
                path, _ = _DECODER.raw_decode(encoded.decode(errors="surrogatepass"), 1)
            else:
                path = self._decode(encoded)[0]
            yield path

    @property
    def sha256(self) -> str:
        """Of all that the lists say of their rows, wherever they lie, and of which rows cannot be used."""
        return hashlib.sha256(f"{self._sha256} {sorted(self.errors)}".encode()).hexdigest()

    @property
    def keys_N(self) -> np.ndarray:
        """`id_key` of each row, int64 (N,)."""
        return self._columns["id_keys"].values

    @property
    def sample_keys_N(self) -> np.ndarray:
        """A key of each row that does not follow from its place in its list, int64 (N,).

        It stands for the row's own id; where it has none, for its content. Rows of equal content are numbered.
        """
        return self._columns["sample_keys"].values

    @property
    def usable_N(self) -> np.ndarray:
        """Indices of the rows without an error, int64."""
        rows_N = np.arange(len(self))
        return np.delete(rows_N, list(self.errors)) if self.errors else rows_N


def _file_checksum(path: Path) -> int:
    return checksum(MappedArray(path, np.uint8).values)


class _Handle:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self._handle)


def _write(parts: Iterable[Iterable[RowBlock]], columns: Mapping[str, BinaryIO]) -> tuple[_Facts, dict[int, str]]:
    """Writes the columns of the rows, and gives the facts, and the errors by index. Sample keys are not `numbered`."""
    facts, errors, listed = _Facts(), dict[int, str](), hashlib.sha256()
    index = 0
    texts = {"row_ends": "rows", "id_ends": "ids"}
    ends = dict.fromkeys(texts, 0)
    for name in texts:
        columns[name].write(_int64([0]))
    for part in parts:
        before = index
        facts.splits.append({})
        for block in filter(len, part):
            errors.update({index + place: error for place, error in sorted(block.errors.items())})
            if block.unreadable and facts.first_unreadable is None:
                facts.first_unreadable = index + min(block.unreadable)
            facts.first_url = facts.first_url or block.first_url
            add_splits(facts.splits[-1], block.splits)
            rows = {"rows": block.rows, "ids": [name.encode(errors="surrogatepass") for name in block.ids]}
            for name, of in texts.items():
                columns[of].write(b"".join(rows[of]))
                ends_N = ends[name] + np.cumsum([len(text) for text in rows[of]], dtype=np.int64)
                columns[name].write(ends_N.tobytes())
                ends[name] = int(ends_N[-1])
            columns["id_keys"].write(_int64(block.id_keys))
            columns["sample_keys"].write(_int64(block.sample_keys))
            listed.update("".join(f"{told}\n" for told in block.listed).encode(errors="surrogatepass"))
            index += len(block)
        facts.sizes.append(index - before)
        listed.update(b"\n")
    facts.sha256 = listed.hexdigest()
    return facts, errors


def _int64(values: Sequence[int]) -> bytes:
    return np.array(values, np.int64).tobytes()
