"""How far two trainings of the same student are apart, in the same world: what one training cannot tell."""

from __future__ import annotations

from liteframe.evaluation.paired import Estimate
from liteframe.paper.cells import FRAMES
from liteframe.paper.evidence import Evidence, difference
from liteframe.paper.names import CTD, LMA

AGAIN = {CTD: "ctd-again", LMA: "lma-again"}
"""Student of the run -> the cell that trained it again, from another start."""


def again_less_first(evidence: Evidence, arm: str) -> Estimate | None:
    """The second training less the first, mean over the frame counts; None where there is none yet."""
    return evidence.combine(difference(AGAIN[arm], arm, FRAMES))


def noise_of_training(evidence: Evidence, *arms: str) -> float | None:
    """The largest difference between two trainings of the same, over the seeds and these students.

    None where one is not measured at all its seeds.
    """
    largest = 0.0
    for arm in arms:
        found = again_less_first(evidence, arm)
        if found is None or set(found.seeds) != set(evidence.wanted([(AGAIN[arm], count) for count in FRAMES])):
            return None
        largest = max(largest, *(abs(value) for value in found.by_seed.values()))
    return largest
