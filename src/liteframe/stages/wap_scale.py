"""Proposes a scale for WAP from a handful of videos, before a long run is started."""

from __future__ import annotations

from itertools import islice
from math import prod

import torch

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import DataError
from liteframe.models.backbone import WAP
from liteframe.models.teachers import TeacherSource
from liteframe.ops.wap import effective_tokens, saliency_weights, scale_for
from liteframe.stages.teaching import check_teacher, teacher_frames
from liteframe.system.progress import track
from liteframe.system.tables import aligned


@torch.inference_mode()
def importance_of(source: TeacherSource, wap: WAP, videos: str, count: int, frames: int) -> torch.Tensor:
    """What WAP takes the softmax of at a scale of 1, of the first videos of a list that can be read: (1, T, H, W).

    T counts the tokens in time of all of them, one video behind the other.

    Args:
        source: of the teacher.
        wap: whose similarity and importance score count; its scale does not.
        videos: list or folder.
        count: videos to take.
        frames: uniform midpoints of each.

    Raises:
        ConfigError: the teacher cannot be read, or has no such importance score.
        DataError: no video can be read.
    """
    teacher = source.load()
    data = VideoDataModule(predict=videos, frames=frames, batch_size=1, on_error="skip", max_skip_fraction=1.0)
    data.follow(teacher_frames(teacher, wap), source.source)
    check_teacher(teacher, source, wap, data.settings.image_size, data.settings.clip_frames)
    found, loader = [], data.loader("predict", drop_empty=True)
    for batch in track(islice(loader, count), "videos", total=count):
        importance_BTHW = wap.importance(teacher(batch["frames_BTCHW"]))
        groups = -(-int(batch["valid_frames_B"][0]) // teacher.geometry.cell(wap.block)[0])  # the rest fill up a clip
        found.append(importance_BTHW[0, : groups * wap.block[0]])
    loader.close()
    if not found:
        raise DataError(f"{videos}: none of its videos can be read; `liteframe check {videos}` says why")
    return torch.cat(found)[None]


def propose_scale(
    teacher: TeacherSource, wap: WAP, videos: str, count: int, frames: int, effective: float | None
) -> float:
    """Prints what scales come to, with the one that is proposed, and returns it.

    Args:
        teacher: of the tokens.
        wap: with the block, similarity and importance score that it will have.
        videos: list or folder.
        count: videos to look at.
        frames: of each.
        effective: tokens of a block that WAP is to average over; None for three in four, as in the tiny world.
    """
    tokens = prod(wap.block)
    wanted = 0.75 * tokens if effective is None else effective
    importance_BTHW = importance_of(teacher, wap, videos, count, frames)
    scale = scale_for(importance_BTHW, wanted, wap.block)
    rows = []
    for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
        found = effective_tokens(saliency_weights(importance_BTHW, wap.block, factor * scale), wap.block).flatten()
        low, high = (float(found.quantile(share)) for share in (0.1, 0.9))
        rows.append([f"{factor * scale:.3g}", f"{float(found.mean()):.1f}", f"{low:.1f} to {high:.1f}"])
    print(aligned(["scale", f"effective tokens of {tokens}", "80 % of the blocks"], rows))
    print(
        f"proposed: --model.similarity={wap.similarity} --model.scale={scale:.3g}, at which a target is the mean of"
        f" {wanted:g} tokens; 1 would be one of them alone, {tokens} average pooling"
    )
    return scale
