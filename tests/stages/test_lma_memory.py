"""LMA at full length: checkpointing and chunks change neither loss nor gradients, and bound what is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from activation_bytes import saved_bytes
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, video_data

EVERYTHING: dict[str, Any] = {"checkpoint_llm": True, "checkpoint_encoder": True, "encoder_chunk_clips": 2}


class FirstStep(Callback):
    """Gradients, loss and bytes kept of one step, with adapters that have moved from where they begin."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}
        self.loss = float("nan")
        self.bytes = 0

    def on_fit_start(self, trainer: Any, pl_module: LMAStage) -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in pl_module.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        plain = pl_module.training_step

        def counted(batch: dict[str, Any], batch_idx: int) -> Tensor:
            with saved_bytes(ignore=[batch["frames_BTCHW"], *pl_module.parameters()]) as count:
                loss = plain(batch, batch_idx)
            self.bytes = count.total
            return loss

        pl_module.training_step = counted  # type: ignore[method-assign]

    def on_after_backward(self, trainer: Any, pl_module: LMAStage) -> None:
        self.gradients = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        self.loss = float(trainer.callback_metrics["train/loss"])


def first_step(folder: Path, frames: int = 12, **settings: Any) -> FirstStep:
    defaults: dict[str, Any] = {
        "host": str(host_folder()),
        "encoder": str(encoder_folder()),
        "lora": LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"]),
        "attention": "sdpa",
        "questions_per_video": 2,
        "optimizer": OptimizerSettings(lr=1e-3),
    }
    found = FirstStep()
    data = video_data(train=str(manifest()), batch_size=2, frames=frames)
    make_trainer(folder, max_steps=1, callbacks=[found]).fit(LMAStage(**{**defaults, **settings}), data)
    return found


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"train_encoder": False, "train_projector": False},
        {"train_llm": False},
        {"train_llm": False, "train_projector": False},
    ],
    ids=["all", "adapters behind frozen embeddings", "behind a frozen LLM", "encoder alone"],
)
def test_gradients_are_those_without_checkpoints_and_chunks(parts: dict[str, Any], tmp_path: Path) -> None:
    plain, saving = first_step(tmp_path, **parts), first_step(tmp_path, **parts, **EVERYTHING)
    assert saving.loss == pytest.approx(plain.loss, rel=1e-6)
    assert saving.bytes < plain.bytes
    assert set(plain.gradients) == set(saving.gradients) and plain.gradients
    for name, gradient in plain.gradients.items():
        scale = float(gradient.abs().max())
        assert scale > 0, name
        difference = float((saving.gradients[name] - gradient).abs().max())
        assert difference <= min(1e-6, 5e-6 * scale), (name, scale, difference)


def test_what_is_kept_grows_with_the_frames_by_their_tokens(tmp_path: Path) -> None:
    """A token of the LLM may keep its way through the projector and the input of each layer."""

    def growth(**settings: Any) -> float:
        short, long = (first_step(tmp_path, frames, **settings).bytes for frames in (16, 64))
        return (long - short) / (2 * (64 - 16))  # two videos of one token a frame

    encoder, projector, llm, layers = 4 * 128, 512, 192, 3
    token = 4 * (2 * encoder + 3 * projector + (layers + 8) * llm)
    assert growth(**EVERYTHING) <= token
    without_chunks = growth(checkpoint_llm=True)
    assert without_chunks > 5 * token, "the encoder's activations"
    assert growth(checkpoint_encoder=True, encoder_chunk_clips=2) > 1.5 * token, "the LLM's"
