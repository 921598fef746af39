"""Turning the parts of all ranks into the final store: one order, one cut, statistics, and the mark of completeness."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liteframe.atomic import remove_leftovers
from liteframe.data.feature_store import FeatureStore, read_key
from liteframe.data.feature_store_catalogue import Entry, Shard, complete_shards, write_index, write_sidecar
from liteframe.data.feature_store_format import (
    COMPLETE_FILE,
    DTYPES,
    INDEX_FILE,
    PARTS,
    STATISTICS_FILE,
    Piece,
    Source,
    canonical_json,
    file_sha256,
    read_piece,
    sync_folder,
    write_json,
    write_tensors,
)
from liteframe.data.feature_store_key import StoreKey
from liteframe.errors import StoreError

MIN_STD = 1e-6
_Place = tuple[Entry, Path]


class _Moments:
    """Sums a channel in float64; numpy adds the rows in turn, so the number of threads does not show."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sum_C = np.zeros(channels)
        self.square_C = np.zeros(channels)

    def add(self, data: bytearray, piece: Piece) -> None:
        values = torch.frombuffer(data, dtype=DTYPES[piece.dtype]).double().numpy().reshape(-1, piece.shape[-1])
        self.count += len(values)
        self.sum_C += values.sum(axis=0)
        self.square_C += np.square(values).sum(axis=0)

    def merge(self, other: _Moments) -> None:
        self.count += other.count
        self.sum_C += other.sum_C
        self.square_C += other.square_C

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        mean_C = self.sum_C / self.count
        variance_C = np.maximum(self.square_C / self.count - np.square(mean_C), 0.0)
        return mean_C.astype(np.float32), np.maximum(np.sqrt(variance_C), MIN_STD).astype(np.float32)


def _order(entry: Entry) -> tuple[int, str]:
    order = entry.record.get("order")
    return (order if isinstance(order, int) else 0, entry.sample_id)


def _cut(places: Iterable[_Place], limit: float) -> list[list[_Place]]:
    groups: list[list[_Place]] = []
    size = limit
    for entry, path in places:
        if size >= limit:
            groups.append([])
            size = 0
        groups[-1].append((entry, path))
        size += entry.targets.nbytes + (entry.frames.nbytes if entry.frames else 0)
    return groups


def _shard_path(folder: Path, number: int, group: list[_Place]) -> Path:
    """The name holds a hash of the content, so another cut never overwrites a shard that is still being read from."""
    digest = hashlib.sha256()
    for entry, _ in group:
        pieces = [entry.targets, *([entry.frames] if entry.frames else [])]
        content = [[piece.dtype, list(piece.shape), piece.crc32] for piece in pieces]
        digest.update(canonical_json([entry.sample_id, entry.record, content]))
    return folder / f"shard-{number:05d}-{digest.hexdigest()[:12]}.safetensors"


def _measure(shard: Shard, channels: int) -> _Moments:
    moments = _Moments(channels)
    assert shard.path is not None
    for entry in shard.entries:
        moments.add(read_piece(shard.path, entry.targets, entry.sample_id), entry.targets)
    return moments


def _write_shard(path: Path, group: list[_Place], channels: int) -> tuple[Shard, _Moments]:
    moments = _Moments(channels)

    def targets(entry: Entry, source: Path) -> Source:
        def read() -> bytearray:
            data = read_piece(source, entry.targets, entry.sample_id)
            moments.add(data, entry.targets)
            return data

        return Source(f"{entry.sample_id}/targets", entry.targets.dtype, entry.targets.shape, read)

    def frames(entry: Entry, source: Path, piece: Piece) -> Source:
        return Source(
            f"{entry.sample_id}/frames", piece.dtype, piece.shape, lambda: read_piece(source, piece, entry.sample_id)
        )

    sources = [targets(entry, source) for entry, source in group]
    sources += [frames(entry, source, entry.frames) for entry, source in group if entry.frames is not None]
    size, sha256, pieces = write_tensors(path, sources)
    place = dict(zip((source.name for source in sources), pieces, strict=True))
    entries = [
        Entry(e.sample_id, e.record, place[f"{e.sample_id}/targets"], place.get(f"{e.sample_id}/frames"))
        for e, _ in group
    ]
    shard = Shard(path, size, sha256, entries, [])
    write_sidecar(path.with_suffix(".json"), shard)
    return shard, moments


def _drop(sidecar: Path) -> None:
    # The sidecar goes first: without it the shard no longer counts, so no half of the pair misleads anyone.
    sidecar.unlink(missing_ok=True)
    sidecar.with_suffix(".safetensors").unlink(missing_ok=True)


def _drop_spent_parts(spent: dict[Path, set[str]], done: set[str]) -> None:
    for sidecar in [sidecar for sidecar, ids in spent.items() if ids <= done]:
        _drop(sidecar)
        del spent[sidecar]


