"""Which paths may be opened as videos or lists at all: files, and not what reading would wait for or never end."""

from __future__ import annotations

import os
import stat

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def fault_of(path: str | os.PathLike[str]) -> str:
    """Why `path` cannot be read as a file, without opening it; empty where it can."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return f"a link to {os.readlink(path)!r}, which is not there"
        return "no such file"
    except (OSError, ValueError) as error:  # no permission, links in a circle, too long a name, a null byte
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not stat.S_ISREG(found.st_mode):
        return f"is not a regular file but {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}"
    return "" if os.access(path, os.R_OK) else "cannot be read (no permission)"
