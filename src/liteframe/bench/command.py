"""``liteframe bench`` and ``liteframe saliency``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from liteframe.bench.finished_run import manifest_of_run
from liteframe.errors import ConfigError


def bench_command(
    run: str,
    split: str = "test",
    teacher_frames: list[int] = [8, 16, 32, 64],
    student_frames: list[int] = [8, 16, 32, 64, 128],
    batch_size: int = 8,
    latency: bool = True,
    arms: list[str] | None = None,
    out: str | None = None,
    add: bool = False,
) -> int:
    """Sweeps frame counts for every method of a finished run: accuracy, latency, tokens; writes the report.

    Args:
        run: folder of a finished run of the pipeline.
        split: manifest of the run's world that the questions come from.
        teacher_frames: frame counts of the methods that use the teacher.
        student_frames: frame counts of the student's methods.
        batch_size: videos that are answered at a time; latency is always measured one by one.
        latency: measure times; without, the table has accuracies only and no report is written.
        arms: names of methods to measure, or `all` for every one that a run can have; by default teacher, the poolings,
            WAP and the student.
        out: folder of report.json, report.md and pareto.png; by default the run's.
        add: put the rows of `arms` into the report that is in `out`, and leave its other rows as they are; the teacher
            is measured along, to see that the models are the same.

    Raises:
        ConfigError: a run that lacks a stage, an unknown method, or `add` to a report of another run.
    """
    manifest_of_run(Path(run), split)
    from liteframe.bench.sweep import sweep

    return sweep(run, split, teacher_frames, student_frames, batch_size, latency, arms, out, add)


def saliency_command(
    source: str,
    videos: str | None = None,
    teacher_class: Literal[
        "InternVL", "LlavaOnevision", "Qwen3VL", "QwenVL", "Siglip", "TimmViT", "VJEPA2", "VideoPrism"
    ] = "InternVL",
    similarity: Literal["dot", "cosine"] = "dot",
    effective: float | None = None,
    count: int = 8,
    split: str = "test",
    saliencies: list[str] | None = None,
    scales: list[float] = [],
    frames: list[int] = [8, 16, 32, 64],
    decoded: int = 128,
    batch_size: int = 8,
    out: str | None = None,
    clip_frames: int | None = None,
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
        frames: frame counts; with videos the first of them counts, raised to whole clips of the teacher.
        decoded: frames that are decoded of a video, of which each count takes uniform midpoints, as the sweep does;
            only of a run.
        batch_size: videos that are answered at a time; only of a run.
        out: file of the record; by default saliency.json in the run.
        clip_frames: of a VJEPA2 or VideoPrism, as in its settings; only with videos.
    """
    if videos is not None:
        if (split, scales, decoded, batch_size, out) != ("test", [], 128, 8, None):
            raise ConfigError("--split, --scales, --decoded, --batch_size and --out are of a run; leave out --videos")
        from liteframe.bench.saliency import propose

        propose(source, teacher_class, videos, saliencies, similarity, effective, count, frames[0], clip_frames)
        return 0
    if (teacher_class, similarity, effective, count, clip_frames) != ("InternVL", "dot", None, 8, None):
        raise ConfigError(
            "--teacher_class, --similarity, --effective, --count and --clip_frames propose a scale: give --videos too"
        )
    manifest_of_run(Path(source), split)
    from liteframe.bench.saliency import measure

    measure(Path(source), split, saliencies, scales, frames, decoded, batch_size, out)
    return 0
