"""``trainer.precision: auto``, which Lightning does not know: the fastest precision where the run is, told once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from liteframe.errors import ConfigError
from liteframe.run_control.earlier_run import CHECKPOINTS, precision_before
from liteframe.system.fast_dtype import fast_dtype

AUTO = "auto"
_PRECISIONS = {"bfloat16": "bf16-mixed", "float16": "16-mixed", "float32": "32-true"}
_OF_FIRST_RANK = "LITEFRAME_PRECISION"
"""Environment variable by which the ranks that the first one starts do as that does."""
_SEARCHED = ("last", "auto", "hpc")
"""Words for a checkpoint in the run folder."""


def resolve_precision(verb: str, config: Any, folder: str) -> None:
    """Puts a precision of Lightning's in the place of `auto` in a parsed config.

    It is that of the run that goes on, where one does: what `fit` is given a checkpoint of, and what `predict` has
    begun in the run folder. Else it is the fastest of the device, see `fast_dtype`.

    Args:
        verb: fit, validate, test or predict.
        config: of the run; `trainer.precision` is set.
        folder: the run folder.

    Raises:
        ConfigError: ranks on a CPU that nobody has told what the first one measured.
    """
    trainer = config.trainer
    if trainer.precision == AUTO:
        trainer.precision = _of_earlier_run(verb, config.get("ckpt_path"), Path(folder)) or _of_machine(trainer)
        os.environ[_OF_FIRST_RANK] = trainer.precision


def _of_earlier_run(verb: str, checkpoint: Any, folder: Path) -> str | None:
    if verb == "predict":
        return precision_before(folder, verb)
    if verb != "fit" or not checkpoint:
        return None
    place = Path(str(checkpoint)).parent
    given = place.parent if place.name == CHECKPOINTS else place
    return precision_before(folder if checkpoint in _SEARCHED else given, verb)


def _of_machine(trainer: Any) -> str:
    device, rank = _device(trainer.accelerator), getattr(rank_zero_only, "rank", 0)
    if device == "cpu" and rank != 0 and _OF_FIRST_RANK in os.environ:
        return os.environ[_OF_FIRST_RANK]
    if device == "cpu" and (rank != 0 or int(trainer.num_nodes) > 1):
        raise ConfigError(
            "trainer.precision is auto, and on CPUs each process of another launcher, and each node, would measure for"
            " itself; give --trainer.precision 32-true or bf16-mixed"
        )
    if device == "cuda" and not torch.cuda.is_available():
        return _PRECISIONS["bfloat16"]  # to be planned for; to run there, the trainer says what is missing
    return _PRECISIONS[fast_dtype(device)]


def _device(accelerator: Any) -> str:
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return {"gpu": "cuda", "cuda": "cuda", "cpu": "cpu"}.get(str(accelerator), "mps")
