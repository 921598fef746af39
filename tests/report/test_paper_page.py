"""The page and its plots come from the records alone, always the same, and say what is missing."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from reading import read_evidence

from liteframe.bench.methods import label, of_groups
from liteframe.bench.paper.cells import CELLS, FRAMES, FURTHER_CELLS, PaperCell, find_cell
from liteframe.command.configs import shipped_configs
from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.ops.compressors import registry
from liteframe.system.json_files import write_json
from liteframe.tiny.models import build_tiny_base_vlm
from ranks import run_ranks
from report import plots
from report.accuracy_claims import REDUCING
from report.claims import claims, judged_claims, parts_table
from report.evidence import Evidence
from report.paper_page import page, rivals, write_paper
from report.paper_tables import reductions
from report.records import read_beyond
from report.verdicts import MISSING
from report.wording import words

COMMITTED = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "paper"


CLAIMS, REDUCTIONS = claims(), of_groups(*REDUCING)


def page_of(evidence: Evidence, cells: Sequence[PaperCell] = CELLS, notes: str = "") -> str:
    beyond = Evidence(read_beyond(Path("no records")), FURTHER_CELLS)
    return page(evidence, beyond, judged_claims(evidence, beyond), notes, cells)


def some(method: str, frames: int, seed: int) -> float:
    return min(0.95, 0.3 + frames / 200 + len(method) / 100)


def test_the_committed_page_says_what_the_records_do() -> None:
    assert write_paper(COMMITTED, check=True) == []


def test_what_a_difference_costs_is_a_share_of_right_answers_and_no_overlap_of_tokens() -> None:
    overlap = re.compile(r"alike|random|of the tokens|\d of \d+ tokens")
    assert not [official.costs for _, official in rivals() if overlap.search(official.costs)]
    text = (COMMITTED.parents[2] / "docs" / "rivals.md").read_text(encoding="utf-8")
    assert not re.search(r"\d\.\d\d\d\b(?!\d)|\d+ of \d{3}", re.sub(r"\(\d{4}\.\d{5}", "", text))


def test_the_page_of_no_records_promises_nothing(tmp_path: Path) -> None:
    text = page_of(read_evidence(tmp_path))
    assert "**holds**" not in text and "**does not hold**" not in text and "**inconclusive**" not in text
    assert text.count("**not measured yet**") + text.count("**not measurable here**") == len(CLAIMS)
    assert f"Of {len(CLAIMS)} claims: holds: 0; does not hold: 0; inconclusive: 0; not measured yet: " in text
    assert "Measured on no record yet;" in text
    for method in REDUCTIONS:
        assert label(method) in text
    assert "`make bench RUN=runs/tiny-seed4` (and 5, 6)" in text


def test_the_sizes_in_the_introduction_are_those_of_the_models(tmp_path: Path) -> None:
    host, _ = build_tiny_base_vlm()
    ctd = yaml.safe_load((shipped_configs() / "tiny" / "ctd.yaml").read_text(encoding="utf-8"))
    student = LiteFrameEncoder(LiteFrameConfig(**ctd["model"]["init_args"]["encoder"]))
    host_m, teacher_m, student_m = (
        sum(weight.numel() for weight in model.parameters()) / 1e6 for model in (host, host.model.vision_tower, student)
    )
    sizes = f"{host_m:.1f} M parameters, its image encoder (the teacher) {teacher_m:.1f} M, the student {student_m:.1f}"
    assert sizes in " ".join(page_of(read_evidence(tmp_path)).split())


def test_every_number_stands_where_it_belongs(records: Path, fill: Any, shapes_record: Any) -> None:
    fill(records, some)
    write_json(records.parent / "latency_cpu.json", shapes_record(depthwise=10.0, full=14.0))
    evidence = read_evidence(records)
    text = page_of(evidence)
    found, less = evidence.accuracy("teacher+tome", 64), evidence.gain("control:teacher+wap", "control:teacher+tome")
    assert found is not None and less is not None
    table = text.partition("## Table 1")[2].partition("## Figure 3")[0]
    (line,) = [line for line in table.splitlines() if line.startswith("| ToMe in clips |")]
    assert line.split(" | ")[2] == f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
    assert line.split(" | ")[4:] == [f"{less.mean:+.3f} ({less.low:+.3f} to {less.high:+.3f})", "16 |"]
    assert "Every cell of the paper has its record." in text
    assert "| depth-wise convolution (the paper's) | 11.0 | 80.0 | 87.0 |" in text, "encode + project"
    assert f"| joint space-time attention |{f' {MISSING} |' * 3}" in text
    assert (
        "40 held-out videos of 128 frames a seed, 4 questions each" in text
        and "from 2,000 bootstrap draws of whole videos" in " ".join(text.split())
    )
    assert text == page_of(read_evidence(records))


def test_other_budgets_stand_apart(records: Path, fill: Any) -> None:
    fill(records, some)
    text = page_of(read_evidence(records))
    first, others = text.partition("## Table 1")[2].partition("## Figure 3")[0].split("These do not reach 16x")
    for method in ("teacher, all tokens", "DyCoke", "FastV (inside the LLM)", "PyramidDrop (inside the LLM)"):
        assert f"| {method} |" in others and f"| {method} |" not in first
    assert "| FastVID |" in first and "| FastVID |" not in others


def test_another_base_vlm_stands_beside_the_first(records: Path, fill: Any) -> None:
    names = [f"control:teacher+{name}" for name in ("average", "wap", "tome")]
    cell = PaperCell("control", "control", tuple((name, FRAMES) for name in names), (4, 5))
    cells = (*[other for other in CELLS if other.name != "control"], cell)
    fill(records, lambda method, n, seed: 0.7 if method == "control:teacher+wap" else 0.4, cells)
    table = reductions(read_evidence(records, cells), [f"teacher+{name}" for name in ("average", "wap", "tome", "max")])
    assert [text.split(" ")[0] for text in table["on the other base VLM"]] == ["+0.300", "-", "+0.300", "-"]
    assert not table["on the other base VLM"].str.contains("[", regex=False).any(), "it has two seeds"
    (records / "seed5" / "control.json").unlink()
    table = reductions(read_evidence(records, cells), ["teacher+tome"])
    assert table["on the other base VLM"][0].endswith(" [4]")


def test_two_trainings_of_the_same_are_shown(records: Path, fill: Any) -> None:
    fill(records, lambda method, n, seed: 0.55 if method == "ctd-again" else 0.5)
    text = page_of(read_evidence(records)).partition("## Table 5")[2]
    assert "| depth-wise convolution (the paper's), trained again | 0.5" in text and "less depth-wise |" in text
    (line,) = [line for line in text.splitlines() if "trained again | 0.5" in line]
    assert line.split(" | ")[2].startswith("+0.050 ("), "the noise of training after CTD"


def test_each_part_is_listed_with_its_seeds(records: Path, fill: Any) -> None:
    fill(records, some)
    table = parts_table(judged_claims(read_evidence(records)))
    assert list(dict.fromkeys(table["claim"])) == [claim.text for claim in CLAIMS]
    (row,) = table[table["part"] == "WAP less ToMe in clips"].to_dict("records")
    assert "seed 4 " in row["by seed"] and "seed 6 " in row["by seed"] and row["verdict"] == "does not hold"
    assert not table["measured"].str.contains("[", regex=False).any(), "they say that seeds are missing"


def test_what_a_verdict_rests_on_stands_beside_it(records: Path, fill: Any) -> None:
    fill(records, some)
    text, notes = page_of(read_evidence(records)), words()["notes"]
    shares, times = notes["shares WAP's advantage"], notes["times as measured"]
    assert shares in text.partition("## Figure 6")[2].partition("## Table 5")[0]
    for beginning, note in (
        ("At the time that the base VLM", times),
        ("It lies above", times),
        ("With the LLM frozen, the student alone is more", shares),
        ("Learning compressed tokens", shares),
    ):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {beginning}")]
        assert note in row


def test_missing_cells_and_seeds_are_said(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher")])
    fill(records, some, [find_cell("pooling")], seeds=(4, 6))
    lines = page_of(read_evidence(records)).splitlines()
    assert sum(line.startswith("| FastVID |") and line.count(MISSING) == 5 for line in lines) == 1
    (pool,) = [line for line in lines if line.startswith("| max pooling |") and "[4, 6]" in line]
    assert pool.count("[4, 6]") == 3 and pool.count(MISSING) == 1
    assert "- not measured yet: pooling (grids, 16x): seed 5" in lines
    assert not any(line.startswith("- not measured yet: teacher (") for line in lines)


def written_with_a_new_method(rank: int, records: Path) -> None:
    """Writes the page where the lists of methods are made anew, as they are on import."""
    for name in [name for name in sys.modules if re.match(r"(liteframe\.bench|report)\b", name)]:
        del sys.modules[name]
    registry.METHODS["brand-new"] = registry.METHODS["tome"]
    assert "teacher+brand-new" in importlib.import_module("liteframe.bench.run_methods").RUN_METHODS
    importlib.import_module("report.paper_page").write_paper(records)


def test_a_new_compressor_waits_for_a_cell(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher"), find_cell("merging")])
    before = page_of(read_evidence(records))
    assert run_ranks(written_with_a_new_method, 1, records) == [0]
    assert (records.parents[1] / "PAPER.md").read_text() == before and "brand-new" not in before


def test_the_page_is_written_with_its_tables_and_picture(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher"), find_cell("students")])
    target, picture = records.parents[1] / "PAPER.md", records.parents[1] / "plots" / "ratios.png"
    assert target in write_paper(records, check=True) and not target.exists()
    assert write_paper(records) == [] and write_paper(records, check=True) == []
    linked = set(re.findall(r"\(tables/([^)]+)\)", target.read_text()))
    assert {path.name for path in (target.parent / "tables").iterdir()} == linked
    first = picture.read_bytes()
    assert first[:4] == b"\x89PNG"
    plots.ratios(read_evidence(records), picture)
    assert picture.read_bytes() == first, "always the same"
    picture.unlink()
    assert write_paper(records, check=True) == [picture], "the page shows a plot that is not there"


def test_notes_become_a_section(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher")])
    (records / "notes.md").write_text("WAP was tried with other scales.\n")
    write_paper(records)
    text = (records.parents[1] / "PAPER.md").read_text()
    assert "## Notes\n\nWAP was tried with other scales.\n\n## How each was judged" in text


def test_the_command_writes_and_checks(records: Path, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module("paper").main
    fill(records, some, [find_cell("teacher")])
    options = ["--page", "--records", str(records.parent)]
    assert command([*options, "--check"]) == 1
    assert "says something else than" in capsys.readouterr().out
    assert command(options) == 0 and command([*options, "--check"]) == 0
    fill(records, some, [find_cell("pooling")])
    assert command([*options, "--check"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--check"], "--check: it checks the page, so give --page with it"),
        (["--threads", "0"], "--threads 0: give a whole number above 0"),
        (["--hours", "-1"], "--hours -1: give a number above 0"),
        (["--only", "table9"], "--only table9: no such group or cell"),
        (["--seeds", "7"], "--seeds 7: these cells have the seeds 4, 5, 6"),
    ],
)
def test_wrong_words_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        importlib.import_module("paper").main(words)
