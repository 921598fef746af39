"""One feature store of the shards of the list that several jobs have made."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from liteframe.data.store.feature_store import FeatureStore, is_complete
from liteframe.data.store.files import PARTS, tidy
from liteframe.data.store.finalize import finalize
from liteframe.data.store.index import read_key
from liteframe.data.store.key import StoreKey
from liteframe.data.store.list_shard import (
    ListShard,
    ShardRecord,
    begun_shards,
    merge_lock,
    require_stored,
)
from liteframe.errors import SkipLimitExceeded, StoreError, StoreMismatch


def merge(folder: str | Path) -> FeatureStore:
    """Finishes the store of a list whose shards have all been made.

    What comes out has the bytes of the store that one process makes of the list. Killed at any moment and called
    again, it goes on; a store that is finished stays as it is.

    Raises:
        StoreError: a shard is missing, half made, being made or damaged, or one was made twice over, of another
            list, or with other settings; names it.
        SkipLimitExceeded: more rows were skipped in all shards together than the config allows.
        ConfigError: another process merges.
    """
    folder = Path(folder)
    key = read_key(folder)
    if is_complete(folder):
        store = FeatureStore.open(folder)
        if not any(shard.holder(folder) for shard in begun_shards(folder)):
            tidy(folder, key.digest, store.shard_files, ())  # what a merge that was killed has left
        return store
    if not (folder / PARTS).is_dir():
        raise StoreError(f"{folder}: holds no shards; make them by `liteframe predict --config ... --shard 0/N`")
    with merge_lock(folder):
        records = _records(folder)
        _require_one_run(folder, key, records)
        require_stored(folder, key, *records)
        _require_few_skips(folder, records)
        ids = [sample_id for record in records for sample_id in record.ids]
        return finalize(folder, key, records[0].shard_mb, expected_ids=ids)


def _records(folder: Path) -> list[ShardRecord]:
    """Those of all shards, in order."""
    shards = begun_shards(folder)
    if not shards:
        raise StoreError(f"{folder}: holds no shards; make them by `liteframe predict --config ... --shard 0/N`")
    if other := [shard for shard in shards if shard.count != shards[0].count]:
        raise StoreError(
            f"{folder}: holds shards of two ways to share the list out, such as {shards[0]} and {other[0]}; move"
            f" those of one of them out of {folder / PARTS}"
        )
    count = shards[0].count
    every = [ListShard(index, count) for index in range(count)]
    faults = [f"{shard} is being made by {holder}" for shard in shards if (holder := shard.holder(folder))]
    held = {shard for shard in shards if shard.holder(folder)}
    begun = [shard for shard in shards if shard not in held and not shard.record_path(folder).exists()]
    faults += [f"{_indices(begun)} ended before all was made"] if begun else []
    absent = sorted({*every} - {*shards})
    faults += [f"{_indices(absent)} never began"] if absent else []
    if faults:
        again = f"; run {_indices(sorted([*begun, *absent]))} again, then merge" if begun or absent else ""
        raise StoreError(f"{folder}: of {count} shards, {', '.join(faults)}{again}")
    return [ShardRecord.read(folder, shard) for shard in every]


def _indices(shards: list[ListShard]) -> str:
    """Indices as `sbatch --array` takes them, such as 3,7-9."""
    starts = [i for i, shard in enumerate(shards) if not i or shard.index != shards[i - 1].index + 1]
    runs = [shards[first:stop] for first, stop in pairwise([*starts, len(shards)])]
    return ",".join(str(run[0].index) if len(run) == 1 else f"{run[0].index}-{run[-1].index}" for run in runs)


def _require_one_run(folder: Path, key: StoreKey, records: list[ShardRecord]) -> None:
    """Raises StoreError where the shards are not of one list, shared out once, under the key of the store."""
    first = records[0]
    for record in records:
        if differences := key.diff(StoreKey.from_dict(record.settings)):
            said = "; ".join(f"{d.name}: {d.wanted!r}, the store has {d.stored!r}" for d in differences)
            raise StoreMismatch(f"{folder}: shard {record.shard} was made with other settings or another list. {said}")
        for name in ("samples", "batch_size", "shard_mb", "rows", "max_skip_fraction"):
            if getattr(record, name) != getattr(first, name):
                raise StoreMismatch(
                    f"{folder}: {name} of shard {record.shard} is {getattr(record, name)}, of shard {first.shard}"
                    f" {getattr(first, name)}; run one of them again, with the config of the other"
                )
    owners: dict[str, ListShard] = {}
    for record in records:
        for sample_id in record.ids:
            if (other := owners.setdefault(sample_id, record.shard)) != record.shard:
                raise StoreMismatch(f"{folder}: sample {sample_id!r} is of shards {other} and {record.shard}")
    if len(owners) != first.samples:
        raise StoreMismatch(f"{folder}: the shards have {len(owners)} samples, and their list {first.samples}")


def _require_few_skips(folder: Path, records: list[ShardRecord]) -> None:
    skipped = {row for record in records for row in record.skipped_rows}
    most, rows = records[0].max_skip_fraction, records[0].rows
    if len(skipped) > most * rows:
        counts = ", ".join(f"{len(record.skipped_rows)} in {record.shard}" for record in records if record.skipped_rows)
        raise SkipLimitExceeded(
            f"{folder}: {len(skipped)} of {rows} rows were skipped ({counts}), more than the limit of {most:.1%}"
            " (--data.max_skip_fraction). Repair these files, named in skipped.jsonl of the shards' run folders, and"
            " run these shards again, or run all again with a higher limit: what is stored is not made again"
        )
