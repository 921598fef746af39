"""``liteframe fit|validate|test|predict``: LightningCLI with the house's defaults."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
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
from lightning.pytorch.utilities.model_helpers import is_overridden

import liteframe.stages
from liteframe.command.addresses import require_local_settings
from liteframe.command.auto_precision import resolve_precision
from liteframe.command.cli import CHILD_ARGS
from liteframe.command.import_policy import parse_by_trust
from liteframe.command.library_warnings import quieten
from liteframe.command.parse_errors import behind_its_file, parse_error_line, require_plain_numbers
from liteframe.command.remembered_parser import recall, remember
from liteframe.command.run_errors import named_errors_of_run, own_errors
from liteframe.command.run_warnings import RunWarnings
from liteframe.command.stage_parser import StageParser
from liteframe.command.stage_progress import HEARTBEAT_S, StageProgress
from liteframe.command.trainer_settings import require_mesh, require_possible_run, trainer_fault
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.store.list_shard import ListShard
from liteframe.errors import ConfigError
from liteframe.run_control.cpu_precision import use_fast_attention
from liteframe.run_control.earlier_run import CHECKPOINTS, NewRun, RunConfig, config_name
from liteframe.run_control.given_checkpoint import given_checkpoint
from liteframe.run_control.graceful_stop import DEFAULT_LIMIT_S, GracefulStop
from liteframe.run_control.launcher import use_watched_launcher
from liteframe.run_control.loopback import meet_on_loopback
from liteframe.run_control.run_record import RunRecord
from liteframe.run_control.same_run import SameRun
from liteframe.run_control.saving import LastCheckpoint
from liteframe.run_control.several_hosts import choose_interface, require_launcher
from liteframe.stages.stage import Stage
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.checkpoint_io import AtomicCheckpointIO
from liteframe.system.run_lock import RunLock
from liteframe.system.user_path import with_user_paths

_RUN_FOLDER = "runs/unnamed"
_CHECKPOINT_STEPS = 100
_STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step", "predict": "predict_step"}


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


def import_stages() -> None:
    """Imports every stage, so that a config may name a class without its module."""
    for module in pkgutil.iter_modules(liteframe.stages.__path__):
        import_module(f"liteframe.stages.{module.name}")


def _remember(verb: str, parser: LightningArgumentParser) -> None:
    """Keeps the help of a verb, its options, and the settings of the classes that its configs mostly name."""
    settings: dict[str, list[str]] = {}
    for kind in (*_of_liteframe(LightningModule), VideoDataModule):
        of_class = StageParser()
        of_class.add_class_arguments(kind, fail_untyped=False)
        settings[kind.__name__] = list(of_class._option_string_actions)
    remember(verb, parser.format_help(), parser._option_string_actions, settings)


def _of_liteframe(kind: type[LightningModule]) -> Iterator[type[LightningModule]]:
    for inner in kind.__subclasses__():
        yield from _of_liteframe(inner)
        if inner.__module__.startswith("liteframe."):
            yield inner


class StageCLI(LightningCLI):
    """LightningCLI for one verb; the config's ``class_path`` decides which stage and which data.

    Args:
        verb: fit, validate, test or predict.
        args: the words after the verb.
    """

    def __init__(self, verb: str, args: list[str]) -> None:
        self.verb = verb
        self._record = RunRecord(verb, args)
        self._plain: Any = None
        parser_kwargs = {
            "prog": "liteframe",
            "description": None,
            "exit_on_error": False,
            verb: {"prog": f"liteframe {verb}"},
        }
        super().__init__(
            model_class=LightningModule,
            datamodule_class=VideoDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RunConfig,
            save_config_kwargs={"config_filename": config_name(verb), "record": self._record},
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
        if isinstance(self.datamodule, VideoDataModule):
            self.datamodule.told &= data_settings_told(self._words)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses what was given; ``sys.argv`` stays as it is, because DDP's children are started from it."""
        self._words = words = list(args) if isinstance(args, list) else sys.argv[1:]
        if sys.argv[1:2] == [self.verb] and recall(self.verb) is None:  # a command of its own, not a caller in Python
            _remember(self.verb, self._parser(self.verb))
        try:
            config = parse_by_trust(parser.parse_args, words)
        except ArgumentError as error:  # whose usage is two hundred lines long
            said, tip = parse_error_line(error.message, words), f"`liteframe {self.verb} --help` lists the settings"
            print(f"liteframe: error: {said}; {tip}", file=sys.stderr)
            raise SystemExit(2) from error
        self.config = with_user_paths(config)
        require_local_settings(self.config)
        settings = self.config[self.verb]
        require_plain_numbers(words, settings)
        try:
            require_possible_run(settings)
        except ConfigError as error:  # begins with the setting
            raise ConfigError(behind_its_file(str(error), str(error).partition(" ")[0], words)) from error
        _take_shard(settings)
        resolve_precision(self.verb, settings, settings.trainer.get("default_root_dir") or _RUN_FOLDER)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument(
            "--rank_timeout_s",
            type=PositiveFloat | None,
            default=None,
            help=f"seconds after which a run ends because another rank is frozen ({DEFAULT_LIMIT_S:g} if not given) or,"
            " where given, because no rank gets anywhere in training, validation or test",
        )
        parser.add_argument(
            "--heartbeat_s",
            type=PositiveFloat,
            default=HEARTBEAT_S,
            help="seconds between two lines of progress, where the output is no terminal",
        )
        if subcommand == "predict":
            parser.add_argument(
                "--estimate", action="store_true", help="say how many gigabytes and hours it would take, and stop"
            )
            parser.add_argument(
                "--shard",
                type=str | None,
                default=None,
                help="cache the i-th of n shards of the list alone, i/n with i from 0; then `liteframe merge STORE`",
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
        config["default_root_dir"] = config.get("default_root_dir") or _RUN_FOLDER
        given = _as_list(config.get("callbacks"))
        shown = config.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in given)
        if shown:
            config["enable_progress_bar"] = False  # of Lightning
        callbacks = [*callbacks, StageProgress(self.config[self.verb].heartbeat_s, shown), RunWarnings()]
        if config.get("enable_checkpointing") is not False and not any(isinstance(c, ModelCheckpoint) for c in given):
            callbacks = [*callbacks, LastCheckpoint(_CHECKPOINT_STEPS)]
        if config.get("logger") in (None, True):
            # One run folder, not version after version: that is where a broken run finds its last checkpoint.
            config["logger"] = TensorBoardLogger(save_dir=config["default_root_dir"], name="", version="")
        if _as_list(config["logger"]) not in ([], [False]) and self.verb == "fit":
            callbacks = [*callbacks, LearningRateMonitor("step")]
        self._stopping = GracefulStop(self.config[self.verb].get("rank_timeout_s"))
        callbacks = [*callbacks, self._stopping, SameRun(self._plain_config)]
        try:
            trainer = super()._instantiate_trainer(config, callbacks)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise trainer_fault(config, error) from error
        # The last of them writes a folder if it is told to, and then asks nobody how.
        writes_one_file = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy, ModelParallelStrategy))
        if writes_one_file and not any(isinstance(plugin, CheckpointIO) for plugin in _as_list(config.get("plugins"))):
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        most = 4 * (os.cpu_count() or 1) + 16
        if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > most:
            raise ConfigError(f"trainer.devices is {trainer.num_devices}: on this CPU give at most {most} processes")
        if isinstance(trainer.strategy, ModelParallelStrategy):
            sizes = trainer.strategy._data_parallel_size, trainer.strategy._tensor_parallel_size
            require_mesh(*sizes, trainer.num_devices, trainer.num_nodes)
        _keep_in_run_folder(trainer)
        require_launcher(trainer)
        choose_interface(trainer)
        meet_on_loopback(trainer)
        use_watched_launcher(trainer, self._stopping.watch_children)
        use_fast_attention(trainer)
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs the verb, alone in its run folder, if the stage has a step for it."""
        if not is_overridden(_STEPS[subcommand], self.model):
            raise ConfigError(
                f"{type(self.model).__name__} has nothing to {subcommand}; `liteframe bench` measures runs"
            )
        given = self.config[subcommand].get("ckpt_path")
        checkpoint = given_checkpoint(given, self.trainer, self._checkpoint_folders())
        self.config_init[subcommand].ckpt_path = self._record.checkpoint = checkpoint
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            run = self._new_run(checkpoint)
            run.require_room()  # before any rank writes, so that all see the same
            self._record.goes_on = run.goes_on
        alone = RunLock(self.trainer.default_root_dir) if self.trainer.global_rank == 0 else nullcontext()
        with alone, self._recorded(), named_errors_of_run(self.trainer, self._stopping):
            super()._run_subcommand(subcommand)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Writes down how the run ended."""
        try:
            yield
        except BaseException as error:
            with suppress(ConfigError):  # the disk may be what it failed by
                self._record.end(self.trainer, error)
            raise
        self._record.end(self.trainer, None)

    def _new_run(self, checkpoint: str | None) -> NewRun:
        folder = Path(self.trainer.default_root_dir)
        return NewRun(
            self.verb,
            folder,
            self._plain_config(),
            checkpoint,
            self.model.export_folder(folder) if isinstance(self.model, Stage) else None,
            self._checkpoint_folders(),
            of_pipeline=CHILD_ARGS in os.environ,
        )

    def _dump_config(self) -> None:
        """As LightningCLI, which dumps the config once more for the hyperparameters of the stage."""
        self.config_dump = self._plain_config()

    def _plain_config(self) -> dict[str, Any]:
        """The settings of the verb as plain values; of a small stage, a dump takes a fifth of the time to its start."""
        if self._plain is None:
            self._plain = parse_yaml(
                self._parser(self.verb).dump(self.config[self.verb], skip_unset=False), "the config"
            )
        return dict(deepcopy(self._plain))

    def _checkpoint_folders(self) -> tuple[Path, ...]:
        return tuple(Path(saver.dirpath) for saver in _savers(self.trainer) if saver.dirpath)

    def _parse_ckpt_path(self) -> None:
        """Takes nothing from the checkpoint: LightningCLI builds whatever class its ``hyper_parameters`` name."""

    def predict(self, **kwargs: Any) -> None:
        """Predicts without keeping the outputs in memory: stages write what they make."""
        self.trainer.predict(**kwargs, return_predictions=False)


