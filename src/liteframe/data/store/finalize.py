"""Turning the parts of all ranks into the final store: one order, one cut, statistics, and the mark of completeness."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from liteframe.data.store.catalogue import (
    Shard,
    has_size,
    listed_shards,
    shard_name,
    unchanged,
    write_sidecar,
)
from liteframe.data.store.entries import Entry, Piece
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.store.files import COMPLETE_FILE, PARTS, named_disk_errors, tidy
from liteframe.data.store.format import FREE_SPACE, Source, read_piece, write_tensors
from liteframe.data.store.index import read_key, write_index, write_marks
from liteframe.data.store.key import StoreKey
from liteframe.data.store.sealed_json import canonical_json
from liteframe.data.store.statistics import Moments, write_statistics
from liteframe.errors import StoreError
from liteframe.system.atomic import sync_folder

log = logging.getLogger(__name__)
_Place = tuple[Entry, Path]


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


def _measure(shard: Shard, channels: int) -> Moments:
    moments = Moments(channels)
    assert shard.path is not None
    for entry in shard.entries:
        moments.add(read_piece(shard.path, entry.targets, entry.sample_id), entry.targets)
    return moments


def _write_shard(path: Path, group: list[_Place], channels: int, key_digest: str) -> tuple[Shard, Moments]:
    moments = Moments(channels)

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
    write_sidecar(path.with_suffix(".json"), shard, key_digest)
    return shard, moments


def _drop_spent_parts(spent: dict[Path, set[str]], done: set[str]) -> None:
    for sidecar in [sidecar for sidecar, ids in spent.items() if ids <= done]:
        # The sidecar goes first: without it the shard no longer counts, so no half of the pair misleads anyone.
        sidecar.unlink(missing_ok=True)
        sidecar.with_suffix(".safetensors").unlink(missing_ok=True)
        del spent[sidecar]


def _sound(folder: Path, key: StoreKey) -> list[Shard]:
    """Shards that count, each file once.

    Those are read whole that would stay as they are, and those that are not the only ones to hold a sample: the bytes
    of the others are checked when they are copied.

    Raises:
        StoreError: one does not count any more, and its samples are in no other.
    """
    shards = listed_shards(folder, key)
    by_path = {shard.path: shard for shard in reversed(shards) if shard.path is not None}
    shards = [shard for shard in shards if shard.path is None or by_path[shard.path] is shard]
    holders = Counter(entry.sample_id for shard in shards for entry in shard.entries)

    def is_doubted(shard: Shard) -> bool:
        final = shard.path is not None and shard.path.parent == folder
        return final or any(holders[entry.sample_id] > 1 for entry in shard.entries)

    sound = {id(shard) for shard in unchanged(shard for shard in shards if is_doubted(shard))}
    good = [shard for shard in shards if (id(shard) in sound if is_doubted(shard) else has_size(shard))]
    kept = {entry.sample_id for shard in good for entry in shard.entries}
    for shard in shards:
        lost = [entry.sample_id for entry in shard.entries if entry.sample_id not in kept]
        if lost:
            raise StoreError(
                f"{shard.path}: missing or changed since it was written, and {len(lost)} of its samples are nowhere"
                f" else, first {lost[0]!r}; run the cache stage again: it makes only what is missing"
            )
    return good


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
    cells = {(entry.targets.dtype, *entry.targets.shape[1:]): sample_id for sample_id, (entry, _) in places.items()}
    if len(cells) > 1:
        raise StoreError(
            f"{folder}: samples with different dtypes, grids or feature widths"
            f" (dtype, height, width, channels: sample) {cells}; make the store anew"
        )
    return next(iter(places.values()))[0].targets.shape[-1]


def _is_whole(folder: Path, names: list[str], shards: Collection[Path], skipped: list[dict[str, Any]]) -> bool:
    """Whether the store is complete as it is, and holds just these shards and skips."""
    if not (folder / COMPLETE_FILE).exists():
        return False
    try:
        store = FeatureStore.open(folder)
    except StoreError as error:
        log.warning("%s: is made again", error)
        return False
    return store.shard_files == names and {folder / name for name in names} <= {*shards} and store.skipped == skipped


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
    called again, it goes on; on a complete store it changes nothing. Files that are not the store's stay.

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
    with named_disk_errors(folder, FREE_SPACE):
        return _finalize(folder, key, shard_mb, expected_ids)


def _finalize(folder: Path, key: StoreKey, shard_mb: float, expected_ids: Collection[str] | None) -> FeatureStore:
    found = _sound(folder, key)
    listed = {shard.path.name for shard in found if shard.path is not None}
    places, skipped = _gather(found)
    if expected_ids is not None:  # without what an earlier list had
        expected = {*expected_ids}
        places = {name: place for name, place in places.items() if name in expected}
        skipped = {name: row for name, row in skipped.items() if name in expected}
    channels = _check(folder, places, skipped, expected_ids)
    groups = _cut(sorted(places.values(), key=lambda place: _order(place[0])), shard_mb * 1e6)
    names = [shard_name(number, [entry for entry, _ in group]) for number, group in enumerate(groups)]
    by_path = {shard.path: shard for shard in found if shard.path is not None}
    if _is_whole(folder, names, by_path.keys(), list(skipped.values())):
        tidy(folder, key.digest, names, listed)
        return FeatureStore.open(folder)
    (folder / COMPLETE_FILE).unlink(missing_ok=True)
    sync_folder(folder)

    # A part with skips stays until the index holds them.
    spent = {
        path.with_suffix(".json"): {entry.sample_id for entry in shard.entries}
        for path, shard in by_path.items()
        if path.parent.name == PARTS and not shard.skipped
    }
    shards: list[Shard] = []
    done: set[str] = set()
    total = Moments(channels)
    for name, group in zip(names, groups, strict=True):
        shard = by_path.get(folder / name)
        moments = _measure(shard, channels) if shard else None
        if shard is None or moments is None:
            shard, moments = _write_shard(folder / name, group, channels, key.digest)
        shards.append(shard)
        total.merge(moments)
        done |= {entry.sample_id for entry in shard.entries}
        _drop_spent_parts(spent, done)

    write_statistics(folder, total)
    files = [{"file": s.path.name, "bytes": s.bytes, "sha256": s.sha256} for s in shards if s.path is not None]
    lines = [canonical_json({"shard": n, **e.as_json()}) for n, shard in enumerate(shards) for e in shard.entries]
    write_index(folder, key, files, lines, list(skipped.values()))
    write_marks(folder)
    tidy(folder, key.digest, names, listed)
    sync_folder(folder)
    return FeatureStore.open(folder)
