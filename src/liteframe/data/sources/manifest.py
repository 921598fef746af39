"""Lists of videos, in whichever form they are found, read into rows with unique ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import is_url
from liteframe.data.sources.file_kind import is_parquet, is_video
from liteframe.data.sources.folder import VIDEO_SUFFIXES, folder_rows
from liteframe.data.sources.json_text import json_rows
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.parquet import parquet_rows
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import ParsedRow, VideoRow, parse_row, unusable
from liteframe.errors import DataError, ManifestError
from liteframe.system.file_url import NotHere, without_file_url

__all__ = ["VIDEO_SUFFIXES", "VideoRow", "VideoSource", "each_row", "read_manifest", "read_manifests", "read_sources"]


@dataclass(frozen=True)
class VideoSource:
    """A list of videos to train on, with what the list itself does not say.

    Args:
        path: JSONL, JSON list or Parquet file, folder of videos, or one video.
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
    check: RowCheck | None = None,
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
        check: asked about each row that can be read.
        keep_unusable: a row that cannot be read, or that `check` refuses, stays in its place with the reason as
            `error` and, where it cannot be read, its place in the list as path and id.
        asked_apart: as of `parse_row`.

    Raises:
        ManifestError: nothing there, no videos, or a bad row; names file, line (or row) and field.
        ConfigError: a Parquet file, and pyarrow is not installed.
    """
    return list(_rows(source, root, check, keep_unusable, asked_apart))


def _rows(
    source: str | os.PathLike[str],
    root: str | None,
    check: RowCheck | None,
    keep_unusable: bool,
    asked_apart: bool = False,
) -> Iterator[VideoRow]:
    names = _Names()
    for where, parsed in each_row(source, root, asked_apart):
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
            continue
        if check is not None and not parsed.row.error:
            try:
                check(parsed.row.as_dict())
            except DataError as error:
                if not keep_unusable:
                    raise ManifestError(f"{where}: {error}") from error
                parsed.row.error = f"{where}: {error}"
        yield parsed.row


class _Names:
    """Ids of the rows so far, which all differ."""

    def __init__(self) -> None:
        self._place_of: dict[str, str] = {}
        self._uses: dict[str, int] = {}

    def add(self, parsed: ParsedRow, where: str) -> None:
        """Gives the row's id a number behind it where it is taken; ManifestError where it has to stay as it is."""
        row, name = parsed.row, parsed.row.id
        while row.id in self._place_of and (parsed.foreign or not parsed.gives_id):
            self._uses[name] = self._uses.get(name, 1) + 1
            row.id = f"{name}@{self._uses[name]}"
        if row.id in self._place_of:
            raise ManifestError(
                f"{where}: field 'id': {row.id!r} is the id of {self._place_of[row.id]} already;"
                " give each row an id of its own, or none"
            )
        self._place_of[row.id] = where


def each_row(
    source: str | os.PathLike[str], root: str | None = None, asked_apart: bool = False
) -> Iterator[tuple[str, ParsedRow | ManifestError]]:
    """The place of each row of a list with the row, or why it cannot be read; ids may repeat. Else as `read_manifest`.

    Raises:
        ManifestError: the list as a whole cannot be read, or is empty.
    """
    try:
        name = without_file_url(str(source))
    except NotHere as error:
        raise ManifestError(str(error)) from error
    path = Path(name)
    if is_url(name):
        raise ManifestError(f"{source}: a list is read from disk; copy it here (its rows may be URLs, or its root one)")
    is_folder = os.path.isdir(path)
    fault = "" if is_folder else fault_of(path)
    if fault == "no such file":
        raise ManifestError(
            f"{path}: no such manifest, folder or video; give a list (JSONL, JSON, Parquet) or a folder of videos"
        )
    if fault:
        raise ManifestError(f"{path}: {fault}; give a list (JSONL, JSON, Parquet) or a folder of videos")
    if is_folder or is_video(path):
        if root is not None:
            raise ManifestError(f"{path}: root is {root!r}, but only the paths of a list have a root; leave it out")
        yield from _videos(folder_rows(path) if is_folder else [VideoRow(path=str(path.absolute()), id=path.name)])
        return
    held = ListRoot(str(path.parent), root)
    empty = True
    try:
        for where, fields in parquet_rows(path) if is_parquet(path) else json_rows(path):
            empty = False
            try:
                parsed: ParsedRow | ManifestError = parse_row(fields, where, held, asked_apart)
            except ManifestError as error:
                parsed = error
            yield where, parsed
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error})") from error
    if empty:
        raise ManifestError(f"{path}: the manifest is empty; write one JSON object a line, with at least 'path'")


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


def read_sources(sources: Sources, check: RowCheck | None = None, keep_unusable: bool = False) -> RowTable:
    """Rows of the sources, one after the other; an id that an earlier source has got already gets `@<source number>`.

    Arguments and errors are those of `read_manifest`.
    """
    return RowTable(_parts(as_sources(sources), check, keep_unusable))


def _parts(sources: Sequence[VideoSource], check: RowCheck | None, keep_unusable: bool) -> Iterator[Iterable[VideoRow]]:
    seen: set[str] = set()
    for number, source in enumerate(sources):
        rows = _rows(source.path, source.root, check, keep_unusable)
        yield _named_apart(rows, number, seen) if len(sources) > 1 else rows


def _named_apart(rows: Iterable[VideoRow], number: int, seen: set[str]) -> Iterator[VideoRow]:
    for row in rows:
        while row.id in seen:
            row.id = f"{row.id}@{number}"
        seen.add(row.id)
        yield row


def read_manifests(sources: Sources) -> list[VideoRow]:
    """The rows of `read_sources` as a list."""
    return list(read_sources(sources))
