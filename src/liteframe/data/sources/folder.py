"""A plain folder: every video file in it, at any depth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from liteframe.data.decoding.containers.formats import is_animated_webp
from liteframe.data.decoding.video_file import pictures_in
from liteframe.data.sources.file_kind import LIST_ENDINGS, lists_beside
from liteframe.data.sources.video_row import VideoRow
from liteframe.data.sources.video_suffixes import VIDEO_SUFFIXES
from liteframe.errors import ManifestError


def folder_rows(folder: Path) -> list[VideoRow | ManifestError]:
    """A row for each video in `folder`, sorted, with its path from there as id; an error for each folder in there that
    cannot be read.

    Links to folders are followed, once each.

    Raises:
        ManifestError: there is no video, or no more of them than tables of a data set, or `folder` itself cannot be
            read.
    """
    errors: list[ManifestError] = []

    def unreadable(error: OSError) -> None:
        what = f"{error.filename}: cannot be read ({error.strerror}); make it readable, or move it out"
        errors.append(ManifestError(what))

    walked = False
    found, others = list[Path](), list[str]()
    for parent, names in _walk(folder, unreadable):
        walked = True
        for path in (parent / name for name in names):
            if _is_looked_for(path):
                found.append(path)
            elif path.suffix.lower() in LIST_ENDINGS:
                others.append(path.name)
    if errors and not walked:
        raise errors[0]
    if not found and not errors:
        if pictures := pictures_in(folder):
            raise ManifestError(f"{folder}: {pictures}")
        lists, looked_for = lists_beside(others, 0), f"endings looked for: {' '.join(sorted(VIDEO_SUFFIXES))}"
        raise ManifestError(f"{folder}: no video in this folder; {lists or looked_for}")
    if found and (lists := lists_beside(others, len(found))):
        raise ManifestError(f"{folder}: {len(found)} video{'s' * (len(found) != 1)} in this folder, and {lists}")
    relative = sorted(path.relative_to(folder).as_posix() for path in found)
    return [*(VideoRow(path=str((folder / name).absolute()), id=name) for name in relative), *errors]


def left_out(folder: Path) -> Counter[str]:
    """How many files of which ending `folder_rows` takes for no videos; "" is of those without one."""
    walk = _walk(folder, lambda _: None)
    files = (parent / name for parent, names in walk for name in names)
    return Counter(path.suffix.lower() for path in files if not _is_looked_for(path))


def _walk(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder at any depth with the names of its files, without hidden ones."""
    walked: set[str] = set()
    for parent, inner, names in os.walk(folder, onerror=on_error, followlinks=True):
        walked.add(os.path.realpath(parent))
        new = {os.path.realpath(os.path.join(parent, name)): name for name in sorted(inner, reverse=True)}
        inner[:] = sorted(name for place, name in new.items() if place not in walked)
        walked |= new.keys()
        yield Path(parent), [name for name in names if not name.startswith(".")]


def _is_looked_for(path: Path) -> bool:
    """Whether its ending is a video's, or it is a WebP that moves, so that it is refused by name and not missed."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES or (suffix == ".webp" and is_animated_webp(_head(path)))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""
