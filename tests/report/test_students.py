"""Students of other shapes: each with its own costs, and compared with the student that was trained like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from liteframe.bench.paper.cells import CTD, FURTHER_CELLS, LMA
from liteframe.system.json_files import write_json
from report import plots, students
from report.evidence import Evidence
from report.records import read_beyond
from report.verdicts import MISSING

ACCURACY = {CTD: 0.6, LMA: 0.8, "ctd-narrow": 0.55, "lma-narrow": 0.7}


@pytest.fixture
def evidence(tmp_path: Path, fill: Callable[..., None]) -> Evidence:
    fill(tmp_path / "beyond", lambda method, frames, seed: ACCURACY.get(method, 0.5), FURTHER_CELLS)
    return Evidence(read_beyond(tmp_path), FURTHER_CELLS)


@pytest.fixture
def costs(tmp_path: Path) -> pd.DataFrame:
    rows = [
        {"shape": "teacher", "mflops_per_frame": 120.0, "parameters": 900_000, "ms": 90.0},
        {"shape": "paper", "mflops_per_frame": 24.0, "parameters": 400_000, "ms": 30.0},
        {"shape": "narrow", "mflops_per_frame": 8.0, "parameters": 250_000, "ms": 12.0},
    ]
    write_json(tmp_path / "student_shapes.json", {"rows": rows})
    return students.costs_of_shapes(tmp_path)


def test_a_shape_stands_beside_the_paper_s_of_its_own_training(evidence: Evidence, costs: pd.DataFrame) -> None:
    table = students.table(evidence, costs, {CTD: 0.01, LMA: 0.2}).set_index("student")
    labels = students.labels()
    assert list(table.index) == list(labels.values())
    narrow, tubelet = table.loc[labels["narrow"]], table.loc[labels["tubelet"]]
    assert list(narrow[:4]) == ["8.0", "3.00", "0.25", "12.0"]
    assert narrow["after CTD"].startswith("-0.050 (") and narrow["after LMA"].startswith("-0.100 (")
    assert narrow["after CTD"][-1] == ")" and narrow["after LMA"][-1] == "~", "within what two trainings differ by"
    assert list(tubelet[:4]) == [MISSING] * 4 and tubelet["after CTD"].startswith("-0.100 (")
    assert table.loc[labels["narrow-late"], "after LMA"] == "-", "no cell measures it"
    assert list(table.loc[labels["paper"]][4:]) == ["itself", "itself"]


def test_the_picture_has_each_shape_at_its_cost(
    evidence: Evidence, costs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: drawn.append(figure) or file.write(b"png"))
    plots.students(evidence, costs, tmp_path / "students.png")
    places = list(students.labels())
    for axes, narrow in zip(drawn[0].axes, ((8.0, -0.05), (12.0, -0.05), (8.0, -0.1), (12.0, -0.1)), strict=True):
        points = {text.get_text(): text.xy for text in axes.texts}
        assert set(points) == {str(places.index(shape)) for shape in ("paper", "narrow")}
        assert points[str(places.index("narrow"))] == pytest.approx(narrow)


def test_without_the_record_nothing_is_known_of_costs(tmp_path: Path) -> None:
    assert students.costs_of_shapes(tmp_path).empty
