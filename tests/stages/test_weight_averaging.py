"""Lightning's moving average of weights (EMA) over a stage: it is what is exported, and a run goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor

from built_stages import build_stage
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.stages.ctd import CTDStage
from liteframe.stages.stage import OptimizerSettings
from tiny_world import ENCODER, WAP_SETTINGS, make_trainer, sha256_of, store_folder, video_data

DECAY, STEPS = 0.6, 4


class Weights(Callback):
    """The student's last layer after each step, as they are trained."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(pl_module.encoder.head.weight.detach().clone())


def fit(folder: Path, steps: int, ckpt: Path | None = None) -> tuple[Weights, CTDStage]:
    weights, saver = Weights(), ModelCheckpoint(folder / "checkpoints", every_n_train_steps=2, save_top_k=-1)
    module = CTDStage(ENCODER, standardise=False, picture_every=0, optimizer=OptimizerSettings(lr=1e-2), **WAP_SETTINGS)
    callbacks = [weights, saver, EMAWeightAveraging(decay=DECAY)]
    trainer = make_trainer(folder, max_steps=steps, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(module, video_data(store=str(store_folder())), ckpt_path=ckpt)
    weights.seen.append(module.encoder.head.weight.detach().clone())
    return weights, module


def test_the_average_is_exported_and_gone_on_from(tmp_path: Path) -> None:
    weights, _ = fit(tmp_path / "straight", STEPS)
    exported = LiteFrameEncoder.from_pretrained(tmp_path / "straight" / "export").head.weight
    # `seen` are the weights before each step, then what training left; the last step's own are not among them
    average = weights.seen[1]
    for trained in weights.seen[2:STEPS]:
        average = DECAY * average + (1 - DECAY) * trained
    last = (exported - DECAY * average) / (1 - DECAY)
    assert torch.equal(exported, weights.seen[STEPS]), "what the run ends with"
    step = (weights.seen[STEPS - 1] - weights.seen[STEPS - 2]).abs().max()
    assert (last - weights.seen[STEPS - 1]).abs().max() < 3 * step, "one step from the one before, as trained"
    assert (exported - weights.seen[STEPS - 1]).abs().max() > 0.1 * step

    fit(tmp_path / "again", STEPS, next((tmp_path / "straight" / "checkpoints").glob("*step=2*")))
    assert sha256_of(tmp_path / "again" / "export") == sha256_of(tmp_path / "straight" / "export")


def test_a_config_may_name_it() -> None:
    callback = "--trainer.callbacks={class_path: EMAWeightAveraging, init_args: {decay: 0.99}}"
    named = build_stage("fit", "tiny/ctd.yaml", callback).settings["trainer"]["callbacks"]
    assert named["class_path"].endswith("EMAWeightAveraging") and named["init_args"]["decay"] == 0.99