def _take_shard(settings: Any) -> None:
    """Hands ``--shard`` to the stage, and gives each shard a run folder of its own below that of the config."""
    given = settings.get("shard")
    if given is None:
        return
    shard, init_args = ListShard.parse(given), settings.model.init_args
    if "shard" not in init_args:
        raise ConfigError(f"--shard: {settings.model.class_path} makes no shards; it is for the cache stage")
    init_args.shard = str(shard)
    root = Path(settings.trainer.get("default_root_dir") or _RUN_FOLDER)
    own = Path("shards", shard.tag)
    settings.trainer.default_root_dir = str(root if root.parts[-2:] == own.parts else root / own)


def data_settings_told(words: Sequence[str]) -> set[str]:
    """The settings of `data` that a command line names behind its last `--config`, so that none of these gives them."""
    last = max((place for place, word in enumerate(words) if word.partition("=")[0] in ("--config", "-c")), default=-1)
    names = (word.partition("=")[0].removeprefix("--data.") for word in words[last + 1 :] if word.startswith("--data."))
    return {name.removeprefix("init_args.") for name in names}


def _savers(trainer: Trainer) -> list[ModelCheckpoint]:
    return [saver for saver in trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]


def _keep_in_run_folder(trainer: Trainer) -> None:
    """Lightning would put checkpoints wherever a logger writes, where a run that goes on does not look."""
    for saver in _savers(trainer):
        saver.dirpath = saver.dirpath or os.path.join(trainer.default_root_dir, CHECKPOINTS)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
