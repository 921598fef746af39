"""What a feature store says of itself: its key, its index, and the mark that it is complete; bounded and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.remote.file import is_url
from liteframe.data.store.entries import Entry, is_whole, require, require_fields
from liteframe.data.store.files import COMPLETE_FILE, INDEX_FILE, KEY_FILE, STATISTICS_FILE, is_shard_name
from liteframe.data.store.format import file_sha256, open_durable
from liteframe.data.store.key import StoreKey
from liteframe.data.store.sealed_json import canonical_json, inside, read_bounded, sealed, unseal
from liteframe.data.store.shard_files import facts_folder
from liteframe.errors import StoreError
from liteframe.system.bounded_text import parse_json

ANEW = "delete the folder and make the store anew"
AGAIN = "run the cache stage again: it goes on where it stopped"
_MOST_KEY_BYTES = 1 << 20
_MOST_INDEX_BYTES = 1 << 31
_MOST_LINE_BYTES = 1 << 28
_MOST_SHARD_BYTES = 1 << 50
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_key(folder: str | Path) -> StoreKey:
    """The key of a store, finished or not. Raises StoreError if there is none, or it is damaged."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise StoreError(f"{folder}: is a file; give the folder of a feature store")
    with facts_folder(folder, [KEY_FILE]) as local:
        return _read_key(local)


def _read_key(folder: Path) -> StoreKey:
    try:
        path = inside(folder, KEY_FILE)
        value, _ = unseal(read_bounded(path, _MOST_KEY_BYTES), str(path))
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder}: no feature store here ({KEY_FILE} is missing); make one with the cache stage"
        ) from error
    except StoreError as error:
        raise StoreError(f"{error}; move it away and run the cache stage again: what else is whole is kept") from error
    return StoreKey.from_dict(value, str(path))


def write_key(folder: Path, key: StoreKey) -> None:
    with open_durable(folder / KEY_FILE) as file:
        file.write(sealed(key.as_dict()))


def is_there(store: str | Path) -> bool:
    """Whether there is anything where a store is to be; an address is asked when it is read."""
    return is_url(str(store)) or Path(store).exists()


def is_complete(folder: str | Path) -> bool:
    """Whether `folder` holds a finished feature store."""
    return (Path(folder) / COMPLETE_FILE).is_file()


def is_file_fact(value: Any) -> bool:
    """Whether `value` has a size and a sha256."""
    digest = value.get("sha256") if isinstance(value, dict) else None
    good = isinstance(digest, str) and _SHA256.fullmatch(digest)
    return bool(good) and is_whole(value.get("bytes"), 0, _MOST_SHARD_BYTES)


