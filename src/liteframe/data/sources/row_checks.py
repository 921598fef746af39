"""What a run reads of its rows, asked of every row before the work begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.data.sampling import FrameSampler
from liteframe.data.sources.conversations import of_types

RowCheck = Callable[[dict[str, Any]], object]
"""Raises DataError if a row, given as a dict, cannot be used for what it is read for."""


@dataclass(frozen=True)
class RowChecks:
    """The checks of a row by all that read it: itself a check, which can be handed to other processes.

    Args:
        samplers: that choose frames by what a row says.
        ask: what a stage asks; None for nothing.
        question_types: for each kind of batch, the types of `questions` that a stage is shown; all if None.
    """

    samplers: tuple[FrameSampler, ...]
    ask: RowCheck | None
    question_types: tuple[list[str] | None, ...]

    @classmethod
    def of(
        cls, samplers: Sequence[FrameSampler], ask: RowCheck | None, question_types: Sequence[list[str] | None]
    ) -> RowChecks | None:
        """The checks of any samplers; None where nothing reads more than the video of a row."""
        reading = tuple(sampler for sampler in samplers if type(sampler).check_row is not FrameSampler.check_row)
        return cls(reading, ask, tuple(question_types)) if reading or ask is not None else None

    def __call__(self, row: dict[str, Any]) -> None:
        for sampler in self.samplers:
            sampler.check_row(row)
        if self.ask is not None:
            for types in self.question_types:
                self.ask(of_types(row, types))

    @property
    def are_own(self) -> bool:
        """Whether all of them are functions and samplers of liteframe's modules."""
        return all(map(_is_own, [*([] if self.ask is None else [self.ask]), *map(type, self.samplers)]))

    def describe(self) -> dict[str, Any]:
        """Name and settings of each, of those that `are_own`."""
        ask = self.ask and f"{self.ask.__module__}:{self.ask.__qualname__}"
        samplers = [sampler.describe() for sampler in self.samplers]
        return {"samplers": samplers, "ask": ask, "question_types": self.question_types}


def _is_own(named: Any) -> bool:
    module, name = getattr(named, "__module__", None) or "", getattr(named, "__qualname__", None) or ""
    return module.partition(".")[0] == "liteframe" and getattr(sys.modules.get(module), name, None) is named
