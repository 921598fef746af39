"""Accumulated batches that count unequally, to the end of an epoch that they do not divide, and clipping of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ConfigError
from liteframe.run_control.graceful_stop import GracefulStop
from liteframe.run_control.saving import LastCheckpoint
from liteframe.stages.accumulation import StepMean
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.losses import ctd_loss
from liteframe.stages.stage import OptimizerSettings
from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, video_data

ANSWERS = ("red", "color of the first triangle green left up down", "blue left", "left left left left", "green")


class Steps(Callback):
    """Gradients and logged figures of every optimizer step; batches after which it ended."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.logged: list[dict[str, float]] = []
        self.batches = 0
        self.ends: list[int] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None})

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.batches += 1
        if trainer.global_step == len(self.gradients) > len(self.ends):
            self.ends.append(self.batches)
            self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def lma(lr: float = 0.0, **settings: Any) -> LMAStage:
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"])
    optimizer = OptimizerSettings(lr=lr, warmup_fraction=0.0)
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", optimizer=optimizer, **settings)


def talkative(folder: Path, questions: int = 0) -> str:
    """Five videos with answers of 1 to 8 words, or with so many `questions` each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_manifest(manifest())[: len(ANSWERS)]
    several = [{"question": "color of the box", "answer": answer} for answer in ANSWERS[:questions]]
    lines = [
        {"path": row.path, **({"questions": several} if questions else {"question": "color of the star", "answer": a})}
        for row, a in zip(rows, ANSWERS, strict=True)
    ]
    path = folder / "talkative.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def fit(folder: Path, module: LMAStage, source: str, batch: int, accumulate: int, **settings: Any) -> Steps:
    steps = Steps()
    settings = {"max_epochs": 1, "callbacks": [steps], "accumulate_grad_batches": accumulate, **settings}
    make_trainer(folder, **settings).fit(module, video_data(train=source, batch_size=batch))
    return steps


def assert_same(some: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert set(some) == set(other)
    scale = max(float(gradient.abs().max()) for gradient in other.values())
    for name, gradient in other.items():
        torch.testing.assert_close(some[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


def test_the_end_of_an_epoch_is_the_mean_over_what_is_left(tmp_path: Path) -> None:
    source = talkative(tmp_path)
    each = fit(tmp_path, lma(), source, 1, 1)
    accumulated = fit(tmp_path, lma(), source, 1, 2)
    assert accumulated.ends == [2, 4, 5]
    tokens = [logged["rate/answer_tokens"] for logged in each.logged]
    assert len(set(tokens)) > 2
    for step, part in enumerate((slice(0, 2), slice(2, 4), slice(4, 5))):
        whole = sum(tokens[part])
        expected = {
            name: sum(g[name] * n for g, n in zip(each.gradients[part], tokens[part], strict=True)) / whole
            for name in each.gradients[0]
        }
        assert_same(accumulated.gradients[step], expected, 1e-5)  # type: ignore[arg-type]
        losses = [logged["train/loss"] for logged in each.logged[part]]
        mean = sum(loss * n for loss, n in zip(losses, tokens[part], strict=True)) / whole
        assert accumulated.logged[step]["train/loss"] == pytest.approx(mean, rel=1e-5)
        assert accumulated.logged[step]["rate/answer_tokens"] == whole


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions(precision: Any, tmp_path: Path) -> None:
    source = talkative(tmp_path)
    one = fit(tmp_path, lma(), source, 5, 1, precision=precision)
    five = fit(tmp_path, lma(), source, 1, 5, precision=precision)
    assert_same(five.gradients[0], one.gradients[0], 0.05 if precision == "bf16-mixed" else 1e-6)


def test_questions_drawn_by_chance_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    source = talkative(tmp_path, questions=4)
    one = fit(tmp_path, lma(questions_per_video=2), source, 4, 1, max_steps=1)
    four = fit(tmp_path, lma(questions_per_video=2), source, 1, 4, max_steps=1)
    assert four.logged[0]["rate/answer_tokens"] == one.logged[0]["rate/answer_tokens"]
    assert_same(four.gradients[0], one.gradients[0], 1e-5)


def test_validation_and_clipping_between_accumulated_batches_change_nothing(tmp_path: Path) -> None:
    source = talkative(tmp_path)

    class Clipped(Callback):
        """Gradients of the first step as the optimizer took them."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            if trainer.global_step == 1 and not found.get(trainer.accumulate_grad_batches):
                gradients = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
                found[trainer.accumulate_grad_batches] = gradients

    found: dict[int, dict[str, Tensor]] = {}
    between = {"val_check_interval": 1, "check_val_every_n_epoch": None}
    for batch, accumulate, settings in ((4, 1, {}), (1, 4, between)):
        trainer = make_trainer(
            tmp_path,
            max_steps=2,
            max_epochs=-1,
            callbacks=[Clipped()],
            accumulate_grad_batches=accumulate,
            gradient_clip_val=0.01,
            **settings,
        )
        trainer.fit(lma(), video_data(train=source, val=source if settings else None, batch_size=batch))
        assert ("val/loss" in trainer.callback_metrics) == bool(settings)
    norm = sum(float(gradient.square().sum()) for gradient in found[1].values()) ** 0.5
    assert norm == pytest.approx(0.01, rel=1e-3)
    assert_same(found[4], found[1], 1e-5)


