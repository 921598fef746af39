"""The rows that `liteframe check` makes, as a table for people and as JSONL for programs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from liteframe.data.remote_file import is_url

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
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
        frames: distinct frames, counted by decoding all.
        duration: seconds.
        decoder: the one that reads it.
        reason: what is odd about it, though it can be read.
        bytes: size of the file.
        mtime_ns: time of its last change, in nanoseconds.
        passing: the fault may pass (no answer in time, a killed process): the next check looks again.
        rows: how many rows of the source are about the file.
        lacks: how many of them lack what, by the kinds of `liteframe.data.source_check.LACKS`.
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

    def to_json(self) -> dict[str, Any]:
        """The row as `--output` writes it: `error` only where the file cannot be used."""
        row = asdict(self)
        for name, needed in (("error", not self.ok), ("passing", self.passing)):
            if not needed:
                del row[name]
        return row

    def to_line(self) -> str:
        """The row as a line of JSONL."""
        return json.dumps(self.to_json(), ensure_ascii=False) + "\n"


def table(rows: Sequence[CheckRow]) -> str:
    """An aligned table, one line a file."""
    names = _short_names([row.path for row in rows])
    lines = [("file", "codec", "size", "fps", "frames", "seconds", "decoder", "note")]
    for name, row in zip(names, rows, strict=True):
        note = f"NOT USABLE: {one_line(row.error)}" if not row.ok else row.reason
        known = row.width > 0
        lines.append(
            (
                one_line(name),
                row.codec or "-",
                f"{row.width}x{row.height}" if known else "-",
                f"{row.fps:.2f}" if known else "-",
                str(row.frames) if known else "-",
                f"{row.duration:.2f}" if known else "-",
                row.decoder or "-",
                note,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    right = {3, 4, 5}
    text = []
    for line in lines:
        padded = enumerate(zip(line, widths, strict=False))
        cells = [cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in padded]
        text.append("  ".join([*cells, line[-1]]).rstrip())
    return "\n".join(text)


def _short_names(paths: Sequence[str]) -> list[str]:
    if any(is_url(path) for path in paths):
        return list(paths)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, folder) for path in paths]


def one_line(text: str) -> str:
    """`text` with control characters, which would break or repaint a line, as their escapes."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
