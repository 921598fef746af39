"""The sweep: accuracy and latency of every arm at every frame count (`liteframe bench`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liteframe import runtime
from liteframe.bench.arms import ATTENTION, Arm, arms_of_run
from liteframe.bench.environment import environment
from liteframe.bench.floor import distance_to_floor, flops_of, measure_limits
from liteframe.bench.latency import ArmSamples, interleave
from liteframe.bench.questions import manifest_of_run, question_batches, videos_for
from liteframe.bench.records import RowRecord, read_stage_records
from liteframe.bench.report import build_report, table_text, write_report
from liteframe.bench.timers import RunRule
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decode import forget_scans, probe, read_frames
from liteframe.data.sampling import uniform_midpoints
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.models.video_llm import VideoLLM
from liteframe.progress import track

_LATENCY_VIDEOS = 16
_CELL_SECONDS = 0.6


def bench_command(
    run: str,
    split: str = "test",
    teacher_frames: list[int] = [8, 16, 32, 64],
    student_frames: list[int] = [8, 16, 32, 64, 128],
    batch_size: int = 8,
    latency: bool = True,
    out: str | None = None,
) -> int:
    """Sweeps frame counts for every arm of a finished run: accuracy, latency, tokens; writes the report.

    Args:
        run: folder of a finished run of the pipeline.
        split: manifest of the run's world that the questions come from.
        teacher_frames: frame counts of the arms that use the teacher.
        student_frames: frame counts of the student's arms.
        batch_size: videos that are answered at a time; latency is always measured one by one.
        latency: measure times; without, the table has accuracies only and no report is written.
        out: folder of report.json, report.md and pareto.png; by default the run's.
    """
    started = time.monotonic()
    folder = Path(run)
    manifest = manifest_of_run(folder, split)
    arms = arms_of_run(folder, tuple(teacher_frames), tuple(student_frames))
    data = videos_for(arms[0].model, manifest, max(*teacher_frames, *student_frames), batch_size)
    models = {(arm.name, frames): arm.model for arm in arms for frames in arm.frames}
    scores = answer_all(models, question_batches(data, "sweep: questions"), torch.bfloat16, torch.device("cpu"))
    accuracy = {cell: score.compute() for cell, score in scores.items()}
    if not latency:
        for (name, frames), found in accuracy.items():
            print(f"{name:20} {frames:4}  {found['accuracy']:.3f}  {found['per_type']}")
        return 0
    limits = measure_limits()
    timed = _latencies(arms, [row.path for row in data.rows("test")[:_LATENCY_VIDEOS]], data.settings.image_size)
    rows = [_row(cell, models[cell], accuracy[cell], timed[cell], limits, data) for cell in models]
    stages = _stages(folder, started)
    report = build_report(
        environment("cpu", "bfloat16", str(ATTENTION), False, malloc={"tuned": runtime.malloc_is_tuned}),
        stages,
        rows,
        settings={
            "run": folder.name,
            "seed": next((stage.get("seed") for stage in stages), None),
            "split": split,
            "batch": 1,
            "frames": "uniform midpoints",
            "compressors": {arm.name: arm.model.compressor.describe() for arm in arms},
            "latency_rule": RunRule.for_device("cpu", max_seconds=_CELL_SECONDS).describe(),
        },
        limits=limits,
        chance=0.25,
    )
    written = write_report(report, out or folder)
    print(table_text(report))
    for name, path in written.items():
        print(f"{name:12} {path}")
    return 0


def _stages(run: Path, started: float) -> list[dict[str, Any]]:
    """The stages of the run, with this sweep as the last of them."""
    before = [stage for stage in read_stage_records(run) if stage["name"] != "bench"]
    return [*before, {"name": "bench", "seconds": round(time.monotonic() - started, 3)}]


def _latencies(arms: list[Arm], paths: list[str], size: tuple[int, int]) -> dict[Cell, ArmSamples]:
    counts = sorted({frames for arm in arms for frames in arm.frames})
    timed: dict[Cell, ArmSamples] = {}
    rule = RunRule.for_device("cpu", max_seconds=_CELL_SECONDS)
    for count in track(counts, "sweep: latency"):
        here = [arm for arm in arms if count in arm.frames]
        runs = {arm.name: _one_video(arm.model, paths, count, size) for arm in here}
        settings = {
            arm.name: {
                "dtype": "bfloat16",
                "attention_kernel": str(ATTENTION),
                "llm": _llm_of(arm.model),
                "prompt": _QUESTION,
                "output_length": 1,
            }
            for arm in here
        }
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for name, samples in interleave(runs, settings, rule).items():
                timed[name, count] = samples
    return timed


_QUESTION = "color of the star"


def _llm_of(model: VideoLLM) -> dict[str, Any]:
    config = model.language_model.config
    return {"type": config.model_type, "hidden": config.hidden_size, "layers": config.num_hidden_layers}


def _one_video(model: VideoLLM, paths: list[str], count: int, size: tuple[int, int]) -> Any:
    turn = iter(range(10**9))
    places = [uniform_midpoints(probe(path).frames, count) for path in paths]

    prompt: list[int] = []

    def run(timer: Any) -> None:
        i = next(turn) % len(paths)
        forget_scans()  # so that reading starts at opening the file
        with timer.stage("decode"):
            frames_THWC = read_frames(paths[i], places[i])
        with timer.stage("preprocess"):
            frames_BTCHW = normalize(resize_uint8(frames_THWC, size))[None]
        with timer.stage("encode"):
            tokens_BTHWC = model.encode(frames_BTCHW)
        with timer.stage("project"):
            visual_BTNC = model.project(tokens_BTHWC)
        if not prompt:
            prompt.extend(_prompt(model, visual_BTNC))
        with timer.stage("prefill"):
            model.prefill(visual_BTNC, prompt)

    return run


def _prompt(model: VideoLLM, visual_BTNC: torch.Tensor) -> list[int]:
    before, after = model.prompts.question_ids(_QUESTION, *visual_BTNC.shape[1:3])
    return [*before, *after]


def _row(
    cell: Cell,
    model: VideoLLM,
    accuracy: dict[str, Any],
    samples: ArmSamples,
    limits: dict[str, float],
    data: VideoDataModule,
) -> RowRecord:
    name, frames = cell
    blank = torch.zeros(1, frames, 3, *data.settings.image_size)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        tokens_BTHWC = model.encode(blank)
        visual_BTNC = model.project(tokens_BTHWC)
    prompt = _prompt(model, visual_BTNC)
    work = {
        "encode": lambda: model.encode(blank),
        "prefill": lambda: model.prefill(visual_BTNC, prompt),
    }
    floor = {
        stage: distance_to_floor(samples.median_ms(stage), flops_of(call), limits["bf16_gflops"])
        for stage, call in work.items()
    }
    return RowRecord.from_samples(
        name,
        frames,
        tokens=int(np.prod(visual_BTNC.shape[1:3])),
        tokens_encoder=int(np.prod(tokens_BTHWC.shape[1:4])),
        accuracy=accuracy,
        samples=samples.stages_ms,
        peak_mib=samples.peak_mib,
        floor=floor,
    )
