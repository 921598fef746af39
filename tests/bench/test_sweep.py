"""The sweep over a finished run: every method and frame count, on all questions, with times, in one report."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from liteframe.bench import own_dtype, sweep
from liteframe.bench.command import bench_command
from liteframe.bench.latency import VoidRun
from liteframe.bench.records import rows_of
from liteframe.bench.run_methods import RUN_METHODS as MAKERS
from liteframe.bench.run_methods import exports_of, methods_of_run
from liteframe.bench.timers import RunRule
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.system.own_folder import list_files
from tiny_world import InProcessPool, encoder_folder, host_folder, manifest, store_folder

RUN_METHODS = [
    "teacher",
    "teacher+average",
    "teacher+max",
    "teacher+subsample",
    "teacher+wap",
    "liteframe-ctd",
    "liteframe-lma",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a run of the pipeline, whose stages did not learn anything."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(manifest("test").parent, folder / "world")
    shutil.copytree(host_folder(), folder / "pretrain-llm" / "export")
    shutil.copytree(store_folder(), folder / "cache" / "store")
    shutil.copytree(encoder_folder(), folder / "ctd" / "export")
    host, _ = load_base_vlm(str(host_folder()))
    adapted = get_peft_model(host.model.language_model, LoraConfig(r=2, target_modules=["q_proj"]))
    (folder / "lma" / "export").mkdir(parents=True)
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    source = str(folder / "pretrain-llm" / "export")
    save_adapted(folder / "lma" / "export", source, encoder, adapted, host.model.multi_modal_projector)
    for position, name in enumerate(("world", "pretrain-llm", "ctd")):
        record = {"name": name, "seconds": 1.0 + position, "position": position, "seed": 5, "budget_s": 9}
        (folder / name / "done.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    make_quick(monkeypatch)


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs a cell, and of each dtype; what is measured is not what is tested."""
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    monkeypatch.setattr(sweep.RunRule, "for_device", partial(_rule, RunRule))
    monkeypatch.setattr(own_dtype, "_RUNS", 1)
    rates = cycle([(40.0, 20.0, 9.0), (50.0, 15.0, 8.0)])
    names = ("bf16_gflops", "fp32_gflops", "bandwidth_gbs")
    monkeypatch.setattr(sweep, "measure_limits", lambda: {**dict(zip(names, next(rates), strict=True)), "seconds": 1.0})


def _rule(kind: type[RunRule], device: str, **changes: Any) -> RunRule:
    return kind(warmup=0, min_runs=2, max_runs=2, **changes)


def test_methods_are_pairs_of_the_runs_own_parts(run: Path) -> None:
    methods = {method.name: method for method in methods_of_run(run, (4,), (4, 8))}
    assert list(methods) == RUN_METHODS
    assert len({id(method.model.backbone) for name, method in methods.items() if name.startswith("teacher")}) == 1
    assert methods["teacher+wap"].model.compressor == WAP((4, 2, 2), "cosine", 20.0), "the settings of the run's store"
    assert methods["liteframe-ctd"].model.language_model is methods["teacher"].model.language_model
    assert methods["liteframe-lma"].model.language_model is not methods["teacher"].model.language_model
    assert (methods["teacher"].frames, methods["liteframe-lma"].frames) == ((4,), (4, 8))
    assert not any(module.training for method in methods.values() for module in method.model.modules())
    frames = torch.randn(1, 8, 3, 112, 112)
    tokens = {
        name: tuple(method.model.project(method.model.encode(frames)).shape[1:3]) for name, method in methods.items()
    }
    assert tokens.pop("teacher") == (8, 16)
    assert set(tokens.values()) == {(2, 4)}, "16 times fewer"


