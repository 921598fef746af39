"""What goes wrong while a stage is built or run, said in a line of our own."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from liteframe.command.parse_errors import parse_error_line
from liteframe.command.trainer_settings import is_said_by_lightning
from liteframe.errors import CheckpointError, ConfigError, LiteFrameError, RankError
from liteframe.run_control import stop_signals
from liteframe.run_control.graceful_stop import GracefulStop
from liteframe.run_control.several_hosts import meeting_fault
from liteframe.run_control.stop_signals import Stopped


@contextmanager
def named_errors_of_run(trainer: Trainer, stopping: GracefulStop) -> Iterator[None]:
    """Says in one line what a checkpoint that does not fit, a lost rank, or Ctrl-C before the first step comes to."""
    try:
        yield
    except SystemExit as leaving:
        if not isinstance(leaving, Stopped) and isinstance(leaving.__context__, KeyboardInterrupt):
            raise Stopped(signal.SIGINT) from leaving  # Lightning's own code for it is 1
        raise
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if trainer.world_size > 1 and not stopping.begun and (fault := meeting_fault(error)) is not None:
            raise RankError(f"rank {trainer.global_rank}: {fault}") from error
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
        if isinstance(error, ValueError) and is_said_by_lightning(error):
            raise ConfigError(f"trainer: {str(error).strip()}") from error
        raise


def _is_of_ranks(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL", "DistBackendError", "TCPStore")
    return isinstance(error, RuntimeError) and any(word in f"{type(error).__name__} {error}" for word in words)


@contextmanager
def own_errors() -> Iterator[None]:
    """Takes what a class of the config raised out of what jsonargparse says of one that could not be built.

    Raises:
        LiteFrameError: that which was raised, or a ConfigError that tells what another library said.
    """
    try:
        yield
    except ValueError as error:
        causes: list[BaseException] = [error]
        while following := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(following)
        own = next((cause for cause in causes if isinstance(cause, LiteFrameError)), None)
        if own is not None:
            raise own from error
        if isinstance(causes[-1], (ImportError, MisconfigurationException, OSError)):
            kind = re.search(r"class_path '([\w.]+)'", " ".join(map(str, causes)))
            raise ConfigError(f"{kind[1] if kind else 'the config'}: {causes[-1]}") from error
        if "Does not validate against any of the Union subtypes" in str(error):  # it quotes a class of a list
            raise ConfigError(f"the config: {parse_error_line(str(error), [])}") from error
        raise
