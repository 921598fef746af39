"""Progress is readable in a log file, and checkpoints are whole or absent."""

from __future__ import annotations

import io

import pytest

from liteframe.system import progress
from liteframe.system.progress import Meter, track


def test_lines_tell_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    meter = Meter("ctd", total=300, unit="steps", initial=100, stream=stream)
    for step in range(101, 151):
        now[0] += 0.5
        meter.note(loss=0.25)
        meter.set(step)
    meter.close()
    meter.close()
    assert stream.getvalue().splitlines() == [
        "ctd: 120/300 steps  2/s  1:30 left  loss 0.25",
        "ctd: 140/300 steps  2/s  1:20 left  loss 0.25",
        "ctd: 150/300 steps  2/s  1:15 left  loss 0.25",
    ]


def test_a_silent_meter_and_an_unknown_total(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with Meter("quiet", 3, enabled=False, stream=stream) as meter:
        meter.update(3)
    assert stream.getvalue() == ""
    assert list(track(iter("abc"), "letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err.startswith("letters: 3 it  ")