def test_a_report_of_every_method_and_count(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = bench_command(str(run), teacher_frames=[4, 8], student_frames=[8, 16], batch_size=2, out=str(tmp_path))
    assert code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    cells = [(row["arm"], row["frames"]) for row in report["rows"]]
    assert cells == [(name, count) for name in RUN_METHODS for count in ((8, 16) if "lite" in name else (4, 8))]
    for row in report["rows"]:
        assert row["questions"] == 12
        assert 0 <= row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] <= 1
        assert set(row["per_type"]) == {"needle", "order", "motion", "persist"}
        assert row["tokens"] == row["frames"] * (16 if row["arm"] == "teacher" else 1)
        parts = [row[f"{part}_ms"] for part in ("decode", "encode", "project", "prefill")]
        assert min(parts) > 0
        assert row["model_ms"] == pytest.approx(sum(parts[1:]), rel=0.5)
        assert row["total_ms"] > row["model_ms"]
    for row in report["rows"]:
        found = report["settings"]["dtypes"][row["arm"]]
        assert row["dtype"] == found["dtype"] == min(("bfloat16", "float32"), key=lambda name: found[f"{name}_ms"])
        assert any(f"Timed in {row['dtype']}: " in note and row["arm"] in note for note in report["notes"])
    assert report["environment"]["dtype"].startswith("answers in float32, times in the faster of")
    best = {"bf16_gflops": 50.0, "fp32_gflops": 20.0, "bandwidth_gbs": 9.0, "seconds": 2.0}
    assert report["limits"] == best, "of before and after the times"
    assert [stage["name"] for stage in report["stages"]] == ["world", "pretrain-llm", "ctd", "bench"]
    assert report["environment"] and report["settings"]["seed"] == 5
    assert report["settings"]["image_size"] == report["settings"]["image_size_made_for"] == [112, 112]
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    assert "liteframe-lma" in (tmp_path / "report.md").read_text()
    assert "liteframe-lma" in capsys.readouterr().out
    assert not (run / "report.json").exists()


def test_accuracies_alone_write_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_command(str(run), teacher_frames=[4], student_frames=[4], latency=False) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "needle" in line]
    assert lines == [[name, "4"] for name in RUN_METHODS]
    assert not (run / "report.json").exists()


def test_a_run_that_is_not_finished_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"test\.jsonl is missing; run the pipeline first"):
        bench_command(str(tmp_path))
    half = Path(shutil.copytree(run, tmp_path / "half"))
    shutil.rmtree(half / "lma")
    with pytest.raises(ConfigError, match=r"lma/export is missing; finish the run first"):
        bench_command(str(half))


def test_every_method_that_a_run_can_have_is_measured(run: Path, tmp_path: Path) -> None:
    code = bench_command(str(run), teacher_frames=[8], student_frames=[8], arms=["all"], out=str(tmp_path))
    assert code == 0
    rows = {row["arm"]: row for row in json.loads((tmp_path / "report.json").read_text())["rows"]}
    assert list(rows) == list(MAKERS)
    for name in ("tome", "prumerge", "visionzip", "fastvid"):
        row = rows[f"teacher+{name}"]
        assert (row["tokens_encoder"], row["tokens"], row["tokens_asked"]) == (8 * 64, 8, 8)
    assert rows["teacher+dycoke"]["tokens"] == 32, "the first frame of each four stays whole"
    fastv = rows["teacher+fastv"]
    assert (fastv["tokens"], fastv["tokens_asked"]) == (128, 8)
    assert fastv["tokens_mean_over_layers"] == pytest.approx((128 + 8 + 8) / 3)
    assert (rows["teacher+earlytom"]["tokens"], rows["teacher+earlytom"]["tokens_asked"]) == (8, 8)
    dymu = rows["teacher+dymu"]
    assert (dymu["tokens_encoder"], dymu["tokens"], dymu["tokens_asked"]) == (4 * 8, 8, 8)
    assert rows["teacher+longvu"]["tokens"] <= rows["teacher+longvu"]["tokens_asked"] == 8
    # PruneVid is asked for 20 before the LLM, but has no more where a whole segment stands still.
    for name, by_layer in (("prunevid", (16, 6, 6)), ("holitom", (16, 16, 8)), ("earlytom", (16, 16, 8))):
        row = rows[f"teacher+{name}-llm"]
        assert (row["tokens"], row["tokens_asked"]) == (by_layer[0], 8)
        assert row["tokens_mean_over_layers"] == pytest.approx(sum(by_layer) / 3)
    assert rows["teacher"]["tokens_asked"] is None


