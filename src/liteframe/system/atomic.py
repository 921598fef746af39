"""Files that are whole or absent under their names, however the process that writes them ends.

Each is written under a hidden name beside the target, flushed to disk, and renamed over it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_SUFFIX = ".part"
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.part$")


@contextmanager
def atomic_open(path: str | os.PathLike[str], sync: bool = True) -> Iterator[BinaryIO]:
    """Opens a new file for bytes, to write and read, which takes the place of ``path`` when the body ends.

    After an error in the body ``path`` is as it was and nothing else is left. Several processes may write one path;
    the last one to end wins. Only a kill leaves the hidden file behind, see `remove_leftovers`.

    Args:
        path: in a folder that exists.
        sync: flush to disk before the renaming, so that a power cut too leaves the old file or the new one.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        with open(temporary, "w+b") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: str | os.PathLike[str], text: str, sync: bool = True) -> None:
    """Writes UTF-8 as `atomic_open` does (same arguments, same errors)."""
    with atomic_open(path, sync) as file:
        file.write(text.encode())


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes indented JSON as `atomic_open` does; TypeError for what JSON cannot hold."""
    atomic_write_text(path, json.dumps(value, indent=2) + "\n")


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` last through a power cut."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_fault(error: BaseException) -> str | None:
    """What the disk said (full, read-only, no permission) in an error or its causes; None where it said nothing.

    Libraries that write by themselves turn the system's error into one of their own, with its number in the text.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        found = _OS_ERROR.search(str(cause))
        number = int(found[1]) if number is None and found else number
        if number in _DISK_FAULTS:
            return os.strerror(number)
        cause = cause.__cause__ or cause.__context__
    return None


def give_usual_modes(folder: str | os.PathLike[str]) -> None:
    """Lets others read the files below ``folder`` as far as the umask does; safetensors are written for their owner."""
    umask = os.umask(0)
    os.umask(umask)
    for path in Path(folder).rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def remove_leftovers(folder: str | os.PathLike[str], names: str = "*") -> None:
    """Removes what killed processes left in ``folder`` of files that they were writing.

    Args:
        names: glob of the files' own names. Nobody may be writing one of them now.
    """
    for leftover in Path(folder).glob(f".{names}.*{_SUFFIX}"):
        if _LEFTOVER.search(leftover.name) and leftover.is_file():
            leftover.unlink(missing_ok=True)
