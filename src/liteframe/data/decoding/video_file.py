"""Which paths may be opened as videos or lists at all: files, and not what reading would wait for or never end."""

from __future__ import annotations

import os
import re
import shlex
import stat
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

NO_SUCH_FILE = "no such file"
"""How `fault_of` begins of a path that leads nowhere."""
_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
"""Of the videos of one list that was written as if all had the same ending, or none."""
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}

_PICTURE = re.compile(r"(?s)(?P<start>.*?)(?P<number>[0-9]*)(?P<end>\.(?i:jpe?g|png|webp|bmp|ppm|tiff?))")


def fault_of(path: str | os.PathLike[str]) -> str:
    """Why `path` cannot be read as a file, without opening it; empty where it can."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"a link to {os.readlink(path)!r}, which is not there"
        near = _near(os.fspath(path))
        return f"{NO_SUCH_FILE}, but there is {near}" if near else NO_SUCH_FILE
    except UnicodeEncodeError as error:
        return f"has a name that is no {error.encoding}, as which this process takes names of files: set PYTHONUTF8=1"
    except (OSError, ValueError) as error:  # no permission, links in a circle, too long a name, a null byte
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(found.st_mode) and (pictures := pictures_in(path)):
        return pictures
    if not stat.S_ISREG(found.st_mode):
        return f"is not a regular file but {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}"
    return "" if os.access(path, os.R_OK) else "cannot be read (no permission)"


def looked_for_in(path: str, row: Mapping[str, Any]) -> str:
    """That a row's `data_source` may be why its file is looked for at `path`, behind an error; empty where it is not.

    Rows that name their file in `path` are looked for without it, which is not to be seen any more.
    """
    source = row.get("data_source")
    if not isinstance(source, str) or not source or f"{os.sep}{source}{os.sep}" not in path:
        return ""
    return f"; where 'video' names it, it is looked for in the folder of its row's field 'data_source', {source!r}"


def _near(path: str) -> str:
    """The file that `path` may mean, if it is there: of another ending, separator or Unicode form; else empty.

    Looked for where the path leads already, below the innermost folder of it that is there: a list tells nobody what
    lies elsewhere, and would be refused with such a name.
    """
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    name = path[len(folder) :].lstrip(os.sep)
    start, end = os.path.splitext(name)
    endings = [name + ending for ending in _ENDINGS] + [start + ending for ending in _ENDINGS if end]
    for other in (name.replace("\\", "/"), unquote(name), name.strip(), start + end.swapcase(), *endings):
        if other != name and _is_below(folder, other):
            return repr(os.path.normpath(other))
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, name)
        if other != name and _is_below(folder, other):
            return f"one whose name is written in another Unicode form ({form})"
    return ""


def _is_below(folder: str, name: str) -> bool:
    """Whether `name` is that of a file below `folder`, with its links followed."""
    if not os.path.isfile(path := os.path.join(folder, name)):
        return False
    held = os.path.realpath(folder)
    return os.path.realpath(path).startswith(held.rstrip(os.sep) + os.sep)


def pictures_in(folder: str | os.PathLike[str]) -> str:
    """What to do with a folder of pictures, as frames of videos are kept at times; empty where it holds none."""
    try:
        names = [match for entry in os.scandir(folder) if (match := _PICTURE.fullmatch(entry.name))]
    except OSError:
        return ""
    if not names:
        return ""
    first, last = (choose(names, key=lambda match: (len(match["number"]), match[0])) for choose in (min, max))
    told = f"is a folder of {len(names)} picture{'s' * (len(names) != 1)} ({first[0]!r} to {last[0]!r})"
    if not first["number"]:
        return f"{told}, and a video is one file: make one of them"
    digits = f"%0{len(first['number'])}d" if len(first["number"]) == len(last["number"]) else "%d"
    pattern = shlex.quote(first["start"].replace("%", "%%") + digits + first["end"])
    command = f"ffmpeg -framerate FPS -start_number {int(first['number'])} -i {pattern} -crf 12 video.mp4"
    return f"{told}, and a video is one file: make one of them, in there by `{command}`"
