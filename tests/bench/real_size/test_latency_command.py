"""The whole suite at tiny shapes: every kind of cell, the record's fields, and where it may run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from liteframe.bench import floor
from liteframe.bench.encoders import ENCODERS
from liteframe.bench.latency_record import How, LatencyRecord, LatencyRow
from liteframe.bench.real_size import __main__ as module
from liteframe.bench.real_size import cells, encoder_dtypes, execution, steps
from liteframe.bench.real_size.arms import NoTimer
from liteframe.bench.real_size.rows import computed, measured
from liteframe.bench.real_size.run import attention_times, run_latency
from liteframe.bench.real_size.shapes import shapes
from liteframe.bench.real_size.subjects import Llm
from liteframe.bench.real_size.suite import Suite
from liteframe.bench.real_size.table import latency_text
from liteframe.bench.records import MODEL_STAGES
from liteframe.bench.timers import RunRule
from liteframe.command import cli
from liteframe.models.acceleration.compiled_layers import compile_layers
from liteframe.ops.compressors.registry import METHODS, ON_BLOCKS
from liteframe.system.json_files import read_json

POST_HOC = {f"teacher+{name}" for name in METHODS} - {f"teacher+{name}" for name in ON_BLOCKS}
INSIDE_LLM = {"teacher+fastv", "teacher+pyramiddrop"}
RUNS = 2
NOT_THERE = (
    "av",
    "decord",
    "jsonargparse",
    "lightning",
    "docstring_parser",
    "torchmetrics",
    "matplotlib",
)


@pytest.fixture(scope="module", autouse=True)
def few_runs() -> Iterator[None]:
    """Of each cell two, and small products and copies for the machine's limits; what is measured is not tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "rule_for", lambda device: RunRule(warmup=1, min_runs=RUNS, max_runs=RUNS))
        patch.setattr(floor, "matrix_rate", partial(floor.matrix_rate, size=128))
        patch.setattr(floor, "bandwidth", partial(floor.bandwidth, mebibytes=4))
        yield


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the cells that a GPU runs, on the CPU."""
    path = tmp_path_factory.mktemp("latency") / "record.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "compile_layers", partial(compile_layers, backend="eager"))
        run_latency("cpu", "tiny", path, 400.0, steps_of="cuda")
    return read_json(path)


def test_the_record_is_whole(record: dict[str, Any]) -> None:
    assert (record["kind"], record["complete"]) == ("latency", True)
    assert record["limits"]["bf16_gflops"] > 0 and record["limits"]["bandwidth_gbs"] > 0
    assert record["environment"]["attention_kernel"] == "sdpa"
    suites = {"encoder", "mixer", "prefill", "pipeline", "throughput", "execution", "fastest", "streamed"}
    assert {row["suite"] for row in record["rows"]} - {"decoded"} == suites
    left_out = {cell["suite"] for cell in record["dropped"]} & set(steps.EXECUTED)
    assert "float8" in left_out <= {"float8", "decoded"}, "no GPU, perhaps no torchcodec"
    expected = {*ENCODERS, *POST_HOC, *INSIDE_LLM}
    assert {method["name"] for method in record["arms"]} == expected
    assert expected <= {row["arm"] for row in record["rows"]}


def test_every_row_adds_up(record: dict[str, Any]) -> None:
    methods = {method["name"]: method for method in record["arms"]}
    for row in record["rows"]:
        assert row["status"] == "ok"
        assert row["computed"] == bool(row["note"] and "composed" in row["note"])
        for stage in row["stages"].values():
            assert stage["n"] == len(stage["samples"])
            assert stage["computed"] == (stage["n"] == 0)
            if not stage["computed"]:
                assert stage["p10"] <= stage["ms"] <= stage["p90"] and stage["peak_mib"] > 0
        if row["suite"] in ("pipeline", "throughput", "fastest"):
            assert row["model_ms"] == pytest.approx(
                sum(row["stages"][s]["ms"] for s in ("encode", "project", "prefill"))
            )
            if not row["computed"]:
                assert {"host_to_device", *MODEL_STAGES, "first_token"} == set(row["stages"])
                assert row["ttft_ms"] == pytest.approx(sum(stage["ms"] for stage in row["stages"].values()))
            method = methods[row["arm"]]
            lines = -(-row["frames"] // method["frames_per_group"])
            if method["group"] != "post-hoc":
                assert row["prompt_tokens"] == row["tokens_llm"] + 8 * lines + 64
            assert (row["tokens_mean_over_layers"] is None) == (row["arm"] not in INSIDE_LLM)
        if row["suite"] != "prefill" and (row["arm"], row["frames"]) != ("autogaze", 8):
            assert row["tokens_per_frame"] == pytest.approx(methods[row["arm"]]["tokens_per_frame"])
            assert row["suite"] == "streamed" or row["stages"]["encode"]["flops"] > 0


def test_ways_to_run_an_encoder_are_timed_in_turns_and_the_fastest_is_taken(record: dict[str, Any]) -> None:
    for name in ("student", "teacher"):
        rows = [row for row in record["rows"] if (row["suite"], row["arm"]) == ("execution", name)]
        assert [row["execution"] for row in rows] == [how.name for how in execution.EXECUTIONS[name]]
        best = min(rows, key=lambda row: row["stages"]["encode"]["ms"])["execution"]
        whole = [row for row in record["rows"] if row["suite"] == "fastest" and row["arm"].startswith(name)]
        assert {row["execution"] for row in whole} == {best} and len(whole) == (2 if name == "teacher" else 1)
    streamed = [row for row in record["rows"] if row["suite"] == "streamed"]
    assert [row["execution"] for row in streamed] == ["in order", "overlapped"]
    assert all(list(row["stages"]) == ["to_first_token"] and row["model_ms"] is None for row in streamed)


def test_the_kernels_that_attention_ran_on_are_named(record: dict[str, Any]) -> None:
    ran = {method["name"]: method["attention"] for method in record["arms"]}
    assert ran["teacher"] == ran["student"] == ["flash_attention_for_cpu"]
    assert record["settings"]["llm_attention"] == ["flash_attention_for_cpu"]


def test_attention_kernels_are_timed_on_the_teachers_shape() -> None:
    found = attention_times(shapes("tiny", ""), torch.device("cpu"), torch.float32, frames=2)
    assert set(found) == {"flash", "math"}, "a CPU has no other"
    assert list(found.values()) == sorted(found.values()) and min(found.values()) > 0


def test_tokens_at_three_points(record: dict[str, Any]) -> None:
    found = {
        method["name"]: (method["tokens_encoder_per_frame"], method["tokens_per_frame"]) for method in record["arms"]
    }
    assert found["teacher"] == (16, 4)
    assert found["teacher+wap"] == found["student"] == found["tome-teacher+wap"] == (1, 0.25)
    assert found["fastvit"] == (1, 1) and found["fastvit-1024"] == (4, 4)
    assert found["video-panda"] == (7, 7), "two rows of two, each with one more, and a class token"
    assert found["autogaze"] == (33 / 4, 33 / 16), "of a whole clip"
    short = next(row for row in record["rows"] if (row["arm"], row["frames"]) == ("autogaze", 8))
    assert short["tokens_per_frame"] == 17 / 8, "the first frame of a clip has more than the others"


def test_methods_inside_the_llm_tell_what_its_layers_see(record: dict[str, Any]) -> None:
    (row,) = (row for row in record["rows"] if row["arm"] == "teacher+fastv")
    layers = shapes("tiny", "").config.text_config.num_hidden_layers
    first = row["tokens_llm"]
    assert row["tokens_mean_over_layers"] == pytest.approx((first + (layers - 1) * first / 16) / layers)


def test_wap_shares_the_teachers_runs(record: dict[str, Any]) -> None:
    rows = {row["arm"]: row for row in record["rows"] if row["suite"] == "encoder" and row["frames"] == 4}
    alone, with_wap = (rows[name]["stages"]["encode"]["samples"] for name in ("teacher", "teacher+wap"))
    assert len(alone) == len(with_wap) == RUNS
    assert all(more > less for less, more in zip(alone, with_wap, strict=True))
    assert rows["teacher+wap"]["tokens_llm"] * 16 == rows["teacher"]["tokens_llm"]


def test_a_device_has_cells_of_its_own() -> None:
    cpu, cuda = steps.steps_for("cpu"), steps.steps_for("cuda")
    assert [step.frames for step in cpu if step.suite == "prefill"] == [256, 1024, 2048, 4096]
    assert {step.frames for step in cpu if step.suite == "encoder"} == {4, 8, 16}
    teacher = [step.frames for step in cuda if step.suite == "pipeline" and "teacher" in step.methods]
    assert teacher == [8, 16, 32, 64], "its LLM takes no more"
    assert [step.frames for step in cuda if step.suite == "pipeline" and "student" in step.methods] == list(
        steps.FRAMES
    )
    assert max(step.frames for step in cuda if step.methods == ("student",)) == 4096
    assert {step.batch for step in cuda if step.suite == "throughput"} == {8, 32}
    assert max(step.frames for step in cpu) == 4096 and not any(set(step.methods) & POST_HOC for step in cpu)
    at_64 = [method for step in cuda if (step.suite, step.frames) == ("pipeline", 64) for method in step.methods]
    assert sorted(set(at_64) - set(ENCODERS)) == sorted(POST_HOC | INSIDE_LLM), "each method of the registry"
    assert len(at_64) == len(set(at_64)), "and once"
    pairs = {(step.suite, method, step.frames) for step in cuda for method in step.methods}
    assert {("fastest", "student", 512), ("fastest", "teacher", 64), ("streamed", "student", 512)} <= pairs
    assert {("execution", name, frames) for name in ("student", "teacher") for frames in (8, 64)} <= pairs
    assert ("float8", "student", 64) in pairs, "apart from the others, as its precision is another"
    reducing = [set(step.methods) for step in cuda if set(step.methods) & POST_HOC]
    assert reducing[0] == {"teacher+fastvid", "teacher+visionzip", "teacher+prumerge"}, "these first"


def test_a_killed_run_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        steps, "_tiny", lambda _: [steps.Step("encoder", ("student",), 4), steps.Step("prefill", ("llm",), 32)]
    )
    inner = Suite.cell

    def cell(self: Suite, step: steps.Step) -> Any:
        if step.suite == "prefill":
            raise KeyboardInterrupt
        return inner(self, step)

    monkeypatch.setattr(Suite, "cell", cell)
    path = tmp_path / "record.json"
    with pytest.raises(KeyboardInterrupt):
        run_latency("cpu", "tiny", path, 100.0)
    record = read_json(path)
    assert record["complete"] is False
    assert [row["arm"] for row in record["rows"]] == ["student"]


def test_each_encoder_is_timed_in_its_own_faster_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, set[str]]] = []

    def faster(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        ((name, by_dtype),) = runs.items()
        for dtype, run in by_dtype.items():
            assert run.frames_BTCHW.dtype == torch.uint8 and run.subject.dtype == dtype
            run(NoTimer())
        asked.append((name, set(by_dtype)))
        return {name: {"dtype": "bfloat16" if name == "teacher" else "float32"}}

    monkeypatch.setattr(encoder_dtypes, "faster_dtypes", faster)
    monkeypatch.setattr(
        steps,
        "_tiny",
        lambda _: [steps.Step("encoder", ("teacher", "student"), 4), steps.Step("prefill", ("llm",), 64)],
    )
    record = read_json(run_latency("cpu", "tiny", tmp_path / "record.json", 100.0, own_dtypes=True))
    assert asked == [(name, {"bfloat16", "float32"}) for name in ("teacher", "student")], "teacher+wap is the teacher's"
    dtypes = {"teacher": "bfloat16", "teacher+wap": "bfloat16", "student": "float32", "llm": "bfloat16"}
    assert {row["arm"]: row["dtype"] for row in record["rows"]} == dtypes
    assert all(row["dtype"] == dtypes[row["arm"]] for row in record["rows"])
    assert record["settings"]["dtypes"]["student"]["dtype"] == "float32"
    for row in record["rows"]:
        for stage in row["stages"].values():
            if stage["floor"]:
                limit = record["limits"][floor.RATE_OF[row["dtype"]]]
                assert stage["floor"]["compute_ms"] == pytest.approx(stage["flops"] / limit / 1e6)


def test_who_shares_an_encoder_shares_its_dtype_and_the_record_says_which_were_not_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder_dtypes, "faster_dtypes", lambda runs: {name: {"dtype": "bfloat16"} for name in runs})
    sizes, cpu, settings = shapes("tiny", "internvl3-1b"), torch.device("cpu"), dict[str, Any]()
    budget: Any = SimpleNamespace(left=1.0)
    llm = Llm.build(sizes, cpu, torch.float32)
    own = encoder_dtypes.EncoderDtypes(sizes, llm, cpu, budget, torch.float32, settings)
    assert own.of("teacher") == torch.bfloat16
    budget.left = 0.0
    dtypes = [own.of(name) for name in ("teacher+wap", "teacher", "student", "student")]
    assert dtypes == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    untimed = {"dtype": "float32", "not_timed": "time budget"}
    assert settings == {"dtypes": {"teacher": {"dtype": "bfloat16"}, "student": untimed}}


def test_no_time_is_a_list_of_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_tiny", lambda _: [steps.Step("encoder", ("student", "vit-b"), 4)])
    path = tmp_path / "record.json"
    assert cli.main(["latency", "--size=tiny", f"--out={path}", "--budget_s=0.001"]) == 0
    record = read_json(path)
    assert record["rows"] == []
    left_out = [(cell["arm"], cell["reason"]) for cell in record["dropped"] if cell["suite"] == "encoder"]
    assert left_out == [("student", "time budget"), ("vit-b", "time budget")]
    assert record["settings"]["budget_s"] == 0.001


def test_what_was_measured_and_left_out_is_printed() -> None:
    rows = [
        LatencyRow(
            "prefill",
            "llm",
            None,
            {"prefill": measured([12.0] * 3)},
            prompt_tokens=256,
            tokens_llm=256,
            dtype="float32",
        ),
        LatencyRow("pipeline", "student", 8, {name: computed(5.0, None, How.AT_RATE, "") for name in MODEL_STAGES}),
        LatencyRow("throughput", "teacher", 8, {}, 32, "out of memory"),
    ]
    dropped = [
        {"suite": "prefill", "arm": "llm", "frames": 4096, "batch": 1, "reason": "time budget"},
        {"suite": "throughput", "arm": "student", "frames": 8, "batch": 32, "reason": "time budget"},
        {"suite": "all", "arm": "fastvit", "frames": None, "batch": 1, "reason": "cannot be made: no timm"},
    ]
    limits = {"bf16_gflops": 1500.0, "bandwidth_gbs": 50.0}
    lines = latency_text(LatencyRecord({"device": "a cpu"}, {}, limits, rows=rows, dropped=dropped)).splitlines()
    assert lines[0] == "a cpu: 1.50 TFLOP/s in bfloat16, 50 GB/s, measured in this run"
    assert [line.split() for line in lines[4:7]] == [
        ["prefill", "llm", "float32", "-", "1", "256", "-", "-", "12.0", "-"],
        ["pipeline", "student", "-", "8", "1", "-", "~5.00", "~5.00", "~5.00", "15.0"],
        ["throughput", "teacher", "-", "8", "32", "-", "-", "-", "-", "out", "of", "memory"],
    ]
    assert lines[-3:] == [
        "  prefill llm, 4096 tokens, batch 1: time budget",
        "  throughput student, 8 frames, batch 32: time budget",
        "  all fastvit: cannot be made: no timm",
    ]


def test_an_encoder_that_cannot_be_made_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def missing(*_: Any, **__: Any) -> None:
        raise RuntimeError("Unknown model")

    monkeypatch.setattr(timm, "create_model", missing)
    monkeypatch.setattr(steps, "_tiny", lambda _: [steps.Step("encoder", ("fastvit", "student"), 4)])
    record = read_json(run_latency("cpu", "tiny", tmp_path / "record.json", 100.0))
    assert {row["arm"] for row in record["rows"] if row["suite"] == "encoder"} == {"student"}
    (dropped,) = (cell for cell in record["dropped"] if cell["suite"] == "all")
    assert dropped["arm"] == "fastvit" and "Unknown model" in dropped["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "meta"], "device is 'meta'; latency is measured on cpu or cuda"),
        (["--size", "huge"], "size must be one of real, tiny, got 'huge'"),
        (["--size", "tiny", "--budget_s", "0"], "budget_s is 0.0; give the seconds"),
    ],
)
def test_bad_options_are_named(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(options) == 1
    assert message in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert module.main(["--device", "cuda"]) == 1
    assert "give --device cpu" in capsys.readouterr().err


def test_it_needs_none_of_the_packages_for_data_and_commands() -> None:
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {NOT_THERE}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import liteframe.bench.real_size.__main__, liteframe.bench.real_size.run\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
