"""The rows that `liteframe check` makes, as a table for people and as JSONL for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from liteframe.data.remote.file import is_url
from liteframe.system.printable import printable

_COLUMNS = [("codec", -10), ("size", -9), ("fps", 6), ("frames", 7), ("seconds", 8), ("decoder", -7)]
"""Names and widths; those below 0 are of columns that begin at one place."""
_MOST_NAME = 60


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What a check found out about one file; the fields after `error` are 0 or empty where the file cannot be opened.

    Attributes:
        path: the file.
        ok: it can be used.
        error: why it cannot, or empty.
        codec: FFmpeg's name of the codec.
        width: pixels, upright.
        height: pixels, upright.
        fps: mean frames a second.
        frames: distinct frames.
        duration: seconds.
        decoder: the one that reads it.
        reason: what is odd about it, though it can be read.
        bytes: size of the file.
        mtime_ns: time of its last change, in nanoseconds.
        passing: the fault may pass (no answer in time, a killed process): the next check looks again.
        rows: how many rows of the source are about the file.
        lacks: how many of them lack what, by the kinds of `liteframe.data.checking.source_check.LACKS`.
        verified: how many of the frames were decoded; the others are known by their packets.
        scan: when its frames are shown, for training not to read the file for it; empty where that costs little.
        lasts: seconds of the file by its container, where sounds or the last frame last longer than `duration`.
        start: of the part of the file that rows of the list take, in seconds; None for its start.
        end: of that part; None for the end of the file.
    """

    path: str
    ok: bool
    error: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    duration: float = 0.0
    decoder: str = ""
    reason: str = ""
    bytes: int = 0
    mtime_ns: int = 0
    passing: bool = False
    rows: int = 1
    lacks: dict[str, int] = field(default_factory=dict)
    verified: int = 0
    scan: str = ""
    lasts: float = 0.0
    start: float | None = None
    end: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as `--output` writes it: `error` only where the file cannot be used, limits only of a part."""
        row = asdict(self)
        limits = (("start", self.start is not None), ("end", self.end is not None))
        known = (("error", not self.ok), ("passing", self.passing), ("scan", self.scan), ("lasts", self.lasts))
        for name, needed in (*known, *limits):
            if not needed:
                del row[name]
        return row

    def note(self) -> str:
        """What there is to say about the file."""
        if not self.ok:
            return f"NOT USABLE: {printable(self.error)}"
        part = f"{self.verified} frames decoded" if self.verified < self.frames else ""
        return "; ".join(text for text in (part, printable(self.reason)) if text)

    def to_line(self) -> str:
        """The row as a line of JSONL."""
        return json.dumps(self.to_json(), ensure_ascii=False) + "\n"


class Table:
    """An aligned table of rows that come one by one.

    Args:
        paths: of the files that rows may come of.
    """

    def __init__(self, paths: Collection[str]) -> None:
        folders = set() if any(map(is_url, paths)) else {os.path.dirname(path) for path in paths}
        self._folder = os.path.commonpath(folders) if folders else ""
        self._first = min(_MOST_NAME, max([len("file"), *(len(printable(self._name(path))) for path in paths)]))

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._folder) if self._folder else path

    def head(self) -> str:
        """The names of the columns."""
        return self._line(["file", *(name for name, _ in _COLUMNS), "note"])

    def line(self, row: CheckRow) -> str:
        """The line of a file."""
        known = row.width > 0
        return self._line(
            [
                printable(self._name(row.path)),
                row.codec or "-",
                f"{row.width}x{row.height}" if known else "-",
                f"{row.fps:.2f}" if known else "-",
                str(row.frames) if known else "-",
                f"{row.duration:.2f}" if known else "-",
                row.decoder or "-",
                row.note(),
            ]
        )

    def _line(self, cells: list[str]) -> str:
        name, *others, note = cells
        padded = [
            cell.rjust(width) if width > 0 else cell.ljust(-width)
            for cell, (_, width) in zip(others, _COLUMNS, strict=True)
        ]
        return "  ".join([name.ljust(self._first), *padded, note]).rstrip()
