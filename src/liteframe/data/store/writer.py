"""Writing a feature store: several ranks at once, killed at any moment, the same bytes in the end."""

from __future__ import annotations

import math
import reprlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from liteframe.data.store.catalogue import Shard, listed_shards, unchanged, write_sidecar
from liteframe.data.store.entries import DTYPE_NAMES, MOST_TENSOR_BYTES, Entry
from liteframe.data.store.files import (
    KEY_FILE,
    OTHER_FOLDER,
    PARTS,
    named_disk_errors,
    part_files,
    part_number,
    remove_leftovers,
)
from liteframe.data.store.finalize import finalize
from liteframe.data.store.folder import stored_key
from liteframe.data.store.format import Source, write_tensors
from liteframe.data.store.index import write_key
from liteframe.data.store.key import StoreKey
from liteframe.data.store.list_shard import ListShard
from liteframe.data.store.sealed_json import canonical_json
from liteframe.errors import StoreError
from liteframe.system.atomic import sync_folder
from liteframe.system.bounded_text import MAX_DEPTH, depth_of

__all__ = ["FeatureStoreWriter", "SampleRefused", "finalize"]
_MOST_RECORD_BYTES = 1 << 24
_MOST_PART_RECORD_BYTES = 1 << 26


class SampleRefused(StoreError):
    """One sample cannot be stored; nothing is wrong with the store."""


