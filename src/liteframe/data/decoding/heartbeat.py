"""Signs of life of a decode process, which renew its deadline: a long video is waited for, a hang is ended.

What reads packets or frames calls `step` for each. A decoder of your own may do so, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SECONDS_APART = 0.25

_report: Callable[[], None] | None = None
_last = 0.0
_reporting = threading.Lock()


def report_to(report: Callable[[], None] | None) -> None:
    """Has `report` called a few times a second while steps are made in this process; None for not at all."""
    global _report, _last
    _report, _last = report, 0.0


def step() -> None:
    """Says that a packet or frame more has been read; in any thread."""
    global _last
    if _report is None or time.monotonic() - _last < _SECONDS_APART:
        return
    if _reporting.acquire(blocking=False):  # another thread says so now
        try:
            _last = time.monotonic()
            _report()
        finally:
            _reporting.release()
