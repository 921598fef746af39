"""What a command needs of its surroundings before it does anything: open streams, and names of files in UTF-8."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_streams() -> None:
    """Leads streams that were closed before the command began (``>&-``) to nowhere.

    Otherwise the next file that is opened has their number, and what is printed or said by a child goes into it.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            nowhere = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, nowhere)


def names_are_utf8() -> bool:
    """Whether this process takes names of files for UTF-8, as lists write them."""
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def begin_again_in_utf8() -> None:
    """Starts this command anew where its locale has another encoding than UTF-8, such as Latin-1.

    Names of files would be other characters than those in lists, or none at all.
    """
    if os.name == "posix" and not names_are_utf8() and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that it starts, too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
