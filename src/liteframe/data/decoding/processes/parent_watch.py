"""Lets a process end when the one that started it has ended, however that came about."""

from __future__ import annotations

import os
import threading
import time

from liteframe.system.runtime import die_with_parent

_LOOK_S = 1.0


def end_with_parent(parent: int, by_signal: bool = True) -> None:
    """Ends this process as soon as `parent`, which started it, is gone, also where it went before this call.

    Args:
        parent: process id, which the parent itself has told.
        by_signal: let Linux kill this process at once, whatever it is doing. Only where the *thread* that started it
            lives as long as the parent, because Linux sends the signal when that thread ends.
    """
    if by_signal:
        die_with_parent()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=watch, name="liteframe-parent-watch", daemon=True).start()


def leave_group() -> None:
    """Takes this process out of its parent's process group.

    A signal to the group, as Ctrl-C and batch systems send it, then reaches the parent alone, which decides what to
    finish first.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()
