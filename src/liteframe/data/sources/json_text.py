"""JSON as lists of videos come in: JSONL (an object a line) or one list of objects; the first character tells which.

Both are read row by row, so that memory is that of a row, and a bad one costs only itself.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from liteframe.data.sources.row_fields import MAX_TEXT, require_short, require_text
from liteframe.errors import ManifestError
from liteframe.system.bounded_text import MAX_DEPTH, depth_of

MAX_ROW = 16 << 20
"""Characters of one row; more of them are no row of a list of videos."""
_CHUNK = 1 << 20
_MOST_BRACKETS = 500_000
"""That are looked at, one by one, to find the end of a row which is nested too deep."""
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_HINT = "write one object a line, or one list of objects"
_SPACE = re.compile(r"[ \t\n\r]*")
_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},"]', re.DOTALL)
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]|[\udc80-\udcff]")


@dataclass(frozen=True)
class LinePart:
    """Consecutive whole lines of a JSONL file.

    Attributes:
        start: offset of their first byte.
        end: of the first byte behind them.
        number: rows that stand before them, empty ones too.
    """

    start: int
    end: int
    number: int


def json_rows(path: Path, part: LinePart | None = None) -> Iterator[tuple[str, Any]]:
    """The rows of a JSONL file or of a JSON list, each with its place (`file:3`, or `file: row 3`).

    A row that cannot be read comes as the ManifestError that says so, and reading goes on behind it.

    Args:
        path: of the file.
        part: only the rows in this one of its `line_parts`.

    Raises:
        ManifestError: the file is no UTF-8 text, or a list that is not JSON between its rows.
    """
    with path.open("rb") as file:
        if part is not None:
            yield from _lines(path, file, part)
            return
        head = _head(file)
        if not _is_text(head):
            raise ManifestError(f"{path}: not UTF-8 text; a list of videos is JSONL, a JSON list or Parquet")
        if _begins_list(head):
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as text:
                yield from _ListReader(path, text).rows()
        else:
            yield from _lines(path, file, LinePart(0, sys.maxsize, 0))


def line_parts(path: Path, least_bytes: int) -> Iterator[LinePart]:
    """Parts that make up a JSONL file, each of `least_bytes` and the rest of a line; none of a file of another form."""
    with path.open("rb") as file:
        head = _head(file)
        if not _is_text(head) or _begins_list(head):
            return
        start = number = 0
        while content := file.read(least_bytes):
            lines, newline, begun = content.rpartition(b"\n")
            line, more = _whole_line(begun, file)
            part = LinePart(start, start + len(content) + more, number)
            yield part
            start, number = part.end, number + _count(lines + newline) + _count(line)


def _whole_line(begun: bytes, file: BinaryIO) -> tuple[bytes, int]:
    """A line that is `begun`, or so much of it that it is too long for a row; and how many bytes were missing."""
    line, piece, more = begun, begun, 0
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(_CHUNK)
        more += len(piece)
        if len(line) <= MAX_ROW:
            line += piece
    return line, more


def _count(content: bytes) -> int:
    """How many rows `_lines` counts in whole lines."""
    if b"\r" in content:
        lines = BytesIO(content)
        return sum(1 if len(line) > MAX_ROW else line.rstrip(b"\r\n").count(b"\r") + 1 for line in lines)
    return content.count(b"\n") + bool(content and not content.endswith(b"\n"))


def _head(file: BinaryIO) -> bytes:
    head = file.read(4096)
    file.seek(0)
    return head


def _is_text(head: bytes) -> bool:
    return not head.startswith(_OTHER_ENCODINGS) and b"\0" not in head[:4]


def _begins_list(head: bytes) -> bool:
    # A byte that is no UTF-8 becomes half a character, which is a fault of its row.
    return head.decode("utf-8-sig", "replace").lstrip()[:1] == "["


class _NotOnce(ValueError):
    """An object has a field twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotOnce(f"field {twice!a}: is there twice; keep one of them")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_object)
_lenient = json.JSONDecoder(strict=False, parse_int=len)
"""Takes what `_decoder` refuses, though it is clear where it ends."""


def _lines(path: Path, file: BinaryIO, of: LinePart) -> Iterator[tuple[str, Any]]:
    file.seek(of.start)
    at, number = of.start, of.number
    while at < of.end and (line := file.readline(min(MAX_ROW + 1, of.end - at))):
        at += len(line)
        if len(line) > MAX_ROW:
            number += 1
            yield _too_long(f"{path}:{number}")
            while not line.endswith(b"\n") and (line := file.readline(MAX_ROW)):
                at += len(line)
            continue
        text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")
        # Old Macs end lines by a lone carriage return, which no JSON string may hold.
        for part in text.rstrip("\r\n").split("\r"):
            number += 1
            if part.strip():
                where = f"{path}:{number}"
                yield where, _row(part, where)


def _row(text: str, where: str) -> Any:
    """The value of a row's text, or the ManifestError that says why there is none."""
    try:
        return _sound(_decoder.decode(text), text, where)
    except (ValueError, RecursionError) as error:
        return _fault(error, where)


