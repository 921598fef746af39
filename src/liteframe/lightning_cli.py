"""``liteframe fit|validate|test|predict``: LightningCLI with the house's defaults."""

from __future__ import annotations

import logging
import os
import pkgutil
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveFloat
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.callbacks.progress import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from transformers.utils.logging import disable_progress_bar

import liteframe.stages
from liteframe.checkpoint_io import AtomicCheckpointIO, read_checkpoint, require_checkpoint_file
from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import CheckpointError, ConfigError, LiteFrameError, RankError
from liteframe.import_policy import parse_by_trust
from liteframe.run_control import stop_signals
from liteframe.run_control.graceful_stop import DEFAULT_LIMIT_S, GracefulStop
from liteframe.run_control.launcher import use_watched_launcher
from liteframe.run_control.loopback import meet_on_loopback
from liteframe.run_control.saving import LastCheckpoint
from liteframe.run_control.stop_signals import Stopped
from liteframe.runtime import RunLock
from liteframe.stage_parser import StageParser
from liteframe.stage_progress import StageProgress

_RUN_FOLDER = "runs/unnamed"
_CHECKPOINT_STEPS = 100
_STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step", "predict": "predict_step"}
_QUIET_WARNINGS = (
    ".*does not have many workers.*",
    ".*there is no last checkpoint available.*",
    ".*exists and is not empty.*",
    ".*LeafSpec.*is deprecated.*",
    ".*is_gradient_checkpointing.*is deprecated.*",  # said of peft
    ".*but have no `validation_step`.*",
    ".*is smaller than the logging interval.*",
    ".*predict returned None.*",
    ".*Total length of `.*` across ranks is zero.*",
    ".*module.s. in eval mode at the start of training.*",
    ".*FSDP2-wrapped module .* returned a view tensor.*",
)


def run_stage(verb: str, args: list[str]) -> None:
    """Parses ``args`` (configs as paths), builds stage, data and trainer, and runs ``verb``.

    Raises:
        SystemExit: if the arguments do not parse; jsonargparse has said why.
        LiteFrameError: what the stage raises.
    """
    import_stages()
    quieten()
    try:
        StageCLI(verb, args)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"not enough memory on the GPU ({str(error).split('. ')[0]}); `liteframe plan` with the same --config says"
            " what the stage takes: take smaller batches (data.batch_size, data.shapes), gradient checkpointing, or"
            " share the weights out (--config trainer/fsdp.yaml)"
        ) from error


def quieten() -> None:
    """Silences what the libraries say that a user cannot act on, unless LITEFRAME_DEBUG is 1."""
    if os.environ.get("LITEFRAME_DEBUG") == "1":
        return
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    disable_progress_bar()  # transformers shows one for a file that loads in a blink
    for message in _QUIET_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def import_stages() -> None:
    """Imports every stage, so that a config may name a class without its module."""
    for module in pkgutil.iter_modules(liteframe.stages.__path__):
        import_module(f"liteframe.stages.{module.name}")


@contextmanager
def _named(trainer: Trainer, stopping: GracefulStop) -> Iterator[None]:
    """Says in one line what a checkpoint that does not fit, a lost rank, or Ctrl-C before the first step comes to."""
    try:
        yield
    except SystemExit as leaving:
        if not isinstance(leaving, Stopped) and isinstance(leaving.__context__, KeyboardInterrupt):
            raise Stopped(signal.SIGINT) from leaving  # Lightning's own code for it is 1
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if trainer.world_size > 1 and _is_of_ranks(error):
            if stop_signals.current is not None and stop_signals.current.requested is not None:
                raise Stopped(stop_signals.current.requested) from error  # the others have stopped for it already
            raise RankError(
                f"rank {trainer.global_rank}: another rank has ended or does not answer"
                f" ({str(error).splitlines()[0]}); last heard: {stopping.heard_of_others or 'nothing'}. {stopping.kept}"
            ) from error
        connector: Any = trainer._checkpoint_connector
        if connector._ckpt_path and not stopping.begun:  # from the moment it is read until all of it has been taken in
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise CheckpointError(
                f"{connector._ckpt_path}: does not fit this run ({reason}); go on from a checkpoint of the same config"
            ) from error
        raise


def _require_own_config(path: Path) -> None:
    """Raises ConfigError where a run would write its config over one of the user's."""
    if path.is_file() and not path.read_bytes().startswith(b"# lightning.pytorch=="):
        raise ConfigError(
            f"{path}: no run wrote it, and this one would write over it; give another --trainer.default_root_dir"
        )


