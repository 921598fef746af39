"""The checkpoint that ``--ckpt_path`` stands for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_only

from liteframe.data.remote.fetched import fetched_file
from liteframe.data.remote.file import is_url, protocol_of
from liteframe.errors import CheckpointError
from liteframe.run_control.earlier_run import last_checkpoint
from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint, require_checkpoint_file
from liteframe.system.shown_url import shown_url


def given_checkpoint(given: str | None, trainer: Any, folders: Iterable[Path]) -> str | None:
    """The file that ``--ckpt_path`` stands for, a copy of what lies at an address; None to begin anew.

    Args:
        given: a file, an address, ``last``, ``auto``, or ``hpc``, which is Lightning's own.
        trainer: whose strategy reads it.
        folders: where checkpoints of the run lie besides its own folder.

    Raises:
        CheckpointError: it is no checkpoint of this machine's, or there is none in the run folder.
    """
    if given is None or given == "hpc":
        return given
    if given in ("", "best"):
        raise CheckpointError(f"--ckpt_path is {given or 'empty'}; give a checkpoint's file, `last` or `auto`")
    if given in ("last", "auto"):
        folder = Path(trainer.default_root_dir)
        last = last_checkpoint(folder, *folders)
        if last is None and given == "auto":
            rank_zero_only(print)(f"--ckpt_path auto: no checkpoint in {folder} yet, so the run begins anew")
            return None
        if last is None:
            raise CheckpointError(
                f"--ckpt_path last: no checkpoint in {folder.absolute()}; correct --trainer.default_root_dir, or leave"
                " --ckpt_path out to begin anew (`auto` goes on where there is a checkpoint, else begins)"
            )
        given = str(last)
    if is_url(given) and protocol_of(given) not in ("http", "https"):
        copy = fetched_file(given)
        if copy is None:
            raise CheckpointError(f"--ckpt_path {shown_url(given)}: no such file; give the address of a checkpoint")
        given = str(copy)
    require_checkpoint_file(given)
    strategy = trainer.strategy
    if not isinstance(strategy.checkpoint_io, AtomicCheckpointIO) or isinstance(strategy, ModelParallelStrategy):
        read_checkpoint(given, mmap=True)  # read by other code later, which asks less
    return given
