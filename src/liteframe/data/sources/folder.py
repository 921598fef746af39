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
    """A row for each video in `folder`, sorted, with its path from there as id; ManifestError where there is none."""
    found: list[Path] = []
    for parent, _, names in os.walk(folder):
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
