"""LMA under Lightning with the weights shared out over two ranks exports what one rank does."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from safetensors.torch import load_file

from liteframe.data.sources.manifest import read_manifest
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from liteframe.system.checkpoint_io import AtomicCheckpointIO
from ranks import run_ranks
from tiny_world import encoder_folder, home, host_folder, make_trainer, manifest, video_data


@pytest.fixture(scope="module", autouse=True)
def made_before_the_ranks() -> None:
    """Of what is not here yet, each of them would make its own."""
    manifest(), host_folder(), encoder_folder()


class BreakOff(Callback):
    """Ends the process before the second step, as a kill would."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 1:
            torch.distributed.barrier()
            os._exit(0)


def train(
    rank: int,
    folder: Path,
    source: Path,
    ranks: int,
    broken: bool = False,
    accumulate: int = 1,
    chunk: int | None = None,
) -> None:
    strategy = ModelParallelStrategy(ranks, 1, save_distributed_checkpoint=False)
    shared: dict[str, Any] = {"strategy": strategy, "devices": ranks} if ranks > 1 else {}
    last = ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=1, enable_version_counter=False)
    callbacks = [last, BreakOff()] if broken else [last]
    trainer = make_trainer(
        folder,
        max_steps=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=accumulate,
        callbacks=callbacks,
        enable_checkpointing=True,
        **shared,
    )
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    stage = LMAStage(
        str(host_folder()),
        str(encoder_folder()),
        LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"]),
        attention="eager",
        encoder_chunk_clips=chunk,
        optimizer=OptimizerSettings(lr=1e-3, warmup_fraction=0.0),
    )
    data = video_data(train=str(source), frames=8, batch_size=4 // ranks // accumulate)
    trainer.fit(stage, data, ckpt_path="last")
    os._exit(0)


@cache
def four_videos() -> Path:
    """With answers of unequal lengths, and one video of a single clip."""
    path = home() / "four.jsonl"
    rows = read_manifest(manifest())[:4]
    answers = ("red left", "blue", "color of the first triangle", "up")
    lines = [
        {"path": row.path, "end": end, "question": "color of the star", "answer": answer}
        for row, answer, end in zip(rows, answers, (None, 0.2, None, None), strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@cache
def of_one_rank() -> Path:
    """What one rank exports."""
    assert run_ranks(train, 1, home() / "one_rank", four_videos(), 1) == [0]
    return home() / "one_rank" / "export"


def test_two_ranks_export_what_one_does(tmp_path: Path) -> None:
    assert run_ranks(train, 2, tmp_path / "2", four_videos(), 2) == [0, 0]
    compare(of_one_rank(), tmp_path / "2" / "export", 2e-4)
    before = load_file(encoder_folder() / "model.safetensors")
    after = load_file(tmp_path / "2" / "export" / "encoder" / "model.safetensors")
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3, "something was learnt"
    load_adapted(tmp_path / "2" / "export")
    # Broken off after one step and started again, the two go on from where they were.
    for broken in (True, False):
        assert run_ranks(train, 2, tmp_path / "broken", four_videos(), 2, broken) == [0, 0]
        assert (tmp_path / "broken" / "export").is_dir() != broken
    compare(tmp_path / "2" / "export", tmp_path / "broken" / "export", 1e-6)


def test_two_ranks_with_accumulated_batches_and_chunks_export_what_one_does_without(tmp_path: Path) -> None:
    assert run_ranks(train, 2, tmp_path, four_videos(), 2, False, 2, 1) == [0, 0]
    compare(of_one_rank(), tmp_path / "export", 2e-4)


def compare(one: Path, other: Path, tolerance: float) -> None:
    files = sorted(one.rglob("*.safetensors"))
    assert len(files) == 3, "encoder, adapter, projector"
    for path in files:
        first, second = load_file(path), load_file(other / path.relative_to(one))
        assert set(first) == set(second)
        for name in first:
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=tolerance, msg=name)