def read_marks(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of index and statistics. Raises StoreError where COMPLETE is damaged."""
    try:
        path = inside(folder, COMPLETE_FILE)
        value, _ = unseal(read_bounded(path, _MOST_KEY_BYTES), str(path))
        require_fields(value, (INDEX_FILE, STATISTICS_FILE), "it")
        for mark in value.values():
            require_fields(mark, ("bytes", "sha256"), "a mark")
            require(is_file_fact(mark), "a mark has no size or no sha256")
    except FileNotFoundError as error:
        raise StoreError(f"{folder}: the feature store is not finished; {AGAIN}") from error
    except (StoreError, ValueError) as error:
        raise StoreError(f"{folder / COMPLETE_FILE}: {error}; {AGAIN}") from error
    return value


def write_marks(folder: Path) -> None:
    marks = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in (INDEX_FILE, STATISTICS_FILE)
    }
    with open_durable(folder / COMPLETE_FILE) as file:
        file.write(sealed(marks))


@dataclass(frozen=True)
class IndexedShard:
    """A final shard as the index names it."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """`index.json`: the key, the final shards, what was skipped, and a line of JSON for each entry.

    Attributes:
        path: the file.
        key: of the store.
        shards: by number.
        skipped: path, id and reason of samples that could not be used.
        lines: of the entries, as bytes instead of tens of thousands of objects.
        sha256: of the whole file.
    """

    path: Path
    key: StoreKey
    shards: list[IndexedShard]
    skipped: list[dict[str, Any]]
    lines: list[bytes]
    sha256: str

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Raises StoreError where there is none, or it is not an index; its entries are not looked at."""
        try:
            path = inside(folder, INDEX_FILE)
            data = read_bounded(path, _MOST_INDEX_BYTES)
        except FileNotFoundError as error:
            raise StoreError(f"{folder / INDEX_FILE}: missing; {AGAIN}") from error
        first, *lines = data.split(b"\n")
        try:
            require(lines[-2:] == [b"]}", b""] and first.endswith(b',"entries":['), "its end is missing")
            head: Any = parse_json(first + b"]}", str(path), StoreError) if len(first) < _MOST_LINE_BYTES else None
            require_fields(head, ("key", "shards", "skipped", "entries"), "it")
            shards = [cls._shard(folder, value) for value in head["shards"]] if isinstance(head["shards"], list) else []
            require(shards and len({shard.path for shard in shards}) == len(shards), "it names no shards, or one twice")
            skipped = head["skipped"]
            require(isinstance(skipped, list) and all(isinstance(row, dict) for row in skipped), "skipped is no list")
            key = StoreKey.from_dict(head["key"], str(path))
        except ValueError as error:
            raise StoreError(f"{path}: is not an index of a feature store ({error}); {ANEW}") from error
        bare = [line.removesuffix(b",") for line in lines[:-2]]
        return cls(path, key, shards, skipped, bare, hashlib.sha256(data).hexdigest())

    @staticmethod
    def _shard(folder: Path, value: Any) -> IndexedShard:
        require_fields(value, ("file", "bytes", "sha256"), "a shard")
        require(is_shard_name(value["file"]) and is_file_fact(value), "a shard has not the name, size or sha256 of one")
        return IndexedShard(inside(folder, value["file"]), value["bytes"], value["sha256"])

    def entry(self, line: int) -> tuple[int, Entry]:
        """Number of the shard, and the entry. Raises StoreError, naming the line, where it is not one."""
        where = f"{self.path}, line {line + 2}"
        try:
            require(len(self.lines[line]) < _MOST_LINE_BYTES, "is too long")
            value = parse_json(self.lines[line], where, StoreError)
            number: Any = value.pop("shard", None) if isinstance(value, dict) else None
            require(is_whole(number, 0, len(self.shards) - 1), "an entry is of no shard that there is")
            return number, Entry.from_json(value, self.shards[number].bytes)
        except ValueError as error:
            raise StoreError(f"{where}: {error}; {ANEW}") from error

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """All of them. Raises StoreError at one that is none, an id that comes twice, or targets of another size."""
        seen: set[str] = set()
        cells: set[tuple[int, ...]] = set()
        for line in range(len(self.lines)):
            number, entry = self.entry(line)
            cells.add((*entry.targets.shape[1:],))
            if entry.sample_id in seen or len(cells) > 1:
                odd = "another height, width or channels" if len(cells) > 1 else "the id of an earlier one"
                raise StoreError(f"{self.path}, line {line + 2}: sample {entry.sample_id!r} has {odd}; {ANEW}")
            seen.add(entry.sample_id)
            yield number, entry


def write_index(folder: Path, key: StoreKey, shards: list[dict[str, Any]], lines: list[bytes], skipped: Any) -> None:
    """Valid JSON with one entry a line, so that a reader can keep lines instead of tens of thousands of objects."""
    head = canonical_json({"key": key.as_dict(), "shards": shards, "skipped": skipped})
    with open_durable(folder / INDEX_FILE) as file:
        file.write(head[:-1] + b',"entries":[\n' + b",\n".join(lines) + b"\n]}\n")
