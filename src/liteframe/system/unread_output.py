"""Output that nobody reads any more, as behind ``| head``."""

from __future__ import annotations

import os
import select
import sys
from typing import Any


def drop_unread_output() -> bool:
    """Whether nobody reads stdout or stderr; what is left to say there is dropped, and stderr told if it can be."""
    unread = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if unread:
        print("liteframe: stopped, as nobody reads its output any more", file=sys.stderr)
    return bool(unread)


def _has_no_reader(stream: Any) -> bool:
    try:
        if not hasattr(select, "poll"):  # Windows
            return bool(stream.flush())
        asked = select.poll()
        asked.register(stream.fileno(), 0)
        return bool(asked.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # of a stream that is no file of the system
        return False
