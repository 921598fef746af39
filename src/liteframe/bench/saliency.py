"""WAP with what can stand in for the class token, against the class token (`liteframe saliency`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liteframe.bench.arms import ATTENTION, RunParts
from liteframe.bench.environment import environment
from liteframe.bench.questions import manifest_of_run, question_batches, videos_for
from liteframe.bench.records import write_record
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models.backbone import WAP, Compressor, Pool
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.stage_records import read_stage_records
from liteframe.system.tables import aligned

REFERENCE = "class_token"
UNIFORM = "none"
"""Average pooling: every token weighs the same."""


def saliency_command(
    run: str,
    split: str = "test",
    saliencies: list[str] = ["class_token", "mean_token", "norm"],  # noqa: B006
    scales: list[float] = [],  # noqa: B006
    frames: list[int] = [8, 16, 32, 64],  # noqa: B006
    decoded: int = 128,
    batch_size: int = 8,
    out: str | None = None,
) -> int:
    """Measures teacher + WAP with each importance score on a finished run, and writes a record.

    The reference is the class token with the settings of the run's feature store; average pooling stands beside.

    Args:
        run: folder of a run of the pipeline that has its teacher and its feature store.
        split: manifest of the run's world that the questions come from.
        saliencies: class_token, mean_token, norm, and attention_pool of an encoder that has one.
        scales: factors before the softmax to try with each importance score, beside that of the run.
        frames: frame counts.
        decoded: frames that are decoded of a video, of which each count takes uniform midpoints, as the sweep does.
        batch_size: videos that are answered at a time.
        out: file of the record; by default saliency.json in the run.
    """
    folder = Path(run)
    manifest = manifest_of_run(folder, split)
    parts = RunParts(folder)
    (host, processor), wap = parts.host, parts.wap
    teacher = VideoLLM(host, processor).eval()
    compressors = arms_of(wap, saliencies, scales)
    models: dict[Cell, AnsweringModel] = {}
    for name, compressor in compressors.items():
        model = VideoLLM(host, processor, teacher.backbone, compressor).eval()
        models.update({(name, count): model for count in frames})
    data = videos_for({"teacher": teacher}, manifest, max(decoded, *frames), batch_size)
    scores = answer_all(models, question_batches(data, "saliency: questions"), torch.bfloat16, torch.device("cpu"))
    rows = rows_against(scores, name_of(replace(wap, saliency=REFERENCE)))
    written = write_record(
        out or folder / "saliency.json",
        "saliency",
        environment("cpu", "bfloat16", str(ATTENTION)),
        {
            "run": folder.name,
            "seed": next((stage.get("seed") for stage in read_stage_records(folder)), None),
            "split": split,
            "frames": f"uniform midpoints of {max(decoded, *frames)}",
            "reference": name_of(replace(wap, saliency=REFERENCE)),
            "compressors": {name: compressor.describe() for name, compressor in compressors.items()},
        },
        {"rows": rows},
    )
    print(table(rows))
    print(written)
    return 0


def arms_of(wap: WAP, saliencies: Sequence[str], scales: Sequence[float]) -> dict[str, Compressor]:
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
    for (arm, frames), score in scores.items():
        right_Q, video_Q = score.answered()
        other_Q, _ = scores[reference, frames].answered()
        difference_Q = right_Q - other_Q
        low, high = bootstrap_over_videos(video_Q, difference_Q)
        gain = {"gain": float(difference_Q.mean()), "gain_low": low, "gain_high": high}
        rows.append({"arm": arm, "frames": frames, **score.compute(), **gain, "right": right_Q.tolist()})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy by frames, and in brackets the gain over the reference."""
    counts = sorted({row["frames"] for row in rows})
    cells = {(row["arm"], row["frames"]): f"{row['accuracy']:.3f} ({row['gain']:+.3f})" for row in rows}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    header = ["importance score", *(str(count) for count in counts)]
    return aligned(header, [[arm, *(cells[arm, count] for count in counts)] for arm in arms])