@pytest.mark.parametrize(("ratio", "before", "inside"), [(16, 6.4, 2.5), (2.5, 1, 2.5), (2, 1, 2), (1, 1, 1)])
def test_the_ratio_of_a_method_in_two_halves_is_of_both(run: Path, ratio: float, before: float, inside: float) -> None:
    (method,) = methods_of_run(run, (8,), (8,), ["teacher+prunevid-llm"], ratio=ratio)
    model: Any = method.model
    assert (model.before.ratio, model.pruner.ratio) == (before, inside)
    assert model.describe()["ratio"] == ratio
    encoded = model.encode(torch.randn(1, 8, 3, 112, 112))
    assert model.token_counts(encoded, model.project(encoded)).asked == round(128 / ratio)


@pytest.mark.parametrize(
    ("name", "ratio", "threshold"),
    [("earlytom", 4, 0.6), ("earlytom", 16, 0.3), ("earlytom-llm", 10, 0.5), ("earlytom-llm", 16, 0.3)],
)
def test_earlytom_has_the_settings_of_what_its_llm_is_shown(run: Path, name: str, ratio: int, threshold: float) -> None:
    (method,) = methods_of_run(run, (8,), (8,), [f"teacher+{name}"], ratio=ratio)
    assert method.model.backbone.threshold == threshold


@pytest.mark.parametrize(("ratio", "left"), [(4, 16), (8, 8), (16, 4)])
def test_tome_inside_the_teacher_leaves_what_was_asked_for(run: Path, ratio: int, left: int) -> None:
    (method,) = methods_of_run(run, (8,), (8,), ["tome-teacher+wap"], ratio=ratio)
    merged = method.model.backbone.merged(torch.randn(2, 3, 112, 112))  # type: ignore[operator]
    assert merged.sizes_BM.shape == (2, left)
    assert method.model.describe()["inside"] == "tome" and method.model.describe()["compressor"] == "wap"


@pytest.mark.parametrize("ratio", [4, 16])
def test_tome_inside_to_a_quarter_leaves_what_wap_takes_in_space(run: Path, ratio: int) -> None:
    (method,) = methods_of_run(run, (8,), (8,), ["tome4-teacher+wap"], ratio=ratio)
    assert method.model.backbone.merged(torch.randn(2, 3, 112, 112)).sizes_BM.shape == (2, 16)  # type: ignore[operator]
    encoded = method.model.encode(torch.randn(1, 8, 3, 112, 112))
    assert method.model.token_counts(encoded, method.model.project(encoded)).llm == 8 * 16 // ratio


