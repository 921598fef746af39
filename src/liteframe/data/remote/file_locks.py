"""Kernel locks on files that may be removed: free again however their holder ends.

A lock belongs to an open file, not to its name, so each is checked to be on the file that has the name now. Where locks
are shared or waited for they are `flock` itself: filelock's cannot be shared, and poll where the kernel wakes the next.

On Windows a file that somebody has open cannot be removed, so that an open file is held without a lock.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from liteframe.system.runtime import try_lock


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process or thread is in here with the lock file `path`, which is removed at the end."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _wait_for(handle)
        if _has_name(handle, path):
            break
        os.close(handle)
    try:
        yield
    finally:
        if sys.platform == "win32":
            os.close(handle)
            with suppress(PermissionError):  # others wait for it
                path.unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)
            os.close(handle)


def hold(path: Path) -> int | None:
    """A handle that keeps `remove_unheld` off `path` until it is closed; None where there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_SH)
    if _has_name(handle, path):
        return handle
    os.close(handle)
    return None


def hold_alone(handle: int) -> None:
    """Keeps `remove_unheld` off the open file, which nobody else has open yet, until all its handles are closed."""
    if sys.platform != "win32":
        _wait_for(handle)


def remove_unheld(path: Path) -> bool:
    """Removes `path` unless somebody holds it; whether it is gone.

    Raises:
        OSError: it cannot be opened, locked or removed.
    """
    if sys.platform == "win32":
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            return False
        return True
    try:
        handle = _open_to_lock_alone(path)
    except FileNotFoundError:
        return True
    try:
        if not try_lock(handle):
            return False
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)
    return True


def _open_to_lock_alone(path: Path) -> int:
    """NFS locks a file for one alone only where it is open to be written to (flock(2), "NFS details")."""
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:  # another user's, or write-protected: a disk of this machine asks for no more
        return os.open(path, os.O_RDONLY)


def _wait_for(handle: int) -> None:
    if sys.platform == "win32":
        from filelock import lock_descriptor

        lock_descriptor(handle)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)


def _has_name(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
