from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from liteframe.bench.figures import new_figure
from liteframe.bench.gain_marks import mark_gains
from liteframe.bench.records import RowRecord


@pytest.mark.parametrize("blocked", ["left", "right"])
def test_gain_is_written_where_nothing_lies(fake_rows: Callable[..., list[RowRecord]], blocked: str) -> None:
    rows = fake_rows()
    figure = new_figure(8.0, 6.0)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(3.0, 100.0)
    axes.set_ylim(0.4, 1.0)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    teacher = next(row for row in rows if (row.arm, row.frames) == ("teacher", 8))
    line = axes.transData.transform((teacher.model_ms, teacher.accuracy))[0]
    x, y = np.meshgrid(np.linspace(line - 80, line - 2) if blocked == "left" else np.linspace(line + 2, line + 80),
                       np.linspace(0, 600, 200))  # fmt: skip
    obstacles = np.stack([x.ravel(), y.ravel()], axis=1)
    first = mark_gains(axes, rows, "model_ms", renderer, obstacles)[0]
    assert (first[0] > line) if blocked == "left" else (first[2] < line)
    assert axes.texts[0].get_text() == "+0.17"


def test_no_gain_without_the_two_arms(fake_rows: Callable[..., list[RowRecord]]) -> None:
    figure = new_figure(4.0, 3.0)
    rows = [row for row in fake_rows() if row.arm != "liteframe-lma"]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    assert mark_gains(figure.subplots(), rows, "model_ms", renderer, np.zeros((0, 2))) == []
