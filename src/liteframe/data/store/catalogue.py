"""Which shards of an unfinished feature store count: sidecars, the index of an earlier finish, and their checksums."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.store.entries import Entry, require, require_fields
from liteframe.data.store.files import (
    COMPLETE_FILE,
    INDEX_FILE,
    MOST_SIDECAR_BYTES,
    final_files,
    is_own,
    list_shard_files,
    part_files,
)
from liteframe.data.store.format import file_sha256, open_durable
from liteframe.data.store.index import Index, is_file_fact, read_marks, write_key
from liteframe.data.store.key import StoreKey
from liteframe.data.store.sealed_json import canonical_json, inside, read_bounded, sealed, unseal
from liteframe.errors import StoreError

log = logging.getLogger(__name__)
_FIELDS = ("shard", "bytes", "sha256", "entries", "skipped", "key")
_MOST_WARNINGS = 5
_AGAIN = "its samples are computed again"


@dataclass(frozen=True)
class Shard:
    """A shard file with what its sidecar says; `path` is None where a sidecar only lists skipped samples."""

    path: Path | None
    bytes: int
    sha256: str
    entries: list[Entry]
    skipped: list[dict[str, Any]]


def write_sidecar(path: Path, shard: Shard, key_digest: str) -> None:
    value = {
        "shard": None if shard.path is None else shard.path.name,
        "bytes": shard.bytes,
        "sha256": shard.sha256,
        "entries": [entry.as_json() for entry in shard.entries],
        "skipped": shard.skipped,
        "key": key_digest,
    }
    with open_durable(path) as file:
        file.write(sealed(value))


def read_sidecar(path: Path, key_digest: str) -> Shard:
    """The shard that a sidecar describes. Raises StoreError if the sidecar is not whole, or of another store."""
    try:
        value, is_sealed = unseal(read_bounded(path, MOST_SIDECAR_BYTES), str(path))
        require(is_sealed, "has no checksum, as older versions wrote it")
        require_fields(value, _FIELDS, "it")
        require(value["key"] == key_digest, "is of a store with another key")
        entries, skipped, name = value["entries"], value["skipped"], value["shard"]
        require(isinstance(skipped, list) and all(isinstance(row, dict) for row in skipped), "skipped is no list")
        require(isinstance(entries, list) and bool(entries) == (name is not None), "entries is no list of a shard's")
        if name is None:
            return Shard(None, 0, "", [], skipped)
        require(name == path.with_suffix(".safetensors").name and is_file_fact(value), "is not the sidecar of a shard")
        shard_path = inside(path.parent, name)
        listed = [Entry.from_json(entry, value["bytes"]) for entry in entries]
    except (ValueError, FileNotFoundError) as error:
        raise StoreError(f"{path}: {error}") from error
    return Shard(shard_path, value["bytes"], value["sha256"], listed, skipped)


def has_size(shard: Shard) -> bool:
    """Whether the file of a shard is on disk and has its size; a warning if it has not."""
    if shard.path is None or (shard.path.is_file() and shard.path.stat().st_size == shard.bytes):
        return True
    log.warning("%s: missing or not %d bytes; %s", shard.path, shard.bytes, _AGAIN)
    return False


def shard_name(number: int, entries: Iterable[Entry]) -> str:
    """Holds a hash of the content, so another cut never overwrites a shard that is still being read from."""
    digest = hashlib.sha256()
    for entry in entries:
        pieces = [entry.targets, *([entry.frames] if entry.frames else [])]
        content = [[piece.dtype, list(piece.shape), piece.crc32] for piece in pieces]
        digest.update(canonical_json([entry.sample_id, entry.record, content]))
    return f"shard-{number:05d}-{digest.hexdigest()[:12]}.safetensors"


def read_index(folder: Path, key: StoreKey) -> list[Shard]:
    """Final shards that an existing index names; skips ride on the first.

    A shard's name vouches for the entries that the index lists of it, so that it counts however the rest of the index
    is damaged; its skips count only where COMPLETE vouches for all of it.
    """
    if not (folder / INDEX_FILE).exists():
        return []
    try:
        index = Index.read(folder)
        index.key.require(key, str(index.path))
    except StoreError as error:
        log.warning("%s; %s", error, _AGAIN)
        return []
    entries: list[list[Entry]] = [[] for _ in index.shards]
    damaged: list[StoreError] = []
    for line in range(len(index.lines)):
        try:
            number, entry = index.entry(line)
            entries[number].append(entry)
        except StoreError as error:
            damaged.append(error)
    if damaged:
        log.warning("%d entries are damaged, first %s; %s", len(damaged), damaged[0], _AGAIN)
    out = [Shard(None, 0, "", [], index.skipped)] if _is_vouched(folder, index) else []
    for number, (file, listed) in enumerate(zip(index.shards, entries, strict=True)):
        if shard_name(number, listed) == file.path.name and _fill(file.bytes, listed):
            out.append(Shard(file.path, file.bytes, file.sha256, listed, []))
        else:
            log.warning("%s: lists other entries of %s than were written; %s", index.path, file.path.name, _AGAIN)
    return out


def _fill(size: int, entries: list[Entry]) -> bool:
    """Whether the tensors of a shard, whose offsets are not in its name, follow each other up to its end."""
    pieces = [entry.targets for entry in entries] + [entry.frames for entry in entries if entry.frames is not None]
    ends = [piece.offset + piece.nbytes for piece in pieces]
    return [*(piece.offset for piece in pieces[1:]), size] == ends


def _is_vouched(folder: Path, index: Index) -> bool:
    if not (folder / COMPLETE_FILE).exists():
        return False
    try:
        return read_marks(folder)[INDEX_FILE]["sha256"] == index.sha256
    except StoreError as error:
        log.warning("%s", error)
        return False


def listed_shards(folder: Path, key: StoreKey, writer: str = "") -> list[Shard]:
    """Every shard that a whole sidecar or the index names: final ones first, then the parts of all ranks, by name.

    Args:
        folder: the store.
        key: of it.
        writer: only parts of this writer, see `part_files`.
    """
    shards, faults = read_index(folder, key), []
    for path in (*final_files(folder), *part_files(folder, writer)):
        if path.suffix == ".json":
            try:
                shards.append(read_sidecar(path, key.digest))
            except StoreError as error:
                faults.append(error)
    for fault in faults[:_MOST_WARNINGS]:
        log.warning("%s; %s", fault, _AGAIN)
    if len(faults) > _MOST_WARNINGS:
        log.warning("%s: so it is with %d sidecars more", folder, len(faults) - _MOST_WARNINGS)
    return shards


def rekey(folder: Path, before: StoreKey, key: StoreKey) -> None:
    """Puts an unfinished store under another key; killed at any moment and called again, it goes on."""
    for path in (*final_files(folder), *part_files(folder)):
        if path.suffix == ".json":
            try:
                shard = read_sidecar(path, before.digest)
            except StoreError:
                continue  # damaged, or under the key already
            write_sidecar(path, shard, key.digest)
    for path in list_shard_files(folder):  # no shard of the list of now is known to be made
        if path.suffix == ".json" and is_own(path, before.digest):
            path.unlink()
    write_key(folder, key)


def unchanged(shards: Iterable[Shard]) -> list[Shard]:
    """Those whose file is there with its sha256, with a warning for each other; several are read at a time."""
    shards = list(shards)

    def is_same(shard: Shard) -> bool:
        if shard.path is None:
            return True
        try:
            if not has_size(shard):
                return False
            same = _sha256(shard.path, *_stamp(shard.path)) == shard.sha256
        except OSError as error:
            log.warning("%s: cannot be read (%s); %s", shard.path, error.strerror or error, _AGAIN)
            return False
        if not same:
            log.warning("%s: changed since it was written; %s", shard.path, _AGAIN)
        return same

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "liteframe-store") as threads:
        return [shard for shard, same in zip(shards, threads.map(is_same, shards), strict=True) if same]


def _stamp(path: Path) -> tuple[int, int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@functools.lru_cache(maxsize=100_000)
def _sha256(path: Path, *stamp: int) -> str:
    """Once for each file as it is, since resuming and finishing both ask."""
    return file_sha256(path)
