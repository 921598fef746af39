"""Every method answers every question about every video, which is decoded once and encoded once by each encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.question import Question, questions_of
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.evaluation.scoring.likelihood import likeliest
from liteframe.models.backbone import VisionTokens
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.model import VideoLLM

Cell = tuple[str, int]
"""Name of a method and a frame count."""


def option_ids(model: AnsweringModel, options: Sequence[str]) -> list[int]:
    """First token of each option. Raises DataError where two begin alike, so that it could not tell them apart."""
    ids = [model.prompts.first_token(option) for option in options]
    if len(set(ids)) < len(ids):
        raise DataError(f"options {list(options)} do not differ in their first token")
    return ids


def option_logits(model: VideoLLM, hidden_C: Tensor, ids: Sequence[int]) -> list[float]:
    """A logit for each of some tokens, behind the last state of a prompt; in float32, as bfloat16 would see ties."""
    head: Any = model.lm_head
    with torch.autocast(hidden_C.device.type, enabled=False):
        logits: list[float] = (head.weight[ids].float() @ hidden_C.float()).tolist()
    return logits


def count_answers(
    accuracy: MultipleChoiceAccuracy, row: Mapping[str, Any], asked: Sequence[Question], chosen: Sequence[int]
) -> None:
    """Adds the answers to all questions of a row.

    Args:
        accuracy: that counts them.
        row: as a dict.
        asked: what `questions_of` makes of it.
        chosen: place of the option that answered each.
    """
    each = len(asked)
    accuracy.update(
        [question.is_right(place) for question, place in zip(asked, chosen, strict=True)],
        [question.groups["type"] for question in asked],
        [row["id"]] * each,
        list(range(each)),
        [question.video for question in asked],
    )


@torch.inference_mode()
def answer_all(
    models: dict[Cell, AnsweringModel], batches: Iterable[dict[str, Any]], dtype: torch.dtype, device: torch.device
) -> dict[Cell, MultipleChoiceAccuracy]:
    """Accuracy of every cell.

    Args:
        models: method and frame count -> model. Methods that share a backbone share its features; a frame-wise one
            encodes each frame once for all counts.
        batches: of videos with their `questions`, all frames that any cell needs.
        dtype: of autocast; float32 is none.
        device: where the models are.
    """
    scores = {cell: MultipleChoiceAccuracy() for cell in models}
    for batch in batches:
        frames_BTCHW = batch["frames_BTCHW"].to(device)
        total = int(batch["valid_frames_B"].min())
        if total != int(batch["valid_frames_B"].max()):
            raise DataError("videos of one evaluation batch differ in their number of frames; set batch_size to 1")
        asked = [questions_of(row) for row in batch["rows"]]
        if len({len(questions) for questions in asked}) > 1:
            raise DataError("videos of one evaluation batch differ in their number of questions; set batch_size to 1")
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for cell, chosen in _chosen(models, asked, frames_BTCHW[:, :total]):
                for row, questions, places in zip(batch["rows"], asked, chosen, strict=True):
                    count_answers(scores[cell], row, questions, places)
    return scores


def _chosen(
    models: Mapping[Cell, AnsweringModel], asked: Sequence[Sequence[Question]], frames_BTCHW: Tensor
) -> Iterator[tuple[Cell, list[list[int]]]]:
    """For each cell, the options that answer the questions about each video."""
    total = frames_BTCHW.shape[1]
    whole: dict[int, VisionTokens] = {}
    for (name, count), model in models.items():
        places = torch.from_numpy(whole_clips(uniform_midpoints(total, count), model.frames_per_group))
        backbone = model.backbone
        if getattr(backbone, "frame_wise", False):
            if id(backbone) not in whole:
                whole[id(backbone)] = backbone(frames_BTCHW)
            vision = whole[id(backbone)].at(places)
        else:
            vision = backbone(frames_BTCHW[:, places])
        visual = model.project(model.compress(vision))
        logits = model.first_answer_logits(visual, [[question.text for question in questions] for questions in asked])
        yield (name, count), [_likeliest(model, *pair) for pair in zip(asked, logits, strict=True)]


def _likeliest(model: AnsweringModel, asked: Sequence[Question], logits_QV: Tensor) -> list[int]:
    ids = [option_ids(model, question.options) for question in asked]
    return [likeliest(logits_V[options].tolist()) for options, logits_V in zip(ids, logits_QV, strict=True)]


def whole_clips(places_T: np.ndarray, clip: int) -> np.ndarray:
    """Places filled up to whole clips by the last one."""
    return np.concatenate([places_T, np.repeat(places_T[-1:], -len(places_T) % clip)])
