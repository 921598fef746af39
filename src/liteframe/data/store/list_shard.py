"""A shard of the list: the samples that one of several jobs caches, which share nothing but the folder of the store.

A job writes parts of its own into the store, holds a lock while it does, and leaves a record when all of its samples
are stored or skipped. `merge` makes the store of them once all the records are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liteframe.data.store.catalogue import has_size, listed_shards
from liteframe.data.store.entries import require, require_fields
from liteframe.data.store.files import MOST_SIDECAR_BYTES, PARTS, list_shard_files, part_files
from liteframe.data.store.format import open_durable
from liteframe.data.store.key import StoreKey
from liteframe.data.store.sealed_json import read_bounded, sealed, unseal
from liteframe.errors import ConfigError, StoreError
from liteframe.system.run_lock import RunLock, lock_holder

MERGE_LOCK = "merge.lock"
_MOST = 100_000
_NUMBERS = ("max_skip_fraction", "shard_mb")
_TAG = re.compile(r"s(\d{5,9})-of-(\d{5,9})[-.]")


@dataclass(frozen=True, order=True)
class ListShard:
    """Shard `index` of `count`, counted from 0."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> ListShard:
        """The shard that a text such as "3/16" names. Raises ConfigError for any other text."""
        words = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        shard = cls(int(words[1]), int(words[2])) if words else None
        if shard is None or not 0 < shard.count <= _MOST:
            raise ConfigError(f"--shard is {text!r}; give index and number of shards, such as 3/16")
        if shard.index >= shard.count:
            last = f"{shard.count - 1}/{shard.count}"
            raise ConfigError(f"--shard is {text!r}, but shards are counted from 0: the last is {last}")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def tag(self) -> str:
        """What the names of its files begin with."""
        return f"s{self.index:05d}-of-{self.count:05d}"

    @property
    def lock_name(self) -> str:
        """File of its lock."""
        return f"{self.tag}.lock"

    def samples(self, total: int, batch_size: int) -> range:
        """Which of `total` samples are its own: batches as a single process has them, so that the bytes are the same.

        The shards follow each other, and differ by one batch at most.
        """
        batches = -(-total // batch_size)
        first, stop = (batches * number // self.count * batch_size for number in (self.index, self.index + 1))
        return range(min(first, total), min(stop, total))

    def lock(self, folder: Path) -> RunLock:
        """Held by the job that makes it. Raises ConfigError, on entering, where another does."""
        in_use = f"shard {self} of {folder} is being made by {{holder}}; wait for that job, or end it"
        return RunLock(folder / PARTS, self.lock_name, in_use)

    def holder(self, folder: Path) -> str:
        """The process that makes it now; empty where there is none."""
        return lock_holder(folder / PARTS, self.lock_name)

    def record_path(self, folder: Path) -> Path:
        """The file that says that all of it is made."""
        return folder / PARTS / f"{self.tag}.json"


def merge_lock(folder: Path) -> RunLock:
    """Held while the shards are merged. Raises ConfigError, on entering, where another process merges them."""
    return RunLock(folder / PARTS, MERGE_LOCK, f"{folder} is being merged by {{holder}}; wait for it")


def require_not_merging(folder: Path) -> None:
    """To be asked with the lock of a shard in hand. Raises ConfigError while the shards are merged."""
    if holder := lock_holder(folder / PARTS, MERGE_LOCK):
        raise ConfigError(f"{folder} is being merged by {holder}; wait for it")


def begun_shards(folder: Path) -> list[ListShard]:
    """Those that have left anything in a store, in order."""
    names = [path.name for path in (*part_files(folder), *list_shard_files(folder))]
    return sorted({ListShard(int(tag[1]), int(tag[2])) for tag in map(_TAG.match, names) if tag})


def require_same_count(folder: Path, shard: ListShard) -> None:
    """Raises ConfigError where a store has shards of another number."""
    for other in begun_shards(folder):
        if other.count != shard.count:
            raise ConfigError(
                f"{folder}: holds shard {other}, and this is {shard}; take --shard i/{other.count}, or move"
                f" {folder / PARTS} away to share the list out anew"
            )


def require_none_made(folder: Path) -> None:
    """Raises ConfigError where some process makes a shard now, for a run that makes all of the list."""
    for shard in begun_shards(folder):
        if holder := shard.holder(folder):
            raise ConfigError(
                f"{folder}: its shard {shard} is being made by {holder}; wait for that job, or end it. Without --shard"
                " a run takes what all shards have written, makes the rest, and finishes the store"
            )


@dataclass(frozen=True)
class ShardRecord:
    """What a job leaves when its shard of the list is made.

    Args:
        shard: which one.
        settings: key of the store, as a dict.
        samples: in the whole list.
        batch_size: that the list was shared out by.
        rows: of the whole list.
        skipped_rows: ids of its rows that could not be used.
        max_skip_fraction: share of `rows` that may be skipped.
        shard_mb: size at which shards of the store are cut.
        ids: of its samples, in order.
    """

    shard: ListShard
    settings: dict[str, Any]
    samples: int
    batch_size: int
    rows: int
    skipped_rows: list[str]
    max_skip_fraction: float
    shard_mb: float
    ids: list[str]

    def write(self, folder: Path, key: StoreKey) -> None:
        """Puts it into the store.

        Raises:
            StoreError: a sample of the shard is neither stored nor skipped, or the record cannot be written.
        """
        require_stored(folder, key, self)
        values = {**asdict(self), "shard": str(self.shard), "key": key.digest}
        with open_durable(self.shard.record_path(folder)) as file:
            file.write(sealed(values))

    @classmethod
    def read(cls, folder: Path, shard: ListShard) -> ShardRecord:
        """Raises StoreError, naming the shard, where there is none, or it is not whole."""
        path = shard.record_path(folder)
        again = f"run shard {shard} again: it makes only what is missing"
        try:
            value, is_sealed = unseal(read_bounded(path, MOST_SIDECAR_BYTES), str(path))
            require(is_sealed, "has no checksum")
            require_fields(value, (*cls.__dataclass_fields__, "key"), "it")
            require(value.pop("key") == StoreKey.from_dict(value["settings"]).digest, "its key is not of its settings")
            require(value["shard"] == str(shard), "is of another shard")
            kinds = {"samples": int, "batch_size": int, "rows": int, "skipped_rows": list, "ids": list}
            require(all(type(value[name]) is kind for name, kind in kinds.items()), "its fields are of other kinds")
            require(all(type(value[name]) in (int, float) for name in _NUMBERS), "its fields are of other kinds")
        except FileNotFoundError as error:
            raise StoreError(f"{path}: missing; {again}") from error
        except ValueError as error:
            raise StoreError(f"{path}: {error}; {again}") from error
        return cls(**{**value, "shard": shard})


def require_stored(folder: Path, key: StoreKey, *records: ShardRecord) -> None:
    """Raises StoreError, naming shard and sample, where a sample of a record is neither stored nor skipped.

    What a sidecar names is stored where its file is there, too, and of its size.
    """
    writer = records[0].shard.tag if len(records) == 1 else ""
    known = {*_known(filter(has_size, listed_shards(folder, key, writer)))}
    for record in records:
        lost = [sample_id for sample_id in record.ids if sample_id not in known]
        if lost:
            raise StoreError(
                f"{folder}: {len(lost)} of the {len(record.ids)} samples of shard {record.shard} are neither stored nor"
                f" skipped, first {lost[0]!r}; run shard {record.shard} again: it makes only what is missing"
            )


def _known(shards: Iterable[Any]) -> Iterator[str]:
    for shard in shards:
        yield from (entry.sample_id for entry in shard.entries)
        yield from (str(row.get("id")) for row in shard.skipped)
