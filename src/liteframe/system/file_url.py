"""`file://` URLs as paths: what they name lies on this machine."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote
from urllib.request import url2pathname

_FILE = re.compile(r"file:(?://(?P<host>[^/]*)|(?!//))(?=/)", re.IGNORECASE)


class NotHere(ValueError):
    """A `file://` URL names no file of this machine; the text says why."""


def without_file_url(name: str) -> str:
    """The path that a `file://` URL names, with `%20` and the like decoded; any other name as it is.

    Programs that do not encode what they write mean the name as it stands, so a file of that name counts first.

    Raises:
        NotHere: the URL names another machine, no absolute path, or what is no name of a file.
    """
    if not name.lower().startswith("file:/"):
        return name
    match = _FILE.match(name)
    if match is None or (match["host"] or "localhost").lower() not in ("localhost", "127.0.0.1"):
        raise NotHere(f"{name!r} is no file of this machine; give its path")
    path = name[match.end() :]
    if "%" not in path or ("\0" not in path and os.path.lexists(path)):
        return path
    try:
        unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise NotHere(f"{name!r} names a file by bytes that are no UTF-8; rename it") from None
    if "\0" in (path := url2pathname(path)):
        raise NotHere(f"{name!r} is no name of a file")
    return path
