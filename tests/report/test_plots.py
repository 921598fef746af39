from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from latency_toys import toy_latency
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from liteframe.bench.latency_record import LatencyRecord, read_latency
from liteframe.bench.methods import STORY, label, method
from liteframe.bench.records import RowRecord
from report import plots


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, oldest first."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: figures.append(figure) or file.write(b"png"))
    return figures


def _record(tmp_path: Path, device: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> LatencyRecord:
    data = toy_latency(device)
    change(data)
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return read_latency(path)


def _bars(ms: dict[int, dict[str, Any]]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples([("a", frames) for frames in ms], names=["method", "frames"])
    return pd.DataFrame(list(ms.values()), index)


def test_seconds_beyond_ten_of_them(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.stage_bars(_bars({8: {"encode": 3000.0}}), tmp_path / "a.png", "title")
    plots.stage_bars(_bars({8: {"encode": 3000.0}, 64: {"encode": 24000.0}}), tmp_path / "a.png", "title")
    ms, seconds = ({text.get_text() for text in figure.axes[0].texts} for figure in drawn)
    assert "3,000 ms" in ms and {"3.00 s", "24.0 s"} <= seconds


def test_bars_say_how_much_was_computed(tmp_path: Path) -> None:
    def timed_encode(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            if (row["suite"], row["arm"], row["frames"]) == ("pipeline", "teacher", 64):
                row["stages"]["encode"]["computed"] = False

    record = _record(tmp_path, "cpu", timed_encode)
    notes = plots.stages_of_record(record).note
    assert notes["teacher", 8] == "" and notes["teacher", 64] == "partly computed"
    assert notes["student", 64] == "computed"


def test_a_bar_is_cut_by_shares(tmp_path: Path, drawn: list[Figure]) -> None:
    bars = _bars({8: {"encode": 30.0, "project": 0.0, "prefill": 10.0, "note": "partly computed"}})
    plots.stage_bars(bars, tmp_path / "a.png", "title")
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.75, 0.0, 0.25])
    texts = {text.get_text() for text in axes.texts}
    assert {"40.0 ms (partly computed)", "75%", "25%"} <= texts and "0%" not in texts


def test_a_method_has_one_colour_and_the_same_in_every_picture(
    fake_rows: Callable[..., list[RowRecord]], tmp_path: Path, drawn: list[Figure]
) -> None:
    rows = [
        {"method": r.arm, "frames": r.frames, "model_ms": r.model_ms, "total_ms": r.total_ms}
        | {"accuracy": r.accuracy, "low": r.accuracy_low, "high": r.accuracy_high}
        for r in fake_rows()
    ]
    means = pd.DataFrame(rows).set_index(["method", "frames"])
    plots.frontier(means, tmp_path / "a.png", "title")
    plots.rivals(means, tmp_path / "b.png", "title")
    story = {label(name): method(name).colour for name in means.index.levels[0] if name in STORY}
    first, second = (_colours(figure.axes[0]) for figure in drawn)
    assert first == story | {plots.OTHERS: "#BBBBBB"} and second.items() <= story.items()
    others = set(means.index.levels[0]) - set(STORY)
    assert sum(line.get_color() == "#BBBBBB" for line in drawn[0].axes[0].lines) == len(others) > 0
    for axes in drawn[1].axes[: len(others)]:
        name = next(name for name in means.index.levels[0] if label(name) == axes.get_title())
        assert axes.title.get_color() == method(name).colour


def _colours(axes: Axes) -> dict[str, Any]:
    handles, labels = axes.get_legend_handles_labels()
    return {
        text: (line if isinstance(line, Line2D) else line[0]).get_color()
        for text, line in zip(labels, handles, strict=True)
        if text != "_"
    }


def test_the_gain_at_equal_time_is_drawn(
    fake_rows: Callable[..., list[RowRecord]], tmp_path: Path, drawn: list[Figure]
) -> None:
    rows = [vars(row) | {"low": row.accuracy_low, "high": row.accuracy_high} for row in fake_rows()]
    plots.frontier(
        pd.DataFrame(rows).set_index(["arm", "frames"]).rename_axis(["method", "frames"]), tmp_path / "a", ""
    )
    model, total = ({text.get_text() for text in axes.texts} for axes in drawn[0].axes)
    assert "+0.17" in model and "+0.13" in total
