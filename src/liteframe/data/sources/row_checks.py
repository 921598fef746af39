"""What a run reads of its rows, asked of every row before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from liteframe.data.sampling import FrameSampler
from liteframe.data.sources.conversations import of_types
from liteframe.data.sources.manifest import RowCheck


def row_check(
    samplers: Sequence[FrameSampler], ask: RowCheck | None, question_types: Sequence[list[str] | None]
) -> RowCheck | None:
    """A check of one row, which raises DataError; None where nothing reads more than the video of it.

    Args:
        samplers: that choose frames.
        ask: raises DataError where a stage cannot use a row.
        question_types: for each kind of batch, the types of `questions` that a stage is shown; all if None.
    """
    reading = [sampler for sampler in samplers if type(sampler).check_row is not FrameSampler.check_row]
    if ask is None and not reading:
        return None

    def check(row: dict[str, Any]) -> None:
        for sampler in reading:
            sampler.check_row(row)
        if ask is not None:
            for types in question_types:
                ask(of_types(row, types))

    return check
