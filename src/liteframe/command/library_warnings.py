"""What the libraries warn of: silence where a user can do nothing about it, else one line, in clear words."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from typing import TextIO

from transformers.utils.logging import disable_progress_bar

from liteframe.errors import as_one_line
from liteframe.system.atomic import disk_fault

_QUIET = (
    ".*LeafSpec.*is deprecated.*",
    ".*is_gradient_checkpointing.*is deprecated.*",  # said of peft
    ".*but have no `validation_step`.*",  # data that are given for it all the same are refused
    ".*is smaller than the logging interval.*",  # of an epoch; `run_warnings` looks at the run
    ".*predict returned None.*",
    ".*Total length of `.*` across ranks is zero.*",
    ".*module.s. in eval mode at the start of training.*",
    r".*`self\.log\('(val|test)/.*sync_dist=True.*",  # these means are of all ranks already
    ".*FSDP2-wrapped module .* returned a view tensor.*",
)
_WORDS = (
    (
        r"`max_epochs` was not set",
        "none of trainer.max_epochs, max_steps and max_time is set, so the run goes through its data 1000 times; set"
        " one of them",
    ),
    (r"AMP with fp16 is not supported on", "trainer.precision 16-mixed does not run on a CPU; bf16-mixed is taken"),
    (r"GPU available but not used", "there is a GPU, and trainer.accelerator is cpu, so it is not used"),
    (
        r"Checkpoint directory (.+) exists and is not empty",
        r"\1: holds files already; the checkpoints of this run go beside them",
    ),
    (
        r"Experiment logs directory (.+) exists and is not empty",
        r"\1: holds logs of an earlier run, which trainer.logger deletes when it writes its own; give it another"
        " name or version to keep them",
    ),
)
"""What begins a warning of Lightning's, and what is said in its place."""


def quieten() -> None:
    """Silences what a user cannot act on and says other warnings in a line each, unless LITEFRAME_DEBUG is 1."""
    if os.environ.get("LITEFRAME_DEBUG") == "1":
        return
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    disable_progress_bar()  # transformers shows one for a file that loads in a blink
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _say_unless_disk
    for message in _QUIET:
        warnings.filterwarnings("ignore", message=message)
    warnings.showwarning = _show


def warn(text: str) -> None:
    """A line on stderr that begins as all warnings of the command do."""
    print(f"liteframe: warning: {text}", file=sys.stderr, flush=True)


def in_clear_words(message: str) -> str:
    """A warning of a library in one line, in words of ours where we have some."""
    for pattern, words in _WORDS:
        if found := re.search(pattern, message):
            return found.expand(words)
    return as_one_line(message)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    warn(in_clear_words(str(message)))


def _say_unless_disk(thread: threading.ExceptHookArgs) -> None:
    """The loggers' own threads meet a full disk too, and the main one says so in a line."""
    if thread.exc_value is None or disk_fault(thread.exc_value) is None:
        threading.__excepthook__(thread)
