"""The rows of a list, read one by one from whichever form it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liteframe.data.decoding.video_file import NO_SUCH_FILE, fault_of
from liteframe.data.remote.file import folder_of, is_url
from liteframe.data.sources.file_kind import is_parquet, is_video, require_source
from liteframe.data.sources.folder import folder_rows
from liteframe.data.sources.json_text import LinePart, json_rows
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.parquet import RowGroups, parquet_rows
from liteframe.data.sources.remote_source import list_or_videos
from liteframe.data.sources.video_row import ParsedRow, VideoRow, parse_row, put_in_json
from liteframe.errors import ManifestError
from liteframe.system.file_url import NotHere, without_file_url
from liteframe.system.shown_url import shown_url
from liteframe.system.standard_streams import names_are_utf8

Part = LinePart | RowGroups
EachRow = Iterator[tuple[str, ParsedRow | ManifestError]]
"""The place of each row with the row, or why it cannot be read; ids may repeat."""


def each_row(
    source: str | os.PathLike[str], root: str | None = None, asked_apart: bool = False, held: ListRoot | None = None
) -> EachRow:
    """The place of each row of a list with the row, or why it cannot be read; ids may repeat. Else as `read_manifest`.

    Args:
        source, root, asked_apart: as of `read_manifest`.
        held: what the names are held to, where that is asked afterwards what it saw; by default one of its own.

    Raises:
        ManifestError: the list as a whole cannot be read, or is empty.
    """
    try:
        name = without_file_url(str(source))
    except NotHere as error:
        raise ManifestError(str(error)) from error
    if not name.strip():  # an unset variable of a shell; as a path it would be the current folder
        raise ManifestError("the path of a list of videos is empty; name a list, a video or a folder ('.' is this one)")
    url = name if is_url(name) else ""
    found = list_or_videos(url) if url else _list_or_videos(Path(name))
    if not isinstance(found, Path):
        if root is not None:
            raise ManifestError(f"{name}: root is {root!r}, but only the paths of a list have a root; leave it out")
        yield from _videos(found)
        return
    with readable(found):
        require_source(found, shown_url(url) if url else name)
    held = held or ListRoot(folder_of(url) if url else str(found.parent), root)
    empty = True
    for row in rows_of_file(found, url, held, asked_apart):
        empty = False
        yield row
    if empty:
        raise empty_list(name)


def empty_list(name: str) -> ManifestError:
    """What is wrong with a list without rows."""
    return ManifestError(f"{name}: the manifest is empty; write one JSON object a line, with at least 'path'")


def rows_of_file(path: Path, url: str, held: ListRoot, asked_apart: bool = False, part: Part | None = None) -> EachRow:
    """The rows of a list on disk, see `each_row`.

    Args:
        path: of the file.
        url: that it is a copy of; empty where it is none.
        held, asked_apart: as of `each_row`.
        part: only the rows in this part of the file.
    """
    with readable(path):
        has_other_values = is_parquet(path)
        for where, fields in _fields(path, url, part):
            try:
                parsed: ParsedRow | ManifestError = parse_row(fields, where, held, asked_apart)
            except ManifestError as error:
                parsed = error
            if has_other_values and isinstance(parsed, ParsedRow):
                put_in_json(parsed.row)
            yield where, parsed


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around what reads a list: a fault of its disk is a ManifestError that names it."""
    try:
        yield
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error})") from error


def _list_or_videos(path: Path) -> Path | Sequence[VideoRow | ManifestError]:
    """A list on disk, or the rows of a folder or of a video. Raises ManifestError where it is none of these."""
    is_folder = os.path.isdir(path)
    fault = "" if is_folder else fault_of(path)
    if fault.startswith(NO_SUCH_FILE):
        raise ManifestError(
            f"{path}: no such manifest, folder or video{fault.removeprefix(NO_SUCH_FILE)}; give a list (JSONL, JSON,"
            " Parquet) or a folder of videos"
        )
    if fault:
        raise ManifestError(f"{path}: {fault}; give a list (JSONL, JSON, Parquet) or a folder of videos")
    if is_folder:
        return folder_rows(path)
    if not is_video(path):
        return path
    require_source(path, str(path))
    return [VideoRow(path=str(path.absolute()), id=path.name)]


def _fields(path: Path, url: str, part: Part | None) -> Iterator[tuple[str, Any]]:
    """The rows of a list as they stand with their places; of a copy, as places of what lies at `url`."""
    if isinstance(part, RowGroups) or (part is None and is_parquet(path)):
        rows = parquet_rows(path, part)
    else:
        rows = json_rows(path, part)
    if not url:
        yield from rows
        return
    copy, place = str(path), shown_url(url)
    try:
        for where, fields in rows:
            if isinstance(fields, ManifestError):
                fields = ManifestError(str(fields).replace(copy, place))
            yield where.replace(copy, place), fields
    except ManifestError as error:
        raise ManifestError(str(error).replace(copy, place)) from error


def _videos(rows: Sequence[VideoRow | ManifestError]) -> EachRow:
    for row in rows:
        if isinstance(row, ManifestError):
            yield str(row).partition(": ")[0], row
            continue
        try:
            row.path.encode()
        except UnicodeEncodeError:
            where, fault = ascii(row.path), "is no UTF-8, so it cannot be written down; rename it"
            if not names_are_utf8():
                known = sys.getfilesystemencoding()
                fault = f"cannot be written down, as names are {known} in this process: set PYTHONUTF8=1"
            yield where, ManifestError(f"{where}: the file's name {fault}")
        else:
            row.name = row.id
            yield row.path, ParsedRow(row, gives_id=False, foreign=False)
