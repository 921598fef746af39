"""The record of a run, written again after every cell, so that a killed run loses the running cell at most."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from liteframe.bench.floor import best_limits, measure_limits
from liteframe.bench.latency_record import LatencyMethod, LatencyRecord, LatencyRow
from liteframe.bench.real_size.rows import with_floors
from liteframe.bench.real_size.subjects import Subject
from liteframe.bench.real_size.work import EncoderWork
from liteframe.bench.records import write_record

CONTEXT_TOKENS = 16384
"""Visual tokens that the teacher's LLM may be given: 64 frames of 256."""


@dataclass
class RunningRecord(LatencyRecord):
    """What a run has so far, written to ``path`` after every cell."""

    path: Path = field(kw_only=True)

    def add(self, row: LatencyRow) -> None:
        """A row more; the first of a method says how many tokens it makes of a frame."""
        self.rows.append(row)
        method = self.methods.get(row.arm)
        if method is not None and method.tokens_per_frame is None and row.status == "ok":
            assert row.tokens_encoder is not None and row.frames
            encoder, llm = row.tokens_encoder / row.frames, row.tokens_per_frame
            self.methods[row.arm] = replace(method, tokens_encoder_per_frame=encoder, tokens_per_frame=llm)

    def drop(self, suite: str, method: str, frames: int | None, batch: int, reason: str) -> None:
        """Note a cell that was not run."""
        self.dropped.append({"suite": suite, "arm": method, "frames": frames, "batch": batch, "reason": reason})

    def measure_limits_again(self, device: torch.device) -> None:
        """Keep the better of the limits so far and those of now; where memory does not suffice, those so far stay."""
        with contextlib.suppress(torch.OutOfMemoryError):
            self.limits = best_limits(self.limits, measure_limits(device))

    def data(self, seconds: float) -> dict[str, Any]:
        """The fields of the file beside environment and settings."""
        return {
            "limits": self.limits,
            "arms": [asdict(method) for method in self.methods.values()],
            "rows": [asdict(with_floors(row, self.limits)) for row in self.rows],
            "dropped": self.dropped,
            "seconds": round(seconds, 1),
            "complete": self.complete,
        }

    def save(self, seconds: float) -> None:
        """Write the file whole or not at all."""
        write_record(self.path, "latency", self.environment, self.settings, self.data(seconds))


def describe_method(subject: Subject, work: EncoderWork) -> LatencyMethod:
    """What the record says of a method; its tokens are known after its first row (`RunningRecord.add`)."""
    method = subject.about
    return LatencyMethod(
        name=subject.name,
        group=method.group,
        label=method.label,
        note=method.note,
        accuracy_relative=method.accuracy_relative,
        image_size=subject.image_size,
        parameters_m=sum(weight.numel() for weight in subject.video_llm.backbone.parameters()) / 1e6,
        gflops_per_frame=work.per_frame / 1e9,
        frames_per_group=getattr(subject.model, "frames_per_line", subject.model.frames_per_group),
    )
