"""The losses of CTD and LMA as pure functions.

Each gives a sum and what it counts, not a mean: what divides it is the count over all ranks and all batches of an
optimizer step (see `StepMean`), so that neither their number nor how unevenly clips, answer tokens and outliers are
spread over them changes a gradient.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from liteframe.stages.distributed import all_reduce_sum
from liteframe.stages.means import Means, SummedLoss


def sum_of(values: torch.Tensor) -> torch.Tensor:
    """Sum in float64, so that neither the split over processes nor the batch size shows; MPS has no float64."""
    return values.sum(dtype=torch.float32 if values.device.type == "mps" else torch.float64)


def _kept(residual_BTHWC: torch.Tensor, counts: torch.Tensor, clip_sigma: float) -> torch.Tensor:
    total, first = all_reduce_sum(torch.stack([sum_of(counts), sum_of(residual_BTHWC * counts)])).unbind()
    mean = (first / total.clamp(min=1)).to(residual_BTHWC.dtype)
    distance = (residual_BTHWC - mean).abs()
    variance = all_reduce_sum(sum_of(distance.square() * counts)) / total.clamp(min=1)
    return (distance <= clip_sigma * variance.sqrt()) & counts


def ctd_loss(
    student_BTHWC: torch.Tensor,
    target_BTHWC: torch.Tensor,
    weight_BT: torch.Tensor | None = None,
    clip_sigma: float | None = None,
) -> SummedLoss:
    """Squared error between the student's tokens and the compressed teacher's, over kept elements (paper, CTD).

    Its means are "loss", over the kept elements; "cosine", the similarity of student and target tokens; and, where
    elements are dropped, "dropped", the fraction of those beyond the limit.

    Args:
        student_BTHWC: tokens of the student; gradient flows to these only.
        target_BTHWC: same shape.
        weight_BT: 1 for clips that count and 0 for those that do not (padding, blank samples); all count if None.
        clip_sigma: drop elements whose residual is further from the mean residual than this many standard deviations
            of the residuals (appendix, as read by others: 3). Both are taken over the batches of all ranks, so every
            rank must call this; where gradients are accumulated, over each of the accumulated batches by itself, as
            the later ones are not known yet. All are kept if None, which communicates nothing.

    Raises:
        ValueError: shapes differ, or `clip_sigma` is not above 1 (which could drop everything).
    """
    if student_BTHWC.shape != target_BTHWC.shape:
        raise ValueError(f"student {tuple(student_BTHWC.shape)} and target {tuple(target_BTHWC.shape)} differ in shape")
    if clip_sigma is not None and clip_sigma <= 1:
        raise ValueError(f"clip_sigma must be above 1, got {clip_sigma}")
    precision = torch.promote_types(student_BTHWC.dtype, torch.float32)
    target_BTHWC = target_BTHWC.detach().to(precision)
    if weight_BT is None:
        weight_BT = torch.ones(student_BTHWC.shape[:2], device=student_BTHWC.device)
    counts_BT = weight_BT.to(student_BTHWC.device) > 0
    counts = counts_BT[:, :, None, None, None].expand_as(student_BTHWC)
    # where, not a product: what lies in a blank sample may be anything, and nan * 0 is nan.
    residual = torch.where(counts, student_BTHWC.to(precision) - target_BTHWC, 0.0)

    with torch.no_grad():
        kept = counts if clip_sigma is None else _kept(residual.detach(), counts, clip_sigma)
        cosine_BTHW = functional.cosine_similarity(student_BTHWC.detach().to(precision), target_BTHWC, dim=-1)
        counts_BTHW = counts[..., 0]
        cosine = sum_of(torch.where(counts_BTHW, cosine_BTHW, 0.0))
    squares = torch.where(kept, residual, 0.0).square().sum()
    means = {"loss": (sum_of(squares), sum_of(kept)), "cosine": (cosine, sum_of(counts_BTHW))}
    if clip_sigma is not None:
        means["dropped"] = (sum_of(counts & ~kept), sum_of(counts))
    return SummedLoss(squares, Means(means))


def answer_loss(logits_BLV: torch.Tensor, labels_BL: torch.Tensor, ignore_index: int = -100) -> SummedLoss:
    """Cross-entropy on the answer tokens alone (paper, LMA).

    Its means, over the answer tokens, are "loss" and "answer_accuracy", the fraction that the logits have on top.

    Args:
        logits_BLV: (..., V), also (N, V) where positions were picked beforehand.
        labels_BL: (...), the token that each position has to give; `ignore_index` elsewhere.
        ignore_index: label of positions that do not count; a blank sample has nothing else.

    Raises:
        ValueError: shapes do not go together.
    """
    if logits_BLV.shape[:-1] != labels_BL.shape:
        raise ValueError(f"logits {tuple(logits_BLV.shape)} and labels {tuple(labels_BL.shape)} do not go together")
    counts_BL = labels_BL != ignore_index
    # Picked before the cast: float32 logits of every position would be the largest tensor of the step.
    logits_NV, labels_N = logits_BLV[counts_BL], labels_BL[counts_BL]
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    total = functional.cross_entropy(logits_NV, labels_N, reduction="sum")
    tokens, right = sum_of(counts_BL), sum_of(logits_NV.detach().argmax(dim=-1) == labels_N)
    return SummedLoss(total, Means({"loss": (sum_of(total), tokens), "answer_accuracy": (right, tokens)}))


def standardise(targets: torch.Tensor, mean_C: torch.Tensor, std_C: torch.Tensor) -> torch.Tensor:
    """(targets - mean) / std a channel, in at least float32, whatever the leading axes."""
    targets = targets.to(torch.promote_types(targets.dtype, torch.float32))
    return (targets - mean_C.to(targets)) / std_C.to(targets)


def fold_statistics_into_head(
    weight: torch.Tensor, bias: torch.Tensor | None, mean_C: torch.Tensor, std_C: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Undoes `standardise` inside the last layer, so that a student of standardised targets gives raw features.

    Args:
        weight: (C, ...) of a linear or convolution layer; C is the feature width.
        bias: (C,) or None.
        mean_C, std_C: the statistics that the targets were standardised with.

    Returns:
        weight and bias (a bias even if there was none), in the dtype of `weight`.

    Raises:
        ValueError: the layer's output width is not C.
    """
    if weight.shape[0] != len(mean_C) or len(mean_C) != len(std_C):
        raise ValueError(f"head gives {weight.shape[0]} channels, the statistics have {len(mean_C)} and {len(std_C)}")
    wide = torch.promote_types(weight.dtype, torch.float64) if weight.device.type != "mps" else torch.float32
    mean_C, std_C = mean_C.to(weight.device, wide), std_C.to(weight.device, wide)
    old = torch.zeros_like(mean_C) if bias is None else bias.detach().to(wide)
    folded = weight.detach().to(wide) * std_C.reshape(-1, *[1] * (weight.ndim - 1))
    return folded.to(weight.dtype), (old * std_C + mean_C).to(weight.dtype)
