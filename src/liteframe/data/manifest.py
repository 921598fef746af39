"""Lists of videos: a JSONL manifest, a plain folder, or a single file, read into rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from liteframe.errors import ManifestError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"}
    | {".ts", ".m2ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv"}
)
"""Lower-case endings of the files that a plain folder is searched for."""


@dataclass
class VideoRow:
    """One row of a manifest.

    Attributes:
        path: absolute path of the video file.
        id: unique name of the row; by default the path relative to the manifest's folder.
        question, options, answer: one question about the video, where there is one.
        conversations: turns of a dialogue, each a dict, where there are any.
        start, end: part of the video to use, in seconds.
        error: why the file cannot be used, as `liteframe check` found; such a row is never opened.
        extra: every other field of the row.
    """

    path: str
    id: str
    question: str | None = None
    options: list[str] | None = None
    answer: str | None = None
    conversations: list[dict[str, Any]] | None = None
    start: float | None = None
    end: float | None = None
    error: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The row as one flat dict: `extra` is merged at the top level, fields of the class win."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        return {**self.extra, **own}


def read_manifest(source: str | os.PathLike[str]) -> list[VideoRow]:
    """Rows of a JSONL manifest (`*.jsonl`), of a folder (all videos in it, sorted) or of one video file.

    Relative paths in a manifest are relative to the manifest's folder.

    Raises:
        ManifestError: nothing there, no videos, or a bad row; names file, line and field.
    """
    path = Path(source)
    if path.is_dir():
        return _folder_rows(path)
    if not path.exists():
        raise ManifestError(f"{path}: no such manifest, folder or video; give a .jsonl file or a folder of videos")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return [VideoRow(path=str(path.absolute()), id=path.name)]
    return _jsonl_rows(path)


def read_manifests(sources: str | Sequence[str]) -> list[VideoRow]:
    """Rows of several manifests or folders, one after the other; an id that comes again gets `@<source number>`."""
    names = [sources] if isinstance(sources, str) else list(sources)
    rows: list[VideoRow] = []
    seen: set[str] = set()
    for number, name in enumerate(names):
        for row in read_manifest(name):
            if row.id in seen:
                row.id = f"{row.id}@{number}"
                if row.id in seen:
                    raise ManifestError(f"{name}: field 'id': {row.id!r} comes twice; give each row an id of its own")
            seen.add(row.id)
            rows.append(row)
    return rows


def _folder_rows(folder: Path) -> list[VideoRow]:
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


def _jsonl_rows(path: Path) -> list[VideoRow]:
    rows: list[VideoRow] = []
    lines_of_id: dict[str, int] = {}
    uses_of_path: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path}: not UTF-8 text ({error.reason}); a manifest is JSONL, a JSON object a line"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, given = _parse_row(line, path, f"{path}:{number}")
        uses = uses_of_path[row.path] = uses_of_path.get(row.path, 0) + 1
        if not given and uses > 1:
            row.id = f"{row.id}@{uses}"
        if row.id in lines_of_id:
            raise ManifestError(
                f"{path}:{number}: field 'id': {row.id!r} is the id of line {lines_of_id[row.id]} already;"
                " give each row an id of its own, or none"
            )
        lines_of_id[row.id] = number
        rows.append(row)
    if not rows:
        raise ManifestError(f"{path}: the manifest is empty; write one JSON object a line, with at least 'path'")
    return rows


def _parse_row(line: str, manifest: Path, where: str) -> tuple[VideoRow, bool]:
    """The row of a line, and whether the line gave it an id."""
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{where}: not JSON ({error.msg} at column {error.colno}); write one object a line"
        ) from error
    if not isinstance(raw, dict):
        raise ManifestError(f"{where}: a row is a JSON object with at least 'path', not {type(raw).__name__}")

    def text(name: str) -> str | None:
        value = raw.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise ManifestError(f"{where}: field '{name}': a string is needed, not {value!r}; put it in quotes")
        return value

    def seconds(name: str) -> float | None:
        value = raw.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ManifestError(f"{where}: field '{name}': seconds from 0 on are needed, not {value!r}; give a number")
        return float(value)

    def items(name: str, kind: type, what: str) -> list[Any] | None:
        value = raw.pop(name, None)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, kind) for item in value)):
            raise ManifestError(f"{where}: field '{name}': a list of {what} is needed, not {value!r}")
        return value

    name, given_id = text("path"), text("id")
    if not name or "\0" in name:
        raise ManifestError(
            f"{where}: field 'path': the path of a video file is needed, not {name!r}; add it to the row"
        )
    if given_id == "":
        raise ManifestError(f"{where}: field 'id': empty; give a name, or leave the field out")
    start, end = seconds("start"), seconds("end")
    if end is not None and end <= (start or 0.0):
        raise ManifestError(
            f"{where}: field 'end': {end} s is not after the start at {start or 0.0} s; swap or drop them"
        )
    folder = manifest.parent.absolute()
    row = VideoRow(
        path=os.path.normpath(folder / name),
        id=given_id or Path(os.path.relpath(folder / name, folder)).as_posix(),
        question=text("question"),
        options=items("options", str, "strings"),
        answer=text("answer"),
        conversations=items("conversations", dict, "objects"),
        start=start,
        end=end,
        error=text("error"),
        extra=raw,
    )
    return row, given_id is not None
