"""A plain folder: every video file in it, at any depth."""

from __future__ import annotations

import os
from pathlib import Path

from liteframe.data.video_row import VideoRow
from liteframe.errors import ManifestError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"}
    | {".ts", ".m2ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv"}
)
"""Lower-case endings of the files that a plain folder is searched for."""


def folder_rows(folder: Path) -> list[VideoRow]:
    """A row for each video in `folder`, sorted, with its path from there as id.

    Links to folders are followed, once each.

    Raises:
        ManifestError: there is none, or a folder in there cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise ManifestError(f"{error.filename}: cannot be read ({error.strerror}); make it readable, or move it out")

    found: list[Path] = []
    walked: set[str] = set()
    for parent, inner, names in os.walk(folder, onerror=unreadable, followlinks=True):
        walked.add(os.path.realpath(parent))
        new = {os.path.realpath(os.path.join(parent, name)): name for name in sorted(inner, reverse=True)}
        inner[:] = sorted(name for place, name in new.items() if place not in walked)
        walked |= new.keys()
        found += [
            Path(parent) / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    if not found:
        raise ManifestError(
            f"{folder}: no video in this folder; endings looked for: {' '.join(sorted(VIDEO_SUFFIXES))}"
        )
    relative = sorted(path.relative_to(folder).as_posix() for path in found)
    return [VideoRow(path=str((folder / name).absolute()), id=name) for name in relative]
