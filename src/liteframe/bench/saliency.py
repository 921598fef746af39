"""WAP's importance scores against the class token on a finished run, and a scale for them (`liteframe saliency`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from liteframe.bench.environment import environment
from liteframe.bench.finished_run import manifest_of_run, run_settings
from liteframe.bench.questions import question_batches, sizes_asked, videos_for
from liteframe.bench.records import write_record
from liteframe.bench.run_methods import ATTENTION, RunParts
from liteframe.errors import ConfigError
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models import teachers
from liteframe.models.backbone import WAP, Compressor, Pool
from liteframe.models.teachers import ClipTeacherSource, TeacherSource
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.stages.wap_scale import propose_scale
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.tables import grid

REFERENCE = "class_token"
_TRIED = ("class_token", "mean_token", "norm")
UNIFORM = "none"
"""Average pooling: every token weighs the same."""


def propose(
    source: str,
    teacher_class: str,
    videos: str,
    saliencies: Sequence[str] | None,
    similarity: Literal["dot", "cosine"],
    effective: float | None,
    count: int,
    frames: int,
    clip_frames: int | None = None,
) -> None:
    """Prints a scale for each importance score, from videos; see `saliency_command` for the arguments."""
    teacher = _teacher_of(source, teacher_class, clip_frames)
    clip = teacher.geometry().clip_frames or 1
    if frames % clip:
        whole = frames + -frames % clip
        print(f"{whole} frames of each video in place of {frames}, as {source} sees clips of {clip}", file=sys.stderr)
        frames = whole
    for name in saliencies or [REFERENCE]:
        print(f"importance score: {name}")
        wap = WAP(teacher.geometry().block(), similarity, saliency=name)
        propose_scale(teacher, wap, videos, count, frames, effective)


def _teacher_of(source: str, teacher_class: str, clip_frames: int | None) -> TeacherSource:
    kind: Any = getattr(teachers, teacher_class)
    if clip_frames is None:
        return kind(source)
    if not issubclass(kind, ClipTeacherSource):
        raise ConfigError(
            f"--clip_frames is {clip_frames}, and teachers of class {teacher_class} see no clips; leave it out"
        )
    return kind(source, clip_frames)


def measure(
    folder: Path,
    split: str,
    saliencies: Sequence[str] | None,
    scales: Sequence[float],
    frames: Sequence[int],
    decoded: int,
    batch_size: int,
    out: str | None,
) -> None:
    """Writes and prints how a finished run answers with each score; see `saliency_command` for the arguments."""
    manifest = manifest_of_run(folder, split)
    parts = RunParts(folder)
    compressors = compressors_of(parts.wap, saliencies or _TRIED, scales)
    made = {name: parts.compressed(compressor).eval() for name, compressor in compressors.items()}
    models: dict[Cell, AnsweringModel] = {(name, count): model for name, model in made.items() for count in frames}
    data = videos_for(made, manifest, max(decoded, *frames), batch_size)
    dtype, batches = fast_dtype("cpu"), question_batches(data, "saliency: questions")
    scores = answer_all(models, batches, getattr(torch, dtype), torch.device("cpu"))
    reference = name_of(replace(parts.wap, saliency=REFERENCE))
    rows = rows_against(scores, reference)
    written = write_record(
        out or folder / "saliency.json",
        "saliency",
        environment("cpu", dtype, ATTENTION),
        {
            **run_settings(folder, split),
            "frames": f"uniform midpoints of {max(decoded, *frames)}",
            **sizes_asked(data, made),
            "reference": reference,
            "compressors": {name: compressor.describe() for name, compressor in compressors.items()},
        },
        {"rows": rows},
    )
    print(table(rows))
    print(written)


def compressors_of(wap: WAP, saliencies: Sequence[str], scales: Sequence[float]) -> dict[str, Compressor]:
    """Average pooling, the class token with the run's own settings, and every score at every scale, by name."""
    reference = replace(wap, saliency=REFERENCE)
    tried = [replace(wap, saliency=name, scale=scale) for name in saliencies for scale in (wap.scale, *scales)]
    return {UNIFORM: Pool("average", wap.block), **{name_of(each): each for each in (reference, *tried)}}


def name_of(wap: WAP) -> str:
    """The importance score and its scale, such as ``norm x20``; without one the score alone."""
    return wap.saliency if wap.scale is None else f"{wap.saliency} x{wap.scale:g}"


def rows_against(scores: Mapping[Cell, MultipleChoiceAccuracy], reference: str) -> list[dict[str, Any]]:
    """Accuracy of every cell, and its gain over the reference at the same frames with a 95 % interval over videos.

    Returns:
        For each cell: `arm`, `frames`, what `MultipleChoiceAccuracy.compute` gives, `gain`, `gain_low`, `gain_high`,
        and `right`, 1 or 0 for each question in the order of the manifest.
    """
    rows = []
    for (method, frames), score in scores.items():
        right_Q, video_Q = score.answered()
        other_Q, _ = scores[reference, frames].answered()
        difference_Q = right_Q - other_Q
        low, high = bootstrap_over_videos(video_Q, difference_Q)
        gain = {"gain": float(difference_Q.mean()), "gain_low": low, "gain_high": high}
        rows.append({"arm": method, "frames": frames, **score.compute(), **gain, "right": right_Q.tolist()})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy by frames, and in brackets the gain over the reference."""
    cells = {(row["arm"], row["frames"]): f"{row['accuracy']:.3f} ({row['gain']:+.3f})" for row in rows}
    return grid("importance score", cells)
