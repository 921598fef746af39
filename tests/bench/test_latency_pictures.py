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
from liteframe.bench.results_plots import real_bars
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
    assert encode[8, 0.36] is False and encode[64, 2.88] is True
    assert model[8, 0.44] is False and model[512, 28.16] is True


def test_seconds_beyond_ten_of_them(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_latency_over_frames(_record(tmp_path, "cpu"), tmp_path / "a.png", "title")
    plot_latency_over_frames(_record(tmp_path, "cpu", _only_8_frames), tmp_path / "a.png", "title")
    assert [figure.axes[0].get_ylabel() for figure in drawn] == ["seconds a video", "milliseconds a video"]
    assert (8.0, 440.0) in _points(drawn[1].axes[2])
    bars = [StageBar("a", "8 frames", {"encode": 3000.0}), StageBar("a", "64 frames", {"encode": 24000.0})]
    plot_stage_bars(bars, tmp_path / "a.png", "title")
    assert {"3.00 s", "24.0 s"} <= {text.get_text() for text in drawn[2].axes[0].texts}


def _only_8_frames(data: dict[str, Any]) -> None:
    data["rows"] = [row for row in data["rows"] if (row["suite"], row["frames"]) == ("pipeline", 8)]


def test_grey_lines_are_named_in_every_panel_and_those_on_a_coloured_one_are_dashed(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    plot_latency_over_frames(_record(tmp_path, "cpu"), tmp_path / "a.png", "title")
    for axes in drawn[0].axes:
        assert {"plain ViT-B", "FastViT"} <= {text.get_text().strip() for text in axes.texts}
    dashed = [[line for line in axes.lines if line.get_linestyle() == "--"] for axes in drawn[0].axes]
    # Of two arms with as many tokens, the prefill is as long.
    assert [len(lines) for lines in dashed] == [0, 1, 0]
    assert list(dashed[1][0].get_ydata()) == [1.024, 8.192]
    coloured = [line for line in drawn[0].axes[1].lines if list(line.get_ydata()) == [1.024, 8.192]]
    assert dashed[1][0].get_zorder() == max(line.get_zorder() for line in coloured)


def test_bars_say_how_much_was_computed(tmp_path: Path) -> None:
    def timed_encode(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            if (row["suite"], row["arm"], row["frames"]) == ("pipeline", "teacher", 64):
                row["stages"]["encode"]["computed"] = False

    record = _record(tmp_path, "cpu", timed_encode)
    found = {(bar.group, bar.name): bar.note for bar in real_bars(record)}
    assert found["teacher", "8 frames"] == ""
    assert found["teacher", "64 frames"] == "partly computed"
    assert found["student", "64 frames"] == "computed"


def test_context_limit_and_encoders_beyond_it_are_in_the_picture(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_latency_over_frames(_record(tmp_path, "gpu"), tmp_path / "a.png", "title")
    encode, _, model = drawn[0].axes
    assert any("16,384" in text.get_text() for text in model.texts)
    assert any(list(line.get_xdata()) == [64.0, 64.0] for line in model.lines)
    assert (4096.0, 184.32) in _points(encode) and (4096.0, 184.32) not in _points(model)


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
    bars = [StageBar("teacher", "8 frames", {"encode": 30.0, "project": 0.0, "prefill": 10.0}, "partly computed")]
    plot_stage_bars(bars, tmp_path / "a.png", "title")
    axes = drawn[0].axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.75, 0.0, 0.25])
    assert "40.0 ms (partly computed)" in {text.get_text() for text in axes.texts}