def _jsonable(sample_id: str, name: str, value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _jsonable(sample_id, f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(sample_id, name, item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise SampleRefused(f"sample {sample_id!r}, field {name}: {reprlib.repr(value)} cannot be written as JSON")


def _record(sample_id: str, entry: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The record to be kept, and the bytes that it takes as JSON."""
    try:
        sample_id.encode()
        record = {str(name): _jsonable(sample_id, name, value) for name, value in entry.items()}
        size = len(canonical_json(record))
    except RecursionError:
        record, size = {}, _MOST_RECORD_BYTES + 1
    except UnicodeEncodeError as error:
        raise SampleRefused(f"sample {sample_id!r}: its id is no Unicode text; give the row another id") from error
    except ValueError as error:  # such as a number of thousands of digits
        raise SampleRefused(f"sample {sample_id!r}: its record cannot be written as JSON ({error})") from error
    if size > _MOST_RECORD_BYTES or depth_of(record) > MAX_DEPTH - 8:
        raise SampleRefused(f"sample {sample_id!r}: its record is too large or too deep to be kept; drop such fields")
    return record, size


def _source(name: str, tensor: torch.Tensor) -> Source:
    data = tensor.view(-1).view(torch.uint8).numpy().data
    source = Source(name, DTYPE_NAMES[tensor.dtype], tuple(tensor.shape), lambda: data)
    if source.nbytes > MOST_TENSOR_BYTES:
        raise SampleRefused(f"{name}: {source.nbytes:,} bytes, more than {MOST_TENSOR_BYTES:,}; take fewer frames")
    return source


class FeatureStoreWriter:
    """What one rank writes into a feature store.

    Samples gather in memory and go to disk as a part (shard + sidecar) when `shard_mb` are full or `flush_seconds`
    have passed since the last one, so a kill loses no more than that. No locks: the rank is in the file names.
    After the last sample every rank calls `close()`, then, behind a barrier, rank 0 alone calls `finalize`. A job that
    makes a shard of the list leaves that to `merge`; its caller holds the lock of that shard.

    To share out what is left after an interruption, either split the samples over the ranks first and drop the done
    ones then, or read `done_ids` on one rank and hand it to all: what one reads while another writes is another set.

    Args:
        folder: made if absent. One that holds a store with another key is refused.
        key: what the targets are made from.
        rank: of this process.
        world_size: number of processes that write.
        shard_mb: cut a part at this many megabytes (1e6 bytes).
        dtype: of the stored targets; must be the key's.
        store_frames: keep the uint8 frames beside the targets.
        flush_seconds: cut a part after this time.
        list_shard: what of the list is written, where other jobs write the rest.

    Raises:
        StoreMismatch: the folder's store has another key.
        StoreError: the folder cannot be written, or `dtype` is not the key's.
    """

    def __init__(
        self,
        folder: str | Path,
        key: StoreKey,
        rank: int = 0,
        world_size: int = 1,
        shard_mb: float = 256,
        dtype: torch.dtype = torch.bfloat16,
        store_frames: bool = False,
        flush_seconds: float = 30.0,
        list_shard: ListShard | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise StoreError(f"rank {rank} is not one of {world_size}")
        if dtype not in DTYPE_NAMES or str(dtype).removeprefix("torch.") != key.dtype:
            raise StoreError(f"{folder}: dtype {dtype} cannot be stored under a key with dtype {key.dtype!r}")
        self.folder = Path(folder)
        self.rank = rank
        self.dtype = dtype
        self.store_frames = store_frames
        self.flush_seconds = flush_seconds
        self._limit = shard_mb * 1e6
        self._parts = self.folder / PARTS
        self._job = "" if list_shard is None else list_shard.tag
        self._tag = f"r{rank:05d}" if list_shard is None else f"{list_shard.tag}-r{rank:05d}"
        self._key = key
        self._open_folder()
        self._number = max((part_number(path) for path in part_files(self.folder, self._tag)), default=-1) + 1
        self._seen: set[str] = set()
        self._clear()

    def _open_folder(self) -> None:
        with named_disk_errors(self.folder, OTHER_FOLDER):
            stored = stored_key(self.folder)
            if stored is not None:
                stored.require(self._key, str(self.folder))
            self._parts.mkdir(parents=True, exist_ok=True)
            if not (self.folder / KEY_FILE).exists():
                write_key(self.folder, self._key)
                sync_folder(self.folder.absolute().parent)
            remove_leftovers(self._parts, self._tag)

    def _clear(self) -> None:
        self._entries: list[tuple[str, dict[str, Any], Source, Source | None]] = []
        self._skipped: list[dict[str, Any]] = []
        self._bytes = self._record_bytes = 0
        self._since = time.monotonic()

    def done(self) -> dict[str, dict[str, Any]]:
        """Records, by id, of samples that are safely on disk, whichever rank wrote them; skipped ones are not there.

        Of a shard of the list, those that its own jobs wrote. Reads all of it to compare checksums. What is damaged is
        warned of and does not count.
        """
        shards = unchanged(listed_shards(self.folder, self._key, self._job))
        done = {entry.sample_id: entry.record for shard in shards for entry in shard.entries}
        self._seen |= done.keys()
        return done

    def done_ids(self) -> set[str]:
        """Ids of `done`."""
        return {*self.done()}

    def add(
        self,
        sample_id: str,
        targets_THWC: torch.Tensor,
        entry: dict[str, Any],
        frames_TCHW: torch.Tensor | None = None,
    ) -> None:
        """Takes one sample; a `sample_id` that is there already is passed over.

        Args:
            sample_id: unique in the data.
            targets_THWC: (clips, H', W', C), any float dtype and device.
            entry: path, frame_indices, valid_frames and whatever else the row carries; an integer ``order`` (place in
                the data set), if given, sets the order in the store, which is by `sample_id` otherwise.
            frames_TCHW: uint8, wanted if `store_frames`.

        Raises:
            SampleRefused: a value not finite in the stored dtype, or what cannot be written down of it.
            StoreError: a wrong shape, frames missing, or a failed write.
        """
        if sample_id in self._seen:
            return
        if targets_THWC.ndim != 4 or 0 in targets_THWC.shape:
            raise StoreError(f"sample {sample_id!r}: targets must be (T, H, W, C), not {tuple(targets_THWC.shape)}")
        targets = targets_THWC.detach().to(device="cpu", dtype=self.dtype, copy=True).contiguous()
        if not torch.isfinite(targets).all():
            raise SampleRefused(
                f"sample {sample_id!r}: targets are not finite in {self.dtype}; use a wider dtype or precision"
            )
        record, record_bytes = _record(sample_id, entry)
        first, second = _source(f"{sample_id}/targets", targets), None
        if self.store_frames:
            good = frames_TCHW is not None and frames_TCHW.dtype == torch.uint8 and frames_TCHW.ndim == 4
            if frames_TCHW is None or not good or 0 in frames_TCHW.shape:
                raise StoreError(f"sample {sample_id!r}: store_frames wants uint8 frames (T, C, H, W)")
            second = _source(f"{sample_id}/frames", frames_TCHW.detach().to(device="cpu", copy=True).contiguous())
        self._entries.append((sample_id, record, first, second))
        self._bytes += first.nbytes + (second.nbytes if second else 0)
        self._seen.add(sample_id)
        self._record_bytes += record_bytes
        full = self._bytes >= self._limit or self._record_bytes >= _MOST_PART_RECORD_BYTES
        if full or time.monotonic() - self._since >= self.flush_seconds:
            self.flush()

    def add_skipped(self, row: dict[str, Any]) -> None:
        """Notes a sample that could not be used: ``path``, ``id`` and ``reason``. It is tried again by the next run."""
        self._skipped.append({name: _jsonable(str(row.get("id")), name, value) for name, value in row.items()})

    def flush(self) -> None:
        """Writes what has gathered; when it returns, that is on disk and counts.

        Raises:
            StoreError: naming the file that could not be written.
        """
        if not self._entries and not self._skipped:
            self._since = time.monotonic()
            return
        name = f"{self._tag}-{self._number:06d}"
        shard = Shard(None, 0, "", [], self._skipped)
        if self._entries:
            path = self._parts / f"{name}.safetensors"
            targets = [targets for _, _, targets, _ in self._entries]
            frames = [frames for _, _, _, frames in self._entries if frames is not None]
            size, sha256, pieces = write_tensors(path, targets + frames)
            place = dict(zip((source.name for source in targets + frames), pieces, strict=True))
            entries = [
                Entry(sample_id, record, place[first.name], place[second.name] if second else None)
                for sample_id, record, first, second in self._entries
            ]
            shard = Shard(path, size, sha256, entries, self._skipped)
        write_sidecar(self._parts / f"{name}.json", shard, self._key.digest)
        self._number += 1
        self._clear()

    def close(self) -> None:
        """Writes the rest. The store is readable only after `finalize`."""
        self.flush()

    def __enter__(self) -> FeatureStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a failed write a second try would only hide the first error.
        if not isinstance(error, StoreError):
            self.close()
