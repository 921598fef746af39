"""What LMA and the pretraining of a base VLM share: videos and conversations in, the loss on the answers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from liteframe.data.sources.conversations import Turn, turns_of
from liteframe.models.video_llm.model import VideoLLM
from liteframe.stages.distributed import gather_objects
from liteframe.stages.losses import MeanOver, answer_loss
from liteframe.stages.means import SummedLoss
from liteframe.stages.stage import Stage

_NOTHING_SAID = [("", "")]
"""Of a blank sample, which takes no part: its row may be one that could not be read."""


def answer_step(
    stage: Stage,
    model: VideoLLM,
    batch: dict[str, Any],
    tokens_BTHWC: Tensor,
    most: int | None,
    step: int = 1,
    mean_over: MeanOver = "tokens",
) -> SummedLoss:
    """Training loss of a batch whose videos are encoded (and compressed) already.

    Args:
        stage: for its chance.
        model: projector and LLM.
        batch: rows and `valid_frames_B`.
        tokens_BTHWC: compressed tokens of the videos.
        most: questions of a row's `questions` that are asked at a time.
        step: see `VideoLLM.answer_logits`.
        mean_over: see `answer_loss`.
    """
    groups = model.groups(batch["valid_frames_B"], batch.get("frame_times_s"))
    conversations = [
        turns_of(row, stage.step_rng(sample_id), most) if lines else _NOTHING_SAID
        for row, sample_id, lines in zip(batch["rows"], batch["sample_ids"], groups, strict=True)
    ]
    visual_BTNC = model.project(tokens_BTHWC)
    loss = answer_loss(*model.answer_logits(conversations, visual_BTNC, groups, step), mean_over)
    if not all(groups):
        # A video without frames takes no part, but DDP wants a gradient, if a zero one, for every weight.
        return SummedLoss(loss.total + torch.nan_to_num(visual_BTNC).sum() * 0.0, loss.means)
    return loss


def validation_answers(
    model: VideoLLM, batch: dict[str, Any], tokens_BTHWC: Tensor, most: int | None, in_step: bool = False
) -> SummedLoss:
    """Loss on all answers of a batch, the questions in their rows' order; no chance in it.

    Args:
        model: projector and LLM.
        batch: rows and `valid_frames_B`.
        tokens_BTHWC: compressed tokens of the videos.
        most: as in training: of a row with more `questions`, the LLM is run on as many at a time.
        in_step: run the LLM equally often on all ranks, which have to call this, because they share out its weights.
    """
    groups = model.groups(batch["valid_frames_B"], batch.get("frame_times_s"))
    talks = [_talks(row, most) if lines else [] for row, lines in zip(batch["rows"], groups, strict=True)]
    visual_BTNC = model.project(tokens_BTHWC)
    rounds = max(1, *map(len, talks))
    if in_step:
        rounds = max(gather_objects(rounds))
    total, means = visual_BTNC.new_zeros(()), None
    for number in range(rounds):
        asked = [talk[number] if number < len(talk) else _NOTHING_SAID for talk in talks]
        lines_B = [lines if number < len(talk) else 0 for talk, lines in zip(talks, groups, strict=True)]
        loss = answer_loss(*model.answer_logits(asked, visual_BTNC, lines_B))
        total, means = total + loss.total, loss.means if means is None else means + loss.means
    assert means is not None
    return SummedLoss(total, means)


def _talks(row: dict[str, Any], most: int | None) -> list[Sequence[Turn]]:
    """The conversations in which everything of a row is asked: its `questions` by `most`, another form at once."""
    turns = turns_of(row)
    if most is None or row.get("conversations") or not row.get("questions"):
        return [turns]
    return [turns[first : first + most] for first in range(0, len(turns), most)]
