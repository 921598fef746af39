"""Reading a feature store: the teacher's compressed tokens of many videos, at random and from many processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load

from liteframe.data.feature_store_catalogue import Entry
from liteframe.data.feature_store_format import (
    COMPLETE_FILE,
    DTYPES,
    INDEX_FILE,
    KEY_FILE,
    REMAKE,
    STATISTICS_FILE,
    Piece,
    file_sha256,
    read_piece,
)
from liteframe.data.feature_store_key import Estimate, FieldDiff, StoreKey, data_digest, estimate
from liteframe.errors import StoreError

__all__ = ["Estimate", "FeatureStore", "FieldDiff", "StoreKey", "data_digest", "estimate", "read_key"]

Verify = Literal["none", "sizes", "full"]
_AGAIN = "run the cache stage again: it goes on where it stopped"


def read_key(folder: str | Path) -> StoreKey:
    """The key of a store, finished or not. Raises StoreError if there is none."""
    path = Path(folder) / KEY_FILE
    try:
        return StoreKey.from_dict(json.loads(path.read_bytes()), str(path))
    except FileNotFoundError as error:
        raise StoreError(
            f"{folder}: no feature store here ({KEY_FILE} is missing); make one with the cache stage"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete the folder and make the store anew") from error


def is_complete(folder: str | Path) -> bool:
    """Whether `folder` holds a finished feature store."""
    return (Path(folder) / COMPLETE_FILE).is_file()


class FeatureStore:
    """A finished feature store. Use `FeatureStore.open`.

    Each read opens the shard, reads that tensor's bytes, checks their CRC-32 and closes: nothing is mapped and no
    handle is kept, so an instance can be pickled, forked and used by threads, and reading does not make memory grow.
    """

    def __init__(self, folder: Path, head: dict[str, Any], lines: list[bytes], check: bool) -> None:
        self.folder = folder
        self.key = StoreKey.from_dict(head["key"], str(folder / INDEX_FILE))
        self.skipped: list[dict[str, Any]] = head["skipped"]
        self._shards: list[dict[str, Any]] = head["shards"]
        self._paths = [folder / Path(shard["file"]).name for shard in self._shards]
        self._lines = lines
        self._check = check

    @classmethod
    def open(
        cls,
        folder: str | Path,
        expected_key: StoreKey | Mapping[str, Any] | None = None,
        verify: Verify = "sizes",
    ) -> FeatureStore:
        """Opens a store.

        Args:
            folder: what the cache stage wrote.
            expected_key: what this run needs; a mapping is compared only in the fields that it names.
            verify: ``"sizes"`` finds missing and truncated shards, ``"full"`` reads all and compares sha256 too,
                ``"none"`` looks at nothing and also leaves out the CRC-32 of each read.

        Raises:
            StoreMismatch: naming each field that differs, with the stored and the wanted value.
            StoreError: no store, an unfinished one, or a damaged file, which is named.
        """
        folder = Path(folder)
        stored = read_key(folder)
        if expected_key is not None:
            stored.require(expected_key, str(folder))
        if not is_complete(folder):
            raise StoreError(f"{folder}: the feature store is not finished; {_AGAIN}")
        index = folder / INDEX_FILE
        try:
            marks = json.loads((folder / COMPLETE_FILE).read_bytes())
            data = index.read_bytes()
            whole = hashlib.sha256(data).hexdigest() == marks[INDEX_FILE]["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{index}: cannot be read ({error}); delete {COMPLETE_FILE} and {_AGAIN}") from error
        if not whole:
            raise StoreError(f"{index}: changed since it was written; delete the folder and make the store anew")
        first, *lines = data.split(b"\n")
        head = json.loads(first + b"]}")
        store = cls(folder, head, [line.rstrip(b",") for line in lines[:-2]], verify != "none")
        if store.key != stored:
            raise StoreError(
                f"{folder}: {KEY_FILE} and {INDEX_FILE} disagree; delete the folder and make the store anew"
            )
        if verify != "none":
            store._verify_sizes()
        if verify == "full":
            store.verify()
        return store

    def __len__(self) -> int:
        return len(self._lines)

    def _entry(self, index: int) -> tuple[Path, Entry]:
        value = json.loads(self._lines[index])
        return self._paths[value["shard"]], Entry.from_json(value)

    @property
    def shard_files(self) -> list[str]:
        return [path.name for path in self._paths]

    def sample_ids(self) -> list[str]:
        """Ids of all entries, in the order of the store."""
        return [json.loads(line)["id"] for line in self._lines]

    def entry(self, index: int) -> dict[str, Any]:
        """``sample_id``, ``targets_shape`` and what was given to the writer: path, frame_indices, valid_frames, ..."""
        _, entry = self._entry(index)
        return {"sample_id": entry.sample_id, "targets_shape": entry.targets.shape, **entry.record}

    def _tensor(self, path: Path, piece: Piece, sample_id: str) -> torch.Tensor:
        data = read_piece(path, piece, sample_id, self._check)
        return torch.frombuffer(data, dtype=DTYPES[piece.dtype]).reshape(piece.shape)

    def targets(self, index: int) -> torch.Tensor:
        """(T', H', W', C) in the stored dtype. Raises StoreError, naming shard and sample, if its bytes changed."""
        path, entry = self._entry(index)
        return self._tensor(path, entry.targets, entry.sample_id)

    def frames(self, index: int) -> torch.Tensor | None:
        """uint8 (T, C, H, W), or None if the store keeps no frames."""
        path, entry = self._entry(index)
        return None if entry.frames is None else self._tensor(path, entry.frames, entry.sample_id)

    @property
    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean_C, std_C) of all targets, float32; std is the population's, and at least 1e-6."""
        tensors = load(self._statistics_bytes())
        return tensors["mean_C"], tensors["std_C"]

    def _statistics_bytes(self) -> bytes:
        path = self.folder / STATISTICS_FILE
        marks = json.loads((self.folder / COMPLETE_FILE).read_bytes())
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != marks[STATISTICS_FILE]["sha256"]:
            raise StoreError(f"{path}: missing or changed since it was written; delete {COMPLETE_FILE} and {_AGAIN}")
        return data

    def _verify_sizes(self) -> None:
        for path, shard in zip(self._paths, self._shards, strict=True):
            size = path.stat().st_size if path.is_file() else None
            if size != shard["bytes"]:
                found = "missing" if size is None else f"truncated or overwritten, {size} bytes"
                raise StoreError(f"{path}: {found}, expected {shard['bytes']} bytes; {REMAKE}")

    def verify(self) -> None:
        """Reads the whole store and compares sha256 with what was written.

        Raises:
            StoreError: naming each damaged shard, and the samples whose bytes changed.
        """
        self._verify_sizes()
        self._statistics_bytes()
        shards = zip(self._paths, self._shards, strict=True)
        samples: dict[Path, list[str]] = {p: [] for p, shard in shards if file_sha256(p) != shard["sha256"]}
        if not samples:
            return
        for index in range(len(self)):
            path, entry = self._entry(index)
            if path in samples and not self._reads(path, entry):
                samples[path].append(entry.sample_id)
        names = ", ".join(f"{path} (samples {ids or 'none, but its header'})" for path, ids in samples.items())
        raise StoreError(f"{names}: changed since it was written; {REMAKE}")

    @staticmethod
    def _reads(path: Path, entry: Entry) -> bool:
        try:
            for piece in (entry.targets, entry.frames):
                if piece is not None:
                    read_piece(path, piece, entry.sample_id)
        except StoreError:
            return False
        return True
