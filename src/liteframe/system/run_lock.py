"""The lock of a run folder, and who holds it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from liteframe.errors import ConfigError
from liteframe.system.runtime import try_lock

LOCK_FILE = ".lock"
_HOLDER = b"pid "
_IN_USE = "the run folder is in use by {holder}; wait, end it, or take another (--run)"


class RunLock:
    """One process at a time in a run folder.

    The lock is the kernel's, on ``folder/.lock``, so it is free again however its holder ends. The file holds the pid
    and host of the holder. Use it as a context manager.

    Args:
        folder: made if absent.
        name: of the file in it.
        in_use: what to say of a lock that `{holder}` has.

    Raises:
        ConfigError: on entering, if another process holds it (the message names that process), or if nothing can be
            written there.
    """

    def __init__(self, folder: str | Path, name: str = LOCK_FILE, in_use: str = _IN_USE) -> None:
        self.folder, self._name, self._in_use = Path(folder), name, in_use
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        path = self.folder / self._name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            is_free = try_lock(handle)
        except OSError as error:  # a file system without locks
            os.close(handle)
            raise self._unwritable(error) from error
        if not is_free:
            holder = _holder(handle)
            os.close(handle)
            raise ConfigError(f"{path}: {self._in_use.format(holder=holder)}")
        content = os.read(handle, len(_HOLDER))
        os.lseek(handle, 0, os.SEEK_SET)
        if content and content != _HOLDER:
            os.close(handle)
            raise ConfigError(f"{path}: no run of liteframe wrote it, and this one would write over it; move it away")
        try:
            os.ftruncate(handle, 0)
            os.write(handle, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            os.close(handle)
            raise self._unwritable(error) from error
        self._file = handle
        if hasattr(os, "register_at_fork"):
            # A forked loader worker would otherwise keep the lock after its parent was killed.
            os.register_at_fork(after_in_child=self._forget)
        return self

    def _unwritable(self, error: OSError) -> ConfigError:
        files = [path for path in (self.folder, *self.folder.parents) if path.exists() and not path.is_dir()]
        reason = f"{files[0]} is a file" if files else error.strerror or error
        return ConfigError(
            f"{self.folder}: the run folder cannot be written ({reason}); give another"
            " (--trainer.default_root_dir, or --run of a pipeline)"
        )

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            from filelock import unlock_descriptor

            unlock_descriptor(self._file)
        self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _holder(handle: int) -> str:
    """What the file of a `RunLock` says of its holder."""
    try:
        note = os.read(handle, 200).decode(errors="replace").strip()
    except OSError:  # Windows keeps others from reading what is locked
        note = ""
    return note or "another process"


def is_locked(folder: str | Path, name: str = LOCK_FILE) -> bool:
    """Whether some process holds the `RunLock` of a folder; two that ask at once do not see each other.

    False on Windows, where there is no way to ask that others who ask do not see.
    """
    return bool(lock_holder(folder, name))


def lock_holder(folder: str | Path, name: str = LOCK_FILE) -> str:
    """Who holds the `RunLock` of a folder, such as "pid 12 on node3"; empty where `is_locked` is False."""
    try:
        handle = os.open(Path(folder) / name, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        return "" if _try_shared_lock(handle) else _holder(handle)
    finally:
        os.close(handle)


def is_own_lock(path: Path) -> bool:
    """Whether the file of a lock is a `RunLock`'s, which holds who has it or nothing."""
    with open(path, "rb") as file:
        return file.read(len(_HOLDER)) in (_HOLDER, b"")


def _try_shared_lock(handle: int) -> bool:
    """Shares the lock of an open file if nobody has it alone; whether it did. filelock's are not shared."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
