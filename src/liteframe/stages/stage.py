"""What all training stages share: the optimiser, slim checkpoints, rates in the log, and the export at the end."""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.dataset import SampleCheck
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.row_checks import RowCheck
from liteframe.errors import CheckpointError, ConfigError
from liteframe.models.finite import not_finite
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.stages.accumulation import StepMean
from liteframe.stages.divergence import FiniteWatch, require_finite_weights, tensors_in
from liteframe.stages.means import Means, SummedLoss, gathered_means
from liteframe.stages.optim import OptimizerName, state_by_name, with_warmup_cosine
from liteframe.stages.pictures import log_picture
from liteframe.system.own_folder import replace_folder, require_replaceable
from liteframe.system.run_seed import own_or_run_seed


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


_IN_PARTS = (
    ("_save_distributed_checkpoint", True, "save_distributed_checkpoint to false"),
    ("_state_dict_type", "sharded", "state_dict_type to full"),
)
"""What a strategy of Lightning has that writes a checkpoint as a folder of parts, and the setting against it."""


class Stage(LightningModule):
    """Base of the training stages.

    Checkpoints hold what was trained and nothing else; `export` writes what the next stage loads.

    Attributes:
        reads_store: whether it can learn from the targets in a feature store.
        outputs: settings that name what it writes.
        shards: whether it shares its weights out over the ranks where the strategy is one for that.

    Args:
        optimizer: see `OptimizerSettings`.
        seed: of all chance in the stage's own steps; by default that of `--seed_everything`.
        out: folder of the export; by default `export` in the trainer's `default_root_dir`.
    """

    outputs = ("out",)
    reads_store = False
    shards = False

    def __init__(self, optimizer: OptimizerSettings, seed: int | None = None, out: str | None = None) -> None:
        super().__init__()
        self.optimizer_settings = optimizer
        self.seed = own_or_run_seed(seed)
        self.out = out
        self.strict_loading = False
        self._watch = FiniteWatch()
        self._step_mean = StepMean()
        self._validated: Means | None = None

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes what the next stage loads: safetensors, configs, nothing else."""

    def settings(self) -> dict[str, Any]:
        """Settings that say how the model was trained, for the record in the export; see `training_record`."""
        return {"seed": self.seed, "optimizer": asdict(self.optimizer_settings)}

    def training_record(self) -> TrainingRecord:
        """What the export says of this run."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        known = isinstance(data, VideoDataModule)
        return TrainingRecord(
            type(self).__name__,
            self.global_step,
            str(self.trainer.precision),
            data.trained_frames() if known else FrameSpec(),
            model=self.settings(),
            data=data.describe_training() if known else {},
        )

    def check_sources(self) -> None:
        """Raises ConfigError if a model folder or hub id that the stage reads is not there."""

    def row_check(self) -> RowCheck | None:
        """What is asked of each row when lists are read; None if it can use any."""
        return None

    def sample_check(self, image_size: tuple[int, int]) -> SampleCheck | None:
        """What is asked of each sample of frames of that size once it is read; None where `row_check` says it all."""
        return None

    def export_folder(self, run: str | Path) -> Path:
        """Where the export of a run goes: `out`, or `export` in its run folder."""
        return Path(self.out or Path(run) / "export")

    def module_lrs(self) -> dict[str, float]:
        """Learning rates of submodules that have one of their own."""
        return {}

    def prepare_data(self) -> None:
        """Looks for the models before the data are read, so that the first message is about the first thing missing."""
        self._require_strategy()
        self.check_sources()
        require_replaceable(self._export_folder)

    def _require_strategy(self) -> None:
        """Raises ConfigError for a strategy that averages gradients of shared-out weights alone, where none are, and
        for one whose checkpoints nothing can go on from."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not self.shards:
            name = type(self).__name__
            raise ConfigError(
                f"trainer.strategy ModelParallelStrategy: {name} does not share its weights out, so each rank would"
                " learn by itself; take ddp (--config trainer/gpu8.yaml)"
            )
        for attribute, in_parts, setting in _IN_PARTS:
            if getattr(self.trainer.strategy, attribute, None) == in_parts:
                raise ConfigError(
                    "trainer.strategy writes checkpoints in parts, which Lightning reads only where all weights are in"
                    f" them, and liteframe keeps those that are trained; set trainer.strategy.init_args.{setting}"
                )

    def configure_optimizers(self) -> Any:
        settings = self.optimizer_settings
        return with_warmup_cosine(
            self,
            name=settings.name,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
            warmup_fraction=settings.warmup_fraction,
            total_steps=self.trainer.estimated_stepping_batches,
            final_lr_fraction=settings.final_lr_fraction,
            module_lrs=self.module_lrs(),
            share_done=self._clock(),
            muon_dtype=torch.bfloat16 if "bf16" in str(self.trainer.precision) else torch.float32,
        )

    def _clock(self) -> Callable[[], float] | None:
        """What says how much of a run has passed that only its `max_time` ends; None where it has a number of steps."""
        timers = [callback for callback in self.trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
        timers = [timer for timer in timers if timer.time_remaining() is not None]
        if not timers or math.isfinite(self.trainer.estimated_stepping_batches):
            return None
        timer = timers[0]
        seconds = timer.time_elapsed() + (timer.time_remaining() or 0.0)

        def share_done() -> float:
            # Clocks differ, and ranks with different learning rates would drift apart.
            return float(self.trainer.strategy.broadcast(min(1.0, timer.time_elapsed() / max(seconds, 1e-9))))

        return share_done

    def step_rng(self, sample_id: str = "") -> np.random.Generator:
        """Chance of this training step, or of one sample in it.

        It follows from the seed, the optimizer step and the sample's id, so a resumed run repeats it, and the number of
        ranks or of accumulated batches does not change it.
        """
        return np.random.default_rng([self.seed, self.global_step + 1, zlib.crc32(sample_id.encode())])

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = self._trained_names()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        if "optimizer_states" in checkpoint:
            pairs = zip(checkpoint["optimizer_states"], self.trainer.optimizers, strict=True)
            checkpoint["optimizer_states"] = [
                state_by_name(state, self._numbered_parameters(optimizer), self) for state, optimizer in pairs
            ]
        kept = {name: checkpoint.get(name, {}) for name in ("state_dict", "optimizer_states")}
        require_finite_weights(tensors_in(kept), f"the checkpoint of step {self.global_step}")

    def _numbered_parameters(self, optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
        """The parameters in the order in which the strategy's checkpoints number them."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            return list(self.parameters())  # Lightning counts all of them, frozen ones too
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

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
        self._step_mean.reset()

    def training_loss(self, loss: SummedLoss, counted: str = "") -> torch.Tensor:
        """What `training_step` returns, so that gradients are those of the mean over the whole optimizer step.

        Logs the means so far: over all ranks, and over all batches whose gradients are accumulated; every
        `trainer.log_every_n_steps` steps. Every rank has to call it, once a batch. Without a trainer each batch is a
        step.

        Args:
            loss: of this rank's batch.
            counted: what the loss is a mean over, as the log is to name its number; "" does not log it.
        """
        if self._trainer is None:  # nobody accumulates gradients, or says where a step ends
            self._step_mean.reset()
        batches = 1 if self._trainer is None else self._trainer.accumulate_grad_batches
        share, means = self._step_mean.add(loss, batches)
        if self._is_logged_step:
            self._log_means("train", means.values())
            if counted:
                self.log(f"rate/{counted}", means.parts["loss"][1].float())
        return share

    @property
    def _is_logged_step(self) -> bool:
        """Whether the logger takes what this step says. Lightning's `log` costs as much as a layer of a small model."""
        if self._trainer is None:
            return True
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # its logger connector sets it
        done = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        return every > 0 and (done + 1) % every == 0

    def note_validation(self, loss: SummedLoss) -> None:
        """Adds this rank's batch to the means that are logged at the end of the validation, without communicating."""
        self._validated = loss.means if self._validated is None else self._validated + loss.means

    def on_validation_epoch_start(self) -> None:
        self._validated = None

    def on_validation_epoch_end(self) -> None:
        """Logs the means over all validation samples, whichever rank had them in whichever batch."""
        self._log_means("val", gathered_means(self._validated))

    def _log_means(self, split: str, means: Mapping[str, torch.Tensor]) -> None:
        for name, mean in means.items():
            self.log(f"{split}/{name}", mean, prog_bar=name.endswith(("loss", "accuracy")))

    def on_fit_end(self) -> None:
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.trainer.global_step == 0:
            raise ConfigError(
                "nothing was learnt, so nothing is exported: the run ended before its first step; look at"
                " trainer.max_steps, max_epochs, max_time and limit_train_batches"
            )
        self._export()

    def on_before_backward(self, loss: torch.Tensor) -> None:
        self._watch.note_loss(loss)
        # Not the module's own: between forward and backward, whole weights stand there in place of shared-out ones.
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        self._step_mean.shrink(parameter for group in groups for parameter in group["params"])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Raises DivergedError where losses or gradients are not finite: the weights are still those before."""
        self._watch.require_finite(self)
        self._step_mean.reset()

    @property
    def _export_folder(self) -> Path:
        return self.export_folder(self.trainer.default_root_dir)

    @rank_zero_only
    def _export(self) -> None:
        require_finite_weights(dict(self.named_parameters()), str(self._export_folder))
        with replace_folder(self._export_folder) as part:
            self.export(part)
            self.training_record().write(part)
        print(f"exported to {self._export_folder}")

    def pictures_due(self, every: int) -> bool:
        """Whether this step is one of those whose pictures are logged."""
        return every > 0 and self.global_rank == 0 and self.global_step % every == 0 and bool(self.loggers)

    def log_picture(self, name: str, picture_CHW: torch.Tensor) -> None:
        """Hands an RGB picture in [0, 1] to the run's loggers."""
        log_picture(self.loggers, name, picture_CHW, self.global_step)
