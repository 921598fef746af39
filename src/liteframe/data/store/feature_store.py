"""Reading a feature store: the teacher's compressed tokens of many videos, at random and from many processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from liteframe.data.remote.file import is_url
from liteframe.data.store.block_cache import StoreCache
from liteframe.data.store.entries import DTYPE_NAMES, DTYPES, Entry, Piece, is_finite, source_of
from liteframe.data.store.files import COMPLETE_FILE, INDEX_FILE, KEY_FILE, STATISTICS_FILE
from liteframe.data.store.format import REMAKE
from liteframe.data.store.index import AGAIN, ANEW, Index, is_complete, read_key, read_marks
from liteframe.data.store.key import Estimate, FieldDiff, StoreKey, data_digest, estimate
from liteframe.data.store.shard_files import RemoteShards, ShardFiles, facts_folder
from liteframe.data.store.statistics import read_statistics
from liteframe.data.store.videos import VideoPlaces, content_of
from liteframe.errors import StoreError
from liteframe.system.shown_url import shown_url

__all__ = ["Estimate", "FeatureStore", "FieldDiff", "StoreKey", "data_digest", "estimate", "is_complete", "read_key"]

Verify = Literal["none", "sizes", "full"]


def _tensor(data: bytearray, piece: Piece) -> torch.Tensor:
    return torch.frombuffer(data, dtype=DTYPES[piece.dtype]).reshape(piece.shape)


class FeatureStore:
    """A finished feature store. Use `FeatureStore.open`.

    Each read opens the shard, reads that tensor's bytes, checks their CRC-32 and closes: nothing is mapped and no
    handle is kept, so an instance can be pickled, forked and used by threads, and reading does not make memory grow.
    What lies at an address is read by ranges, through a cache on disk.
    """

    def __init__(
        self,
        folder: Path,
        place: str,
        index: Index,
        marks: dict[str, dict[str, Any]],
        shards: ShardFiles,
        check: bool,
        video_root: str | None = None,
    ) -> None:
        self._folder = folder
        self.place = place
        self.key = index.key
        self.skipped = index.skipped
        self._index = index
        self._marks = marks
        self._shards = shards
        self._check = check
        self._last: tuple[int, Path, Entry] | None = None  # of one sample, source, frames and targets are asked in turn
        self._places = VideoPlaces(video_root, self._records)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        expected_key: StoreKey | Mapping[str, Any] | None = None,
        verify: Verify = "sizes",
        video_root: str | None = None,
        cache: StoreCache | None = None,
    ) -> FeatureStore:
        """Opens a store.

        Args:
            folder: what the cache stage wrote, or the address that it was copied to (`s3://bucket/store`).
            expected_key: what this run needs; a mapping is compared only in the fields that it names.
            verify: ``"sizes"`` finds missing and truncated shards, ``"full"`` reads all and compares sha256 too,
                ``"none"`` looks at nothing and also leaves out the CRC-32 of each read.
            video_root: folder that the videos lie in now, see `VideoPlaces`; None for where they were.
            cache: keeps what was read from an address; None for one in the user's cache.

        Raises:
            StoreMismatch: naming each field that differs, with the stored and the wanted value.
            StoreError: no store, an unfinished one, or a damaged file, which is named.
        """
        place = shown_url(str(folder))
        with facts_folder(folder) as local:
            stored = read_key(local)
            if expected_key is not None:
                stored.require(expected_key, place)
            if not is_complete(local):
                raise StoreError(f"{place}: the feature store is not finished; {AGAIN}")
            marks = read_marks(local)
            index = Index.read(local)
            if index.sha256 != marks[INDEX_FILE]["sha256"]:
                raise StoreError(f"{index.path}: changed since it was written, or {COMPLETE_FILE} was; {AGAIN}")
            shards = ShardFiles()
            if is_url(str(folder)):
                listed = {shard.path.name: (shard.bytes, shard.sha256) for shard in index.shards}
                shards = RemoteShards(str(folder), listed, cache or StoreCache())
            store = cls(local, place, index, marks, shards, verify != "none", video_root)
            if store.key != stored:
                raise StoreError(f"{local}: {KEY_FILE} and {INDEX_FILE} disagree; {ANEW}")
            if verify != "none":
                store._verify_sizes()
                store._require_width()
            if verify == "full":
                store.verify()
        return store

    def __len__(self) -> int:
        return len(self._index.lines)

    def _entry(self, index: int) -> tuple[Path, Entry]:
        last = self._last
        if last is not None and last[0] == index:
            return last[1:]
        number, entry = self._index.entry(index)
        self._require_dtype(entry)
        path = self._index.shards[number].path
        self._last = index, path, entry
        return path, entry

    def _entries(self) -> Iterator[tuple[Path, Entry]]:
        for number, entry in self._index.entries():
            self._require_dtype(entry)
            yield self._index.shards[number].path, entry

    def _require_dtype(self, entry: Entry) -> None:
        if entry.targets.dtype != DTYPE_NAMES[getattr(torch, self.key.dtype)]:
            raise StoreError(f"{self._index.path}: sample {entry.sample_id!r} is not of the key's dtype; {ANEW}")

    @property
    def shard_files(self) -> list[str]:
        return [shard.path.name for shard in self._index.shards]

    def sample_ids(self) -> list[str]:
        """Ids of all entries, in the order of the store. Raises StoreError where one is none, or is there twice."""
        return [entry.sample_id for _, entry in self._entries()]

    def contents(self) -> Iterator[str]:
        """What each entry was made of, as text: its video and its frames, whatever its id."""
        return (content_of(entry.record) for _, entry in self._entries())

    def entry(self, index: int) -> dict[str, Any]:
        """``sample_id``, ``targets_shape`` and what was given to the writer: path, frame_indices, valid_frames, ..."""
        _, entry = self._entry(index)
        return {**entry.record, "sample_id": entry.sample_id, "targets_shape": entry.targets.shape}

    def source(self, index: int) -> tuple[str, tuple[int, ...], str | None]:
        """The video of an entry, its frames without padding, and the decoder that read them.

        Raises:
            StoreError: the entry does not say so, or keeps fewer frames than it says.
        """
        _, entry = self._entry(index)
        try:
            path, indices, decoder = source_of(entry.record)
        except ValueError as error:
            raise StoreError(f"{self._index.path}: sample {entry.sample_id!r}, {error}; {ANEW}") from error
        if entry.frames is not None and entry.frames.shape[0] < len(indices):
            raise StoreError(f"{self._index.path}: sample {entry.sample_id!r} keeps fewer frames than it has; {ANEW}")
        return path, indices, decoder

    def video(self, index: int) -> str:
        """Where the video of an entry lies now: a path, or a URL.

        Raises:
            DecodeError: it is not there, or is another file than the store was made of.
        """
        return self._places.locate(self._entry(index)[1].record)

    def _records(self) -> Iterator[dict[str, Any]]:
        return (entry.record for _, entry in self._entries())

    def targets(self, index: int) -> torch.Tensor:
        """(T', H', W', C) in the stored dtype.

        Raises:
            StoreError: naming shard and sample, if its bytes changed or its numbers are not finite.
        """
        path, entry = self._entry(index)
        data = self._shards.read(path, entry.targets, entry.sample_id, self._check)
        if not is_finite(data, entry.targets.dtype):
            raise StoreError(f"{path}: targets of sample {entry.sample_id!r} are not finite; {REMAKE}")
        return _tensor(data, entry.targets)

    def frames(self, index: int) -> torch.Tensor | None:
        """uint8 (T, C, H, W), or None if the store keeps no frames."""
        path, entry = self._entry(index)
        if entry.frames is None:
            return None
        return _tensor(self._shards.read(path, entry.frames, entry.sample_id, self._check), entry.frames)

    @property
    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean_C, std_C) of all targets, float32; std is the population's, and at least 1e-6."""
        return read_statistics(self._folder, self._marks[STATISTICS_FILE], AGAIN)

    def _require_width(self) -> None:
        mean_C, _ = self.statistics
        if len(self) and self._entry(0)[1].targets.shape[-1] != len(mean_C):
            raise StoreError(
                f"{self.place}/{STATISTICS_FILE}: is of {len(mean_C)} channels, the targets are not; {AGAIN}"
            )

    def _verify_sizes(self) -> None:
        for shard in self._index.shards:
            size = self._shards.size(shard.path)
            if size != shard.bytes:
                found = "missing" if size is None else f"truncated or overwritten, {size} bytes"
                raise StoreError(f"{shard.path}: {found}, expected {shard.bytes} bytes; {REMAKE}")

    def verify(self) -> None:
        """Reads the whole store and compares sha256 with what was written.

        Raises:
            StoreError: naming each damaged shard, and the samples whose bytes changed.
        """
        self._verify_sizes()
        self._require_width()
        shards = self._index.shards
        samples: dict[Path, list[str]] = {s.path: [] for s in shards if self._shards.sha256(s.path) != s.sha256}
        for path, entry in self._entries():
            if path in samples and not self._reads(path, entry):
                samples[path].append(entry.sample_id)
        if samples:
            names = ", ".join(f"{path} (samples {ids or 'none, but its header'})" for path, ids in samples.items())
            raise StoreError(f"{names}: changed since it was written; {REMAKE}")

    def _reads(self, path: Path, entry: Entry) -> bool:
        try:
            for piece in (entry.targets, entry.frames):
                if piece is not None:
                    self._shards.read(path, piece, entry.sample_id)
        except StoreError:
            return False
        return True
