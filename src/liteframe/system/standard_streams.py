"""What a command needs before it does anything else: open standard streams, and names of files in UTF-8."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_streams() -> None:
    """Opens on the null device any standard stream that was closed before the command began (``>&-``).

    Otherwise the next file that is opened, here or in a child process, would get its number, and what is printed would
    go into that file.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # it gets the lowest number that is free, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)


def names_are_utf8() -> bool:
    """Whether this process reads and writes names of files as UTF-8, as they stand in lists."""
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def begin_again_in_utf8() -> None:
    """Restarts this command in UTF-8 mode where its locale has another encoding, such as Latin-1.

    In that encoding the names of files in lists would be read as other characters, or could not be written at all.
    """
    if os.name == "posix" and not names_are_utf8() and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that it starts, too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
