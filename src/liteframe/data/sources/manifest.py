"""Lists of videos, in whichever form they are found, read into rows with unique ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import folder_of, is_url
from liteframe.data.sources.file_kind import is_parquet, is_video
from liteframe.data.sources.folder import VIDEO_SUFFIXES, folder_rows
from liteframe.data.sources.json_text import json_rows
from liteframe.data.sources.kept_tables import ListFile, are_long, kept_table
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.parquet import parquet_rows
from liteframe.data.sources.remote_source import list_or_videos
from liteframe.data.sources.row_names import ListNames, NameTable, named_apart
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import ParsedRow, VideoRow, parse_row, put_in_json, unusable
from liteframe.errors import ManifestError
from liteframe.system.file_url import NotHere, without_file_url
from liteframe.system.shown_url import shown_url

__all__ = ["VIDEO_SUFFIXES", "VideoRow", "VideoSource", "each_row", "read_manifest", "read_manifests", "read_sources"]


@dataclass(frozen=True)
class VideoSource:
    """A list of videos to train on, with what the list itself does not say.

    Args:
        path: JSONL, JSON list or Parquet file, folder of videos, or one video; each also at an address
            (`s3://bucket/list.jsonl`).
        root: folder or URL (`s3://bucket/videos`) that its paths are relative to and do not leave. By default the
            list's own folder, and then they may also be absolute, lead out of it, or be URLs.
        weight: share of the training samples, relative to the other sources; all sources have one, or none has.
    """

    path: str
    root: str | None = None
    weight: float | None = None


Sources = str | VideoSource | Sequence[str | VideoSource]


def as_sources(sources: Sources) -> list[VideoSource]:
    """The sources, a plain path as a VideoSource too."""
    given = [sources] if isinstance(sources, str | VideoSource) else sources
    return [VideoSource(source) if isinstance(source, str) else source for source in given]


RowCheck = Callable[[dict[str, Any]], None]
"""Raises DataError if a row, given as a dict, cannot be used for what it is read for."""


def read_manifest(
    source: str | os.PathLike[str],
    root: str | None = None,
    keep_unusable: bool = False,
    asked_apart: bool = False,
) -> list[VideoRow]:
    """Rows of a list of videos: JSONL, a JSON list, Parquet, a folder (all videos in it, sorted), or one video
    file, whatever its ending.

    Rows are objects with `path`, or with `video` and `conversations` as LLaVA and ShareGPT write them
    (`liteframe.data.sources.llava`). An id that such foreign rows repeat gets `@2`, `@3`, ...; a manifest's own are
    unique.

    Args:
        source: the list.
        root: folder or URL that its paths are relative to and do not leave. By default the list's own folder, and then
            paths may also be absolute, lead out of it, or be URLs.
        keep_unusable: a row that cannot be read stays in its place with the reason as `error`, and its place in the
            list as path and id.
        asked_apart: as of `parse_row`.

    Raises:
        ManifestError: nothing there, no videos, or a bad row; names file, line (or row) and field.
        ConfigError: a Parquet file, and pyarrow is not installed.
    """
    return list(_rows(source, root, keep_unusable, asked_apart))


def _rows(
    source: str | os.PathLike[str],
    root: str | None,
    keep_unusable: bool,
    asked_apart: bool = False,
    held: ListRoot | None = None,
) -> Iterator[VideoRow]:
    names = ListNames()
    for where, parsed in each_row(source, root, asked_apart, held):
        try:
            if isinstance(parsed, ManifestError):
                raise parsed
            names.add(parsed, where)
        except ManifestError as error:
            if not keep_unusable:
                raise
            row = unusable(where, error)
            names.add(ParsedRow(row, gives_id=False, foreign=False), where)
            yield row
        else:
            yield parsed.row


def each_row(
    source: str | os.PathLike[str], root: str | None = None, asked_apart: bool = False, held: ListRoot | None = None
) -> Iterator[tuple[str, ParsedRow | ManifestError]]:
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
    url = name if is_url(name) else ""
    found = list_or_videos(url) if url else _list_or_videos(Path(name))
    if not isinstance(found, Path):
        if root is not None:
            raise ManifestError(f"{name}: root is {root!r}, but only the paths of a list have a root; leave it out")
        yield from _videos(found)
        return
    path = found
    held = held or ListRoot(folder_of(url) if url else str(path.parent), root)
    empty = True
    try:
        has_other_values = is_parquet(path)
        for where, fields in _fields(path, url):
            empty = False
            try:
                parsed: ParsedRow | ManifestError = parse_row(fields, where, held, asked_apart)
            except ManifestError as error:
                parsed = error
            if has_other_values and isinstance(parsed, ParsedRow):
                put_in_json(parsed.row)
            yield where, parsed
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error})") from error
    if empty:
        raise ManifestError(f"{name}: the manifest is empty; write one JSON object a line, with at least 'path'")


def _list_or_videos(path: Path) -> Path | Sequence[VideoRow | ManifestError]:
    """A list on disk, or the rows of a folder or of a video. Raises ManifestError where it is none of these."""
    is_folder = os.path.isdir(path)
    fault = "" if is_folder else fault_of(path)
    if fault == "no such file":
        raise ManifestError(
            f"{path}: no such manifest, folder or video; give a list (JSONL, JSON, Parquet) or a folder of videos"
        )
    if fault:
        raise ManifestError(f"{path}: {fault}; give a list (JSONL, JSON, Parquet) or a folder of videos")
    if is_folder:
        return folder_rows(path)
    return [VideoRow(path=str(path.absolute()), id=path.name)] if is_video(path) else path


def _fields(path: Path, url: str) -> Iterator[tuple[str, Any]]:
    """The rows of a list as they stand with their places; of a copy, as places of what lies at `url`."""
    rows = parquet_rows(path) if is_parquet(path) else json_rows(path)
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


def _videos(rows: Sequence[VideoRow | ManifestError]) -> Iterator[tuple[str, ParsedRow | ManifestError]]:
    for row in rows:
        if isinstance(row, ManifestError):
            yield str(row).partition(": ")[0], row
            continue
        try:
            row.path.encode()
        except UnicodeEncodeError:
            where = ascii(row.path)
            yield where, ManifestError(f"{where}: the file's name is no UTF-8, so it cannot be written down; rename it")
        else:
            row.name = row.id
            yield row.path, ParsedRow(row, gives_id=False, foreign=False)


def read_sources(sources: Sources, keep_unusable: bool = False) -> RowTable:
    """Rows of the sources, one after the other; an id that an earlier source has got already gets `@<source number>`.

    Those of long lists are kept on disk, see `kept_tables`.

    Arguments and errors are those of `read_manifest`.
    """
    given = [replace(source, path=_absolute(source.path)) for source in as_sources(sources)]
    lists = _list_files(given)
    if lists is None or not are_long(lists):
        return RowTable(_parts(given, keep_unusable))
    table = kept_table(lists, lambda roots: _parts(given, keep_unusable, roots))
    if table.first_unreadable is not None and not keep_unusable:
        raise ManifestError(table.first_unreadable)
    return table


def _absolute(path: str) -> str:
    """The path of a source, the same one from any folder, as its rows name it in messages; of a URL, itself."""
    try:
        name = without_file_url(path)
    except NotHere:
        return path  # reading it says what is wrong
    if is_url(name):
        return path
    shortest = os.path.abspath(name)
    return shortest if os.path.realpath(shortest) == os.path.realpath(name) else os.path.join(os.getcwd(), name)


def _list_files(sources: Sequence[VideoSource]) -> list[ListFile] | None:
    """The sources, if each is a list that can be opened."""
    try:
        lists = [_list_file(source) for source in sources]
        return lists if all(file.path.is_file() and not is_video(file.path) for file in lists) else None
    except (NotHere, OSError, ValueError):
        return None  # reading it says what is wrong


def _list_file(source: VideoSource) -> ListFile:
    if is_url(source.path):
        copy = list_or_videos(source.path)
        return ListFile(copy if isinstance(copy, Path) else Path(), source.root, source.path)
    return ListFile(Path(without_file_url(source.path)), source.root)


def _parts(
    sources: Sequence[VideoSource], keep_unusable: bool, roots: Sequence[ListRoot] | None = None
) -> Iterator[Iterable[VideoRow]]:
    taken = NameTable()
    for number, source in enumerate(sources):
        rows = _rows(source.path, source.root, keep_unusable, held=roots[number] if roots else None)
        yield named_apart(rows, number, taken) if len(sources) > 1 else rows


def read_manifests(sources: Sources) -> list[VideoRow]:
    """The rows of `read_sources` as a list."""
    return list(read_sources(sources))
