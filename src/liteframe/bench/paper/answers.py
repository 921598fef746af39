"""The answers of arms to the test questions of a run, one by one, so that arms can be compared question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from liteframe.bench.arms import Arm
from liteframe.bench.paper.cells import LONGEST
from liteframe.bench.questions import manifest_of_run, question_batches, videos_for
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models.video_llm.answering_model import AnsweringModel

SPLIT = "test"
BATCH = 8


def answer(ground: Path, arms: Sequence[Arm], name: str, longest: int = LONGEST) -> dict[str, Any]:
    """Asks every arm every question of the run's test videos.

    Args:
        ground: folder of the run.
        arms: with the frame counts that they are asked at.
        name: shown beside the progress.
        longest: frames that are decoded of a video; those of an arm are picked among them.

    Returns:
        ``manifest``, the sha256 of the questions' file; ``videos``, a number for the video of each question in the
        order of the manifest; and ``rows``: a dict an arm and frame count with ``arm``, ``frames``, ``how`` it reduces
        tokens, ``tokens`` of the first video, what `MultipleChoiceAccuracy.compute` gives, and ``right``, 1 or 0 for
        each question in that order.
    """
    models = {(arm.name, frames): arm.model for arm in arms for frames in arm.frames}
    manifest = manifest_of_run(ground, SPLIT)
    data = videos_for({arm.name: arm.model for arm in arms}, manifest, longest, BATCH)
    batches = question_batches(data, name)
    first = next(batches)
    tokens = _tokens(models, first["frames_BTCHW"])
    scores = answer_all(models, chain([first], batches), torch.bfloat16, torch.device("cpu"))
    videos: list[int] = []
    rows = []
    for cell, score in scores.items():
        right_Q, videos = _in_order(score)
        said = {"arm": cell[0], "frames": cell[1], "how": models[cell].describe(), "tokens": tokens[cell]}
        rows.append({**said, **score.compute(), "right": right_Q})
    return {"manifest": sha256(manifest.read_bytes()).hexdigest(), "videos": videos, "rows": rows}


def _in_order(score: MultipleChoiceAccuracy) -> tuple[list[int], list[int]]:
    """Whether each answer was right, and its video, counted from 0 in the order in which they came."""
    right_Q, video_Q = score.answered()
    numbers: dict[int, int] = {}
    videos = [numbers.setdefault(key, len(numbers)) for key in video_Q.tolist()]
    return right_Q.tolist(), videos


@torch.inference_mode()
def _tokens(models: dict[Cell, AnsweringModel], frames_BTCHW: torch.Tensor) -> dict[Cell, dict[str, float | None]]:
    """Tokens of the first video: out of the encoder, given to the LLM, asked of a reduction, mean over layers."""
    found: dict[Cell, dict[str, float | None]] = {}
    with torch.autocast("cpu", torch.bfloat16):
        for (name, count), model in models.items():
            chosen = torch.from_numpy(uniform_midpoints(frames_BTCHW.shape[1], count))
            encoded = model.encode(frames_BTCHW[:1, chosen])
            counts = model.token_counts(encoded, model.project(encoded))
            found[name, count] = asdict(counts)
    return found
