"""Training in mixed precision on a CPU multiplies short attention out, as `liteframe fit` sets its trainer up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from liteframe.command import cli
from liteframe.models.acceleration.attention_kernel import KernelsThatRan
from liteframe.run_control.cpu_precision import CPUMixedPrecision, use_fast_attention
from toy_stage import ToyExporter, write_toy_config


def _trainer(precision: str) -> Trainer:
    return Trainer(accelerator="cpu", devices=1, precision=precision, logger=False, enable_checkpointing=False)


def test_it_is_autocast_with_short_attention_multiplied_out() -> None:
    trainer = _trainer("bf16-mixed")
    use_fast_attention(trainer)
    query = torch.randn(1, 2, 20, 16, requires_grad=True)
    with trainer.strategy.precision_plugin.train_step_context(), KernelsThatRan() as kernels:
        product, mixed = query @ query.mT, F.scaled_dot_product_attention(query, query, query)
    assert product.dtype == mixed.dtype == torch.bfloat16
    assert kernels.names == []


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_other_precisions_stay(precision: str) -> None:
    trainer = _trainer(precision)
    before = trainer.strategy.precision_plugin
    use_fast_attention(trainer)
    assert trainer.strategy.precision_plugin is before


def test_plugins_of_the_users_own_stay() -> None:
    class Own(MixedPrecision):
        pass

    own = Own("bf16-mixed", "cpu")
    trainer = Trainer(accelerator="cpu", devices=1, plugins=[own], logger=False, enable_checkpointing=False)
    use_fast_attention(trainer)
    assert trainer.strategy.precision_plugin is own


def test_fit_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy_config(tmp_path)
    seen = []
    monkeypatch.setattr(
        ToyExporter, "on_train_start", lambda stage: seen.append(stage.trainer.strategy.precision_plugin)
    )
    words = ["--trainer.max_steps=1", "--trainer.logger=false", "--trainer.precision=bf16-mixed"]
    assert cli.main(["fit", "--config=toy.yaml", "--model=toy_stage.ToyExporter", *words]) == 0
    assert [type(plugin) for plugin in seen] == [CPUMixedPrecision]