def _sound(value: Any, text: str, where: str) -> Any:
    """`value`, or the ManifestError that says what is wrong with it though it is JSON."""
    # Looking for what is seldom there is cheap, and few rows are looked at again.
    if text.count("[") + text.count("{") > MAX_DEPTH and depth_of(value) > MAX_DEPTH:
        return _fault(RecursionError(), where)
    halved = ("\\u" in text or not text.isascii()) and _HALF_CHARACTER.search(text)
    if isinstance(value, dict) and (halved or len(text) > MAX_TEXT):
        try:
            require_text(value, where)
            require_short(value, where)
        except ManifestError as error:
            return error
    return value


def _fault(error: ValueError | RecursionError, where: str) -> ManifestError:
    if isinstance(error, RecursionError):
        return ManifestError(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it")
    if isinstance(error, json.JSONDecodeError):
        ends = "" if error.doc[error.pos :].strip() else ", where the line ends within a value"
        return ManifestError(f"{where}: not JSON ({error.msg} at column {error.colno}{ends}); {_HINT}")
    what = str(error) if isinstance(error, _NotOnce) else "a number of thousands of digits; put it in quotes"
    return ManifestError(f"{where}: {what}")


def _too_long(where: str) -> tuple[str, ManifestError]:
    return where, ManifestError(f"{where}: a row of more than {MAX_ROW >> 20} MiB; {_HINT}")


class _ListReader:
    """Reads a JSON list element by element.

    Args:
        path: of the file, for messages.
        text: the open file, at its start.
    """

    def __init__(self, path: Path, text: TextIO) -> None:
        self.path, self._text = path, text
        self._buffer, self._at, self._lines, self._ended = "", 0, 0, False

    def rows(self) -> Iterator[tuple[str, Any]]:
        """The elements with their places; raises ManifestError where the list itself is not JSON."""
        self._next_character()
        self._at += 1
        number = 0
        while (character := self._next_character()) != "]":
            if number:
                if character != ",":
                    raise self._broken("Expecting ',' delimiter", self._at)
                self._at += 1
                self._next_character()
            number += 1
            where = f"{self.path}: row {number}"
            yield where, self._element(where)
        self._at += 1
        if self._next_character():
            what = "Extra data behind the list; where each row has its line, it is an object, not a list"
            raise self._broken(what, self._at)

    def _element(self, where: str) -> Any:
        """The value that begins here, or why it cannot be read; reading goes on behind it."""
        while True:
            try:
                value, end = _decoder.raw_decode(self._buffer, self._at)
                text = self._buffer[self._at : end]
                if end < len(self._buffer) or self._ended:  # a number at the end may go on in the next part
                    self._at = end
                    return _sound(value, text, where)
            except (ValueError, RecursionError) as error:
                if self._skip():
                    return _fault(error, where)
                if self._ended or self._held() > MAX_ROW:
                    raise self._broken(getattr(error, "msg", str(error)), getattr(error, "pos", self._at)) from error
            self._read_on()

    def _skip(self) -> bool:
        """Goes behind a value that was refused; False where it does not end in what is held."""
        try:
            _, end = _lenient.raw_decode(self._buffer, self._at)
        except RecursionError:
            self._close_brackets()
            return True
        except ValueError:
            return False
        if end == len(self._buffer) and not self._ended:
            return False
        self._at = end
        return True

    def _close_brackets(self) -> None:
        """Goes to where the brackets close that open here."""
        depth = passed = 0
        while True:
            for match in _STRUCTURE.finditer(self._buffer, self._at + passed):
                if match[0] == '"':  # of a string that ends in the next part
                    break
                depth += (match[0] in "[{") - (match[0] in "]}")
                if depth < 0 or (depth == 0 and match[0] in ",]}"):
                    self._at = match.end() if match[0] in "]}" and depth == 0 else match.start()
                    return
                passed = match.end() - self._at
            if self._ended or self._held() > MAX_ROW or depth > _MOST_BRACKETS:
                raise self._broken("Expecting the end of this row", self._at)
            self._read_on()

    def _next_character(self) -> str:
        """What comes next behind white space; nothing at the end of the file."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._read_on()

    def _held(self) -> int:
        return len(self._buffer) - self._at

    def _read_on(self) -> None:
        """Takes in at least as much again as is held already, so that a long row is not tried too often."""
        more = self._text.read(max(_CHUNK, self._held()))
        self._lines += self._buffer.count("\n", 0, self._at)
        self._buffer, self._at, self._ended = self._buffer[self._at :] + more, 0, not more

    def _broken(self, why: str, position: int) -> ManifestError:
        if self._held() > MAX_ROW:
            why = f"a row of more than {MAX_ROW >> 20} MiB"
        line = self._lines + self._buffer.count("\n", 0, position) + 1
        column = position - self._buffer.rfind("\n", 0, position)
        return ManifestError(f"{self.path}:{line}: not JSON ({why} at column {column}); repair it")
