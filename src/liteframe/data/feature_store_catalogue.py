"""What is in a feature store: entries, the sidecars that list them a shard, and the index of them all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.feature_store_format import INDEX_FILE, PARTS, Piece, canonical_json, open_durable, write_json
from liteframe.data.feature_store_key import StoreKey

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One sample: its record (path, frame_indices, valid_frames, ...) and where its tensors lie."""

    sample_id: str
    record: dict[str, Any]
    targets: Piece
    frames: Piece | None

    def as_json(self) -> dict[str, Any]:
        frames = None if self.frames is None else self.frames.as_json()
        return {"id": self.sample_id, "targets": self.targets.as_json(), "frames": frames, "record": self.record}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        frames = None if value["frames"] is None else Piece.from_json(value["frames"])
        return cls(value["id"], value["record"], Piece.from_json(value["targets"]), frames)


@dataclass(frozen=True)
class Shard:
    """A shard file with what its sidecar says; `path` is None where a sidecar only lists skipped samples."""

    path: Path | None
    bytes: int
    sha256: str
    entries: list[Entry]
    skipped: list[dict[str, Any]]


def write_sidecar(path: Path, shard: Shard) -> None:
    value = {
        "shard": None if shard.path is None else shard.path.name,
        "bytes": shard.bytes,
        "sha256": shard.sha256,
        "entries": [entry.as_json() for entry in shard.entries],
        "skipped": shard.skipped,
    }
    write_json(path, value)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def read_sidecar(path: Path) -> Shard | None:
    """The shard that a sidecar describes, or None (and a warning) if it is not on disk as described."""
    try:
        value = json.loads(path.read_bytes())
        entries = [Entry.from_json(item) for item in value["entries"]]
        name, size = value["shard"], value["bytes"]
        file = None if name is None else path.with_name(Path(name).name)
        shard = Shard(file, size, value["sha256"], entries, value["skipped"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: not a readable sidecar (%s); its samples are computed again", path, error)
        return None
    if shard.path is not None and not _has_size(shard.path, size):
        log.warning("%s: missing or not %d bytes; its samples are computed again", shard.path, size)
        return None
    return shard


def read_index(folder: Path) -> list[Shard]:
    """Final shards that an existing index names and that are still on disk whole; skips ride on the first."""
    path = folder / INDEX_FILE
    if not path.is_file():
        return []
    try:
        value = json.loads(path.read_bytes())
        shards = [Shard(folder / Path(s["file"]).name, s["bytes"], s["sha256"], [], []) for s in value["shards"]]
        for item in value["entries"]:
            shards[item["shard"]].entries.append(Entry.from_json(item))
        out = [Shard(None, 0, "", [], value["skipped"])]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("%s: not a readable index (%s); it is made again", path, error)
        return []
    for shard in shards:
        assert shard.path is not None
        if _has_size(shard.path, shard.bytes):
            out.append(shard)
        else:
            log.warning("%s: missing or not %d bytes; its samples are computed again", shard.path, shard.bytes)
    return out


def complete_shards(folder: Path) -> Iterator[Shard]:
    """Every shard on disk that counts: final ones first, then the parts of all ranks, by name."""
    yield from read_index(folder)
    for sidecar in [*sorted(folder.glob("shard-*.json")), *sorted((folder / PARTS).glob("r*.json"))]:
        shard = read_sidecar(sidecar)
        if shard is not None:
            yield shard


def write_index(folder: Path, key: StoreKey, shards: list[Shard], skipped: list[dict[str, Any]]) -> None:
    """Valid JSON with one entry a line, so that a reader can keep lines instead of tens of thousands of objects."""
    files = [{"file": s.path.name, "bytes": s.bytes, "sha256": s.sha256} for s in shards if s.path is not None]
    head = canonical_json({"key": key.as_dict(), "shards": files, "skipped": skipped})
    lines = [canonical_json({"shard": n, **e.as_json()}) for n, shard in enumerate(shards) for e in shard.entries]
    data = head[:-1] + b',"entries":[\n' + b",\n".join(lines) + b"\n]}\n"
    with open_durable(folder / INDEX_FILE) as file:
        file.write(data)
