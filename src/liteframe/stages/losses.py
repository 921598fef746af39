"""The losses of CTD and LMA as pure functions.

Each gives a sum and what it counts, not a mean: what divides it is the count over all ranks and all batches of an
optimizer step (see `StepMean`), so that neither their number nor how unevenly clips, answer tokens and outliers are
spread over them changes a gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from liteframe.stages.distributed import all_reduce_sum
from liteframe.stages.loss_terms import LossTerms
from liteframe.stages.means import Means, SummedLoss

Clip = Literal["drop", "clamp"]
MeanOver = Literal["tokens", "videos"]
NOT_LEARNT = 0.05
"""Explained variance below which a channel counts as not learnt."""


def sum_of(values: torch.Tensor) -> torch.Tensor:
    """Sum in float64, so that neither the split over processes nor the batch size shows; MPS has no float64."""
    return values.sum(dtype=torch.float32 if values.device.type == "mps" else torch.float64)


def ctd_loss(
    student_BTHWC: torch.Tensor,
    target_BTHWC: torch.Tensor,
    weight_BT: torch.Tensor | None = None,
    clip_sigma: float | None = None,
    clip: Clip = "drop",
    centre_C: torch.Tensor | None = None,
    variance_C: torch.Tensor | None = None,
    terms: LossTerms = LossTerms(),
) -> SummedLoss:
    """Squared error between the student's tokens and the compressed teacher's (paper, section 4.2).

    Its means are

    - "loss", over the elements that are kept (all of them, as Huber's, with "clamp") and with what `terms` add, and
      "mse", the squared error of all, whatever is clipped;
    - "explained_variance", 1 for a perfect student and 0 for one that gives `centre_C` everywhere;
    - "centred_cosine", the similarity of student and target tokens, both less `centre_C`;
    - "unexplained_by_channel" (C,), the squared error of each channel over `variance_C`;
    - where residuals are clipped, "clipped", the share of elements beyond the limit, and "clipped_worst", that of the
      channel where it is largest.

    Args:
        student_BTHWC: tokens of the student; gradient flows to these only.
        target_BTHWC: same shape.
        weight_BT: 1 for clips that count and 0 for those that do not (padding, blank samples); all count if None.
        clip_sigma: residuals more than this many standard deviations out, by channel, are clipped (appendix, as read
            by others: 3). Deviations are taken over the batches of all ranks, so every rank must
            call this; where gradients are accumulated, over each of the accumulated batches by itself, as the later
            ones are not known yet. None clips nothing, and communicates nothing.
        clip: "drop" leaves elements out whose residual is that far from the mean residual of their channel; "clamp"
            keeps them, with the gradient of a residual at the limit (Huber's loss), the limit counted from 0.
        centre_C, variance_C: mean and variance of the targets by channel; 0 and 1 if None, as standardised ones have.
        terms: what else is learnt of each token, clipped or not.

    Raises:
        ValueError: shapes differ, or `clip_sigma` is not above 1 (which could drop everything).
    """
    if student_BTHWC.shape != target_BTHWC.shape:
        raise ValueError(f"student {tuple(student_BTHWC.shape)} and target {tuple(target_BTHWC.shape)} differ in shape")
    if clip_sigma is not None and clip_sigma <= 1:
        raise ValueError(f"clip_sigma must be above 1, got {clip_sigma}")
    precision = torch.promote_types(student_BTHWC.dtype, torch.float32)
    student_BTHWC, target_BTHWC = student_BTHWC.to(precision), target_BTHWC.detach().to(precision)
    if weight_BT is None:
        weight_BT = torch.ones(student_BTHWC.shape[:2], device=student_BTHWC.device)
    counts_BT = weight_BT.to(student_BTHWC.device) > 0
    counts = counts_BT[:, :, None, None, None].expand_as(student_BTHWC)
    # where, not a product: what lies in a blank sample may be anything, and nan * 0 is nan.
    residual = torch.where(counts, student_BTHWC - target_BTHWC, 0.0)
    means = _distances(residual.detach(), student_BTHWC.detach(), target_BTHWC, counts, centre_C, variance_C)
    if clip_sigma is None:
        squares, kept = residual.square().sum(), counts
    else:
        kept, limit_C = _within(residual.detach(), counts, clip_sigma, about_mean=clip == "drop")
        means |= _clipped(kept, counts)
        if clip == "drop":
            squares = torch.where(kept, residual, 0.0).square().sum()
        else:
            clamped = torch.minimum(torch.maximum(residual.detach(), -limit_C), limit_C)
            squares = torch.where(kept, residual.square(), clamped * (2 * residual - clamped)).sum()
            kept = counts
    if terms != LossTerms():
        centre = 0.0 if centre_C is None else centre_C.to(student_BTHWC)
        # of a token, where the squares are of its elements
        squares = squares + student_BTHWC.shape[-1] * terms(student_BTHWC - centre, target_BTHWC - centre, counts_BT)
    return SummedLoss(squares, Means({"loss": (sum_of(squares), sum_of(kept)), **means}))


@torch.no_grad()
def _within(
    residual_BTHWC: torch.Tensor, counts: torch.Tensor, clip_sigma: float, about_mean: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which elements are within the limit of their channel, and that limit (C,), over all ranks."""
    tokens, first_C = sum_of(counts[..., 0]), _by_channel(residual_BTHWC)
    sums = all_reduce_sum(torch.cat([tokens[None], first_C]))
    total = sums[0]
    mean_C = (sums[1:] / total.clamp(min=1)).to(residual_BTHWC.dtype) if about_mean else residual_BTHWC.new_zeros(())
    distance = (residual_BTHWC - mean_C).abs()
    variance_C = all_reduce_sum(_by_channel(distance.square() * counts)) / total.clamp(min=1)
    limit_C = (clip_sigma * variance_C.sqrt()).to(distance.dtype)
    return (distance <= limit_C) & counts, limit_C


@torch.no_grad()
def _distances(
    residual: torch.Tensor,
    student: torch.Tensor,
    target: torch.Tensor,
    counts: torch.Tensor,
    centre_C: torch.Tensor | None,
    variance_C: torch.Tensor | None,
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Sums and counts of what says how near the student is, whatever is clipped."""
    if centre_C is not None:
        student, target = student - centre_C.to(student), target - centre_C.to(target)
    counts_BTHW = counts[..., 0]
    cosine_BTHW = functional.cosine_similarity(student, target, dim=-1)
    error_C, spread = _by_channel(residual.square()), sum_of(torch.where(counts, target, 0.0).square())
    error, tokens = error_C.sum(), sum_of(counts_BTHW)
    unexplained_C = error_C if variance_C is None else error_C / variance_C.to(error_C)
    return {
        "mse": (error, sum_of(counts)),
        "explained_variance": (spread - error, spread),
        "centred_cosine": (sum_of(torch.where(counts_BTHW, cosine_BTHW, 0.0)), tokens),
        "unexplained_by_channel": (unexplained_C, tokens),
    }


@torch.no_grad()
def _clipped(kept: torch.Tensor, counts: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    tokens, clipped_C = sum_of(counts[..., 0]), _by_channel((counts & ~kept).float())
    sums = all_reduce_sum(torch.cat([tokens[None], clipped_C]))
    worst = sums[1:].max() / sums[0].clamp(min=1)
    return {"clipped": (clipped_C.sum(), sum_of(counts)), "clipped_worst": (worst * tokens, tokens)}


def _by_channel(values_BTHWC: torch.Tensor) -> torch.Tensor:
    """Sums (C,), in float64 as `sum_of`."""
    wide = torch.float32 if values_BTHWC.device.type == "mps" else torch.float64
    return values_BTHWC.sum(dim=(0, 1, 2, 3), dtype=wide)


def answer_loss(
    logits_MV: torch.Tensor,
    labels_M: torch.Tensor,
    video_M: torch.Tensor | None = None,
    mean_over: MeanOver = "tokens",
    ignore_index: int = -100,
) -> SummedLoss:
    """Cross-entropy on the answer tokens alone (paper, LMA).

    Its means are "loss" and, over the answer tokens, "answer_accuracy", the fraction that the logits have on top.

    Args:
        logits_MV: (..., V), also (M, V) where positions were picked beforehand.
        labels_M: (...), the token that each position has to give; `ignore_index` elsewhere.
        video_M: (...), the number of each position's video in the batch; only needed to take the mean over videos.
        mean_over: "tokens" counts every answer token alike, so that long answers count most; "videos" takes the mean of
            each video's answer tokens first.
        ignore_index: label of positions that do not count; a blank sample has nothing else.

    Raises:
        ValueError: shapes do not go together, or a mean over videos without their numbers.
    """
    if logits_MV.shape[:-1] != labels_M.shape:
        raise ValueError(f"logits {tuple(logits_MV.shape)} and labels {tuple(labels_M.shape)} do not go together")
    counts_M = labels_M != ignore_index
    # Picked before the cast: float32 logits of every position would be the largest tensor of the step.
    logits_NV, labels_N = logits_MV[counts_M], labels_M[counts_M]
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    tokens, right = sum_of(counts_M), sum_of(logits_NV.detach().argmax(dim=-1) == labels_N)
    if mean_over == "tokens":
        total, count = functional.cross_entropy(logits_NV, labels_N, reduction="sum"), tokens
    else:
        if video_M is None:
            raise ValueError("a mean over videos needs the number of each answer token's video")
        losses_N, video_N = functional.cross_entropy(logits_NV, labels_N, reduction="none"), video_M[counts_M]
        videos, of_N, sizes = video_N.unique(return_inverse=True, return_counts=True)
        total = (losses_N / sizes[of_N]).sum()
        count = tokens.new_tensor(len(videos))
    return SummedLoss(total, Means({"loss": (sum_of(total), count), "answer_accuracy": (right, tokens)}))


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
