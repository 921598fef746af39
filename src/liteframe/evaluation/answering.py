"""Every arm answers every question about every video, which is decoded once and encoded once by each encoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liteframe.data.sampling import uniform_midpoints
from liteframe.errors import DataError
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models.backbone import VisionTokens
from liteframe.models.video_llm import VideoLLM

Cell = tuple[str, int]
"""Name of an arm and a frame count."""
Batch = dict[str, Any]
Answers = dict[Cell, list[list[bool]]]
"""For each cell whether the answers were right: a list for each video of a batch, a value for each of its questions."""


def option_ids(model: VideoLLM, options: Sequence[str]) -> list[int]:
    """First token of each option. Raises DataError where two options begin alike, so that it could not tell them."""
    ids = [model.prompts.first_token(option) for option in options]
    if len(set(ids)) < len(ids):
        raise DataError(f"options {list(options)} do not differ in their first token")
    return ids


def picked(total: int, count: int) -> np.ndarray:
    """Places, among `total` frames that were decoded, of `count` uniform midpoints."""
    return uniform_midpoints(total, count)


def answer_all(
    models: dict[Cell, VideoLLM],
    batches: Iterable[Batch],
    dtype: torch.dtype,
    device: torch.device,
    threads: int = 1,
) -> dict[Cell, MultipleChoiceAccuracy]:
    """Accuracy of every cell.

    Args:
        models: arm and frame count -> model. Arms that share a backbone share its features; a frame-wise one
            encodes each frame once for all counts.
        batches: of videos with their `questions`, all frames that any cell needs, normalised.
        dtype: of autocast.
        device: where the models are.
        threads: batches that are answered at a time, for small models on a CPU: two on a core each take less time
            than one on two cores and the next after it. With 1, a batch has all of torch's threads.
    """
    scores = {cell: MultipleChoiceAccuracy() for cell in models}

    def answer(batch: Batch) -> tuple[Batch, Answers]:
        with torch.inference_mode(), torch.autocast(device.type, dtype):
            return batch, _answer_batch(models, batch["rows"], _frames_to_answer(batch).to(device))

    for batch, answers in map(answer, batches) if threads == 1 else _side_by_side(answer, batches, threads):
        for cell, right in answers.items():
            for row, of_video in zip(batch["rows"], right, strict=True):
                asked = row["questions"]
                types = [question["type"] for question in asked]
                scores[cell].update(of_video, types, [row["id"]] * len(asked), list(range(len(asked))))
    return scores


def _side_by_side(
    answer: Callable[[Batch], tuple[Batch, Answers]], batches: Iterable[Batch], threads: int
) -> Iterator[tuple[Batch, Answers]]:
    """Answers in the order of the batches, with few of them in memory, each computed by one thread."""
    before = torch.get_num_threads()
    started: deque[Future[tuple[Batch, Answers]]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for batch in batches:
                started.append(pool.submit(answer, batch))
                if len(started) > threads:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            for future in started:
                future.cancel()
            torch.set_num_threads(before)  # a pool's setting is also the default of threads to come


def _frames_to_answer(batch: Batch) -> Tensor:
    """The frames of a batch without padding, (B, T, C, H, W)."""
    total = int(batch["valid_frames_B"].min())
    if total != int(batch["valid_frames_B"].max()):
        raise DataError("videos of one evaluation batch differ in their number of frames; set batch_size to 1")
    _require_questions(batch["rows"])
    return batch["frames_BTCHW"][:, :total]


def _require_questions(rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        if not row.get("questions"):
            raise DataError(f"{row['path']} (id {row['id']}): no questions; evaluation needs a field questions")
    if len({len(row["questions"]) for row in rows}) > 1:
        raise DataError("videos of one evaluation batch differ in their number of questions; set batch_size to 1")


def _answer_batch(models: dict[Cell, VideoLLM], rows: Sequence[dict[str, Any]], frames_BTCHW: Tensor) -> Answers:
    total = frames_BTCHW.shape[1]
    whole: dict[int, VisionTokens] = {}
    answers: Answers = {}
    for (name, count), model in models.items():
        places = torch.from_numpy(_clipwise(picked(total, count), model.frames_per_group))
        backbone = model.backbone
        if getattr(backbone, "frame_wise", False):
            if id(backbone) not in whole:
                whole[id(backbone)] = backbone(frames_BTCHW)
            vision = whole[id(backbone)]
            assert vision.cls_BTC is not None
            vision = VisionTokens(vision.tokens_BTHWC[:, places], vision.cls_BTC[:, places])
        else:
            vision = backbone(frames_BTCHW[:, places])
        visual_BTNC = model.project(model.compressor(vision))
        logits = model.first_answer_logits(visual_BTNC, [[q["question"] for q in row["questions"]] for row in rows])
        answers[name, count] = [
            [
                q["options"][int(answer[option_ids(model, q["options"])].argmax())] == q["answer"]
                for q, answer in zip(row["questions"], logits_QV, strict=True)
            ]
            for row, logits_QV in zip(rows, logits, strict=True)
        ]
    return answers


def _clipwise(places_T: np.ndarray, clip: int) -> np.ndarray:
    """Places filled up to whole clips by the last one."""
    return np.concatenate([places_T, np.repeat(places_T[-1:], -len(places_T) % clip)])
