"""Requests in, decoded and padded samples out: a whole batch goes to the decode pool at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.loading.batching import SampleRequest
from liteframe.data.loading.sample import Draft, Sample
from liteframe.data.loading.skips import Skipped
from liteframe.data.loading.training_samples import GONE
from liteframe.data.sampling import FrameSampler
from liteframe.data.sources.conversations import of_types
from liteframe.data.sources.manifest import VideoRow
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.shared_array import HeldArray
from liteframe.data.store.block_cache import StoreCache
from liteframe.data.store.clip_store import ClipStore, StoredFrames
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError, DataError, DecodeError, ManifestError, StoreMismatch

SampleCheck = Callable[[dict[str, Any], int], None]
"""Raises DataError if a stage cannot use a row of which so many frames were read. Loader processes get a copy."""

_Read = VideoFrames | StoredFrames | DecodeError | None
"""Frames, why there are none, or None for a row that is marked as unusable."""


@dataclass(frozen=True)
class ClipSettings:
    """How decoded frames become samples.

    Args:
        image_size: (height, width) of the frames, in pixels.
        clip_frames: samples are padded to a multiple of this many frames.
        on_error: "error" raises at a video that cannot be decoded, or a row that cannot be used; "skip" gives a
            `Skipped` for it.
        decoder: what decodes; a feature store must have been made with the same.
        truncated: whether a video that is cut short is an error, or what is there of it is used.
    """

    image_size: tuple[int, int]
    clip_frames: int = 4
    on_error: Literal["error", "skip"] = "error"
    decoder: str = "auto"
    truncated: Literal["error", "use"] = "error"


class VideoDataset(Dataset[Any]):
    """Videos of a manifest, or entries of a feature store, by `SampleRequest`.

    Args:
        rows: of the manifest; with a store they are not needed.
        samplers: a frame sampler for each shape number of the requests.
        pool: decodes; a copy of the data set in another process starts children of its own there.
        settings: see `ClipSettings`.
        windows: samples of each row, at indices `row * windows + window`, with ids `row#window` where more than one.
        store: a feature store; its entries are the samples then, with their targets.
        question_types: for each shape number of the requests, the types of `questions` to keep; all if None.
        blank_batches: a batch without any readable video becomes one blank sample with `valid_frames` 0; has to be set
            where requests are `blank`.
        places_N: index of the row (without windows), or of the entry of the store, of each sample, int64; by default
            all in order. Samples at `GONE` are left out of their batches.
        check: of each sample that was read.
        clips: keeps the frames that are decoded, and gives those that it has.
        timed: it has to be known when frames are; clips that do not tell are decoded again.
    """

    def __init__(
        self,
        rows: Sequence[VideoRow],
        samplers: Sequence[FrameSampler],
        pool: DecodePool,
        settings: ClipSettings,
        windows: int = 1,
        store: FeatureStore | None = None,
        question_types: Sequence[list[str] | None] | None = None,
        blank_batches: bool = False,
        places_N: np.ndarray | None = None,
        check: SampleCheck | None = None,
        clips: ClipStore | None = None,
        timed: bool = False,
    ) -> None:
        self.rows = rows if isinstance(rows, RowTable) else RowTable([rows])
        self.samplers, self.settings = list(samplers), settings
        self.windows, self.blank_batches, self.store = windows, blank_batches, store
        self.question_types, self.places_N, self.check = question_types, places_N, check
        self.clips, self.timed = clips, timed
        self._pool = pool

    @property
    def places_N(self) -> np.ndarray | None:
        """Index of the row or entry of each sample; None where all are in order."""
        return None if self._places is None else self._places.values

    @places_N.setter
    def places_N(self, places_N: np.ndarray | None) -> None:
        self._places = None if places_N is None else HeldArray(places_N)

    def __len__(self) -> int:
        if self.places_N is not None:
            return len(self.places_N)
        return len(self.rows) * self.windows if self.store is None else len(self.store)

    def sample_id(self, index: int) -> str:
        """Id of the sample at an index of a manifest's data."""
        number, window = divmod(index, self.windows)
        return window_ids(self.rows.id_of(number), self.windows)[window]

    def indices_of(self, sample_ids: Collection[str]) -> set[int]:
        """Where the samples of these ids are in a manifest's data."""
        return {index for index in range(len(self)) if self.sample_id(index) in sample_ids} if sample_ids else set()

    def __getitem__(self, request: SampleRequest) -> Sample | Skipped:
        return self.__getitems__([request])[0]

    def __getitems__(self, requests: Sequence[SampleRequest]) -> list[Sample | Skipped]:
        """Samples of the requests, in order.

        Raises:
            DecodeError: at the first video that cannot be decoded, with `on_error="error"`. Rows that the manifest
                itself marks with `error` are skipped all the same: it is known about them already.
            ManifestError: likewise at the first row that `check` refuses; names its place in the list.
        """
        there = [request for request in requests if not request.blank and self._place(request) != GONE]
        drafts = [self._draft(request) for request in there]
        out: list[Sample | Skipped] = []
        # In parts, and resized at once, so that a batch of large frames does not lie in memory at full size.
        step = 2 * self._pool.processes
        for first in range(0, len(drafts), step):
            part = drafts[first : first + step]
            out += map(self._settle, part, self._read(part))
        if self.blank_batches and all(isinstance(item, Skipped) for item in out):
            draft = drafts[0] if drafts else self._draft(self._stand_in(requests[0]))
            out.append(self._blank(draft, requests[0].num_frames))
        return out

    def _place(self, request: SampleRequest) -> int:
        return request.index if self.places_N is None else int(self.places_N[request.index])

    def _stand_in(self, request: SampleRequest) -> SampleRequest:
        """The same of the first sample that is there."""
        if self.places_N is None:
            return request
        return replace(request, index=int(np.flatnonzero(self.places_N != GONE)[0]))

    def _draft(self, request: SampleRequest) -> Draft:
        place = self._place(request)
        draft = self._draft_of_row(request, place) if self.store is None else self._draft_of_entry(request, place)
        if self.clips is None or not isinstance(draft.source, DecodeJob):
            return draft
        # Before the video is read: should it change meanwhile, its old frames are not kept as those of the new one.
        return replace(draft, clip_request=self.clips.request(draft.source, self.settings.decoder))

    def _draft_of_row(self, request: SampleRequest, place: int) -> Draft:
        listed = self.rows[place // self.windows]
        row = of_types(listed.as_dict(), self.question_types[request.shape] if self.question_types else None)
        job = None if listed.error else self._job(request, listed.path, row)
        return Draft(row, self.sample_id(place), request.index, job, listed.place)

    def _draft_of_entry(self, request: SampleRequest, place: int) -> Draft:
        assert self.store is not None
        path, indices, decoder = self.store.source(place)
        sample_id = self.store.entry(place)["sample_id"]
        row = {"path": path, "id": sample_id, "decoder": decoder}
        frames_TCHW, targets_THWC = self.store.frames(place), self.store.targets(place)
        source: DecodeJob | StoredFrames | DecodeError
        if frames_TCHW is not None:
            source = StoredFrames(frames_TCHW[: len(indices)], indices)
        else:
            try:
                source = self._job(request, self.store.video(place), row, indices)
            except DecodeError as error:
                source = error
        return Draft(row, sample_id, request.index, source, targets_THWC=targets_THWC)

    def _job(
        self, request: SampleRequest, path: str, row: dict[str, Any], indices: tuple[int, ...] | None = None
    ) -> DecodeJob:
        return DecodeJob(
            path=path,
            sampler=self.samplers[request.shape],
            num_frames=request.num_frames,
            seed=request.seed,
            row=row,
            start_s=row.get("start"),
            end_s=row.get("end"),
            indices=indices,
            size=self.settings.image_size,
            truncated=self.settings.truncated,
        )

    def _read(self, drafts: Sequence[Draft]) -> list[_Read]:
        """What reading each draft's frames gave."""
        sources = [self._stored_clip(draft) or draft.source for draft in drafts]
        decoded = iter(self._pool.run([source for source in sources if isinstance(source, DecodeJob)]))
        return [next(decoded) if isinstance(source, DecodeJob) else source for source in sources]

    def _stored_clip(self, draft: Draft) -> StoredFrames | None:
        """The draft's frames, where the clip store has them."""
        if self.clips is None or draft.clip_request is None:
            return None
        return self.clips.read(draft.clip_request, self.timed)

    def _settle(self, draft: Draft, frames: _Read) -> Sample | Skipped:
        """The finished sample, or the skip of it."""
        if draft.row.get("error"):
            return draft.skip(draft.row["error"])
        error: DataError
        try:
            return self._checked(self._finish(draft, frames), draft.listed_at)
        except (DecodeError, ManifestError) as refused:
            error = refused
        except (MemoryError, RuntimeError, ValueError) as cause:
            error = DecodeError(draft.row["path"], f"its frames cannot be resized: {type(cause).__name__}: {cause}")
        if self.settings.on_error == "error":
            raise _placed(error, draft.listed_at)
        reason = error.reason if isinstance(error, DecodeError) else str(error)
        return draft.skip(f"{type(error).__name__}: {reason}")

    def _checked(self, sample: Sample, listed_at: str | None) -> Sample:
        """The sample. Raises ManifestError, naming its place in the list, where `check` refuses it."""
        try:
            if self.check is not None:
                self.check(sample.row, sample.valid_frames)
        except DataError as error:
            raise ManifestError(f"{listed_at}: {error}" if listed_at else str(error)) from error
        return sample

    def _finish(self, draft: Draft, frames: _Read) -> Sample:
        """The sample of whole clips; raises the error that came in place of frames."""
        if isinstance(frames, DecodeError):
            raise frames
        assert frames is not None
        if isinstance(frames, StoredFrames):
            sample = draft.sample(
                frames.frames_TCHW, frames.indices, self._whole_clips(len(frames.indices)), frames.times_s
            )
            return replace(sample, decoder=frames.decoder)
        started = time.perf_counter()
        frames_TCHW = resize_uint8(frames.frames_THWC, self.settings.image_size)
        resize_s = time.perf_counter() - started
        if self.clips is not None and draft.clip_request is not None:
            times_s = None if frames.times_s is None else tuple(frames.times_s.tolist())
            kept = StoredFrames(frames_TCHW, tuple(frames.indices.tolist()), frames.decoder, times_s)
            self.clips.write(draft.clip_request, kept)
        sample = draft.sample(frames_TCHW, frames.indices, self._whole_clips(len(frames_TCHW)), frames.times_s)
        return replace(sample, decode_s=frames.decode_s, resize_s=resize_s, decoder=frames.decoder)

    def _blank(self, draft: Draft, num_frames: int) -> Sample:
        if isinstance(draft.source, DecodeJob) and draft.source.indices:
            num_frames = len(draft.source.indices)
        return draft.blank(self._whole_clips(num_frames), self.settings.image_size)

    def _whole_clips(self, frames: int) -> int:
        return frames + -frames % self.settings.clip_frames


def _placed(error: DataError, listed_at: str | None) -> DataError:
    """The error about a video with the place of its row in the list; one about a row has it already."""
    if not listed_at or not isinstance(error, DecodeError):
        return error
    return type(error)(error.path, f"{error.reason} ({listed_at})")


def window_ids(row_id: str, windows: int) -> list[str]:
    """Ids of the samples of a row: its own, or with several windows `row#window`."""
    return [row_id] if windows == 1 else [f"{row_id}#{window}" for window in range(windows)]


def open_store(
    folder: str, settings: ClipSettings, video_root: str | None = None, cache: StoreCache | None = None
) -> FeatureStore:
    """The feature store in `folder`, or at that address.

    Raises:
        ConfigError: there is no folder `video_root`.
        StoreMismatch: its clips are made otherwise; names what differs.
    """
    if video_root is not None and not os.path.isdir(video_root):
        raise ConfigError(f"data.store_root {video_root}: no such folder; give that of the store's videos")
    key = {"clip_frames": settings.clip_frames, "decoder": settings.decoder}
    store = FeatureStore.open(folder, key, video_root=video_root, cache=cache)
    size = store.key.geometry.get("image_size")
    if size is not None and ([size, size] if isinstance(size, int) else size) != list(settings.image_size):
        raise StoreMismatch(
            f"{folder}: this feature store was made under other settings. geometry.image_size: stored {size}, this run"
            f" wants {list(settings.image_size)} (data.image_size). Set it back, or make another store"
        )
    return store
