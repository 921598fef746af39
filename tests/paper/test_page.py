"""The page and its plots come from the records alone, always the same, and say what is missing."""

from __future__ import annotations

import subprocess
import sys
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg

from liteframe import cli
from liteframe.bench.records import write_json
from liteframe.configs import shipped_configs
from liteframe.models.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.tiny import build_tiny_host
from liteframe.paper import plots
from liteframe.paper.cells import CELLS, FRAMES, RATIOS, PaperCell, find_cell
from liteframe.paper.claims import CLAIMS, SHARES_WAPS_ADVANTAGE, TIMES_AS_MEASURED
from liteframe.paper.evidence import read_evidence
from liteframe.paper.names import CTD, LMA, REDUCTIONS, name_of
from liteframe.paper.page import check_page, page, write_page
from liteframe.paper.verdicts import MISSING, RULE

COMMITTED = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "paper"


def some(arm: str, frames: int, seed: int) -> float:
    return min(0.95, 0.3 + frames / 200 + len(arm) / 100)


def test_the_committed_page_says_what_the_records_do() -> None:
    assert check_page(COMMITTED)


def test_the_page_of_no_records_promises_nothing(tmp_path: Path) -> None:
    text = page(read_evidence(tmp_path))
    assert "**holds**" not in text and "**does not hold**" not in text and "**cannot be told**" not in text
    assert text.count("**not measured yet**") + text.count("**not measurable here**") == len(CLAIMS)
    assert f"Of {len(CLAIMS)} claims: holds: 0; does not hold: 0; cannot be told: 0; not measured yet: " in text
    assert ".png" not in text and "No record yet." in text
    for arm in REDUCTIONS:
        assert name_of(arm) in text
    assert "`make bench RUN=runs/tiny-seed4` (and 5, 6)" in text


def test_the_sizes_in_the_introduction_are_those_of_the_models(tmp_path: Path) -> None:
    host, _ = build_tiny_host()
    ctd = yaml.safe_load((shipped_configs() / "tiny" / "ctd.yaml").read_text(encoding="utf-8"))
    student = LiteFrameEncoder(LiteFrameConfig(**ctd["model"]["init_args"]["encoder"]))
    host_m, teacher_m, student_m = (
        sum(weight.numel() for weight in model.parameters()) / 1e6 for model in (host, host.model.vision_tower, student)
    )
    sizes = f"{host_m:.1f} M parameters, its image encoder (the teacher) {teacher_m:.1f} M, the student {student_m:.1f}"
    assert sizes in " ".join(page(read_evidence(tmp_path)).split())


def test_every_number_stands_where_it_belongs(records: Path, fill: Any, shapes_record: Any) -> None:
    fill(records, some)
    write_json(records.parent / "latency_cpu.json", shapes_record(depthwise=10.0, full=14.0))
    evidence = read_evidence(records)
    text = page(evidence)
    found = evidence.accuracy("teacher+tome", 16)
    assert found is not None
    table = text.partition("## Table 1")[2].partition("**Another host.**")[0]
    (line,) = [line for line in table.splitlines() if line.startswith("| ToMe in clips |")]
    assert "16 / 16" in line
    assert line.split(" | ")[2] == f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
    assert RULE in text and "Nothing: every cell has its record." in text
    assert "| depth-wise convolution (the paper's) | 11.0 | 80.0 | 87.0 |" in text, "encode + project"
    assert f"| joint space-time attention |{f' {MISSING} |' * 3}" in text
    assert "40 held-out videos of 128 frames a seed, 4 questions each" in text and "drawn\nanew 2,000 times" in text
    assert "| 4x: (1, 2, 2) | 16 |" in text, "tokens to the LLM"
    assert text == page(read_evidence(records))


def test_other_budgets_stand_apart(records: Path, fill: Any) -> None:
    fill(records, some)
    text = page(read_evidence(records))
    first, others = text.partition("## Table 1")[2].partition("**Another host.**")[0].split("**Other budgets.**")
    for arm in ("teacher, all tokens", "DyCoke", "FastV (inside the LLM)", "PyramidDrop (inside the LLM)"):
        assert f"| {arm} |" in others and f"| {arm} |" not in first
    assert "| FastVID |" in first and "| FastVID |" not in others


