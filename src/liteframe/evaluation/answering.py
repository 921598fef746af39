"""Every method answers every question about every video, which is decoded once and encoded once by each encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.errors import DataError
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy, video_key
from liteframe.models.backbone import VisionTokens
from liteframe.models.video_llm.answering_model import AnsweringModel

Cell = tuple[str, int]
"""Name of a method and a frame count."""


def option_ids(model: AnsweringModel, options: Sequence[str]) -> list[int]:
    """First token of each option. Raises DataError where two begin alike, so that it could not tell them apart."""
    ids = [model.prompts.first_token(option) for option in options]
    if len(set(ids)) < len(ids):
        raise DataError(f"options {list(options)} do not differ in their first token")
    return ids


def picked(total: int, count: int) -> np.ndarray:
    """Places, among `total` frames that were decoded, of `count` uniform midpoints."""
    return uniform_midpoints(total, count)


@torch.inference_mode()
def answer_all(
    models: dict[Cell, AnsweringModel], batches: Iterable[dict[str, Any]], dtype: torch.dtype, device: torch.device
) -> dict[Cell, MultipleChoiceAccuracy]:
    """Accuracy of every cell.

    Args:
        models: method and frame count -> model. Methods that share a backbone share its features; a frame-wise one
            encodes each frame once for all counts.
        batches: of videos with their `questions`, all frames that any cell needs, normalised.
        dtype: of autocast.
        device: where the models are.
    """
    scores = {cell: MultipleChoiceAccuracy() for cell in models}
    for batch in batches:
        frames_BTCHW = batch["frames_BTCHW"].to(device)
        total = int(batch["valid_frames_B"].min())
        if total != int(batch["valid_frames_B"].max()):
            raise DataError("videos of one evaluation batch differ in their number of frames; set batch_size to 1")
        _require_questions(batch["rows"])
        with torch.autocast(device.type, dtype):
            _answer_batch(models, scores, batch["rows"], frames_BTCHW[:, :total])
    return scores


def _require_questions(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        if not row.get("questions"):
            raise DataError(f"{row['path']} (id {row['id']}): no questions; evaluation needs a field questions")
    if len({len(row["questions"]) for row in rows}) > 1:
        raise DataError("videos of one evaluation batch differ in their number of questions; set batch_size to 1")


def _answer_batch(
    models: dict[Cell, AnsweringModel],
    scores: dict[Cell, MultipleChoiceAccuracy],
    rows: Sequence[dict[str, Any]],
    frames_BTCHW: Tensor,
) -> None:
    total = frames_BTCHW.shape[1]
    whole: dict[int, VisionTokens] = {}
    for (name, count), model in models.items():
        places = torch.from_numpy(whole_clips(picked(total, count), model.frames_per_group))
        backbone = model.backbone
        if getattr(backbone, "frame_wise", False):
            if id(backbone) not in whole:
                whole[id(backbone)] = backbone(frames_BTCHW)
            vision = whole[id(backbone)].at(places)
        else:
            vision = backbone(frames_BTCHW[:, places])
        visual = model.project(model.compress(vision))
        logits = model.first_answer_logits(visual, [[q["question"] for q in row["questions"]] for row in rows])
        for row, logits_QV in zip(rows, logits, strict=True):
            asked = row["questions"]
            correct = [
                q["options"][int(answer[option_ids(model, q["options"])].argmax())] == q["answer"]
                for q, answer in zip(asked, logits_QV, strict=True)
            ]
            scores[name, count].update(
                correct,
                [q["type"] for q in asked],
                [row["id"]] * len(asked),
                list(range(len(asked))),
                [video_key(row)] * len(asked),
            )


def whole_clips(places_T: np.ndarray, clip: int) -> np.ndarray:
    """Places filled up to whole clips by the last one."""
    return np.concatenate([places_T, np.repeat(places_T[-1:], -len(places_T) % clip)])
