"""A stage and its data from the configs of a run, built on `meta`: no weights, no files, no network, no memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from liteframe.command.configs import checked_config
from liteframe.command.library_warnings import quieten
from liteframe.command.lightning_cli import StageCLI, import_stages
from liteframe.command.run_errors import own_errors
from liteframe.command.trainer_settings import require_mesh
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.unused_settings import require_used
from liteframe.data.store.feature_store import read_key
from liteframe.data.store.index import is_there
from liteframe.errors import ConfigError
from liteframe.system.whole_number import whole_number

_UNPLANNED = (
    *("fast_dev_run", "limit_predict_batches", "limit_train_batches", "max_time", "min_epochs", "min_steps"),
    *("overfit_batches",),
)


class BuildOnly(StageCLI):
    """Parses and builds as `liteframe fit` does, on `meta`, and runs nothing.

    Attributes:
        model: the stage; weights that it was told to load are not there.
        datamodule: the data; no file of theirs has been opened.
        settings: the parsed config.
    """

    def instantiate_classes(self) -> None:
        with own_errors(), torch.device("meta"):
            built = self.parser.instantiate_classes(self.config)[self.verb]
        self.model, self.datamodule, self.settings = built.model, built.data, self.config[self.verb]

    def _add_instantiators(self) -> None:
        """Leaves out the copy of the config that Lightning makes for checkpoints, of which there are none here."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@dataclass(frozen=True)
class Machine:
    """Where a stage runs, as `trainer` in its config says.

    Attributes:
        gpus: processes with a device each.
        sharded: whether weights are shared out over them.
        autocast: whether products run in bfloat16 or float16 beside float32 weights.
        accumulate: batches of an optimizer step.
        max_steps, max_epochs: where it ends; None is no end.
        unplanned: settings of the trainer that shorten or lengthen a run and are not planned with.
    """

    gpus: int
    sharded: bool
    autocast: bool
    accumulate: int = 1
    max_steps: int | None = None
    max_epochs: int | None = None
    unplanned: tuple[str, ...] = ()


def build(configs: Sequence[str], changes: Sequence[str] = ()) -> tuple[LightningModule, VideoDataModule, Machine]:
    """The stage, data and machine of config files, of which later ones go before earlier ones.

    Args:
        configs: names or paths, as after `--config`.
        changes: ``key=value`` words that come last, such as ``data.batch_size=4``.

    Raises:
        ConfigError: a config that is not found, a change without a ``=``, or a setting that would have no effect.
        SystemExit: what does not parse; jsonargparse has said why.
    """
    words = [word for config in configs for word in ("--config", checked_config(config))]
    return build_words([*words, *change_words(changes)])


def change_words(changes: Sequence[str]) -> list[str]:
    """Words of a command line for the ``key=value`` of `--set`. Raises ConfigError at one without a ``=``."""
    if odd := [change for change in changes if "=" not in change]:
        raise ConfigError(f"--set {odd[0]}: give KEY=VALUE, such as data.batch_size=4")
    return [f"--{change}" for change in changes]


def build_words(words: Sequence[str]) -> tuple[LightningModule, VideoDataModule, Machine]:
    """As `build`, of the words of a command line: ``--config`` with the paths of files, and settings."""
    import_stages()
    quieten()
    built = BuildOnly("fit", list(words))
    if not isinstance(built.datamodule, VideoDataModule):
        raise ConfigError(f"{type(built.datamodule).__name__}: only stages on a VideoDataModule can be planned")
    _settle(built.datamodule, built.model)
    return built.model, built.datamodule, read_machine(built.settings.trainer)


def _settle(data: VideoDataModule, stage: LightningModule) -> None:
    """Refuses the settings that a run would refuse, and takes from a feature store that is here what a run would."""
    verb = "fit" if is_overridden("training_step", stage) else "predict"
    here = verb == "fit" and data.store_path is not None and is_there(data.store_path)
    key = read_key(str(data.store_path)) if here else None
    require_used(data, verb, stage, key)
    if key is not None:
        data.follow_store(key)


def read_machine(trainer: Any) -> Machine:
    """What `trainer` of a parsed config says about the machine; "auto" devices count as one.

    Raises:
        ConfigError: weights are shared out over another number of devices.
    """
    precision = str(trainer.precision or "32-true")
    strategy = trainer.strategy if isinstance(trainer.strategy, str) else trainer.strategy.class_path
    devices, nodes = device_count(trainer.devices), int(trainer.num_nodes)
    if strategy.endswith("ModelParallelStrategy") and trainer.devices not in ("auto", "-1", -1):
        sizes = trainer.strategy.init_args
        require_mesh(sizes.data_parallel_size, sizes.tensor_parallel_size, devices, nodes)
    return Machine(
        gpus=devices * nodes,
        sharded=any(name in strategy.lower() for name in ("fsdp", "modelparallel", "deepspeed")),
        autocast="mixed" in precision,
        accumulate=int(trainer.accumulate_grad_batches),
        max_steps=trainer.max_steps if trainer.max_steps > 0 else None,
        max_epochs=trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None,
        unplanned=tuple(name for name in _UNPLANNED if _limits(trainer.get(name))),
    )


def _limits(value: Any) -> bool:
    """Whether a limit of the trainer is one: 1.0 is all batches, and 1 a single one."""
    return value not in (None, 0) and not (isinstance(value, float) and value == 1)


def device_count(devices: Any) -> int:
    """Devices that `trainer.devices` stands for; "auto" and -1 count as one."""
    if isinstance(devices, (list, tuple)):
        return len(devices)
    words = str(devices)
    if "," in words:
        return len([word for word in words.split(",") if word.strip()])
    return whole_number(words) or 1
