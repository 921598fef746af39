from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from csv import DictReader
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from latency_toys import toy_latency

from liteframe.bench.latency_record import How, read_latency
from liteframe.bench.records import RowRecord
from liteframe.bench.report import build_report, write_report
from liteframe.errors import ConfigError, DataError
from liteframe.system.json_files import write_json
from report.real_shapes import legend
from report.records import read_records
from report.render import csv
from report.results_page import page, tables, write_results
from report.tiny_world import mean_rows, sweep_rows

Rows = Callable[..., list[RowRecord]]
MARKS = "†‡§◊¶"
ROOT = Path(__file__).resolve().parents[2]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def records(fake_rows: Rows, tmp_path: Path) -> Path:
    """A folder of records: two seeds, no latency."""
    folder = tmp_path / "records"
    environment = {"device": "a cpu", "threads": 2, "commit": "c" * 40, "dirty": True}
    for seed, shift in ((4, 0.0), (5, 0.01)):
        rows = [replace(row, encode_ms=row.encode_ms + 10 * shift * row.frames) for row in fake_rows(shift)]
        report = build_report(environment, [], rows, {"seed": seed}, {"bf16_gflops": 400.0 + seed})
        write_json(folder / f"tiny-seed{seed}" / "report.json", report)
    return folder


def _with_latency(records: Path, device: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    data = toy_latency(device)
    change(data)
    path = records / f"latency_{device}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def _page(records: Path) -> str:
    return page(read_records(records))


def _csv(records: Path, name: str) -> list[dict[str, str]]:
    """The lines of a CSV beside the page."""
    return list(DictReader(csv(tables(read_records(records))[name]).splitlines()))


def _line(page: str, *starts: str) -> list[str]:
    begin = "| " + " | ".join(starts) + " |"
    return next(line[2:-2].split(" | ") for line in page.splitlines() if line.startswith(begin))


def test_every_half_says_once_its_records_and_what_it_ran_on(records: Path) -> None:
    _with_latency(records, "cpu")
    page = _page(records)
    tiny, real = re.split(r"^# Real shapes", page, flags=re.MULTILINE)
    seeds = "*Made from [records/tiny-seed4/report.json]"
    assert tiny.count(seeds) == 1 and tiny.index(seeds) < tiny.index("\n| ")
    assert real.count("*Made from [records/latency_cpu.json]") == 1
    assert real.index("*Made from") < real.index("\n### ")
    assert "commit cccccccccccc with changes" in page and "2 threads" in page
    assert page == _page(records)


def test_what_was_not_measured_has_no_numbers(records: Path) -> None:
    page = _page(records)
    assert "Not measured yet: run `make bench`." in page and "Not measured yet: run `make bench-gpu`, then" in page
    assert "mixer" not in page
    _with_latency(records, "cpu")
    assert _page(records).count("Not measured yet") == 1


def test_tables_are_rectangular(records: Path) -> None:
    for device in ("cpu", "gpu"):
        _with_latency(records, device)
    width = 0
    for line in _page(records).splitlines():
        width = (width or line.count("|")) if line.startswith("|") else 0
        assert line.count("|") == width or not width, line


def test_mean_and_gain_are_those_of_the_seeds(records: Path) -> None:
    page = _page(records)
    assert _line(page, "teacher, all tokens")[1] == "0.729 ± 0.014"  # 0.724 and 0.734, 0.02 each
    key = {"field": "total_ms", "baseline_frames": 8, "arm": "liteframe-lma"}
    reports = [json.loads((records / f"tiny-seed{seed}" / "report.json").read_text()) for seed in (4, 5)]
    gains = [match["gain"] for report in reports for match in report["matched_latency"] if key.items() <= match.items()]
    assert len(gains) == 2 and f"({fmean(gains):+.3f})" in _line(page, "student after LMA", "end to end")[2]
    late = _line(page, "WAP", "model")
    assert late[-1].endswith(" ◁") and "◁" not in late[2], "at the teacher's 64 frames its own 64 stand in"


def test_computed_times_are_marked_and_timed_ones_are_not(records: Path) -> None:
    _with_latency(records, "cpu")
    assert _line(_page(records), "student", "440")[1:] == ["440", "3,520 †‡", "28,160 ‡§"]
    rows = [row for row in _csv(records, "real_shapes_cpu") if (row["suite"], row["method"]) == ("pipeline", "student")]
    how = {(row["frames"], row["stage"]): row["how"] for row in rows}
    assert {how["8", stage] for stage in ("encode", "project", "prefill")} == {"timed"}
    assert how["512", "encode"] == "scaled by the frame" and how["512", "prefill"] == "longer than any that was timed"


def test_ratios_bear_the_marks_of_both_their_times(records: Path) -> None:
    _with_latency(records, "cpu", _teachers_encode_was_timed)
    speed_ups = _page(records).partition("# Real shapes")[2].partition("### Where the time goes")[2]
    assert not any(mark in cell for cell in _line(speed_ups, "student", "8") for mark in MARKS)
    encode, prefill, model = _line(speed_ups, "student", "64")[2:]
    assert encode == "6.67x ‡ (70%, 3.31x)", "the student's alone was scaled"
    assert prefill.startswith("16.00x †§ (") and model == "7.82x †‡§"
    assert _line(speed_ups, "WAP", "64")[3].startswith("16.00x †§ (")


def _teachers_encode_was_timed(data: dict[str, Any]) -> None:
    for row in data["rows"]:
        if (row["suite"], row["arm"]) == ("pipeline", "teacher"):
            row["stages"]["encode"]["computed"] = False


def test_methods_that_were_added_later_are_named(records: Path) -> None:
    path = records / "tiny-seed4" / "report.json"
    report = json.loads(path.read_text())
    assert "were measured later" not in _page(records)
    times = {"8": {"then": 10.0, "now": 12.0}, "16": {"then": 20.0, "now": 15.0}}
    note = {"arms": ["teacher+max"], "environment": {}, "teacher_model_ms": times}
    report["settings"]["added"] = [note]
    write_json(path, report)
    said = "max pooling were measured later than the rest of a report; the teacher, measured along, took 0.75 to 1.20"
    assert said in _page(records)


def _renamed(records: Path, names: dict[str, str]) -> None:
    """Gives methods of all reports other names."""
    for path in records.glob("tiny-seed*/report.json"):
        report = json.loads(path.read_text())
        for row in report["rows"]:
            row["arm"] = names.get(row["arm"], row["arm"])
        write_json(path, report)


def test_halves_that_were_not_measured_are_said(records: Path) -> None:
    assert "Not in these rows" not in _page(records)
    _renamed(records, {"teacher+average": "teacher+holitom", "teacher+max": "teacher+flashvid"})
    page = _page(records)
    assert "Not in these rows: HoliTom's merging inside the LLM; FlashVID's pruning inside the LLM.\n" in page
    _renamed(records, {"teacher+subsample": "teacher+holitom-llm", "teacher+flashvid": "teacher+dycoke"})
    page = _page(records)
    assert "Not in these rows: DyCoke's pruning of the LLM's cache while it decodes.\n" in page
    assert "HoliTom's merging" not in page and "FlashVID's pruning" not in page


def test_noise_of_the_times_is_said(records: Path) -> None:
    path = records / "tiny-seed5" / "report.json"
    report = json.loads(path.read_text())
    assert "90th percentile" not in _page(records)
    report["rows"][0]["spread"]["model"]["p90"] = 1000.0
    write_json(path, report)
    assert "In 0, 1 of 30 cells of the seeds, each alone, the model time's 90th percentile is more" in _page(records)


def test_a_legend_explains_the_marks_of_its_table_and_no_others() -> None:
    words = "prefill computed", "scaled by the frame", "extrapolated", "does not say how", "timed apart"
    for mark, meaning in zip(MARKS, words, strict=True):
        assert meaning in legend(pd.DataFrame([f"1 {mark}"]))
        assert not any(other in legend(pd.DataFrame([f"1 {mark}"])) for other in set(words) - {meaning})
    assert legend(pd.DataFrame(["1"])) == ""


def test_the_committed_record_says_how_every_stage_was_computed() -> None:
    record = read_latency(ROOT / "benchmarks" / "records" / "latency_cpu.json")
    how = {stage.how for row in record.rows for stage in row.stages.values() if stage.computed}
    assert how == {How.BY_THE_FRAME, How.AT_RATE, How.EXTRAPOLATED}


def test_a_record_of_before_the_field_how_does_not_say_it(records: Path) -> None:
    path = _with_latency(records, "cpu")
    data = json.loads(path.read_text())
    for row in data["rows"]:
        for stage in row["stages"].values():
            stage.pop("how", None)
    path.write_text(json.dumps(data))
    assert _line(_page(records), "student", "440")[1:] == ["440", "3,520 ◊", "28,160 ◊"]


def test_time_to_first_token_begins_in_the_main_memory_where_that_was_timed(records: Path) -> None:
    _with_latency(records, "gpu")
    rows = {(row["suite"], row["method"], row["frames"], row["stage"]): row for row in _csv(records, "real_shapes_gpu")}
    stages = {
        stage: rows["pipeline", "student", "8", stage] for stage in ("host_to_device", "normalize", "first_token")
    }
    assert [row["ms"] for row in stages.values()] == ["4", "2", "1"]
    assert {(row["model_ms"], row["ttft_ms"]) for row in stages.values()} == {("440", "447")}


def test_memory_is_told_where_it_is_that_of_a_method_and_not_of_the_process(records: Path) -> None:
    for kind, told in (("resident set", False), ("cuda allocated", True)):
        _with_latency(records, "gpu", lambda data, kind=kind: data["settings"].update(memory=kind))
        assert ("peak_mib" in _csv(records, "real_shapes_gpu")[0]) == told


def test_ways_to_run_an_encoder_are_told_beside_the_eager_one(records: Path) -> None:
    _with_latency(records, "cpu")
    assert "Ways to run an encoder" not in _page(records)

    def kernels(data: dict[str, Any]) -> None:
        data["settings"] |= {
            "attention_preferred": ["flash", "math"],
            "attention_kernels_ms": {"cudnn": 1.0, "flash": 1.5},
        }

    _with_latency(records, "gpu", kernels)
    ways = _page(records).partition("### Ways to run an encoder")[2].partition("### Encoders")[0]
    assert (
        "prefers the kernels flash, math; the teacher's in eight frames took 1.00 ms by cudnn, 1.50 ms by flash."
        in ways
    )
    share = 64 * 82.0 / 3000.0 * 1e3
    assert _line(ways, "student", "64", "eager")[3:] == ["2,880", "1.00x", f"{share / 2880.0:.0%}"]
    assert _line(ways, "student", "64", "compiled + graphs")[3:] == ["1,920", "1.50x", f"{share / 1920.0:.0%}"]
    assert _line(ways, "student", "64", "float8 + compiled")[3:] == ["1,440", "2.00x", "-"], (
        "of float8 no rate was measured"
    )
    first = ways.partition("Time to the first token")[2]
    assert _line(first, "student", "64", "compiled + graphs")[3:] == ["400"]
    assert _line(first, "student", "64", "overlapped, frames from the host's memory")[3:] == ["360"]
    rows = [row for row in _csv(records, "real_shapes_gpu") if row["suite"] == "execution"]
    assert [row["execution"] for row in rows] == ["eager", "compiled + graphs"]


def test_methods_that_reduce_tokens_are_told_with_their_mean_over_layers(records: Path) -> None:
    def inside(data: dict[str, Any]) -> None:
        note = "its prefill keeps no cache"
        about = {**data["arms"][0], "name": "teacher+fastv", "group": "inside", "label": "FastV to 16x", "note": note}
        data["arms"].append(about)
        row = next(row for row in data["rows"] if (row["suite"], row["arm"]) == ("pipeline", "teacher"))
        data["rows"].append({**row, "arm": "teacher+fastv", "tokens_mean_over_layers": 252.5})

    _with_latency(records, "gpu", inside)
    text = _page(records)
    assert "- FastV (inside the LLM): FastV to 16x; its prefill keeps no cache\n" in text
    assert text.count("- plain ViT-B: ViT-B/14") == 1
    layers = {row["method"]: row["tokens_mean_over_layers"] for row in _csv(records, "real_shapes_gpu")}
    assert (layers["teacher+fastv"], layers["vit-b"]) == ("252.5", "")


def test_a_time_budget_is_told_in_seconds_where_the_record_has_it(records: Path) -> None:
    def short_of_time(data: dict[str, Any]) -> None:
        data["dropped"][0]["reason"] = "time budget"

    _with_latency(records, "cpu", short_of_time)
    assert "- Not run: encoder, MobileNet-v5, 16 frames: time budget\n" in _page(records)
    _with_latency(records, "cpu", lambda data: (short_of_time(data), data["settings"].update(budget_s=1020.0)))
    assert "- Not run: encoder, MobileNet-v5, 16 frames: time budget of 1,020 s\n" in _page(records)


def test_out_of_memory_and_what_was_not_run_are_told(records: Path) -> None:
    _with_latency(records, "gpu", lambda data: data.update(complete=False))
    page, rows = _page(records), _csv(records, "real_shapes_gpu")
    (failed,) = [row for row in rows if (row["method"], row["frames"], row["batch"]) == ("student", "8", "32")]
    assert (failed["status"], failed["stage"]) == ("out of memory", "")
    assert "the record is partial" in page and "MobileNet-v5, 16 / 32 frames: no time left" in page
    assert "- Not run: throughput (batch 8), teacher, all tokens, 64 frames: no time left\n" in page
    assert "- Not run: all, FastViT: cannot be made\n" in page


def test_floors_that_were_beaten_show_limits_measured_too_low(records: Path) -> None:
    def at_half_the_rate(data: dict[str, Any]) -> None:
        stages = [stage for row in data["rows"] for stage in row["stages"].values() if stage["floor"]]
        for stage in stages:
            stage["floor"]["times_floor"] = 2.0
        timed = [stage for stage in stages if not stage["computed"]]
        timed[0]["floor"]["times_floor"] = timed[-1]["floor"]["times_floor"] = 0.7

    _with_latency(records, "cpu")
    assert "less than their floor" not in _page(records)
    _with_latency(records, "cpu", at_half_the_rate)
    assert "2 stages took less than their floor, so these rates were measured too low." in _page(records)


def test_accuracy_is_only_that_of_a_named_relative(records: Path) -> None:
    _with_latency(records, "cpu")
    page = _page(records)
    assert _line(page, "student", "448", "87")[-1] == "0.799 (student after LMA)"
    assert _line(page, "plain ViT-B", "448", "86")[-1].strip() == ""


def test_csv_is_plain() -> None:
    table = pd.DataFrame({"a": ["x, y", "z"], "b": [0.12345, float("nan")], "c": [1234.5, 2.0], "d": [1, 2]})
    assert csv(table) == 'a,b,c,d\n"x, y",0.1235,1234.5,1\nz,,2,2\n'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(kind="seeds"), "'kind' is 'seeds'"),
        (lambda d: d.pop("rows"), "'rows' is missing"),
        (lambda d: d["rows"][0].pop("suite"), r"rows\[0\].*'suite'"),
        (lambda d: d["rows"][0].pop("stages"), r"rows\[0\].*'stages'"),
        (lambda d: d["rows"][0]["stages"]["encode"].pop("ms"), r"rows\[0\].stages.encode.*'ms'"),
        (lambda d: d["rows"][0]["stages"]["encode"].update(ms="fast"), r"rows\[0\].stages.encode.*'ms' is 'fast'"),
        (lambda d: d["settings"].update(size="tiny"), "'settings.size' is 'tiny'"),
        (lambda d: d["arms"][0].pop("label"), r"arms\[0\].*'label'"),
    ],
)
def test_partial_latency_record_is_named_with_its_field(
    records: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = _with_latency(records, "cpu", change)
    with pytest.raises(DataError, match=r"latency_cpu\.json.*" + message):
        read_latency(path)


def test_no_report_of_a_seed_and_a_broken_one_are_refused(records: Path) -> None:
    (records / "tiny-seed4" / "report.json").rename(records / "tiny-seed5" / "report.json")
    assert read_records(records).mean_of == [4], "the seed that it says, not that of its folder"
    (records / "tiny-seed5" / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"tiny-seed5.report\.json"):
        read_records(records)
    (records / "tiny-seed5" / "report.json").unlink()
    with pytest.raises(DataError, match=r"no tiny-seed\*/report\.json of seed 4, 5, 6; run `make bench`"):
        write_results(records.parent)


def test_command_writes_page_and_plots_and_checks_them(records: Path) -> None:
    _with_latency(records, "cpu")
    command, folder = _script("results"), records.parent
    assert command.main(["--check"], folder) == 1
    assert command.main([], folder) == 0 and command.main(["--check"], folder) == 0
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (folder / "RESULTS.md").read_text())
    assert len(shown) == len(list((folder / "plots").glob("*.png"))) == 4
    assert all((folder / path).read_bytes()[:4] == b"\x89PNG" for path in shown)
    (folder / shown[0]).unlink()
    assert command.main(["--check"], folder) == 1


def test_a_run_is_kept_only_with_its_report(records: Path, fake_rows: Rows, tmp_path: Path) -> None:
    keep = _script("keep_run").keep
    run = tmp_path / "tiny-seed5"
    with pytest.raises(ConfigError, match=r"has no report\.json.*liteframe bench"):
        keep(run, records)
    write_report(build_report({}, [], fake_rows(0.02), {"seed": 5}), run)
    keep(run, records)
    assert mean_rows(sweep_rows(read_records(records), [5])).loc["teacher", 8].accuracy == pytest.approx(0.744)
    other = tmp_path / "tiny"
    write_report(build_report({}, [], fake_rows(), {"seed": 0}), other)
    keep(other, records)
    found = read_records(records)
    assert found.mean_of == [4, 5] and set(found.table.seed) == {0, 4, 5}
    assert [path.name for path in (records / "tiny").iterdir()] == ["report.json"]
    with pytest.raises(ConfigError, match="begins with 'tiny'"):
        keep(run.rename(tmp_path / "mine"), records)
