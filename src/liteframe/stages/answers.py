"""The step that host pretraining and LMA share: a batch of videos and conversations in, the loss on the answers out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from liteframe.data.conversations import turns_of
from liteframe.models.video_llm import VideoLLM
from liteframe.stages.losses import AnswerLoss, answer_loss
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
    name: str = "",
) -> AnswerLoss:
    """Loss of a batch whose videos are encoded (and compressed) already, logged as the stage's training loss.

    Args:
        stage: for its chance and its log.
        model: projector and LLM.
        batch: rows and `valid_frames_B`.
        tokens_BTHWC: compressed tokens of the videos.
        most: questions of a row's `questions` that are asked at a time.
        step: see `VideoLLM.answer_logits`.
        name: in front of what is logged, of a stage with several such losses.
    """
    groups = model.groups(batch["valid_frames_B"])
    conversations = [
        turns_of(row, stage.step_rng(sample_id), most) if lines else _NOTHING_SAID
        for row, sample_id, lines in zip(batch["rows"], batch["sample_ids"], groups, strict=True)
    ]
    visual_BTNC = model.project(tokens_BTHWC)
    logits, labels = model.answer_logits(conversations, visual_BTNC, groups, step)
    loss = answer_loss(logits, labels)
    stage.log(f"train/{name}loss", loss.value, prog_bar=True)
    stage.log(f"train/{name}answer_accuracy", loss.accuracy, prog_bar=True)
    stage.log(f"rate/{name}answer_tokens", loss.tokens)
    if not all(groups):
        # A video without frames takes no part, but DDP wants a gradient, if a zero one, for every weight.
        nothing = torch.nan_to_num(visual_BTNC).sum() * 0.0
        return AnswerLoss(loss.loss + nothing, loss.value, loss.tokens, loss.accuracy)
    return loss
