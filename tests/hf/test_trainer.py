"""transformers' own Trainer: accumulated batches of an exported model train as one batch of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from tiny_world import encoder_folder, host_folder

ANSWERS = (1, 9, 3, 6)


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def make_model() -> LiteFrameForConditionalGeneration:
    host, _ = load_base_vlm(str(host_folder()), "eager")
    return LiteFrameForConditionalGeneration.from_host(host, LiteFrameEncoder.from_pretrained(encoder_folder())).float()


def samples(model: LiteFrameForConditionalGeneration) -> list[dict[str, Tensor]]:
    """Prompts about one clip each, with answers of 1 to 9 tokens."""
    draws = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 4, 3, 112, 112, generator=draws)
    places = model.project_clips(clip).shape[:2].numel()
    made = []
    for answer in ANSWERS:
        words = torch.randint(7, 25, (12,), generator=draws)
        ids = torch.cat([torch.full((places,), model.config.image_token_id), words])
        labels = ids.clone()
        labels[:-answer] = -100
        made.append({"input_ids": ids, "labels": labels, "pixel_values_videos": clip})
    return made


def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    batch = {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "labels")}
    return {**batch, "pixel_values_videos": torch.cat([row["pixel_values_videos"] for row in rows])}


def train(folder: Path, batch: int, steps: int) -> tuple[float, dict[str, Tensor]]:
    model, gradients = make_model(), Gradients()
    settings = TrainingArguments(
        str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=steps,
        max_steps=1,
        max_grad_norm=0.0,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    trainer = Trainer(model, settings, collate, samples(model), callbacks=[gradients])  # type: ignore[arg-type]
    trainer.train()
    return next(log["loss"] for log in trainer.state.log_history if "loss" in log), gradients.found


def test_four_accumulated_batches_train_as_one(tmp_path: Path) -> None:
    (one, whole), (four, parts), (two, halves) = (train(tmp_path, *split) for split in ((4, 1), (1, 4), (2, 2)))
    assert four == pytest.approx(one, rel=1e-4) and two == pytest.approx(one, rel=1e-4)
    scale = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        for other in (parts, halves):
            torch.testing.assert_close(other[name], gradient, rtol=0, atol=1e-5 * scale, msg=name)


def test_the_loss_is_divided_by_what_it_is_given() -> None:
    model = make_model().eval()
    batch = collate(samples(model))
    with torch.no_grad():
        mean, third = (model(**batch, **more).loss for more in ({}, {"num_items_in_batch": torch.tensor(57)}))
    torch.testing.assert_close(third, mean * sum(ANSWERS) / 57)
