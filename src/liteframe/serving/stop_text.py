"""Texts at which an answer stops."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Lets pieces of an answer through up to the first of some texts, which is left out.

    What may be the beginning of such a text is held back until it is known.

    Args:
        stops: the texts.

    Attributes:
        met: one of them has come.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held, self.met = stops, "", False

    def push(self, piece: str) -> str:
        """What can be shown now that `piece` has come; nothing once a text was met."""
        if self.met:
            return ""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._held, self.met = "", True
            return text[: min(places)]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """What was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text with which `stop` begins, short of all of it."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