def _is_of_ranks(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL", "DistBackendError", "TCPStore")
    return isinstance(error, RuntimeError) and any(word in f"{type(error).__name__} {error}" for word in words)


@contextmanager
def own_errors() -> Iterator[None]:
    """Takes a `LiteFrameError` out of what jsonargparse says of a class that could not be built."""
    try:
        yield
    except ValueError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LiteFrameError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise cause from error


class StageCLI(LightningCLI):
    """LightningCLI for one verb; the config's ``class_path`` decides which stage and which data.

    Args:
        verb: fit, validate, test or predict.
        args: the words after the verb.
    """

    def __init__(self, verb: str, args: list[str]) -> None:
        self.verb = verb
        parser_kwargs = {"prog": "liteframe", "description": None, verb: {"prog": f"liteframe {verb}"}}
        super().__init__(
            model_class=LightningModule,
            datamodule_class=VideoDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            trainer_defaults={
                "default_root_dir": _RUN_FOLDER,
                "use_distributed_sampler": False,
                "enable_model_summary": False,
            },
            parser_kwargs=parser_kwargs,
            parser_class=StageParser,
            auto_configure_optimizers=False,
            args=[verb, *args],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the verb that was asked for: building the options of all four takes seconds."""
        return {self.verb: LightningCLI.subcommands()[self.verb] | {"return_predictions"}}

    def instantiate_classes(self) -> None:
        """As LightningCLI; an error of ours that jsonargparse wrapped comes out as it was."""
        with own_errors():
            super().instantiate_classes()

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses what was given; ``sys.argv`` stays as it is, because DDP's children are started from it."""
        self.config = parse_by_trust(parser.parse_args, list(args) if isinstance(args, list) else sys.argv[1:])

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument(
            "--rank_timeout_s",
            type=PositiveFloat | None,
            default=None,
            help=f"seconds after which a run ends because another rank is frozen ({DEFAULT_LIMIT_S:g} if not given) or,"
            " where given, because no rank gets anywhere in training",
        )
        if subcommand == "predict":
            parser.add_argument(
                "--estimate", action="store_true", help="say how many gigabytes and hours it would take, and stop"
            )
        return parser

    def before_instantiate_classes(self) -> None:
        """Hands ``--estimate`` to the stage."""
        config = self.config[self.verb]
        if config.get("estimate"):
            init_args = config.model.init_args
            if "estimate" not in init_args:
                raise ConfigError(f"--estimate: {config.model.class_path} cannot estimate; it is for the cache stage")
            init_args.estimate = True

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = _as_list(config.get("callbacks"))
        if config.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in given):
            callbacks = [*callbacks, StageProgress()]
        if config.get("enable_checkpointing") is not False and not any(isinstance(c, ModelCheckpoint) for c in given):
            callbacks = [*callbacks, LastCheckpoint(_CHECKPOINT_STEPS)]
        if config.get("logger") in (None, True):
            # One run folder, not version after version: that is where a broken run finds its last checkpoint.
            config["logger"] = TensorBoardLogger(save_dir=config["default_root_dir"], name="", version="")
        if config.get("logger") is not False and self.verb == "fit":
            callbacks = [*callbacks, LearningRateMonitor("step")]
        self._stopping = GracefulStop(self.config[self.verb].get("rank_timeout_s"))
        callbacks = [*callbacks, self._stopping]
        try:
            trainer = super()._instantiate_trainer(config, callbacks)
        except (MisconfigurationException, TypeError, ValueError) as error:
            where = f"accelerator {config.get('accelerator')}, devices {config.get('devices')}"
            raise ConfigError(
                f"trainer ({where}): {error}; say where it runs by another file, such as --config trainer/cpu.yaml"
            ) from error
        # The last of them writes a folder if it is told to, and then asks nobody how.
        writes_one_file = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy, ModelParallelStrategy))
        if writes_one_file and not any(isinstance(plugin, CheckpointIO) for plugin in _as_list(config.get("plugins"))):
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        most = 4 * (os.cpu_count() or 1) + 16
        if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > most:
            raise ConfigError(f"trainer.devices is {trainer.num_devices}: on this CPU give at most {most} processes")
        meet_on_loopback(trainer)
        use_watched_launcher(trainer, self._stopping.watch_children)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs the verb, alone in its run folder, if the stage has a step for it."""
        if not is_overridden(_STEPS[subcommand], self.model):
            raise ConfigError(
                f"{type(self.model).__name__} has nothing to {subcommand}; `liteframe bench` measures runs"
            )
        self.config_init[subcommand].ckpt_path = self._checkpoint(self.config[subcommand].get("ckpt_path"))
        _require_own_config(Path(self.trainer.default_root_dir) / "config.yaml")
        alone = RunLock(self.trainer.default_root_dir) if self.trainer.global_rank == 0 else nullcontext()
        with alone, _named(self.trainer, self._stopping):
            super()._run_subcommand(subcommand)

    def _parse_ckpt_path(self) -> None:
        """Takes nothing from the checkpoint: LightningCLI builds whatever class its ``hyper_parameters`` name."""

    def _checkpoint(self, given: str | None) -> str | None:
        """The file that ``--ckpt_path`` stands for; None where there is nothing to go on from.

        Raises:
            CheckpointError: it is no checkpoint of this machine's.
        """
        if given in (None, "best", "hpc"):
            return given
        if given == "last":
            folder = Path(self.trainer.default_root_dir)
            found = [path for path in folder.rglob("last*.ckpt") if path.is_file()]
            if not found:
                rank_zero_only(print)(f"--ckpt_path last: no checkpoint in {folder} yet, so training begins anew")
                return None
            given = str(max(found, key=lambda path: path.stat().st_mtime_ns))
        require_checkpoint_file(given)
        if not isinstance(self.trainer.strategy.checkpoint_io, AtomicCheckpointIO) or isinstance(
            self.trainer.strategy, ModelParallelStrategy
        ):
            read_checkpoint(given, mmap=True)  # read by other code later, which asks less
        return given

    def predict(self, **kwargs: Any) -> None:
        """Predicts without keeping the outputs in memory: stages write what they make."""
        self.trainer.predict(**kwargs, return_predictions=False)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
