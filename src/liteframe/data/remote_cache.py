"""Copies of remote videos in a folder that does not grow beyond its limit, shared by all processes of a machine."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from liteframe.atomic import atomic_open
from liteframe.data.file_locks import alone, hold, hold_alone, remove_unheld
from liteframe.data.remote_file import BLOCK_BYTES, is_refusal, name_for, open_url
from liteframe.errors import ConfigError, DecodeError, LiteFrameError

_COPY = re.compile(r"[0-9a-f]{40}(\.[a-z0-9]+)?")
_LEFTOVER = re.compile(r"\.[0-9a-f]{40}.*\.part")
_PAUSES_S = (0.5, 2.0)
_LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class RemoteCache:
    """A folder of copies of remote videos; those that were not used for the longest time go first.

    Several processes may use one folder: a URL is downloaded by one of them, and no file goes while it is decoded. A
    URL is fetched once and then believed: what changes behind it is not seen. Credentials and endpoints are those
    that fsspec finds (the environment, `~/.config/fsspec`).

    Args:
        folder: on a local disk; made where it does not exist. Files that are not copies are left alone.
        gigabytes: most that the copies take, in 1e9 bytes. Only servers that do not tell sizes can make it more, by
            what is under way.
        deadline_s: seconds that fetching one video may take, on top of the deadline of decoding.

    Raises:
        ConfigError: `gigabytes` or `deadline_s` is not above 0, or the system has no `flock`.
    """

    folder: str
    gigabytes: float = 50.0
    deadline_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("gigabytes", "deadline_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"data.remote_cache.{name} is {getattr(self, name)}; give a number above 0")
        if sys.platform == "win32":
            raise ConfigError("data.remote_cache: Windows has no flock; copy the videos to a local folder instead")

    @contextmanager
    def local_copy(self, url: str) -> Iterator[str]:
        """Path of a whole copy of `url`, fetched first where it is not here; it stays until the body ends.

        Raises:
            DecodeError: `url` cannot be fetched, comes cut short, or is larger than the cache.
            ConfigError: fsspec cannot read such URLs, or the folder cannot be written.
        """
        copy = Path(self.folder, name_for(url))
        while (handle := hold(copy)) is None:
            self._fetch(url, copy)
        try:
            # The time of last use, which eviction goes by; that of last change is known to the cache of scans.
            os.utime(handle, ns=(time.time_ns(), os.fstat(handle).st_mtime_ns))
            yield str(copy)
        finally:
            os.close(handle)

    @property
    def _limit(self) -> int:
        return int(self.gigabytes * 1e9)

    def _fetch(self, url: str, copy: Path) -> None:
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with alone(copy.with_name(f".{copy.name}.lock")):
                if not copy.exists():
                    self._download(url, copy)
        except OSError as error:
            raise ConfigError(f"data.remote_cache.folder: {self.folder} cannot be used: {error}") from error

    def _download(self, url: str, copy: Path) -> None:
        for pause in (*_PAUSES_S, None):
            try:
                with open_url(url) as (stream, size):
                    self._write(url, stream, size, copy)
                return
            except LiteFrameError:
                raise
            except Exception as error:  # each of fsspec's backends has errors of its own
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if pause is None or is_refusal(error):
                    cause = error.__cause__ or error
                    raise DecodeError(url, f"cannot be fetched: {type(cause).__name__}: {cause}") from error
            time.sleep(pause)

    def _write(self, url: str, stream: BinaryIO, size: int | None, copy: Path) -> None:
        if size is not None:
            self._require_fit(url, size)
        # `handles` closes last, so that nobody sees an unlocked file that has not got its own name yet.
        with ExitStack() as handles, ExitStack() as files:
            with self._room(size or 0):
                file = files.enter_context(atomic_open(copy))
                handles.callback(os.close, os.dup(file.fileno()))
                hold_alone(file.fileno())
                file.truncate(size or 0)  # so that others count it in full from now on
            shutil.copyfileobj(stream, file, BLOCK_BYTES)
            written = file.tell()
            if size is not None and written != size:
                raise OSError(f"{written} bytes came instead of {size}")
            if size is None:
                self._require_fit(url, written)
            file.flush()
            os.fsync(file.fileno())  # here, because the others wait for the next lines
            with alone(self._room_lock):
                files.close()
                if size is None:
                    self._evict(0)

    def _require_fit(self, url: str, size: int) -> None:
        if size > self._limit:
            raise DecodeError(
                url,
                f"has {size / 1e9:.3g} GB, more than the cache's {self.gigabytes:g} GB; raise"
                " data.remote_cache.gigabytes",
            )

    @property
    def _room_lock(self) -> Path:
        return Path(self.folder, ".room.lock")

    @contextmanager
    def _room(self, needed: int) -> Iterator[None]:
        """Waits until `needed` more bytes fit, and sees to it that nobody else takes them before the body ends."""
        while True:
            with alone(self._room_lock):
                if self._evict(needed):
                    yield
                    return
            time.sleep(_LOOK_AGAIN_S)  # every file is in use, which none is for long

    def _evict(self, needed: int) -> bool:
        """Removes what killed downloads left, and unheld copies until `needed` more bytes fit; whether they do."""
        with os.scandir(self.folder) as entries:
            found = [entry for entry in entries if _COPY.fullmatch(entry.name) or _LEFTOVER.fullmatch(entry.name)]
            files = [(entry, stat) for entry in found if (stat := _stat(entry)) is not None]
        used = sum(stat.st_size for _, stat in files)
        for entry, stat in sorted(files, key=lambda file: file[1].st_atime_ns):
            wanted = used + needed > self._limit or _LEFTOVER.fullmatch(entry.name)
            if wanted and remove_unheld(Path(entry.path)):
                used -= stat.st_size
        return used + needed <= self._limit


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:  # of a download that failed just now
        return None
