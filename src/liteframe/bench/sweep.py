"""The sweep: accuracy and latency of every method at every frame count (`liteframe bench`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from liteframe.bench.added_methods import WITNESS, require_same_run, with_methods
from liteframe.bench.declared import declared
from liteframe.bench.environment import environment
from liteframe.bench.finished_run import manifest_of_run, run_settings
from liteframe.bench.floor import RATE_OF, best_limits, distance_to_floor, flops_of, measure_limits
from liteframe.bench.latency import MethodSamples, interleave
from liteframe.bench.own_dtype import FASTER, computing_in, in_dtype, own_dtypes
from liteframe.bench.questions import question_batches, sizes_asked, videos_for
from liteframe.bench.records import RowRecord, rows_of
from liteframe.bench.report import build_report, write_report
from liteframe.bench.run_methods import ATTENTION, RunMethod, exports_of, methods_of_run
from liteframe.bench.run_page import terminal
from liteframe.bench.timers import RunRule
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.decode import forget_scans, probe, read_frames
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError
from liteframe.evaluation.answering import Cell, answer_all
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.json_files import read_json
from liteframe.system.progress import track
from liteframe.system.stage_records import read_stage_records

_LATENCY_VIDEOS = 16
_CELL_SECONDS = 0.6
REPORT = "report.json"


def sweep(
    run: str,
    split: str,
    teacher_frames: list[int],
    student_frames: list[int],
    batch_size: int,
    latency: bool,
    arms: list[str] | None,
    out: str | None,
    add: bool,
) -> int:
    """Carries out `bench_command`, whose docstring describes the arguments, and returns its exit code.

    Raises:
        ConfigError: a run that lacks a stage, an unknown method, or `add` to a report of another run.
    """
    started = time.monotonic()
    folder = Path(run)
    manifest = manifest_of_run(folder, split)
    before = _report_to_add_to(folder, Path(out or folder), split, arms, latency) if add else None
    arms = [WITNESS, *(name for name in arms or () if name != WITNESS)] if add else arms
    measured = methods_of_run(folder, tuple(teacher_frames), tuple(student_frames), arms)
    by_name = {method.name: method.model for method in measured}
    data = videos_for(by_name, manifest, max(*teacher_frames, *student_frames), batch_size)
    models = {(method.name, frames): method.model for method in measured for frames in method.frames}
    answers_in = fast_dtype("cpu")
    batches = question_batches(data, "sweep: questions")
    scores = answer_all(models, batches, getattr(torch, answers_in), torch.device("cpu"))
    accuracy = {cell: score.compute() for cell, score in scores.items()}
    if not latency:
        for (name, frames), found in accuracy.items():
            print(f"{name:20} {frames:4}  {found['accuracy']:.3f}  {found['per_type']}")
        return 0
    limits = measure_limits()
    paths = [row.path for row in data.rows("test")[:_LATENCY_VIDEOS]]
    dtypes = _own_dtypes(measured, paths, data.settings.image_size)
    timed = _latencies(measured, dtypes, paths, data.settings.image_size)
    limits = best_limits(limits, measure_limits())
    rows = [
        _row(cell, models[cell], accuracy[cell], timed[cell], dtypes[cell[0]]["dtype"], limits, data) for cell in models
    ]
    stages = _stages(folder, started)
    measured_in = environment("cpu", f"answers in {answers_in}, times in {FASTER}", ATTENTION)
    settings = {
        **run_settings(folder, split),
        "batch": 1,
        "frames": "uniform midpoints",
        **sizes_asked(data, by_name),
        "exports": exports_of(folder, [method.name for method in measured]),
        "compressors": {name: model.describe() for name, model in by_name.items()},
        "dtypes": dtypes,
        "latency_rule": RunRule.for_device("cpu", max_seconds=_CELL_SECONDS).describe(),
    }
    if before is not None:
        report = with_methods(before, rows, settings, measured_in, str(Path(out or folder) / REPORT))
    else:
        report = build_report(measured_in, stages, rows, settings, limits)
    written = write_report(report, out or folder)
    print(terminal(report, rows_of(report)))
    for name, path in written.items():
        print(f"{name:12} {path}")
    return 0


def _report_to_add_to(run: Path, folder: Path, split: str, arms: list[str] | None, latency: bool) -> dict[str, Any]:
    """The report that methods are added to, before anything is measured."""
    if not arms or arms == ["all"] or not latency:
        raise ConfigError("--add puts single methods into a report: name them with --arms, and leave latency on")
    if not (folder / REPORT).is_file():
        raise ConfigError(f"{folder / REPORT} is missing, so there is nothing to add to; leave --add out")
    report = read_json(folder / REPORT)
    require_same_run(report, run_settings(run, split), read_stage_records(run))
    return report


def _stages(run: Path, started: float) -> list[dict[str, Any]]:
    """The stages of the run, with this sweep as the last of them."""
    before = [stage for stage in read_stage_records(run) if stage["name"] != "bench"]
    return [*before, {"name": "bench", "seconds": round(time.monotonic() - started, 3)}]


def _own_dtypes(methods: list[RunMethod], paths: list[str], size: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """The faster dtype of each method, found at its middle frame count."""
    runs = {
        method.name: _one_video(method.model, paths, sorted(method.frames)[len(method.frames) // 2], size)
        for method in track(methods, "sweep: dtypes")
    }
    with torch.inference_mode():
        return own_dtypes(runs)


def _latencies(
    methods: list[RunMethod], dtypes: dict[str, dict[str, Any]], paths: list[str], size: tuple[int, int]
) -> dict[Cell, MethodSamples]:
    counts = sorted({frames for method in methods for frames in method.frames})
    timed: dict[Cell, MethodSamples] = {}
    rule = RunRule.for_device("cpu", max_seconds=_CELL_SECONDS)
    for count in track(counts, "sweep: latency"):
        here = [method for method in methods if count in method.frames]
        runs = {
            method.name: in_dtype(_one_video(method.model, paths, count, size), dtypes[method.name]["dtype"])
            for method in here
        }
        with torch.inference_mode():
            settings = {method.name: declared(method.model, _QUESTION, 1) for method in here}
            for name, samples in interleave(runs, settings, rule).items():
                timed[name, count] = samples
    return timed


_QUESTION = "color of the star"


def _one_video(model: AnsweringModel, paths: list[str], count: int, size: tuple[int, int]) -> Any:
    turn = iter(range(10**9))
    places = [uniform_midpoints(probe(path).frames, count) for path in paths]

    def run(timer: Any) -> None:
        i = next(turn) % len(paths)
        forget_scans()  # so that reading starts at opening the file
        with timer.stage("decode"):
            frames_THWC = read_frames(paths[i], places[i])
        with timer.stage("preprocess"):
            frames_BTCHW = resize_uint8(frames_THWC, size)[None]  # as bytes, which is how users run it
        with timer.stage("encode"):
            encoded = model.encode(frames_BTCHW)
        with timer.stage("project"):
            visual = model.project(encoded)
        prompt = model.prompt_ids(visual, _QUESTION)
        with timer.stage("prefill"):
            model.prefill(visual, prompt)

    return run


def _row(
    cell: Cell,
    model: AnsweringModel,
    accuracy: dict[str, Any],
    samples: MethodSamples,
    dtype: str,
    limits: dict[str, float],
    data: VideoDataModule,
) -> RowRecord:
    name, frames = cell
    path = data.rows("test")[0].path
    frames_THWC = read_frames(path, uniform_midpoints(probe(path).frames, frames))
    frames_BTCHW = resize_uint8(frames_THWC, data.settings.image_size)[None]
    with torch.inference_mode(), computing_in(dtype):
        encoded = model.encode(frames_BTCHW)
        visual = model.project(encoded)
    prompt = model.prompt_ids(visual, _QUESTION)
    work = {
        "encode": lambda: model.encode(frames_BTCHW),
        "prefill": lambda: model.prefill(visual, prompt),
    }
    counts = model.token_counts(encoded, visual)
    floor = {
        stage: distance_to_floor(samples.median_ms(stage), flops_of(call), limits[RATE_OF[dtype]])
        for stage, call in work.items()
    }
    return RowRecord.from_samples(
        name,
        frames,
        accuracy,
        samples.stages_ms,
        tokens=counts.llm,
        tokens_encoder=counts.encoder,
        tokens_asked=counts.asked,
        tokens_mean_over_layers=counts.mean_over_layers,
        tokens_prompt=len(prompt),
        peak_mib=samples.peak_mib,
        floor=floor,
        dtype=dtype,
    )
