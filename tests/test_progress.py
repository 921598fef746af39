"""Progress is readable in a log file, and checkpoints are whole or absent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from liteframe import progress
from liteframe.checkpoint_io import AtomicCheckpointIO
from liteframe.progress import Meter, track


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


def test_a_failed_save_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    storage = AtomicCheckpointIO()
    storage.save_checkpoint({"step": torch.tensor(1)}, path)

    def half_a_save(checkpoint: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(torch, "save", half_a_save)
        storage.save_checkpoint({"step": torch.tensor(2)}, path)
    assert storage.load_checkpoint(path)["step"] == 1
    assert list(path.parent.iterdir()) == [path]
    (path.parent / ".last.ckpt.99.part").write_bytes(b"left by a killed process")
    storage.save_checkpoint({"step": torch.tensor(3)}, path)
    assert storage.load_checkpoint(path)["step"] == 3
    assert list(path.parent.iterdir()) == [path]
