"""A record of latencies at the paper's real shapes (`liteframe latency`), as the page reads it."""

from __future__ import annotations

from liteframe.bench.latency_record import LatencyRecord, LatencyRow

MIXER_ARMS = {
    "depthwise": "student",
    "full": "student-full",
    "attention": "student-attention",
    "joint": "student-joint",
    "none": "student-none",
}
"""The student with each mixer of a clip's frames, as its arm is called."""
PAPERS_HOST = "internvl3-8b"


class Shapes:
    """Latencies of arms with random weights on one machine.

    Args:
        record: of real sizes.
    """

    def __init__(self, record: LatencyRecord) -> None:
        self.record = record

    @property
    def machine(self) -> str:
        """In a few words, with the host model."""
        device = str(self.record.environment.get("device", "unknown device"))
        return f"{device}, host {self.host}" if self.host else device

    @property
    def host(self) -> str:
        """Name of the host model's shapes; empty where the record does not say."""
        return str(self.record.settings.get("host") or "")

    @property
    def is_the_papers(self) -> bool:
        """Whether its machine is a GPU and its host that of the paper's figures."""
        return self.record.environment.get("device_type") == "cuda" and self.host == PAPERS_HOST

    def of_arm(self, name: str, field: str) -> float | None:
        """A figure of an arm, such as ``gflops_per_frame``."""
        value = getattr(self.record.arms.get(name), field, None)
        return None if value is None else float(value)

    def row(self, suite: str, arm: str, frames: int | None = None) -> LatencyRow | None:
        """The row of an arm at batch 1; None where there is none that ran."""
        for row in self.record.suite(suite, arm, batch=1):
            if row.status == "ok" and (frames is None or row.frames == frames):
                return row
        return None

    def frames_of(self, suite: str, *arms: str) -> list[int]:
        """Frame counts that all of some arms ran at."""
        counts = [
            {row.frames for row in self.record.suite(suite, arm, 1) if row.status == "ok" and row.frames}
            for arm in arms
        ]
        return sorted(set.intersection(*counts))

    def encoder_ms(self, suite: str, arm: str, frames: int | None = None) -> tuple[float, bool] | None:
        """Milliseconds of encode + project of a row, and whether they were computed and not measured."""
        return self._sum(suite, arm, frames, ("encode", "project"))

    def stage_ms(self, suite: str, arm: str, frames: int, stage: str) -> tuple[float, bool] | None:
        """Milliseconds of one stage of a row, and whether they were computed and not measured."""
        return self._sum(suite, arm, frames, (stage,))

    def _sum(self, suite: str, arm: str, frames: int | None, stages: tuple[str, ...]) -> tuple[float, bool] | None:
        row = self.row(suite, arm, frames)
        if row is None or any(stage not in row.stages for stage in stages):
            return None
        cells = [row.stages[stage] for stage in stages]
        return sum(cell.ms for cell in cells), any(cell.computed for cell in cells)
