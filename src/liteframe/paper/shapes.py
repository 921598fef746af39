"""A record of latencies at the paper's real shapes (`liteframe latency`), as the page reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIXER_ARMS = {
    "depthwise": "student",
    "full": "student-full",
    "attention": "student-attention",
    "joint": "student-joint",
    "none": "student-none",
}
"""The student with each mixer of a clip's frames, as its arm is called."""


class Shapes:
    """Latencies of arms with random weights on one machine.

    Args:
        record: of kind "latency".
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self._arms = {arm["name"]: arm for arm in record.get("arms", ())}

    @property
    def machine(self) -> str:
        """In a few words."""
        return str(self.record["environment"].get("device", "unknown device"))

    def of_arm(self, name: str, field: str) -> float | None:
        """A figure of an arm, such as ``gflops_per_frame``."""
        value = self._arms.get(name, {}).get(field)
        return None if value is None else float(value)

    def row(self, suite: str, arm: str, frames: int | None = None) -> dict[str, Any] | None:
        """The row of an arm at batch 1; None where there is none that ran."""
        for row in self.record.get("rows", ()):
            if (row["suite"], row["arm"], row["batch"], row["status"]) == (suite, arm, 1, "ok") and (
                frames is None or row["frames"] == frames
            ):
                return dict(row)
        return None

    def frames_of(self, suite: str, *arms: str) -> list[int]:
        """Frame counts that all of some arms ran at."""
        counts = [
            {row["frames"] for row in self.record.get("rows", ()) if (row["suite"], row["arm"]) == (suite, arm)}
            for arm in arms
        ]
        return sorted(
            frames for frames in set.intersection(*counts) if frames is not None and self._ran(suite, arms, frames)
        )

    def _ran(self, suite: str, arms: tuple[str, ...], frames: int) -> bool:
        return all(self.row(suite, arm, frames) is not None for arm in arms)

    def encoder_ms(self, suite: str, arm: str, frames: int | None = None) -> tuple[float, bool] | None:
        """Milliseconds of encode + project of a row, and whether they were computed and not measured."""
        return self._sum(suite, arm, frames, ("encode", "project"))

    def stage_ms(self, suite: str, arm: str, frames: int, stage: str) -> tuple[float, bool] | None:
        """Milliseconds of one stage of a row, and whether they were computed and not measured."""
        return self._sum(suite, arm, frames, (stage,))

    def _sum(self, suite: str, arm: str, frames: int | None, stages: tuple[str, ...]) -> tuple[float, bool] | None:
        row = self.row(suite, arm, frames)
        if row is None or any(stage not in row["stages"] for stage in stages):
            return None
        cells = [row["stages"][stage] for stage in stages]
        return sum(float(cell["ms"]) for cell in cells), any(cell["computed"] for cell in cells)
