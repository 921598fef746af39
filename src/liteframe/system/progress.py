"""How far a long piece of work has come, with its rate and the time left.

On a terminal it is a bar; elsewhere (a pipe, a log file) it is a line every so many seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Meter:
    """Counts units of work and shows the count, the rate and the time left on stderr.

    Args:
        name: what is being done, in one or two words.
        total: units there are in all; None where that is not known.
        unit: what one unit is called.
        initial: units done in an earlier run; they do not count towards the rate.
        enabled: False shows nothing (ranks other than 0).
        stream: where to write; stderr by default.
        every_s: seconds between two lines, where it is no bar.
    """

    def __init__(
        self,
        name: str,
        total: int | None = None,
        unit: str = "it",
        initial: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        every_s: float = _SECONDS_BETWEEN_LINES,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self._initial = self._done = initial
        self._stream = stream or sys.stderr
        self._enabled, self._every_s = enabled, every_s
        self._note = ""
        self._start = self._last = time.monotonic()
        self._printed_at = -1
        self._bar: tqdm | None = None
        if enabled and self._stream.isatty():
            self._bar = tqdm(
                desc=name, total=total, unit=unit, initial=initial, dynamic_ncols=True, file=self._stream, smoothing=0.1
            )

    @property
    def is_bar(self) -> bool:
        """Whether it is a bar, which is drawn anew in its place, rather than lines."""
        return self._bar is not None

    @property
    def silent_s(self) -> float:
        """Seconds since the last line, or the start."""
        return time.monotonic() - self._last

    def update(self, count: int = 1) -> None:
        """Adds ``count`` finished units."""
        self.set(self._done + count)

    def set(self, done: int) -> None:
        """Sets the number of finished units."""
        if self._bar is not None:
            self._bar.update(done - self._done)
        self._done = done
        now = time.monotonic()
        if self._enabled and self._bar is None and now - self._last >= self._every_s:
            self._last = now
            self._print_line(now)

    def note(self, **values: float | str) -> None:
        """Shows values (a loss, say) behind the count."""
        self._note = "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
        )
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)

    def still(self, doing: str) -> None:
        """Prints that nothing has come about for how long, in place of the line that is missing.

        Args:
            doing: what the work is in the middle of.
        """
        if self._enabled and self._bar is None:
            line = f"{self.name}: {self._count()}  nothing new for {_clock(self.silent_s)}, {doing}"
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Shows the last state and gives the terminal back; safe to call twice."""
        if self._bar is not None:
            self._bar.close()
        elif self._enabled and self._printed_at != self._done:
            self._print_line(time.monotonic())
        self._enabled, self._bar = False, None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self) -> str:
        return f"{self._done}/{self.total} {self.unit}" if self.total is not None else f"{self._done} {self.unit}"

    def _print_line(self, now: float) -> None:
        elapsed = max(now - self._start, 1e-9)
        rate = (self._done - self._initial) / elapsed
        parts = [self._count(), f"{rate:.3g}/s"]
        if self.total is not None and self._done < self.total and rate > 0:
            parts.append(f"{_clock((self.total - self._done) / rate)} left")
        else:
            parts.append(f"after {_clock(elapsed)}")
        if self._note:
            parts.append(self._note)
        print(f"{self.name}: " + "  ".join(parts), file=self._stream, flush=True)
        self._printed_at = self._done


def say(text: str) -> None:
    """Prints a line to stdout, above the bar of a meter where both are on the terminal."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def track(items: Iterable[Item], name: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yields ``items`` and shows the progress through them; ``total`` defaults to their length where they have one."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Meter(name, total, unit) as meter:
        for item in items:
            yield item
            meter.update()
