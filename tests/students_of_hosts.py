"""A student of any family of base VLMs: a little CTD and LMA of it, and what must hold of its loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from liteframe.data.sources.conversations import turns_of
from liteframe.models.teachers import Teacher
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from tiny_world import home, make_trainer, manifest, video_data

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "attention": "eager"}


def little_ctd(name: str, teacher: Teacher, **encoder: Any) -> Path:
    """The export of a student that was taught by `teacher` for two steps, in the folder of that name."""
    module = CTDStage(
        encoder={**_SMALL, "downsample_after": [1, 2], **encoder},
        teacher=teacher,
        saliency="norm",
        similarity="cosine",
        optimizer=OptimizerSettings(lr=1e-2),
    )
    make_trainer(home() / name, max_steps=2).fit(module, video_data(train=str(manifest()), batch_size=2))
    return home() / name / "export"


def lma_of(settings: dict[str, Any]) -> LMAStage:
    """LMA of a student with a base VLM: `host`, `encoder` and other settings of the stage."""
    defaults: dict[str, Any] = {
        "lora": LoraSettings(rank=4, alpha=8),
        "attention": "eager",
        "optimizer": OptimizerSettings(lr=1e-2),
        "seed": 0,
    }
    return LMAStage(**{**defaults, **settings})


def little_lma(name: str, module: LMAStage) -> Path:
    """The run folder, of that name, of two steps of LMA."""
    make_trainer(home() / name, max_steps=2).fit(module, video_data(train=str(manifest()), batch_size=2))
    return home() / name


def require_loss_of_prompts(module: LMAStage, parts: Sequence[str], falls_by: float) -> None:
    """The loss of a batch is the mean over the answers' tokens, each predicted from a prompt of its own, and it falls.

    Args:
        module: of LMA, not built yet.
        parts: of names of weights, which are all trained.
        falls_by: in eight steps, at least.
    """
    module.configure_model()
    model = module.model
    assert model is not None
    data = video_data(train=str(manifest()), batch_size=2)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert list(map(len, batch["frame_times_s"])) == batch["valid_frames_B"].tolist()
    model.eval()
    groups = model.groups(batch["valid_frames_B"], batch["frame_times_s"])
    talks = [turns_of(row) for row in batch["rows"]]
    with torch.no_grad():
        visual = model.project(model.encode(batch["frames_BTCHW"]))
        found, labels, _ = model.answer_logits(talks, visual, groups)
        losses = []
        for video_number, turns in enumerate(talks):
            ids, marks = model.prompts.conversation(turns, groups[video_number], visual.shape[2])
            for place in (index for index, mark in enumerate(marks) if mark >= 0):
                alone = model.prefill(visual[video_number : video_number + 1], ids[:place])
                losses.append(float(functional.cross_entropy(alone, torch.tensor(ids[place : place + 1]))))
    assert float(functional.cross_entropy(found, labels)) == pytest.approx(float(np.mean(losses)), rel=1e-4)

    model.train()
    learnt = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer, falling = torch.optim.Adam(learnt, lr=1e-2), []
    for _ in range(8):
        visual = model.project(model.encode(batch["frames_BTCHW"]))
        loss = functional.cross_entropy(*model.answer_logits(talks, visual, groups)[:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.append(loss.item())
    assert falling[-1] < falling[0] - falls_by
    named = {name: weight.grad for name, weight in module.named_parameters() if weight.requires_grad}
    assert all(grad is not None and grad.any() for grad in named.values()), [n for n, g in named.items() if g is None]
    assert all(any(part in name for name in named) for part in parts)
