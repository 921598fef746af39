"""Copies of remote videos in a folder that does not grow beyond its limit, shared by all processes of a machine."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from liteframe.data.remote.checksums import Digests
from liteframe.data.remote.content import HEAD_BYTES, missing_bytes, not_a_video
from liteframe.data.remote.faults import BadBody, in_words, is_refusal, retry_after_s
from liteframe.data.remote.file import BLOCK_BYTES, RemoteFile, name_for, open_url, require_remote
from liteframe.data.remote.file_locks import alone, hold, hold_alone
from liteframe.data.remote.note import Note, has_noted_bytes, is_as_noted, note_path, read_note, stamp_of, write_note
from liteframe.data.remote.room import Room, mark_use
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout, LiteFrameError
from liteframe.system.atomic import atomic_open

log = logging.getLogger(__name__)
_PAUSES_S = (0.5, 2.0)
_MOST_WAITS = 8


@dataclass(frozen=True)
class RemoteCache:
    """A folder of copies of remote videos; those that were not used for the longest time go first.

    Several processes may use one folder: a URL is downloaded by one of them, and no file goes while it is decoded. What
    comes down is looked at before it counts, and a copy that has changed since is fetched again; what changes behind
    the URL is not seen. Credentials and endpoints are those that fsspec finds (the environment, `~/.config/fsspec`).

    Args:
        folder: on a local disk; made where it does not exist. Files that are not copies are left alone.
        gigabytes: most that the copies take, in 1e9 bytes. Only servers that do not tell sizes can make it more, by
            what is under way.
        deadline_s: seconds that fetching one video may take, on top of the deadline of decoding; a server that asks to
            wait longer is not waited for.

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

    def copy_of(self, url: str) -> Path:
        """Where the copy of `url` lies, if there is one."""
        return Path(self.folder, name_for(url))

    @contextmanager
    def local_copy(self, url: str) -> Iterator[str]:
        """Path of a whole copy of `url`, fetched first where it is not here; it stays until the body ends.

        Raises:
            DecodeError: `url` is of a protocol that rows may not name, cannot be fetched, comes cut short, is no video
                at the first look, or is larger than the cache.
            ConfigError: fsspec lacks a package for such URLs, or the folder cannot be used.
        """
        require_remote(url)
        copy = self.copy_of(url)
        until = time.monotonic() + self.deadline_s
        with self._named():
            while (handle := _hold_as_noted(copy)) is None:
                self._fetch(url, copy, until)
            mark_use(copy)
        try:
            yield str(copy)
        finally:
            os.close(handle)

    def drop_if_bad(self, path: str, opens: bool) -> bool:
        """Removes a copy that could not be decoded where fetching it again may help; whether it did.

        Args:
            path: of the copy, which the caller holds.
            opens: whether a decoder can open it at all.
        """
        copy = Path(path)
        note = read_note(copy)
        if opens and note is not None and note.whole and has_noted_bytes(copy, note):
            return False
        with self._named():
            _remove(copy)
        return True

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"data.remote_cache.folder: {self.folder} cannot be used: {error}") from error

    @property
    def _room(self) -> Room:
        return Room(Path(self.folder), int(self.gigabytes * 1e9))

    def _fetch(self, url: str, copy: Path, until: float) -> None:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with alone(copy.with_name(f".{copy.name}.lock")):
            handle = _hold_as_noted(copy)
            if handle is not None:  # another process has fetched it in the meantime
                os.close(handle)
                return
            if copy.exists():
                log.warning("%s: is not what was fetched from %s; it is fetched again", copy, url)
            try:
                self._download(url, copy, until)
            except BaseException:
                _remove(copy)
                raise

    def _download(self, url: str, copy: Path, until: float) -> None:
        pauses, waits = iter(_PAUSES_S), 0
        while True:
            try:
                with open_url(url) as remote:
                    self._write(url, remote, copy, until)
                return
            except LiteFrameError:
                raise
            except Exception as error:  # each of fsspec's backends has errors of its own
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                refused = is_refusal(error)
                asked = None if refused or waits == _MOST_WAITS else retry_after_s(error)
                waits += asked is not None
                pause = None if refused else asked or next(pauses, None)
                if pause is None or time.monotonic() + pause >= until:
                    more = f"; the server asks to wait {asked:.0f} s, longer than is left" if asked else ""
                    raise DecodeError(url, f"cannot be fetched: {in_words(error)}{more}") from error
            time.sleep(pause)

    def _write(self, url: str, remote: RemoteFile, copy: Path, until: float) -> None:
        size, room = remote.size, self._room
        self._require_fit(url, size or 0, "has")
        # `handles` closes last, so that nobody sees an unlocked file that has not got its own name yet.
        with ExitStack() as handles, ExitStack() as files:
            with room.reserved(size or 0, until):
                file = files.enter_context(atomic_open(copy))
                if sys.platform != "win32":  # where no open file gets another name, and who evicts waits for `alone`
                    handles.callback(os.close, os.dup(file.fileno()))
                hold_alone(file.fileno())
                file.truncate(size or 0)  # so that others count it in full from now on
            digests, reserved = Digests(remote.checksums), size or 0
            for block in self._blocks(url, remote, until):
                digests.update(block)
                if digests.bytes > reserved:
                    reserved = digests.bytes + BLOCK_BYTES
                    with room.alone():
                        room.evict(BLOCK_BYTES)
                file.write(block)
            file.flush()
            judged = _judge(file.name, remote, digests)
            os.fsync(file.fileno())  # here, because the others wait for the next lines
            with room.alone():
                files.close()
                write_note(copy, Note(*judged, stamp_of(os.stat(copy))))
                if size is None:
                    room.evict(0)

    def _blocks(self, url: str, remote: RemoteFile, until: float) -> Iterator[bytes]:
        """What comes, until it is too much, too late, or seen to be no video."""
        head, come, looked = b"", 0, False
        while True:
            block = remote.stream.read(BLOCK_BYTES)
            come += len(block)
            if remote.size is not None and come > remote.size:
                raise BadBody(f"more bytes come than the {remote.size} that the server told")
            self._require_fit(url, come, "comes with")
            if not looked:
                head += block[: HEAD_BYTES - len(head)]
                looked = not block or len(head) == HEAD_BYTES
                if looked and (what := not_a_video(head)):
                    raise BadBody(f"it is {what}")
            if not block:
                return
            if time.monotonic() >= until:
                raise DecodeTimeout(url, f"was not fetched within {self.deadline_s:g} s (data.remote_cache.deadline_s)")
            yield block

    def _require_fit(self, url: str, size: int, verb: str) -> None:
        if size > self._room.limit:
            raise DecodeError(
                url,
                f"{verb} {size / 1e9:.3g} GB, more than the cache's {self.gigabytes:g} GB; raise"
                " data.remote_cache.gigabytes",
            )


def _judge(path: str, remote: RemoteFile, digests: Digests) -> tuple[int, str, str, bool]:
    """Size, sha256, ETag and wholeness of what came. Raises BadBody where it is not what the server told."""
    size = digests.bytes
    if remote.size is not None and size != remote.size:
        raise BadBody(f"{size} bytes came instead of {remote.size}")
    if wrong := digests.wrong():
        raise BadBody(f"its {wrong} is not the one that the server told")
    missing = missing_bytes(path)
    vouched = remote.size is not None or bool(remote.checksums)
    if missing and not vouched:
        raise BadBody(f"it is cut short: {size} bytes came, and its container goes on for {missing} more")
    return size, digests.sha256, remote.etag, vouched and not missing


def _hold_as_noted(copy: Path) -> int | None:
    """A handle that keeps a good copy here; None where there is none."""
    handle = hold(copy)
    if handle is not None and not is_as_noted(copy, handle):
        os.close(handle)
        return None
    return handle


def _remove(copy: Path) -> None:
    for path in (copy, note_path(copy)):
        path.unlink(missing_ok=True)
