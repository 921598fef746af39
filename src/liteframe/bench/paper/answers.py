"""Answers to the test questions of a run, one by one, so that methods can be compared question by question."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path

import torch

from liteframe.bench.finished_run import manifest_of_run
from liteframe.bench.own_dtype import computing_in
from liteframe.bench.paper.cells import LONGEST
from liteframe.bench.paper.records import AnswerRow, Answers
from liteframe.bench.questions import question_batches, sizes_asked, videos_for
from liteframe.bench.run_methods import RunMethod
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models.video_llm.answering_model import AnsweringModel, TokenCounts

SPLIT = "test"
BATCH = 8


def answer(
    base_run: Path, methods: Sequence[RunMethod], name: str, longest: int = LONGEST, dtype: str = "float32"
) -> Answers:
    """Asks every method every question of the run's test videos.

    Args:
        base_run: folder of the run.
        methods: with the frame counts that they are asked at.
        name: shown beside the progress.
        longest: frames that are decoded of a video; those of a method are picked among them.
        dtype: that all compute in, see `fast_dtype`.
    """
    models = {(method.name, frames): method.model for method in methods for frames in method.frames}
    manifest = manifest_of_run(base_run, SPLIT)
    by_name = {method.name: method.model for method in methods}
    data = videos_for(by_name, manifest, longest, BATCH)
    batches = question_batches(data, name)
    first = next(batches)
    tokens = _tokens(models, first["frames_BTCHW"], dtype)
    scores = answer_all(models, chain([first], batches), getattr(torch, dtype), torch.device("cpu"))
    videos: list[int] = []
    rows = []
    for cell, score in scores.items():
        right_Q, videos = _in_order(score)
        rows.append(AnswerRow(*cell, tokens[cell], right_Q, models[cell].describe(), **score.compute()))
    return Answers(videos, rows, sha256(manifest.read_bytes()).hexdigest(), **sizes_asked(data, by_name))


def _in_order(score: MultipleChoiceAccuracy) -> tuple[list[int], list[int]]:
    """Whether each answer was right, and its video, counted from 0 in the order in which they came."""
    right_Q, video_Q = score.answered()
    numbers: dict[int, int] = {}
    videos = [numbers.setdefault(key, len(numbers)) for key in video_Q.tolist()]
    return right_Q.tolist(), videos


@torch.inference_mode()
def _tokens(models: dict[Cell, AnsweringModel], frames_BTCHW: torch.Tensor, dtype: str) -> dict[Cell, TokenCounts]:
    """Tokens of the first video."""
    found: dict[Cell, TokenCounts] = {}
    with computing_in(dtype):
        for (name, count), model in models.items():
            chosen = torch.from_numpy(uniform_midpoints(frames_BTCHW.shape[1], count))
            encoded = model.encode(frames_BTCHW[:1, chosen])
            found[name, count] = model.token_counts(encoded, model.project(encoded))
    return found
