"""Requests in, decoded and padded samples out: a whole batch goes to the decode pool at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.loading.batching import SampleRequest
from liteframe.data.loading.skips import Skipped
from liteframe.data.loading.training_samples import GONE
from liteframe.data.sampling import FrameSampler
from liteframe.data.sources.conversations import of_types
from liteframe.data.sources.manifest import VideoRow
from liteframe.data.sources.row_table import RowTable
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.transforms import resize_uint8
from liteframe.errors import DataError, DecodeError, ManifestError, StoreMismatch

Sample = dict[str, Any]
"""`frames_TCHW` uint8, `valid_frames`, `frame_indices_T` (-1 in padding), `row`, `sample_id`, `index`, `decode_s`,
`resize_s`, and `targets_THWC` from a feature store."""
SampleCheck = Callable[[dict[str, Any], int], None]
"""Raises DataError if a stage cannot use a row of which so many frames were read. Loader processes get a copy."""


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
    ) -> None:
        self.rows = rows if isinstance(rows, RowTable) else RowTable([rows])
        self.samplers, self.settings = list(samplers), settings
        self.windows, self.blank_batches, self.store = windows, blank_batches, store
        self.question_types, self.places_N, self.check = question_types, places_N, check
        self._pool = pool

    def __len__(self) -> int:
        if self.places_N is not None:
            return len(self.places_N)
        return len(self.rows) * self.windows if self.store is None else len(self.store)

    def sample_id(self, index: int) -> str:
        """Id of the sample at an index of a manifest's data."""
        number, window = divmod(index, self.windows)
        return window_ids(self.rows.id_of(number), self.windows)[window]

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
            decoded = iter(self._pool.run([draft["job"] for draft in part if "job" in draft]))
            out += [self._settle(draft, next(decoded) if "job" in draft else None) for draft in part]
        if self.blank_batches and all(isinstance(item, Skipped) for item in out):
            drafts = drafts or [self._draft(self._stand_in(requests[0]))]
            out.append(self._blank(drafts[0], requests[0].num_frames))
        return out

    def _place(self, request: SampleRequest) -> int:
        return request.index if self.places_N is None else int(self.places_N[request.index])

    def _stand_in(self, request: SampleRequest) -> SampleRequest:
        """The same of the first sample that is there."""
        if self.places_N is None:
            return request
        return replace(request, index=int(np.flatnonzero(self.places_N != GONE)[0]))

    def _draft(self, request: SampleRequest) -> Sample:
        """What is known of a sample before decoding, with the `job` to do where there is one."""
        place = self._place(request)
        if self.store is not None:
            path, indices, decoder = self.store.source(place)
            sample_id = skip_id = self.store.entry(place)["sample_id"]
            row = {"path": path, "id": sample_id, "decoder": decoder}
            frames = self.store.frames(place)
            draft: Sample = {"targets_THWC": self.store.targets(place)}
            if frames is not None:
                draft["stored"] = (frames[: len(indices)], indices)
            else:
                path, draft["fault"] = self._locate(place, path)
        else:
            source = self.rows[place // self.windows]
            row, path, indices, skip_id = source.as_dict(), source.path, None, source.id
            sample_id, draft = self.sample_id(place), {"listed": source.place}
            row = of_types(row, self.question_types[request.shape] if self.question_types else None)
        draft |= {"row": row, "sample_id": sample_id, "skip_id": skip_id, "index": request.index}
        if "stored" not in draft and not row.get("error") and not draft.get("fault"):
            draft["job"] = DecodeJob(
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
        return draft

    def _locate(self, index: int, path: str) -> tuple[str, DecodeError | None]:
        """Where the video of an entry lies now, or why it cannot be used."""
        assert self.store is not None
        try:
            return self.store.video(index), None
        except DecodeError as error:
            return path, error

    def _settle(self, draft: Sample, video: VideoFrames | DecodeError | None) -> Sample | Skipped:
        """The finished sample, or the skip of it; `video` is None where nothing had to be decoded."""
        row = draft["row"]
        if row.get("error"):
            return Skipped(row["path"], draft["skip_id"], row["error"])
        error: DataError | None = video if isinstance(video, DecodeError) else draft.get("fault")
        if error is None and not isinstance(video, DecodeError):
            try:
                return self._checked(self._finish(draft, video), draft.get("listed"))
            except ManifestError as refused:
                error = refused
            except (MemoryError, RuntimeError, ValueError) as cause:
                reason = f"its frames cannot be resized: {type(cause).__name__}: {cause}"
                error = DecodeError(row["path"], reason)
        assert error is not None
        if self.settings.on_error == "error":
            raise _placed(error, draft.get("listed"))
        reason = error.reason if isinstance(error, DecodeError) else str(error)
        return Skipped(row["path"], draft["skip_id"], f"{type(error).__name__}: {reason}")

    def _checked(self, sample: Sample, listed: str | None) -> Sample:
        """The sample. Raises ManifestError, naming its place in the list, where `check` refuses it."""
        try:
            if self.check is not None:
                self.check(sample["row"], sample["valid_frames"])
        except DataError as error:
            raise ManifestError(f"{listed}: {error}" if listed else str(error)) from error
        return sample

    def _finish(self, draft: Sample, video: VideoFrames | None) -> Sample:
        """Resizes, and pads the last clip by its last frame."""
        apart = ("job", "stored", "skip_id", "listed", "fault")
        sample = {name: value for name, value in draft.items() if name not in apart}
        if video is None:
            frames, numbers = draft["stored"]
            sample |= {"decode_s": 0.0, "resize_s": 0.0, "decoder": None}
        else:
            started = time.perf_counter()
            frames, numbers = resize_uint8(video.frames_THWC, self.settings.image_size), video.indices
            sample |= {
                "decode_s": video.decode_s,
                "resize_s": time.perf_counter() - started,
                "decoder": video.info.decoder,
            }
        indices = torch.as_tensor(numbers, dtype=torch.int64)
        padding = -len(frames) % self.settings.clip_frames
        sample["valid_frames"] = len(frames)
        sample["frames_TCHW"] = pad_frames(frames, padding)
        sample["frame_indices_T"] = torch.nn.functional.pad(indices, (0, padding), value=-1)
        return sample

    def _blank(self, draft: Sample, num_frames: int) -> Sample:
        if "job" in draft and draft["job"].indices:
            num_frames = len(draft["job"].indices)
        length = num_frames + -num_frames % self.settings.clip_frames
        blank: Sample = {
            "frames_TCHW": torch.zeros(length, 3, *self.settings.image_size, dtype=torch.uint8),
            "valid_frames": 0,
            "frame_indices_T": torch.full((length,), -1),
            "index": draft["index"],
            "row": draft["row"],
            "sample_id": draft["sample_id"],
            "decode_s": 0.0,
            "resize_s": 0.0,
            "decoder": None,
        }
        if "targets_THWC" in draft:
            blank["targets_THWC"] = torch.zeros_like(draft["targets_THWC"])
        return blank


def _placed(error: DataError, listed: str | None) -> DataError:
    """The error about a video with the place of its row in the list; one about a row has it already."""
    if not listed or not isinstance(error, DecodeError):
        return error
    return type(error)(error.path, f"{error.reason} ({listed})")


def window_ids(row_id: str, windows: int) -> list[str]:
    """Ids of the samples of a row: its own, or with several windows `row#window`."""
    return [row_id] if windows == 1 else [f"{row_id}#{window}" for window in range(windows)]


def pad_frames(frames_TCHW: torch.Tensor, count: int) -> torch.Tensor:
    """`count` repeats of the last frame added at the end."""
    if count == 0:
        return frames_TCHW
    return torch.cat([frames_TCHW, frames_TCHW[-1:].expand(count, *frames_TCHW.shape[1:])])


def collate(items: Sequence[Sample | Skipped]) -> dict[str, Any]:
    """One batch: samples padded to the longest (frames by their last, indices by -1, targets by zeros), skips apart.

    A batch of skips only has no `frames_BTCHW`.
    """
    samples = [item for item in items if not isinstance(item, Skipped)]
    batch: dict[str, Any] = {"skipped": [item.as_dict() for item in items if isinstance(item, Skipped)]}
    if not samples:
        return batch
    length = max(len(sample["frames_TCHW"]) for sample in samples)
    batch["frames_BTCHW"] = torch.stack(
        [pad_frames(sample["frames_TCHW"], length - len(sample["frames_TCHW"])) for sample in samples]
    )
    batch["frame_indices_BT"] = torch.stack([_fill(sample["frame_indices_T"], length, -1) for sample in samples])
    batch["valid_frames_B"] = torch.tensor([sample["valid_frames"] for sample in samples])
    batch["rows"] = [sample["row"] for sample in samples]
    batch["sample_ids"] = [sample["sample_id"] for sample in samples]
    batch["sample_indices"] = [sample["index"] for sample in samples]
    batch["decode_s"] = [sample["decode_s"] for sample in samples]
    batch["resize_s"] = [sample["resize_s"] for sample in samples]
    batch["decoders"] = [sample["decoder"] for sample in samples]
    if "targets_THWC" in samples[0]:
        clips = max(len(sample["targets_THWC"]) for sample in samples)
        batch["targets_BTHWC"] = torch.stack([_fill(sample["targets_THWC"], clips, 0) for sample in samples])
    return batch


def _fill(tensor: torch.Tensor, length: int, value: int) -> torch.Tensor:
    return torch.cat([tensor, tensor.new_full((length - len(tensor), *tensor.shape[1:]), value)])


def open_store(folder: str, settings: ClipSettings, video_root: str | None = None) -> FeatureStore:
    """The feature store in `folder`. Raises StoreMismatch, naming what differs, if its clips are made otherwise."""
    key = {"clip_frames": settings.clip_frames, "decoder": settings.decoder}
    store = FeatureStore.open(folder, key, video_root=video_root)
    size = store.key.geometry.get("image_size")
    if size is not None and ([size, size] if isinstance(size, int) else size) != list(settings.image_size):
        raise StoreMismatch(
            f"{folder}: this feature store was made under other settings. geometry.image_size: stored {size}, this run"
            f" wants {list(settings.image_size)} (data.image_size). Set it back, or make another store"
        )
    return store
