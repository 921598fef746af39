"""Lists of videos, in whichever form they are found, read into rows with unique ids."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.remote_file import is_url
from liteframe.data.sources.folder import VIDEO_SUFFIXES, folder_rows
from liteframe.data.sources.json_text import json_rows
from liteframe.data.sources.parquet import parquet_rows
from liteframe.data.video_row import ParsedRow, VideoRow, parse_row
from liteframe.errors import ManifestError

__all__ = ["VIDEO_SUFFIXES", "VideoRow", "VideoSource", "each_row", "read_manifest", "read_manifests", "read_sources"]


@dataclass(frozen=True)
class VideoSource:
    """A list of videos to train on, with what the list itself does not say.

    Args:
        path: JSONL, JSON list or Parquet file, folder of videos, or one video.
        root: folder or URL (`s3://bucket/videos`) that its paths are relative to; by default the list's own folder.
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


def read_manifest(source: str | os.PathLike[str], root: str | None = None) -> list[VideoRow]:
    """Rows of a list of videos: JSONL, a JSON list, Parquet, a folder (all videos in it, sorted), or one video file.

    Rows are objects with `path`, or with `video` and `conversations` as LLaVA and ShareGPT write them
    (`liteframe.data.sources.llava`). An id that such foreign rows repeat gets `@2`, `@3`, ...; a manifest's own are
    unique.

    Args:
        source: the list.
        root: folder or URL that its paths are relative to; by default the list's own folder.

    Raises:
        ManifestError: nothing there, no videos, or a bad row; names file, line (or row) and field.
        ConfigError: a Parquet file, and pyarrow is not installed.
    """
    rows: list[VideoRow] = []
    place_of_id: dict[str, str] = {}
    uses: dict[str, int] = {}
    for where, parsed in each_row(source, root):
        if isinstance(parsed, ManifestError):
            raise parsed
        row, name = parsed.row, parsed.row.id
        while row.id in place_of_id and (parsed.foreign or not parsed.gives_id):
            uses[name] = uses.get(name, 1) + 1
            row.id = f"{name}@{uses[name]}"
        if row.id in place_of_id:
            raise ManifestError(
                f"{where}: field 'id': {row.id!r} is the id of {place_of_id[row.id]} already;"
                " give each row an id of its own, or none"
            )
        place_of_id[row.id] = where
        rows.append(row)
    return rows


def each_row(
    source: str | os.PathLike[str], root: str | None = None
) -> Iterator[tuple[str, ParsedRow | ManifestError]]:
    """The place of each row of a list with the row, or why it cannot be read; ids may repeat. Else as `read_manifest`.

    Raises:
        ManifestError: the list as a whole cannot be read, or is empty.
    """
    path = Path(source)
    if is_url(str(source)):
        raise ManifestError(f"{source}: a list is read from disk; copy it here (its rows may be URLs, or its root one)")
    if not path.exists():
        raise ManifestError(
            f"{path}: no such manifest, folder or video; give a list (JSONL, JSON, Parquet) or a folder of videos"
        )
    if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES:
        if root is not None:
            raise ManifestError(f"{path}: root is {root!r}, but only the paths of a list have a root; leave it out")
        found = folder_rows(path) if path.is_dir() else [VideoRow(path=str(path.absolute()), id=path.name)]
        yield from ((row.path, ParsedRow(row, gives_id=False, foreign=False)) for row in found)
        return
    base = root if root is not None and is_url(root) else os.path.abspath(path.parent if root is None else root)
    empty = True
    for where, fields in _fields(path):
        empty = False
        try:
            yield where, parse_row(fields, where, base)
        except ManifestError as error:
            yield where, error
    if empty:
        raise ManifestError(f"{path}: the manifest is empty; write one JSON object a line, with at least 'path'")


def _fields(path: Path) -> Iterator[tuple[str, Any]]:
    return parquet_rows(path) if path.suffix.lower() == ".parquet" else json_rows(path)


def read_sources(sources: Sources) -> list[list[VideoRow]]:
    """Rows of each source; an id that an earlier source has got already gets `@<source number>`."""
    seen: set[str] = set()
    parts = []
    for number, source in enumerate(as_sources(sources)):
        rows = read_manifest(source.path, source.root)
        for row in rows:
            while row.id in seen:
                row.id = f"{row.id}@{number}"
            seen.add(row.id)
        parts.append(rows)
    return parts


def read_manifests(sources: Sources) -> list[VideoRow]:
    """The rows of `read_sources`, one source after the other."""
    return [row for part in read_sources(sources) for row in part]
