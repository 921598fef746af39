"""The file that `liteframe check` writes, row by row, so that a check which was ended goes on from there."""

from __future__ import annotations

import os
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from liteframe.data.checking.rows import CheckRow
from liteframe.data.decoding.containers.cut_short import CUT
from liteframe.data.decoding.video_file import NO_SUCH_FILE, fault_of
from liteframe.data.remote.file import is_url
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_open
from liteframe.system.bounded_text import parse_json
from liteframe.system.runtime import try_lock

_NEEDED = {"path", "ok", "codec", "frames", "decoder"}
_FIELDS = {field.name for field in fields(CheckRow)}
_BEGIN = re.compile(rb'\{"path')
_FIRST = re.compile(rb'\{"path": "(?:[^"\\]|\\.)*", "ok": (?:true|false), ')
_TEMPLATE = CheckRow("", False, start=0.0, end=0.0)
_NONE: dict[str, int] = {}
_ROOM = 4096
_MOST_IN_A_LINE = 1 << 20


class CheckOutput:
    """An output file of check rows, those of an earlier check included. Use it as a context manager.

    Args:
        path: of the file; made, with its folder, where it is not there.
        source: what is checked, which may not be the output as well.

    Raises:
        ConfigError: on making it, before any work: the file cannot be written, is in use by another check, or holds
            anything but check rows; later, if the disk is full.
    """

    def __init__(self, path: str, source: str) -> None:
        self.path = Path(os.path.realpath(path))
        if self.path.exists() and os.path.exists(source) and os.path.samefile(self.path, source):
            raise ConfigError(f"--output {path}: is what is to be checked; give another file")
        fault = fault_of(self.path)
        self._is_new = fault.startswith(NO_SUCH_FILE)
        if fault and not self._is_new:
            raise ConfigError(f"--output {path}: {fault}; give another file")
        self._known: dict[str, CheckRow] = {}
        self._written = array("q")  # hashes of the lines in the file
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path.parent, os.W_OK):
                raise PermissionError(f"no permission to write in {self.path.parent}")
            self._file: BinaryIO = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._lock()
            self._take_in()
            self._try_to_write()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> CheckOutput:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def kept(self, path: str, full: bool = False, truncated: bool = False) -> CheckRow | None:
        """The row of the whole file by an earlier check, if it has not changed since; of a URL, if it could be used.

        With `full`, only one that decoded all frames; of a video that is cut short, only one by the same `truncated`.
        It is given once: of long lists, rows take memory.
        """
        row = self._known.pop(path, None)
        if row is None or row.passing or (full and row.ok and row.verified < row.frames):
            return None
        if (row.reason if row.ok else row.error).startswith(CUT) and row.ok != truncated:
            return None
        if is_url(path):
            return row if row.ok else None
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        return row if (found.st_size, found.st_mtime_ns) == (row.bytes, row.mtime_ns) else None

    def append(self, row: CheckRow) -> None:
        """Writes a row behind the others; it is there whatever happens to this process next."""
        line = row.to_line()
        self._write(line.encode(errors="backslashreplace"))
        self._written.append(hash(line))

    def finish(self, rows: Sequence[CheckRow]) -> None:
        """Leaves exactly `rows` in the file, in their order."""
        try:
            if len(self._written) == len(rows) and all(
                digest == hash(row.to_line()) for digest, row in zip(self._written, rows, strict=True)
            ):
                os.fsync(self._file.fileno())
                return
            with atomic_open(self.path) as file:
                file.writelines(row.to_line().encode(errors="backslashreplace") for row in rows)
        except OSError as error:
            raise self._unwritable(error) from error

    def _lock(self) -> None:
        # A lock on Windows would keep `_lines` from reading the file, which it opens anew.
        if sys.platform != "win32" and not try_lock(self._file.fileno()):
            raise ConfigError(f"--output {self.path}: another check is writing it; wait, or give another file")

    def _take_in(self) -> None:
        """Reads the rows that are there, and cuts off what a kill left of the last one."""
        end = 0
        for number, line in enumerate(self._lines(), start=1):
            if not line.endswith(b"\n") and self._is_torn(line):
                break
            row = self._row(line, number)
            self._known[row.path] = replace(row, rows=1, lacks=_NONE, start=None, end=None)
            self._written.append(hash(row.to_line()))
            end += len(line)
        try:
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise self._unwritable(error) from error

    def _is_torn(self, line: bytes) -> bool:
        """Whether the last line is the begin of a row, or the room that was tried out, and no whole line of others."""
        if line.endswith(b"}"):
            return False
        return not line.strip() or (_BEGIN if self._written else _FIRST).match(line) is not None

    def _lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            yield from iter(lambda: file.readline(_MOST_IN_A_LINE), b"")

    def _row(self, line: bytes, number: int) -> CheckRow:
        where = f"--output {self.path}: line {number}"
        try:
            found: Any = parse_json(line, where)
            # Fields that somebody added make the row theirs.
            if not isinstance(found, dict) or not _NEEDED <= found.keys() <= _FIELDS:
                raise ConfigError(where)
            if not all(_is_like(value, getattr(_TEMPLATE, name)) for name, value in found.items()):
                raise ConfigError(where)
        except ConfigError:
            raise ConfigError(f"{where} is not as `liteframe check` wrote it; give another file") from None
        found.setdefault("verified", found["frames"])  # a check of before decoded all of every file
        found["codec"], found["decoder"] = sys.intern(found["codec"]), sys.intern(found["decoder"])
        return CheckRow(**found)

    def _try_to_write(self) -> None:
        """Finds out whether there is room for a row, and leaves nothing behind but spaces if it is killed meanwhile."""
        self._write(b" " * _ROOM)
        self._file.seek(-_ROOM, os.SEEK_END)
        self._file.truncate()

    def _write(self, data: bytes) -> None:
        start = self._file.tell()
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self._file.truncate(start)
            self._file.seek(start)
            raise self._unwritable(error) from error

    def _close(self) -> None:
        empty = self._is_new and not self._written
        self._file.close()
        if empty:
            self.path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ConfigError:
        kept = f"; its {len(self._written)} rows are kept, and the same command goes on" if self._written else ""
        return ConfigError(
            f"--output {self.path}: cannot be written ({error.strerror or error}); free space, or give another"
            f" file{kept}"
        )


def _is_like(value: Any, example: Any) -> bool:
    return isinstance(value, int | float if isinstance(example, float) else type(example))
