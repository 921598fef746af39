"""One sample, before and after its frames are read, and the batch that samples become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.loading.skips import Skipped
from liteframe.data.store.clip_store import StoredFrames
from liteframe.errors import DecodeError


@dataclass(frozen=True, eq=False)
class Sample:
    """A video's frames and what is known of them. A new field is a line here and one in `collate`.

    Attributes:
        frames_TCHW: uint8; the last clip is filled up by the last frame.
        valid_frames: how many of them are of the video; 0 in a blank sample.
        frame_indices_T: int64, numbers of the frames in the video, -1 in padding.
        frame_times_s: seconds from the first frame of the video to each, without padding; None where that is not known.
            Not a tensor: Lightning would round it to the precision of the run, and not all devices have float64.
        row: the manifest's, or `path`, `id` and `decoder` of a store's entry.
        sample_id: id of the row, with the number of the window where it has several.
        index: of the sample in its data set.
        targets_THWC: of a feature store.
        decode_s: seconds of decoding.
        resize_s: seconds of resizing.
        decoder: that read the frames; None where nothing was decoded.
    """

    frames_TCHW: Tensor
    valid_frames: int
    frame_indices_T: Tensor
    frame_times_s: tuple[float, ...] | None
    row: dict[str, Any]
    sample_id: str
    index: int
    targets_THWC: Tensor | None = None
    decode_s: float = 0.0
    resize_s: float = 0.0
    decoder: str | None = None

    def targets(self) -> Tensor:
        """The targets. Raises ValueError where it has none, as a batch must not mix samples with and without them."""
        if self.targets_THWC is None:
            raise ValueError(f"sample {self.sample_id} has no targets, others of its batch have")
        return self.targets_THWC


@dataclass(frozen=True, eq=False)
class Draft:
    """What is known of a sample before its frames are read.

    Attributes:
        row, sample_id, index, targets_THWC: as of `Sample`.
        source: how to decode the frames, the frames that a store keeps, or why there are none; None where the row is
            marked as unusable.
        listed_at: place of the row in its list, for messages.
        clip_request: what the frames are known by in the clip store; None where they are not for it.
    """

    row: dict[str, Any]
    sample_id: str
    index: int
    source: DecodeJob | StoredFrames | DecodeError | None
    listed_at: str | None = None
    clip_request: str | None = None
    targets_THWC: Tensor | None = None

    def sample(
        self,
        frames_TCHW: Tensor,
        indices: Sequence[int] | np.ndarray,
        length: int,
        times_s: Sequence[float] | np.ndarray | None = None,
    ) -> Sample:
        """The sample of these frames, padded to `length` frames."""
        return Sample(
            frames_TCHW=pad_frames(frames_TCHW, length),
            valid_frames=len(frames_TCHW),
            frame_indices_T=_pad(torch.as_tensor(indices, dtype=torch.int64), length, -1),
            frame_times_s=None if times_s is None else tuple(map(float, times_s)),
            row=self.row,
            sample_id=self.sample_id,
            index=self.index,
            targets_THWC=self.targets_THWC,
        )

    def blank(self, length: int, size: tuple[int, int]) -> Sample:
        """The sample with nothing but padding: black frames of (height, width), and targets of zeros."""
        targets = None if self.targets_THWC is None else torch.zeros_like(self.targets_THWC)
        no_frames = torch.empty(0, 3, *size, dtype=torch.uint8)
        return replace(self, targets_THWC=targets).sample(no_frames, (), length, ())

    def skip(self, reason: str) -> Skipped:
        """The sample left out."""
        return Skipped(self.row["path"], self.row["id"], reason)


def collate(items: Sequence[Sample | Skipped]) -> dict[str, Any]:
    """One batch: samples padded to the longest (frames by their last, indices by -1, targets by zeros), skips apart.

    A batch of skips only has no `frames_BTCHW`.
    """
    samples = [item for item in items if not isinstance(item, Skipped)]
    skipped = [item.as_dict() for item in items if isinstance(item, Skipped)]
    if not samples:
        return {"skipped": skipped}
    length = max(len(sample.frames_TCHW) for sample in samples)
    batch = {
        "skipped": skipped,
        "frames_BTCHW": torch.stack([pad_frames(sample.frames_TCHW, length) for sample in samples]),
        "frame_indices_BT": torch.stack([_pad(sample.frame_indices_T, length, -1) for sample in samples]),
        "frame_times_s": [sample.frame_times_s for sample in samples],
        "valid_frames_B": torch.tensor([sample.valid_frames for sample in samples]),
        "rows": [sample.row for sample in samples],
        "sample_ids": [sample.sample_id for sample in samples],
        "sample_indices": [sample.index for sample in samples],
        "decode_s": [sample.decode_s for sample in samples],
        "resize_s": [sample.resize_s for sample in samples],
        "decoders": [sample.decoder for sample in samples],
    }
    if any(sample.targets_THWC is not None for sample in samples):
        targets = [sample.targets() for sample in samples]
        clips = max(map(len, targets))
        batch["targets_BTHWC"] = torch.stack([_pad(target_THWC, clips, 0) for target_THWC in targets])
    return batch


def pad_frames(frames_TCHW: Tensor, length: int) -> Tensor:
    """Repeats the last frame up to `length` frames; black ones where there is none."""
    missing = length - len(frames_TCHW)
    if missing == 0:
        return frames_TCHW
    last_1CHW = frames_TCHW[-1:] if len(frames_TCHW) else frames_TCHW.new_zeros(1, *frames_TCHW.shape[1:])
    return torch.cat([frames_TCHW, last_1CHW.expand(missing, *frames_TCHW.shape[1:])])


def _pad(tensor: Tensor, length: int, value: int) -> Tensor:
    return torch.cat([tensor, tensor.new_full((length - len(tensor), *tensor.shape[1:]), value)])
