"""What the libraries say that a user cannot act on, silenced."""

from __future__ import annotations

import logging
import os
import threading
import warnings

from transformers.utils.logging import disable_progress_bar

from liteframe.system.atomic import disk_fault

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
    r".*`self\.log\('(val|test)/.*sync_dist=True.*",  # these means are of all ranks already
    ".*FSDP2-wrapped module .* returned a view tensor.*",
)


def quieten() -> None:
    """Silences what the libraries say that a user cannot act on, unless LITEFRAME_DEBUG is 1."""
    if os.environ.get("LITEFRAME_DEBUG") == "1":
        return
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    disable_progress_bar()  # transformers shows one for a file that loads in a blink
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _say_unless_disk
    for message in _QUIET_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def _say_unless_disk(thread: threading.ExceptHookArgs) -> None:
    """The loggers' own threads meet a full disk too, and the main one says so in a line."""
    if thread.exc_value is None or disk_fault(thread.exc_value) is None:
        threading.__excepthook__(thread)
