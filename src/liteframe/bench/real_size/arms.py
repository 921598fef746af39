"""What runs in turns in one cell: several methods, or one method in several ways."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.real_size.cells import NO_TIME, Budget
from liteframe.bench.real_size.execution import EAGER, EXECUTIONS, FLOAT8, FROZEN, Execution, by_name, executed
from liteframe.bench.real_size.overlap import IN_ORDER, OVERLAPPED, StreamedRun, decoded, uploaded, write_video
from liteframe.bench.real_size.record import RunningRecord
from liteframe.bench.real_size.runs import EncoderRun, PipelineRun, Run
from liteframe.bench.real_size.shapes import Shapes
from liteframe.bench.real_size.steps import EXECUTED, Step
from liteframe.bench.real_size.subjects import Llm, Subject, build_subject
from liteframe.models.acceleration.fallback import FallbackWarning, short_reason

_COMPILE_S = 60.0
"""Seconds without which no way to run an encoder is begun: it may have to be compiled."""


@dataclass(frozen=True)
class Arm:
    """One of those that run in turns.

    Attributes:
        method: its name.
        run: one run of it.
        execution: how its encoder is run, or its frames are fetched; empty where there is nothing to tell.
        note: in words.
    """

    method: str
    run: Run
    execution: str = ""
    note: str = ""


class NoTimer:
    """Takes the marks of a run's stages and does nothing with them."""

    def stage(self, name: str) -> Any:
        return nullcontext()


class ExecutedArms:
    """Makes the arms of the suites `EXECUTED`.

    Each is run once before it counts: what fails, or falls back to the plain way, is left out with the reason, and
    costs the others nothing.

    Args:
        shapes, llm: that the subjects are made of.
        subjects: the methods by name, as they are run elsewhere.
        record: whose rows say which way is the fastest; is told what was left out.
        budget: of the suite.
    """

    def __init__(
        self,
        shapes: Shapes,
        llm: Llm,
        subjects: Mapping[str, Subject],
        record: RunningRecord,
        budget: Budget,
    ) -> None:
        self._shapes, self._llm, self._subjects = shapes, llm, subjects
        self._record, self._budget = record, budget
        self._videos = TemporaryDirectory(prefix="liteframe-latency-")

    def of(self, step: Step) -> dict[str, Arm]:
        """The arms of a step that can run here, by what tells them apart."""
        assert step.suite in EXECUTED
        arms = {}
        for label, method, way in self._wanted(step):
            try:
                if self._budget.left < _COMPILE_S:
                    raise TimeoutError(NO_TIME)
                arm = self._made(step, method, way)
                with warnings.catch_warnings(), torch.inference_mode():
                    warnings.simplefilter("error", FallbackWarning)
                    arm.run(NoTimer())
            except Exception as error:
                name = method if label == method else f"{method}, {label}"
                self._record.drop(step.suite, name, step.frames, step.batch, short_reason(error))
                continue
            arms[label] = arm
        return arms

    def fastest(self, method: str) -> Execution:
        """How the encoder of a method ran fastest, on the longest video that was tried; eager where none was."""
        encoder = "teacher" if ENCODERS[method].make is ENCODERS["teacher"].make else method
        rows = [row for row in self._record.rows if (row.suite, row.arm) == ("execution", encoder) and row.stages]
        most = max((row.frames or 0 for row in rows), default=0)
        timed = {row.stages["encode"].ms: row.execution for row in rows if row.frames == most}
        return by_name(timed[min(timed)]) if timed else EAGER

    def _wanted(self, step: Step) -> Iterator[tuple[str, str, Any]]:
        """Label, method, and how to run its encoder or whether to fetch frames ahead."""
        for method in step.methods:
            if method not in self._subjects:
                continue
            if step.suite in ("execution", "float8", "frozen"):
                for how in {"float8": FLOAT8, "frozen": FROZEN}.get(step.suite, EXECUTIONS[method]):
                    yield how.name, method, how
            elif step.suite == "fastest":
                yield method, method, self.fastest(method)
            else:
                yield IN_ORDER, method, False
                yield OVERLAPPED, method, True

    def _made(self, step: Step, method: str, way: Any) -> Arm:
        if isinstance(way, Execution):
            subject = self._subject(method, way)
            if step.suite == "fastest":
                return Arm(method, PipelineRun(subject, subject.pixels(step.frames)), way.name)
            return Arm(method, EncoderRun(subject, subject.frames(step.frames)), way.name)
        how = self.fastest(method)
        subject = self._subject(method, how)
        device = next(subject.video_llm.backbone.parameters()).device
        clip = subject.video_llm.clip_frames
        if step.suite == "streamed":
            source, origin = uploaded(subject.pixels(step.frames), device, clip), "the host's memory"
        else:
            path = Path(self._videos.name, f"{step.frames}.mp4")
            if not path.exists():
                write_video(path, step.frames, subject.image_size)
            source, origin = decoded(path, step.frames, device, clip), "a file, decoded by torchcodec"
        name = OVERLAPPED if way else IN_ORDER
        return Arm(method, StreamedRun(subject, source, way), name, f"frames from {origin}; encoder {how.name}")

    def _subject(self, method: str, how: Execution) -> Subject:
        subject, about = self._subjects[method], ENCODERS[method]
        if how == EAGER:
            return subject
        backbone = executed(subject.video_llm.backbone, how)
        device = next(backbone.parameters()).device
        dtype = getattr(torch, subject.dtype)
        made = build_subject(method, self._shapes, self._llm, device, dtype, {about.make: backbone})
        return replace(made, channels_last=how.channels_last)
