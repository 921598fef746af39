"""WAP's importance scores against the class token on a finished run, and a scale for them (`liteframe saliency`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from liteframe.bench.environment import environment
from liteframe.bench.questions import manifest_of_run, question_batches, run_settings, sizes_asked, videos_for
from liteframe.bench.records import write_record
from liteframe.bench.run_methods import ATTENTION, RunParts
from liteframe.errors import ConfigError
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models import teachers
from liteframe.models.backbone import WAP, Compressor, Pool
from liteframe.models.teachers import TeacherSource
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.stages.wap_scale import propose_scale
from liteframe.system.tables import grid

REFERENCE = "class_token"
_TRIED = ("class_token", "mean_token", "norm")
UNIFORM = "none"
"""Average pooling: every token weighs the same."""


def saliency_command(
    source: str,
    videos: str | None = None,
    teacher_class: Literal["InternVL", "QwenVL", "Siglip", "TimmViT"] = "InternVL",
    similarity: Literal["dot", "cosine"] = "dot",
    effective: float | None = None,
    count: int = 8,
    split: str = "test",
    saliencies: list[str] | None = None,
    scales: list[float] = [],  # noqa: B006
    frames: list[int] = [8, 16, 32, 64],  # noqa: B006
    decoded: int = 128,
    batch_size: int = 8,
    out: str | None = None,
) -> int:
    """Proposes a scale for WAP from a handful of videos; or measures importance scores on a finished run.

    With `--videos`, SOURCE is a teacher: how many tokens of a block WAP averages over is shown for several scales, and
    the one that gives `--effective` is proposed. Without, SOURCE is a run of the pipeline: teacher + WAP answers its
    questions with each importance score, beside the class token with the run's own settings and average pooling, and a
    record is written.

    Args:
        source: folder or hub id of a teacher, or folder of a run that has its teacher and its feature store.
        videos: list or folder of videos to propose a scale from.
        teacher_class: kind of the teacher; only with videos.
        similarity: of a token and the class token of its frame; only with videos.
        effective: tokens of a block that WAP is to average over, by default three in four; only with videos.
        count: videos to propose from; only with videos.
        split: manifest of the run's world that the questions come from; only of a run.
        saliencies: class_token, mean_token, norm, and attention_pool of an encoder that has one; by default the first
            with videos, the first three of a run.
        scales: factors before the softmax to try with each importance score, beside that of the run; only of a run.
        frames: frame counts; with videos the first of them counts.
        decoded: frames that are decoded of a video, of which each count takes uniform midpoints, as the sweep does;
            only of a run.
        batch_size: videos that are answered at a time; only of a run.
        out: file of the record; by default saliency.json in the run.
    """
    if videos is not None:
        if (split, scales, decoded, batch_size, out) != ("test", [], 128, 8, None):
            raise ConfigError("--split, --scales, --decoded, --batch_size and --out are of a run; leave out --videos")
        teacher: TeacherSource = getattr(teachers, teacher_class)(source)
        for name in saliencies or [REFERENCE]:
            print(f"importance score: {name}")
            wap = WAP(teacher.geometry().block(), similarity, saliency=name)
            propose_scale(teacher, wap, videos, count, frames[0], effective)
        return 0
    if (teacher_class, similarity, effective, count) != ("InternVL", "dot", None, 8):
        raise ConfigError("--teacher_class, --similarity, --effective and --count propose a scale: give --videos too")
    return _measure(Path(source), split, saliencies or list(_TRIED), scales, frames, decoded, batch_size, out)


def _measure(
    folder: Path,
    split: str,
    saliencies: Sequence[str],
    scales: Sequence[float],
    frames: Sequence[int],
    decoded: int,
    batch_size: int,
    out: str | None,
) -> int:
    manifest = manifest_of_run(folder, split)
    parts = RunParts(folder)
    compressors = compressors_of(parts.wap, saliencies, scales)
    made = {name: parts.compressed(compressor).eval() for name, compressor in compressors.items()}
    models: dict[Cell, AnsweringModel] = {(name, count): model for name, model in made.items() for count in frames}
    data = videos_for(made, manifest, max(decoded, *frames), batch_size)
    scores = answer_all(models, question_batches(data, "saliency: questions"), torch.bfloat16, torch.device("cpu"))
    reference = name_of(replace(parts.wap, saliency=REFERENCE))
    rows = rows_against(scores, reference)
    written = write_record(
        out or folder / "saliency.json",
        "saliency",
        environment("cpu", "bfloat16", str(ATTENTION)),
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
    return 0


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
