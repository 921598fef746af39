"""A training that goes to infinity stops with the step and the culprit, and what was good is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liteframe.errors import CheckpointError, DivergedError
from liteframe.run_control.saving import LastCheckpoint
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from liteframe.system.own_folder import require_unchanged
from tiny_world import make_trainer


class Root(torch.autograd.Function):
    """The identity, with a gradient of infinity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * float("inf")


class Line(Stage):
    """Fits a line; at step `bad_at` its loss, its gradient or its weights go wrong."""

    def __init__(self, lr: float = 1e-2, bad: str = "", bad_at: int = 5) -> None:
        super().__init__(OptimizerSettings(lr=lr, warmup_fraction=0.0))
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 1)
        self.bad, self.bad_at = bad, bad_at

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        bad = self.bad if self.global_step == self.bad_at else ""
        hidden = self.inner(batch["frames_BTCHW"].flatten(1))
        loss = self.outer(Root.apply(hidden) if bad == "gradient" else hidden).square().mean()
        return loss * (float("nan") if bad == "loss" else 1.0)

    def on_train_end(self) -> None:
        if self.bad == "weights":
            self.outer.bias.data.fill_(float("inf"))

    def export(self, folder: Path) -> None:
        save_file(self.state_dict(), folder / "model.safetensors")


class Exploding(Line):
    """Its second step is of a finite gradient, and makes the weights infinite."""

    def optimizer_step(self, *args: Any, **settings: Any) -> None:
        super().optimizer_step(*args, **settings)
        if self.global_step == 1:  # the step counts once it is done
            self.outer.bias.data.fill_(float("inf"))


def fit(folder: Path, stage: Stage, steps: int = 10, **settings: Any) -> None:
    data = [{"frames_BTCHW": torch.randn(2, 1, 3, 1, 1)} for _ in range(4)]
    loader = torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]
    callbacks = [LastCheckpoint(2)]
    keep = {"enable_checkpointing": True, "callbacks": callbacks, "plugins": [AtomicCheckpointIO()]}
    ckpt_path = settings.pop("ckpt_path", None)
    trainer = make_trainer(folder, max_steps=steps, max_epochs=-1, **{**keep, **settings})
    trainer.fit(stage, loader, ckpt_path=ckpt_path)


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Line(bad="loss"), r"step 5: the loss is nan; all weights are finite"),
        (Line(bad="gradient"), r"step 5: the gradients of 2 of 4 weights are not finite, first inner\.weight"),
        (Line(lr=1e30), r"step 1: the (loss|gradients).*the largest is \d\.\d+e\+30"),
    ],
)
def test_training_stops_with_the_step_and_the_culprit(tmp_path: Path, stage: Line, said: str) -> None:
    with pytest.raises(DivergedError, match=said):
        fit(tmp_path, stage)
    assert not (tmp_path / "export").exists()
    if stage.bad:
        assert last(tmp_path)["global_step"] == 4
        fit(tmp_path, Line(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
        assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "export" / "model.safetensors").values())


def test_accumulated_losses_are_all_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"step 2: the loss is nan"):
        fit(tmp_path, Line(bad="loss", bad_at=2), accumulate_grad_batches=2)


def test_weights_that_went_bad_at_the_end_are_not_kept_in_place_of_good_ones(tmp_path: Path) -> None:
    fit(tmp_path, Line())
    with pytest.raises(DivergedError, match=r"the checkpoint of step 10|export is not written.*outer\.bias"):
        fit(tmp_path, Line(bad="weights"))
    assert all(tensor.isfinite().all() for tensor in last(tmp_path)["state_dict"].values())
    assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / "export" / "model.safetensors").values())


def test_weights_that_a_step_made_infinite_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the checkpoint of step 2 is not written: \d+ of \d+ tensors"):
        fit(tmp_path, Exploding(), steps=2)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_checkpoint_that_is_not_finite_is_not_gone_on_from(tmp_path: Path) -> None:
    fit(tmp_path, Line(), steps=4)
    checkpoint = last(tmp_path)
    checkpoint["state_dict"]["inner.bias"][1] = float("nan")
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"inner\.bias is not finite"):
        fit(tmp_path, Line(), ckpt_path=tmp_path / "bad.ckpt")


def test_two_checkpoints_are_kept_and_the_last_steps_are_in_one(tmp_path: Path) -> None:
    fit(tmp_path, Line(), steps=9)
    assert last(tmp_path)["global_step"] == 9
    assert read_checkpoint(tmp_path / "checkpoints" / "previous.ckpt")["global_step"] == 8


def test_an_export_is_sealed_and_others_files_in_its_place_are_refused_before_training(tmp_path: Path) -> None:
    fit(tmp_path, Line(), steps=2)
    require_unchanged(tmp_path / "export")
    stage = Line()
    stage.out = str(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(Exception, match="liteframe did not write it"):
        fit(tmp_path, stage, steps=2)
    assert stage.trainer.global_step == 0 and (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