def _tidy(folder: Path, keep: set[str]) -> None:
    for path in [*folder.glob("shard-*"), *(folder / PARTS).glob("*")]:
        if path.name not in keep:
            path.unlink(missing_ok=True)
    remove_leftovers(folder)
    if (folder / PARTS).is_dir():
        (folder / PARTS).rmdir()
    sync_folder(folder)


def _write_statistics(folder: Path, moments: _Moments) -> None:
    mean_C, std_C = moments.mean_std()
    sources = [
        Source("mean_C", "F32", mean_C.shape, mean_C.tobytes),
        Source("std_C", "F32", std_C.shape, std_C.tobytes),
    ]
    write_tensors(folder / STATISTICS_FILE, sources)


def _gather(shards: list[Shard]) -> tuple[dict[str, _Place], dict[str, dict[str, Any]]]:
    places: dict[str, _Place] = {}
    skipped: dict[str, dict[str, Any]] = {}
    for shard in shards:
        for entry in shard.entries:
            assert shard.path is not None
            places.setdefault(entry.sample_id, (entry, shard.path))
        for row in shard.skipped:
            skipped[str(row.get("id"))] = row
    return places, {sample_id: row for sample_id, row in sorted(skipped.items()) if sample_id not in places}


def _check(folder: Path, places: dict[str, _Place], skipped: Collection[str], expected: Collection[str] | None) -> int:
    if expected is not None:
        missing = sorted({*expected} - {*places} - {*skipped})
        if missing:
            raise StoreError(
                f"{folder}: {len(missing)} of {len(expected)} samples are neither stored nor skipped, "
                f"first {missing[0]!r}; run the cache stage again: it makes only what is missing"
            )
    if not places:
        raise StoreError(
            f"{folder}: no sample was stored ({len(skipped)} skipped); look at the reasons they were skipped"
        )
    channels = {entry.targets.shape[-1]: sample_id for sample_id, (entry, _) in places.items()}
    if len(channels) > 1:
        raise StoreError(
            f"{folder}: samples with different feature widths (width: sample) {channels}; make the store anew"
        )
    return next(iter(channels))


def finalize(
    folder: str | Path,
    key: StoreKey,
    shard_mb: float = 256,
    expected_ids: Collection[str] | None = None,
) -> FeatureStore:
    """Makes the store complete; on rank 0 alone, after every rank has closed its writer.

    Copies the parts, one tensor in memory at a time, into shards whose cut follows from order and size alone, so the
    result has the same bytes whatever the number of ranks, the interruptions and the duplicates. Each byte is checked
    on the way. A part is deleted once all of its samples are in final shards, so where ranks wrote in the order of the
    store the extra space is a few shards; in the worst case it is the size of the store. Killed at any moment and
    called again, it goes on; on a complete store it changes nothing.

    Args:
        folder: the store.
        key: the one it was written under.
        shard_mb: size at which a final shard is cut (1e6 bytes).
        expected_ids: samples that must be there, or be among the skipped.

    Returns:
        The store, opened.

    Raises:
        StoreMismatch: the folder's store has another key.
        StoreError: samples are missing, none is there, a part is damaged, or a write failed.
    """
    folder = Path(folder)
    read_key(folder).require(key, str(folder))
    found = list(complete_shards(folder))
    places, skipped = _gather(found)
    channels = _check(folder, places, skipped, expected_ids)
    groups = _cut(sorted(places.values(), key=lambda place: _order(place[0])), shard_mb * 1e6)
    paths = [_shard_path(folder, number, group) for number, group in enumerate(groups)]
    by_path = {shard.path: shard for shard in found if shard.path is not None}
    if (folder / COMPLETE_FILE).exists():
        store = FeatureStore.open(folder, verify="none")
        whole = store.shard_files == [path.name for path in paths] and by_path.keys() >= set(paths)
        if whole and store.skipped == list(skipped.values()):
            _tidy(folder, {path.name for path in paths})
            return FeatureStore.open(folder)
        (folder / COMPLETE_FILE).unlink()
        sync_folder(folder)

    # A part with skips stays until the index holds them.
    spent = {
        path.with_suffix(".json"): {entry.sample_id for entry in shard.entries}
        for path, shard in by_path.items()
        if path.parent.name == PARTS and not shard.skipped
    }
    shards: list[Shard] = []
    done: set[str] = set()
    total = _Moments(channels)
    for path, group in zip(paths, groups, strict=True):
        shard = by_path.get(path)
        moments = _measure(shard, channels) if shard else None
        if shard is None or moments is None:
            shard, moments = _write_shard(path, group, channels)
        shards.append(shard)
        total.merge(moments)
        done |= {entry.sample_id for entry in shard.entries}
        _drop_spent_parts(spent, done)

    _write_statistics(folder, total)
    write_index(folder, key, shards, list(skipped.values()))
    marks = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
        for name in (INDEX_FILE, STATISTICS_FILE)
    }
    write_json(folder / COMPLETE_FILE, marks)
    _tidy(folder, {path.name for path in paths})
    return FeatureStore.open(folder)
