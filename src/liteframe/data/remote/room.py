"""Room for copies of remote videos: a folder within its limit, shared by processes; what was not used longest goes."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from liteframe.data.remote.file_locks import alone, remove_unheld
from liteframe.data.remote.note import note_path

_COPY = re.compile(r"[0-9a-f]{40}(\.[a-z0-9]+)?")
_NOTE = re.compile(r"\.([0-9a-f]{40}(?:\.[a-z0-9]+)?)\.note")
_LEFTOVER = re.compile(r"\.{1,2}[0-9a-f]{40}.*\.[0-9a-f]{16}\.part")
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class Room:
    """The folder and the most bytes that copies take in it."""

    folder: Path
    limit: int

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from adding copies and from evicting some."""
        with alone(self.folder / ".room.lock"):
            yield

    @contextmanager
    def reserved(self, needed: int, until: float) -> Iterator[None]:
        """Waits until `needed` more bytes fit, and sees to it that nobody else takes them before the body ends.

        Raises:
            TimeoutError: they do not at `until`, by the monotonic clock.
        """
        while True:
            with self.alone():
                if self.evict(needed):
                    yield
                    return
            if time.monotonic() >= until:
                raise TimeoutError(f"no room in {self.folder}: all copies are in use")
            time.sleep(_LOOK_AGAIN_S)  # every file is in use, which none is for long

    def evict(self, needed: int) -> bool:
        """Removes what killed downloads left, and unheld copies until `needed` more bytes fit; whether they do.

        Call it `alone`.
        """
        with os.scandir(self.folder) as entries:
            names = {entry.name: entry for entry in entries}
        files = [
            (entry, stat.st_size, _last_use(Path(entry.path)))
            for name, entry in names.items()
            if (_COPY.fullmatch(name) or _LEFTOVER.fullmatch(name)) and (stat := _stat(entry)) is not None
        ]
        used = sum(size for _, size, _ in files)
        for entry, size, _ in sorted(files, key=lambda file: file[2]):
            wanted = used + needed > self.limit or _LEFTOVER.fullmatch(entry.name)
            if wanted and remove_unheld(Path(entry.path)):
                note_path(Path(entry.path)).unlink(missing_ok=True)
                used -= size
        for name, entry in names.items():
            match = _NOTE.fullmatch(name)
            if match and match[1] not in names:
                Path(entry.path).unlink(missing_ok=True)
        return used + needed <= self.limit


def mark_use(copy: Path) -> None:
    """Notes the time of last use, which eviction goes by, in the note's: the copy itself must not look changed."""
    try:
        os.utime(note_path(copy))
    except OSError as error:  # a folder that may only be read is good for reading
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


def _last_use(copy: Path) -> int:
    try:
        return note_path(copy).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:  # of a download that failed just now
        return None
