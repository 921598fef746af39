"""A run that only a time ends: its learning rate rises and falls by the clock, alike on all ranks."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import timer

from liteframe.command import cli
from liteframe.stages.optim import lr_factor, with_warmup_cosine
from ranks import run_ranks
from toy_stage import write_toy_config

PEAK = 4e-5


def words(folder: Path, *more: str) -> list[str]:
    config = str(write_toy_config(folder))
    stage = ["--model=toy_stage.ToyExporter", f"--model.steps_taken={folder}/rates", "--trainer.max_steps=-1"]
    return ["fit", "--config", config, *stage, f"--trainer.default_root_dir={folder}/run", *more]


def rates(folder: Path, rank: int = 0) -> list[float]:
    return [float(line) for line in (folder / f"rates{rank}").read_text().splitlines()]


def test_the_factor_is_that_of_as_many_steps() -> None:
    shares = iter([0.0, *(step / 100 for step in range(101))])
    layer = torch.nn.Linear(2, 2)
    out = with_warmup_cosine(layer, lr=1.0, total_steps=math.inf, share_done=lambda: next(shares))
    optimizer, schedule = out["optimizer"], out["lr_scheduler"]["scheduler"]
    for step in range(1, 102):
        optimizer.step()
        schedule.step()
        expected = lr_factor(100 * (step - 1), 10_000, 0.05)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_run_of_a_time_ends_at_the_end_of_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        ticks = itertools.count()

        @classmethod
        def monotonic(cls) -> float:
            return 0.1 * next(cls.ticks)

    monkeypatch.setattr(timer, "time", Clock)
    assert cli.main(words(tmp_path, "--trainer.max_time=00:00:00:30")) == 0
    found = rates(tmp_path)
    top = found.index(max(found))
    assert 50 < len(found) < 300 and max(found) == pytest.approx(PEAK, rel=0.02) and found[0] < PEAK / 5
    assert found[:top] == sorted(found[:top]) and found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < PEAK / 100
    assert (tmp_path / "run/export/export.txt").is_file()


def as_rank(rank: int, words: list[str]) -> None:
    os._exit(cli.main(words))


def test_two_ranks_take_the_rates_of_one_clock(tmp_path: Path) -> None:
    ranks = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_time=00:00:00:02"]
    assert run_ranks(as_rank, 2, words(tmp_path, *ranks, "--trainer.logger=false")) == [0, 0]
    first, second = rates(tmp_path), rates(tmp_path, rank=1)
    assert first == second and len({*first}) > 1


def test_a_run_without_an_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words(tmp_path, "--trainer.max_epochs=-1")) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "has inf steps: set trainer.max_steps, trainer.max_epochs or trainer.max_time" in error


@pytest.mark.parametrize(
    "limits", [["max_steps=0"], ["max_steps=9", "limit_train_batches=0"], ["max_time=00:00:00:00"]]
)
def test_a_run_without_a_step_exports_nothing(
    tmp_path: Path, limits: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(tmp_path, *(f"--trainer.{limit}" for limit in limits))) != 0
    assert "trainer.max_steps" in capsys.readouterr().err
    assert not (tmp_path / "run/export").exists()
