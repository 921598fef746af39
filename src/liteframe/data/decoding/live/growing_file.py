"""A file that is still being written, or a pipe, read as FFmpeg reads a stream: at its end, more is waited for."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

_LOOK_S = 0.05
_NOBODY_WRITES_S = 1.0
"""Seconds without growth after which a file that nobody has open for writing is at its end."""


class GrowingFile:
    """A file that is followed.

    Its end is where it has not grown for `idle_s` seconds, or for one second while nobody has it open for writing (as
    far as the system tells).

    Args:
        file: open, unbuffered, at its start.
        idle_s: seconds without growth.

    Attributes:
        ended: why no more is waited for; empty before that.
        name: for FFmpeg, which sees no protocol in it.
    """

    name = "video"

    def __init__(self, file: BinaryIO, idle_s: float) -> None:
        self._file, self._idle_s, self.ended = file, idle_s, ""

    def head(self, count: int) -> bytes:
        """The first bytes; they are read again."""
        data = _up_to(count, self.read)
        self._file.seek(0)
        return data

    def offer_seeking(self) -> None:
        """Lets FFmpeg seek, to an index at the end of what is there for one."""
        self.seek, self.tell = self._file.seek, self._file.tell

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, once there are any; none at the end. Behind a seek back, what is there."""
        quiet_since = time.monotonic()
        while not (data := self._file.read(count)) and not self.ended:
            quiet_s = time.monotonic() - quiet_since
            if quiet_s > self._idle_s:
                self.ended = f"it has not grown for {self._idle_s:g} s"
            elif quiet_s > min(_NOBODY_WRITES_S, self._idle_s) and not _is_written(self._file):
                self.ended = "nobody writes it any more"
            time.sleep(0 if self.ended else _LOOK_S)
        return data


class Pipe:
    """A pipe, which ends where its writer closes it or sends nothing for `idle_s` seconds; as `GrowingFile`."""

    name = "video"

    def __init__(self, file: BinaryIO, idle_s: float) -> None:
        self._file, self._idle_s, self.ended = file, idle_s, ""
        self._kept = b""

    def head(self, count: int) -> bytes:
        """The first bytes; they are read again."""
        self._kept = _up_to(count, self.read)
        return self._kept

    def read(self, count: int) -> bytes:
        """Up to `count` bytes, once there are any; none at the end."""
        if self._kept:
            data, self._kept = self._kept[:count], self._kept[count:]
            return data
        ready, _, _ = select.select([self._file], [], [], self._idle_s)
        data = os.read(self._file.fileno(), count) if ready else b""
        if not data:
            self.ended = "its writer has closed it" if ready else f"nothing has come for {self._idle_s:g} s"
        return data


def _up_to(count: int, read: Callable[[int], bytes]) -> bytes:
    data = b""
    while len(data) < count and (more := read(count - len(data))):
        data += more
    return data


def _is_written(file: BinaryIO) -> bool:
    """Whether anybody has a file open for writing; True where the system does not tell.

    Linux gives a lease for reading only where nobody does. It is given back at once.
    """
    if sys.platform != "linux":
        return True
    import errno
    import fcntl

    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        # no lease for files of other users and on network file systems
        return error.errno in (errno.EAGAIN, errno.EACCES, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP)
    return False