def test_methods_with_other_kernels_are_void(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def with_another_kernel(*args: Any, **more: Any) -> Any:
        methods = methods_of_run(*args, **more)
        encoder: Any = methods[-1].model.backbone
        for block in encoder.encoder.blocks:
            block.attn.kernel = "flex"
        return methods

    monkeypatch.setattr(sweep, "methods_of_run", with_another_kernel)
    with pytest.raises(VoidRun, match="attention_kernel"):
        bench_command(str(run), teacher_frames=[8], student_frames=[8], arms=["teacher", "liteframe-ctd"])


def test_only_the_methods_that_were_asked_for(run: Path) -> None:
    assert [method.name for method in methods_of_run(run, (8,), (8,), ["liteframe-ctd", "teacher+holitom"])] == [
        "teacher+holitom",
        "liteframe-ctd",
    ]
    with pytest.raises(ConfigError, match="teacher\\+nothing"):
        methods_of_run(run, (8,), (8,), ["teacher+nothing"])
    with pytest.raises(ConfigError, match="ratio 5"):
        methods_of_run(run, (8,), (8,), ["teacher+wap"], ratio=5)


def _bench(run: Path, out: Path, methods: list[str], **more: Any) -> dict[str, Any]:
    assert bench_command(str(run), teacher_frames=[8], student_frames=[8], arms=methods, out=str(out), **more) == 0
    return dict(json.loads((out / "report.json").read_text()))


def test_methods_are_added_to_a_report_whose_other_rows_stay(run: Path, tmp_path: Path) -> None:
    before = _bench(run, tmp_path, ["teacher", "teacher+average", "teacher+tome"])
    after = _bench(run, tmp_path, ["teacher+tome", "teacher+visionzip"], add=True)
    own = {name: {row["arm"]: row for row in report["rows"]} for name, report in (("then", before), ("now", after))}
    assert list(own["now"]) == ["teacher", "teacher+average", "teacher+tome", "teacher+visionzip"]
    assert all(own["now"][method] == own["then"][method] for method in ("teacher", "teacher+average"))
    assert own["now"]["teacher+tome"]["samples"] != own["then"]["teacher+tome"]["samples"]
    assert (after["environment"], after["stages"], after["limits"]) == tuple(
        before[name] for name in ("environment", "stages", "limits")
    )
    (note,) = after["settings"]["added"]
    assert note["arms"] == ["teacher+tome", "teacher+visionzip"] and note["environment"]["device"]
    assert note["teacher_model_ms"]["8"]["then"] == pytest.approx(own["then"]["teacher"]["model_ms"], abs=1e-3)


def test_tome_of_an_older_report_stays_as_that_over_the_video(run: Path, tmp_path: Path) -> None:
    before = _bench(run, tmp_path, ["teacher", "teacher+tome"])
    for name in ("scope", "by"):
        del before["settings"]["compressors"]["teacher+tome"][name]
    (tmp_path / "report.json").write_text(json.dumps(before))
    assert [row.arm for row in rows_of(before)] == ["teacher", "teacher+tome-video"]
    after = _bench(run, tmp_path, ["teacher+tome"], add=True)
    assert [row.arm for row in rows_of(after)] == ["teacher", "teacher+tome", "teacher+tome-video"]
    assert after["settings"]["compressors"]["teacher+tome"]["scope"] == "clip"


def test_a_report_proves_which_exports_were_added(run: Path, tmp_path: Path) -> None:
    listed = Path(shutil.copytree(run, tmp_path / run.name))
    for stage in ("ctd", "lma"):
        list_files(listed / stage / "export")
    before = _bench(listed, tmp_path, ["teacher", "liteframe-ctd"])
    after = _bench(listed, tmp_path, ["liteframe-lma"], add=True)
    own, added = before["settings"]["exports"], after["settings"]["exports"]
    assert (
        set(own) == {"liteframe-ctd"} and added == {**own, **exports_of(listed, ["liteframe-lma"])} and len(added) == 2
    )


@pytest.fixture(scope="module")
def reported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run whose stage has a digest, and its report of two methods."""
    folder = tmp_path_factory.mktemp("reported")
    own = Path(shutil.copytree(run, folder / run.name))
    record = json.loads((own / "ctd" / "done.json").read_text())
    (own / "ctd" / "done.json").write_text(json.dumps({**record, "digest": "own"}))
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        return own, _bench(own, folder, ["teacher", "teacher+average"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda report: report["settings"].update(seed=6), "of seed 6, not 5"),
        (lambda report: report["stages"][2].update(digest="other"), "another stage ctd than the run has now"),
        (lambda report: report["rows"][0].update(accuracy=0.9, accuracy_high=1.0), "the models are not the same"),
        (lambda report: report["rows"].pop(0), "has no row of teacher"),
    ],
)
def test_methods_of_other_runs_are_not_added(
    reported: tuple[Path, dict[str, Any]], tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    own, report = reported[0], copy.deepcopy(reported[1])
    change(report)
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(ConfigError, match=words):
        _bench(own, tmp_path, ["teacher+average"], add=True)
    assert json.loads((tmp_path / "report.json").read_text()) == report


def test_single_methods_are_added_to_a_report_that_is_there(run: Path, tmp_path: Path) -> None:
    for methods in (None, ["all"]):
        with pytest.raises(ConfigError, match="name them with --arms"):
            bench_command(str(run), arms=methods, out=str(tmp_path), add=True)
    with pytest.raises(ConfigError, match=r"report\.json is missing"):
        bench_command(str(run), arms=["teacher+tome"], out=str(tmp_path), add=True)
