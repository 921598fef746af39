from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from latency_toys import toy_latency
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from liteframe.bench.encoder_bars import plot_encoders
from liteframe.bench.latency_record import LatencyRecord, read_latency
from liteframe.bench.scaling_plot import plot_latency_over_frames
from liteframe.bench.stage_bars import StageBar, plot_stage_bars


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


def _points(axes: Axes) -> dict[tuple[float, float], bool]:
    """Markers by place: whether they are hollow."""
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): line.get_markerfacecolor() == "white"
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }


def test_computed_points_are_hollow_and_timed_ones_filled(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_latency_over_frames(_record(tmp_path, "cpu"), tmp_path / "a.png", "title")
    encode, _, model = (_points(axes) for axes in drawn[0].axes)
    assert encode[8, 360] is False and encode[64, 2880] is True
    assert model[8, 440] is False and model[512, 28160] is True


def test_context_limit_and_encoders_beyond_it_are_in_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_latency_over_frames(_record(tmp_path, "gpu"), tmp_path / "a.png", "title")
    encode, _, model = drawn[0].axes
    assert any("16,384" in text.get_text() for text in model.texts)
    assert any(list(line.get_xdata()) == [64.0, 64.0] for line in model.lines)
    assert (4096.0, 4096 * 45.0) in _points(encode) and (4096.0, 4096 * 45.0) not in _points(model)


def test_bars_are_milliseconds_a_frame_with_their_floor(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_encoders(_record(tmp_path, "cpu"), tmp_path / "a.png", "title")
    axes = drawn[0].axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    widths = dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True))
    assert names[0] == "student" and widths["student"] == pytest.approx(47.0)
    floors = {line.get_xdata()[0] for line in axes.lines}
    assert any(floor == pytest.approx(82.0 / 3000.0 * 1e3) for floor in floors)


def test_a_record_without_rows_gives_no_picture(tmp_path: Path) -> None:
    empty = _record(tmp_path, "cpu", lambda data: data.update(rows=[]))
    assert plot_latency_over_frames(empty, tmp_path / "a.png", "title") is None
    assert plot_encoders(empty, tmp_path / "a.png", "title") is None
    with pytest.raises(ValueError, match="needs bars"):
        plot_stage_bars([], tmp_path / "a.png", "title")


def test_a_bar_is_cut_by_shares(tmp_path: Path, drawn: list[Figure]) -> None:
    bars = [StageBar("teacher", "8 frames", {"encode": 30.0, "project": 0.0, "prefill": 10.0}, computed=True)]
    plot_stage_bars(bars, tmp_path / "a.png", "title")
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.75, 0.0, 0.25])
    assert "40.0 ms (computed)" in {text.get_text() for text in axes.texts}
