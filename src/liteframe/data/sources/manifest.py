"""Lists of videos, in whichever form they are found, read into rows with unique ids."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from liteframe.data.remote.file import is_url
from liteframe.data.sources.file_kind import is_video
from liteframe.data.sources.kept_tables import ListFile, are_long, kept_table
from liteframe.data.sources.list_blocks import list_blocks
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.list_rows import each_row
from liteframe.data.sources.remote_source import list_or_videos
from liteframe.data.sources.row_block import RowBlock, blocks_of
from liteframe.data.sources.row_names import ListNames, NameTable, named_apart
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import ParsedRow, VideoRow, unusable
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import ManifestError
from liteframe.system.file_url import NotHere, without_file_url

__all__ = ["VIDEO_SUFFIXES", "VideoRow", "VideoSource", "read_manifest", "read_manifests", "read_sources"]


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
    source: str | os.PathLike[str], root: str | None, keep_unusable: bool, asked_apart: bool
) -> Iterator[VideoRow]:
    names = ListNames()
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
        else:
            yield parsed.row


def read_sources(sources: Sources, keep_unusable: bool = False) -> RowTable:
    """Rows of the sources, one after the other; an id that an earlier source has got already gets `@<source number>`.

    Those of long lists are kept on disk, see `kept_tables`.

    Arguments and errors are those of `read_manifest`.
    """
    given = [replace(source, path=_absolute(source.path)) for source in as_sources(sources)]
    lists = _list_files(given)
    if lists is None or not are_long(lists):
        return RowTable.of_blocks(_parts(given, keep_unusable))
    table = kept_table(lists, lambda roots: _parts(given, keep_unusable, list(zip(lists, roots, strict=True))))
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
    sources: Sequence[VideoSource], keep_unusable: bool, long: Sequence[tuple[ListFile, ListRoot]] | None = None
) -> Iterator[Iterable[RowBlock]]:
    """The rows of each source; those of long lists by several processes."""
    taken = NameTable()
    for number, source in enumerate(sources):
        if long is None:
            blocks = blocks_of(each_row(source.path, source.root), number, keep_unusable)
        else:
            file, root = long[number]
            blocks = list_blocks(file, root, number, keep_unusable)
        named = ListNames().named(blocks, number, keep_unusable)
        yield named_apart(named, number, taken) if len(sources) > 1 else named


def read_manifests(sources: Sources) -> list[VideoRow]:
    """The rows of `read_sources` as a list."""
    return list(read_sources(sources))