def test_a_checkpoint_between_accumulated_batches_goes_on_as_a_straight_run(tmp_path: Path) -> None:
    source = talkative(tmp_path)

    class Stop(Callback):
        def __init__(self, after: int) -> None:
            self.after = after

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.after -= 1
            trainer.should_stop = self.after == 0

    def run(folder: Path, *more: Callback, ckpt_path: Path | None = None) -> tuple[LMAStage, Steps]:
        module, steps = lma(lr=1e-2), Steps()
        callbacks = [steps, *more, GracefulStop(), LastCheckpoint(100)]
        keep = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()], "callbacks": callbacks}
        trainer = make_trainer(folder, max_steps=4, max_epochs=-1, accumulate_grad_batches=3, **keep)
        trainer.fit(module, video_data(train=source, batch_size=1), ckpt_path=ckpt_path)
        return module, steps

    straight, steps = run(tmp_path / "straight")
    assert steps.ends == [3, 5, 8, 10], "three batches, and two at the end of each pass"
    for after in (1, 4, 7):
        folder = tmp_path / str(after)
        last = folder / "checkpoints" / "last.ckpt"
        if after == 1:
            with pytest.raises(ConfigError, match="nothing was learnt"):
                run(folder, Stop(after))
            assert not last.exists()
            continue
        run(folder, Stop(after))
        checkpoint = read_checkpoint(last)
        done = {1: 3, 2: 5}[checkpoint["global_step"]]
        assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == done
        resumed, rest = run(folder, ckpt_path=last)
        assert rest.batches == 10 - done
        weights = dict(resumed.named_parameters())
        assert all(torch.equal(weights[name], weight) for name, weight in straight.named_parameters())


def test_clipping_looks_at_each_accumulated_batch_by_itself() -> None:
    draws = torch.Generator().manual_seed(0)
    student = nn.Parameter(torch.randn(3, 1, 2, 2, 4, generator=draws))
    target = torch.randn(3, 1, 2, 2, 4, generator=draws) * torch.tensor([1.0, 5.0, 1.0]).reshape(3, 1, 1, 1, 1)
    step = StepMean()
    for part in (slice(0, 1), slice(1, 3)):
        share, means = step.add(ctd_loss(student[part], target[part], clip_sigma=1.5), 2)
        step.shrink([student])
        (share / 2).backward()
    axes = (0, 1, 2, 3)  # by channel
    kept = torch.cat(
        [
            abs(r - r.mean(axes, keepdim=True)) <= 1.5 * r.std(axes, correction=0, keepdim=True)
            for r in ((student - target)[:1], (student - target)[1:])
        ]
    )
    assert kept.sum() < kept.numel()
    expected = torch.where(kept, 2 * (student - target), 0.0).detach() / kept.sum()
    torch.testing.assert_close(student.grad, expected)
    assert means.values()["loss"] == pytest.approx(float((student - target).detach()[kept].square().mean()), rel=1e-5)