def test_another_host_has_a_table_of_its_own(records: Path, fill: Any) -> None:
    names = [f"control:teacher+{name}" for name in ("average", "wap", "tome")]
    cell = PaperCell("control", "control", tuple((name, FRAMES) for name in names), (4, 5))
    others = [other for other in CELLS if other.name != "control"]
    cells = (*others, cell)
    fill(records, lambda arm, n, seed: 0.7 if arm == "control:teacher+wap" else 0.4, cells)
    text = page(read_evidence(records, cells), cells)
    table = text.partition("**Another host.**")[2].partition("**Other settings.**")[0]
    rows = {line.split(" | ")[0][2:]: line for line in table.splitlines() if line.startswith("| ")}
    assert list(rows) == ["reduction", "---", "average pooling", "WAP", "ToMe in clips"]
    assert "0.7" in rows["WAP"] and "+0.3" in rows["ToMe in clips"] and "[4, 5]" not in rows["ToMe in clips"], (
        "it has two seeds"
    )
    alone = page(read_evidence(records, others), others).partition("**Another host.**")[2]
    assert MISSING in alone.partition("**Other settings.**")[0]


def test_two_trainings_of_the_same_are_shown(records: Path, fill: Any) -> None:
    fill(records, lambda arm, n, seed: 0.55 if arm == "ctd-again" else 0.5)
    text = page(read_evidence(records)).partition("## Table 5")[2]
    assert "| depth-wise convolution (the paper's), trained again | 0.5" in text and "less depth-wise |" in text
    assert (
        "Noise of training: +0.050" in text
        and "the largest, 0.050, is what a difference must exceed at each seed" in text
    )


def test_each_part_is_listed_with_its_seeds(records: Path, fill: Any) -> None:
    fill(records, some)
    text = page(read_evidence(records)).partition("## How each was judged")[2]
    for claim in CLAIMS:
        assert f"**{claim.text}**" in text
    (line,) = [line for line in text.splitlines() if line.startswith("- WAP less ToMe in clips: ")]
    assert "seed 4 " in line and "seed 6 " in line and "; *does not hold*" in line
    assert "[" not in text.partition("## Notes")[0].partition("## What has not")[0], "they say that seeds are missing"


def test_what_a_verdict_rests_on_stands_beside_it(records: Path, fill: Any) -> None:
    fill(records, some)
    text = page(read_evidence(records))
    claims, _, rest = text.partition("## Table 1")
    figure_6 = rest.partition("## Figure 6")[2].partition("## Table 5")[0]
    parts = rest.partition("## How each was judged")[2]
    assert SHARES_WAPS_ADVANTAGE in figure_6
    for words, note in (
        ("At the time that the host", TIMES_AS_MEASURED),
        ("It lies above", TIMES_AS_MEASURED),
        ("With the LLM frozen, the student alone is more", SHARES_WAPS_ADVANTAGE),
        ("Learning compressed tokens", SHARES_WAPS_ADVANTAGE),
    ):
        (row,) = [line for line in claims.splitlines() if line.startswith(f"| {words}")]
        (title,) = [line for line in parts.splitlines() if line.startswith(f"**{words}")]
        assert note in row and note in title
    assert "the times are taken as they were measured" in " ".join(claims.split())


