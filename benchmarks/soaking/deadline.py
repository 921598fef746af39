"""An end for a run that hangs."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading

HANGS = 124


def give_up_after(seconds: float) -> None:
    """Ends this process with exit code `HANGS`, and says where every thread stands, unless it has ended by then."""

    def end() -> None:
        print(f"no end after {seconds:g} s", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(HANGS)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
