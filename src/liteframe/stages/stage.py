"""What all training stages share: the optimiser, slim checkpoints, rates in the log, and the export at the end."""

from __future__ import annotations

import time
import zlib
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_only

from liteframe.errors import CheckpointError, ConfigError
from liteframe.models.finite import not_finite
from liteframe.own_folder import replace_folder, require_replaceable
from liteframe.run_seed import own_or_run_seed
from liteframe.stages.divergence import FiniteWatch, require_finite_weights, tensors_in
from liteframe.stages.optim import OptimizerName, with_warmup_cosine


@dataclass
class OptimizerSettings:
    """An optimiser with warm-up and cosine decay.

    Args:
        name: "adamw", or "muon" for the matrices of linear layers and AdamW for the rest: small models learn in fewer
            steps. Not for sharded weights.
        lr: peak learning rate.
        weight_decay: of weights with two or more axes.
        betas: of AdamW.
        warmup_fraction: share of the steps in which the learning rate rises.
        final_lr_fraction: share of `lr` at the last step.
    """

    name: OptimizerName = "adamw"
    lr: float = 4e-5
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.0


class Stage(LightningModule):
    """Base of the training stages.

    Checkpoints hold what was trained and nothing else; `export` writes what the next stage loads.

    Attributes:
        reads_store: whether it can learn from the targets in a feature store.

    Args:
        optimizer: see `OptimizerSettings`.
        seed: of all chance in the stage's own steps; by default that of `--seed_everything`.
        out: folder of the export; by default `export` in the trainer's `default_root_dir`.
    """

    reads_store = False

    def __init__(self, optimizer: OptimizerSettings, seed: int | None = None, out: str | None = None) -> None:
        super().__init__()
        self.optimizer_settings = optimizer
        self.seed = own_or_run_seed(seed)
        self.out = out
        self.strict_loading = False
        self._tick = 0.0
        self._watch = FiniteWatch()

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes what the next stage loads: safetensors, configs, nothing else."""

    def check_sources(self) -> None:
        """Raises ConfigError if a model folder or hub id that the stage reads is not there."""

    def check_row(self, row: dict[str, Any]) -> None:
        """Raises DataError if the stage could not use a row, given as a dict; asked of each row when lists are read."""

    def module_lrs(self) -> dict[str, float]:
        """Learning rates of submodules that have one of their own."""
        return {}

    def prepare_data(self) -> None:
        """Looks for the models before the data are read, so that the first message is about the first thing missing."""
        self.check_sources()
        require_replaceable(self._export_folder)

    def configure_optimizers(self) -> Any:
        settings = self.optimizer_settings
        return with_warmup_cosine(
            self,
            name=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
            warmup_fraction=settings.warmup_fraction,
            total_steps=int(self.trainer.estimated_stepping_batches),
            final_lr_fraction=settings.final_lr_fraction,
            module_lrs=self.module_lrs(),
        )

    def step_rng(self, sample_id: str = "") -> np.random.Generator:
        """Chance of this training step, or of one sample in it.

        It follows from the seed, the batches done and the sample's id, so a resumed run repeats it and the number of
        ranks does not change it.
        """
        done = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        return np.random.default_rng([self.seed, done, zlib.crc32(sample_id.encode())])

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = self._trained_names()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        kept = {name: checkpoint.get(name, {}) for name in ("state_dict", "optimizer_states")}
        require_finite_weights(tensors_in(kept), f"the checkpoint of step {self.global_step}")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "state_dict" not in checkpoint:
            return  # a strategy that shares the weights out has loaded its own
        trained, found = self._trained_names(), set(checkpoint["state_dict"])
        for kind, names in (("lacks", trained - found), ("has unexpected", found - trained)):
            if names:
                raise ConfigError(
                    f"the checkpoint {kind} {len(names)} of the weights that are trained, first {sorted(names)[0]};"
                    " it was made with other settings of the model"
                )
        if bad := not_finite(checkpoint["state_dict"]):
            raise CheckpointError(f"the checkpoint's {bad[0]} is not finite; go on from an older one, or train anew")

    def on_fit_start(self) -> None:
        total = sum(parameter.numel() for parameter in self.parameters())
        trained = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        rank_zero_only(print)(f"{type(self).__name__}: {total:,} parameters, {trained:,} of them trained")

    def on_train_start(self) -> None:
        self._tick = time.monotonic()

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        now = time.monotonic()
        seconds, self._tick = now - self._tick, now
        B, T = batch["frames_BTCHW"].shape[:2]
        world = self.trainer.world_size
        self.log_dict(
            {
                "rate/steps_per_s": 1 / seconds,
                "rate/videos_per_s": B * world / seconds,
                "rate/frames_per_s": B * T * world / seconds,
            }
        )

    def on_fit_end(self) -> None:
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._export()

    def on_before_backward(self, loss: torch.Tensor) -> None:
        self._watch.note_loss(loss)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Raises DivergedError where losses or gradients are not finite: the weights are still those before."""
        self._watch.require_finite(self)

    @property
    def _export_folder(self) -> Path:
        return Path(self.out or Path(self.trainer.default_root_dir) / "export")

    @rank_zero_only
    def _export(self) -> None:
        require_finite_weights(dict(self.named_parameters()), str(self._export_folder))
        with replace_folder(self._export_folder) as part:
            self.export(part)
        print(f"exported to {self._export_folder}")

    def pictures_due(self, every: int) -> bool:
        """Whether this step is one of those that put pictures into TensorBoard."""
        return every > 0 and self.global_rank == 0 and self.global_step % every == 0 and self.logger is not None

    def log_picture(self, name: str, picture_CHW: torch.Tensor) -> None:
        """Adds an RGB picture in [0, 1] to TensorBoard."""
        experiment: Any = getattr(self.logger, "experiment", None)
        if hasattr(experiment, "add_image"):
            experiment.add_image(name, picture_CHW, self.global_step)
