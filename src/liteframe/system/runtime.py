"""What a process asks of the operating system: memory, cores, a file for itself, and not to outlive its parent."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from liteframe.system.deferred_imports import deferred_imports

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_PR_SET_PDEATHSIG = 1

malloc_is_tuned = False
"""Whether `tune_malloc` has taken effect in this process; records of latencies say so."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tune_malloc() -> bool:
    """Lets glibc keep freed memory instead of giving it back after each tensor; True where it took effect.

    Every large activation is otherwise mapped and unmapped anew, and the page faults cost more than the arithmetic of
    small models. Nothing is done outside glibc, or with ``LITEFRAME_MALLOC=system`` in the environment.
    """
    if not sys.platform.startswith("linux") or os.environ.get("LITEFRAME_MALLOC") == "system":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20))
    results = [libc.mallopt(option, value) for option, value in settings]
    global malloc_is_tuned
    malloc_is_tuned = all(result == 1 for result in results)
    return malloc_is_tuned


def share_cores() -> None:
    """Lets idle OpenMP threads sleep early, so that decode processes get the core that those would spin on.

    Takes effect before torch is loaded. Short enough a spin that small operations in a row do not pay for it.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@contextmanager
def first_imports() -> Iterator[None]:
    """Around the imports of torch and what builds on it: no garbage collection, which takes a fifth of their time, and
    no module that they name and do not need, see `deferred_imports`.

    They make millions of objects that stay, and each pass would go through those made so far; later passes leave them
    out. Nothing is done where torch is loaded already.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with deferred_imports():
            yield
    finally:
        gc.freeze()
        gc.enable()


def die_with_parent() -> bool:
    """Asks Linux to kill this process when the one that started it ends; True where that is possible."""
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


def try_lock(handle: int) -> bool:
    """Locks an open file if nobody else has it, until all its handles are closed; whether it did.

    Not by filelock's `FileLock`, which before version 4 empties the file, whoever wrote it, and which makes do with a
    marker that outlives its holder where the file system has no locks.
    """
    from filelock import lock_descriptor  # here, because it takes longer than all of this module

    return lock_descriptor(handle, blocking=False)
