"""Settings of Lightning's trainer that it takes without a look, or refuses in words that name no setting."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from liteframe.errors import ConfigError

_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
}
_MOST_SEED = 2**32 - 1
_PLACES = ("accelerator", "device", "gpu", "cuda", "mps", "tpu", "strategy", "num_nodes", "precision")


def require_possible_run(config: Any) -> None:
    """Looks at a parsed config before anything is made of it.

    Raises:
        ConfigError: a number that no run can have; names the setting.
    """
    trainer, seed = config.trainer, config.get("seed_everything")
    if not isinstance(seed, bool) and isinstance(seed, int) and not 0 <= seed <= _MOST_SEED:
        raise ConfigError(f"seed_everything is {seed}; give a whole number from 0 to {_MOST_SEED:,}")
    if not hasattr(trainer, "get"):
        raise ConfigError(f"trainer is {reprlib.repr(trainer)}; it is a mapping, such as `trainer: {{max_steps: 100}}`")
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if value is not None and value < least:
            raise ConfigError(f"trainer.{name} is {value}; give at least {least}")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int | float) and interval <= 0:
        raise ConfigError(f"trainer.val_check_interval is {interval}; give a number above 0, or null")
    if trainer.get("default_root_dir") == "":
        raise ConfigError("trainer.default_root_dir is empty; give a folder")


def require_mesh(data_parallel: int | str, tensor_parallel: int | str, processes: int, nodes: int = 1) -> None:
    """Looks whether a ModelParallelStrategy shares its weights out over the processes that there are.

    Args:
        data_parallel, tensor_parallel: its sizes; "auto" are the nodes, and the processes of one.
        processes: of a node.
        nodes: of the run.

    Raises:
        ConfigError: the sizes multiplied are not the number of processes; names them.
    """
    tensor = processes if tensor_parallel == "auto" else int(tensor_parallel)
    data = nodes if data_parallel == "auto" else int(data_parallel)
    if data * tensor == processes * nodes:
        return
    fitting, rest = divmod(processes * nodes, tensor) if tensor > 0 else (0, 1)
    advice = f"set it to {fitting}" if rest == 0 else "choose sizes that multiplied are as many"
    raise ConfigError(
        f"trainer.strategy.init_args.data_parallel_size is {data_parallel} and tensor_parallel_size"
        f" {tensor_parallel}, but the run has {processes} x {nodes} devices (trainer.devices x num_nodes); {advice}, or"
        " change these"
    )


def trainer_fault(config: Mapping[str, Any], error: Exception) -> ConfigError:
    """What Lightning said when it made the trainer; where that is about the machine, with another one to take."""
    text = str(error).rstrip(".")
    if not any(place in text.lower() for place in _PLACES):
        return ConfigError(f"trainer: {text}; correct that setting of the trainer")
    where = f"accelerator {config.get('accelerator')}, devices {config.get('devices')}"
    return ConfigError(
        f"trainer ({where}): {text}; say where it runs by another file, such as --config trainer/cpu.yaml"
    )


def is_said_by_lightning(error: BaseException) -> bool:
    """Whether code of Lightning raised an error itself, as it does at settings that do not go together."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("lightning.")
