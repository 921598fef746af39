"""How near a student's tokens are to the compressed tokens of its teacher, on held-out videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from liteframe.bench.questions import question_batches
from liteframe.data.datamodule import VideoDataModule
from liteframe.models.backbone import Compressor
from liteframe.models.teachers import Teacher
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.stages.losses import NOT_LEARNT


@torch.inference_mode()
def target_fit(
    student: LiteFrameBackbone, teacher: Teacher, compressor: Compressor, manifest: Path, frames: int
) -> dict[str, Any]:
    """Compares tokens over all test videos, in float32.

    Args:
        student: as CTD exports it; it is shown frames of the size that it was made for.
        teacher: whose tokens it learnt.
        compressor: what made its targets of them.
        manifest: of the videos.
        frames: uniform midpoints of each.

    Returns:
        What `fit_of` gives.
    """
    size = student.image_size
    data = VideoDataModule(test=str(manifest), image_size=size, frames=frames, batch_size=8, num_workers=1)
    fitted, target = [], []
    for batch in question_batches(data, "targets of held-out videos"):
        frames_BTCHW = batch["frames_BTCHW"]
        fitted.append(student.eval()(frames_BTCHW).tokens_BTHWC.flatten(0, 3).double())
        target.append(compressor(teacher(frames_BTCHW)).flatten(0, 3).double())
    return fit_of(torch.cat(fitted), torch.cat(target))


def fit_of(student_NC: Tensor, target_NC: Tensor) -> dict[str, Any]:
    """Measures of N tokens against their targets; 1 is perfect where nothing else is said.

    Returns:
        "mse"; "explained_variance", of all channels together, so that channels of large variance count most;
        "explained_variance_mean" and "explained_variance_worst" over channels, each against its own variance;
        "stuck_channels", how many explain less than `NOT_LEARNT` of theirs; "centred_cosine", of tokens less the mean
        target; "largest_mean_error", between a channel's mean and that of its targets, in its own deviations.
    """
    mean_C = target_NC.mean(dim=0)
    spread_C = (target_NC - mean_C).square().mean(dim=0)
    error_C = (student_NC - target_NC).square().mean(dim=0)
    explained_C = 1 - error_C / spread_C
    offset_C = (student_NC.mean(dim=0) - mean_C).abs() / spread_C.sqrt()
    cosine_N = functional.cosine_similarity(student_NC - mean_C, target_NC - mean_C, dim=-1)
    return {
        "mse": float(error_C.mean()),
        "explained_variance": float(1 - error_C.sum() / spread_C.sum()),
        "explained_variance_mean": float(explained_C.mean()),
        "explained_variance_worst": float(explained_C.min()),
        "stuck_channels": int((explained_C < NOT_LEARNT).sum()),
        "centred_cosine": float(cosine_N.mean()),
        "largest_mean_error": float(offset_C.max()),
        "channels": len(mean_C),
        "tokens": len(target_NC),
    }