def test_missing_cells_and_seeds_are_said(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher")])
    fill(records, some, [find_cell("pooling")], seeds=(4, 6))
    lines = page(read_evidence(records)).splitlines()
    assert sum(line.startswith("| FastVID |") and line.count(MISSING) >= 4 for line in lines) == 1
    (wap,) = [line for line in lines if line.startswith("| max pooling |") and "[4, 6]" in line and "/" in line]
    assert wap.count("[4, 6]") == 5
    assert "- pooling (grids, 16x): seed 5" in lines
    assert not any(line.startswith("- teacher (") for line in lines)


def test_every_reduction_can_be_drawn(records: Path, fill: Any, report: Any) -> None:
    fill(records, some)
    arms = ("teacher", *REDUCTIONS, CTD, LMA)
    report(records, 4, {(arm, n): 1.0 * n for arm in arms for n in (8, 16)})
    assert set(arms) | set(RATIOS) <= set(plots._STYLES)
    looks = [(style.color, style.marker) for style in (plots._STYLES[arm] for arm in arms)]
    assert len(set(looks)) == len(looks), "told apart"
    assert all(path.stat().st_size > 1000 for path in plots.write_plots(read_evidence(records), records / "plots"))


NEW_METHOD = """
import sys
from pathlib import Path
from liteframe.ops.compressors import registry
registry.METHODS["brand-new"] = registry.METHODS["tome"]
from liteframe.bench.arms import ARMS
from liteframe.paper.evidence import read_evidence
from liteframe.paper.page import page, write_page
assert "teacher+brand-new" in ARMS, "it is an arm of the sweep"
records = Path(sys.argv[1])
write_page(records)
"""


def test_a_new_method_of_the_registry_changes_nothing(records: Path, fill: Any, report: Any) -> None:
    """In another process, as the lists of arms are made on import."""
    fill(records, some)
    report(records, 4, {(arm, n): 1.0 * n for arm in ("teacher", *REDUCTIONS, CTD, LMA) for n in (8, 16)})
    before = page(read_evidence(records))
    subprocess.run([sys.executable, "-c", NEW_METHOD, str(records)], check=True, timeout=120)
    target = records.parents[1] / "PAPER.md"
    assert target.read_text() == before and "brand-new" not in before
    assert (target.parent / "plots" / "fig6.png").stat().st_size > 1000


def test_an_arm_without_a_style_is_drawn(
    records: Path, fill: Any, report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(records, some, [find_cell("merging")])
    report(records, 4, {("teacher+tome", n): 1.0 * n for n in (8, 16)})
    monkeypatch.delitem(plots._STYLES, "teacher+tome")
    assert all(path.is_file() for path in plots.write_plots(read_evidence(records), records / "plots"))


def test_the_labels_of_frames_lie_on_no_marker(records: Path, fill: Any, report: Any) -> None:
    """Max pooling a little faster and a little worse than WAP, as it is."""

    def near(arm: str, frames: int, seed: int) -> float:
        return 0.5 + 0.09 * log2(frames / 8) - (0.02 if arm == "teacher+max" else 0.0)

    fill(records, near, [find_cell("pooling")])
    times = {("teacher+wap", n): 13.0 * (n / 8) ** 0.7 for n in FRAMES}
    report(records, 4, times | {("teacher+max", n): 0.99 * ms for (_, n), ms in times.items()})
    figure = plots._frontier(read_evidence(records), ["teacher+wap", "teacher+max"], "")
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    markers = [
        axes.transData.transform((x, y)) for line in axes.lines for x, y in np.asarray(line.get_xydata(), dtype=float)
    ]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(boxes) == {str(count) for count in FRAMES}
    assert [(count, point) for count, box in boxes.items() for point in markers if box.contains(*point)] == []


def test_plots_are_drawn_of_what_there_is(records: Path, fill: Any, report: Any) -> None:
    fill(records, some, [find_cell("teacher"), find_cell("students")])
    report(records, 4, {("teacher", n): 1.0 * n for n in (8, 16)})
    target = write_page(records)
    assert target == records.parents[1] / "PAPER.md" and check_page(records)
    pictures = sorted(path.name for path in (target.parent / "plots").iterdir())
    assert pictures == ["fig2.png", "fig3.png", "fig6.png"]
    first = (target.parent / "plots" / "fig2.png").read_bytes()
    write_page(records)
    (target.parent / "plots" / "fig6.png").unlink()
    assert not check_page(records), "the page shows a plot that is not there"
    assert first[:4] == b"\x89PNG" and first == (target.parent / "plots" / "fig2.png").read_bytes()


def test_notes_become_a_section(records: Path, fill: Any) -> None:
    fill(records, some, [find_cell("teacher")])
    (records / "notes.md").write_text("WAP was tried with other scales.\n")
    assert (
        "## Notes\n\nWAP was tried with other scales.\n\n## What has not been measured yet"
        in write_page(records).read_text()
    )


def test_the_command_writes_and_checks(records: Path, fill: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fill(records, some, [find_cell("teacher")])
    words = ["paper", "--page", "--records", str(records)]
    assert cli.main([*words, "--check"]) == 1
    assert "says something else than" in capsys.readouterr().out
    assert cli.main(words) == 0 and cli.main([*words, "--check"]) == 0
    fill(records, some, [find_cell("pooling")])
    assert cli.main([*words, "--check"]) == 1


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
def test_wrong_words_are_named(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", *words]) == 1
    assert message in capsys.readouterr().err
