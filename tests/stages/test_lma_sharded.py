"""LMA under Lightning with the weights shared out over two ranks exports what one rank does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import load_file

from liteframe.data.manifest import read_manifest
from liteframe.models.adapted import load_adapted
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from tiny_world import encoder_folder, host_folder, make_trainer, manifest, run_ranks, video_data


def train(rank: int, folder: Path, source: Path, ranks: int) -> None:
    shared: dict[str, Any] = {"strategy": ModelParallelStrategy(ranks, 1), "devices": ranks} if ranks > 1 else {}
    trainer = make_trainer(folder, max_steps=2, gradient_clip_val=1.0, **shared)
    stage = LMAStage(
        str(host_folder()),
        str(encoder_folder()),
        LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"]),
        attention="eager",
        optimizer=OptimizerSettings(lr=1e-3, warmup_fraction=0.0),
    )
    trainer.fit(stage, video_data(train=str(source), frames=8, batch_size=4 // ranks))
    os._exit(0)


def test_two_ranks_export_what_one_does(tmp_path: Path) -> None:
    rows = read_manifest(manifest())[:4]
    source = tmp_path / "four.jsonl"
    lines = [{"path": row.path, "question": "color of the star", "answer": "red left"} for row in rows]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for ranks in (1, 2):
        assert run_ranks(train, ranks, tmp_path / str(ranks), source, ranks) == [0] * ranks
    files = sorted((tmp_path / "1" / "export").rglob("*.safetensors"))
    assert len(files) == 3, "encoder, adapter, projector"
    for path in files:
        one, two = load_file(path), load_file(tmp_path / "2" / path.relative_to(tmp_path / "1"))
        assert set(one) == set(two)
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=2e-4, msg=name)
    before = load_file(encoder_folder() / "model.safetensors")
    after = load_file(tmp_path / "2" / "export" / "encoder" / "model.safetensors")
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3, "something was learnt"
    load_adapted(tmp_path / "2" / "export")
