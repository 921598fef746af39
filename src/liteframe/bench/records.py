"""Records: JSON files with raw samples, environment and settings, from which every table and plot is made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from liteframe.errors import DataError
from liteframe.system.json_files import write_json

MODEL_STAGES = ("encode", "project", "prefill")
FILE_STAGES = ("decode", "preprocess")
STAGES = (*FILE_STAGES, *MODEL_STAGES)


@dataclass
class RowRecord:
    """One method at one frame count: how often it is right and how long a video takes.

    Times are medians in milliseconds for one video; ``model_ms`` = encode + project + prefill and ``total_ms`` = that
    + decode + preprocess, so that the columns add up.

    Attributes:
        arm: name of the method.
        frames: frames of a video.
        tokens: what the LLM sees of a video; ``tokens_encoder`` is the encoder's output, ``tokens_per_frame`` is
            ``tokens`` over ``frames``.
        tokens_asked: that a compressor was asked to leave; None where it was not asked for a number.
        tokens_mean_over_layers: visual tokens that the LLM's layers see, where some go on the way; None elsewhere.
        tokens_prompt: of the timed prompt, text and visual; None in reports of before it was counted.
        accuracy: over all questions, with ``accuracy_low`` and ``accuracy_high``, its 95 % interval over videos.
        questions: how many were answered, about how many ``videos``.
        per_type: question type -> accuracy.
        extra_ms: medians of stages beside the five, such as "first_token".
        spread: stage, "model" or "total" -> median, p10, p90, n. Of the two sums it is that of the runs' own sums, so
            its median may differ a little from the sum of medians.
        samples: stage -> raw times.
        peak_mib: stage -> peak memory.
        floor: stage -> distance to the machine's limit.
        dtype: that it was timed in; None in reports of before that was measured, which were in bfloat16.
    """

    arm: str
    frames: int
    tokens: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    questions: int
    videos: int
    decode_ms: float
    preprocess_ms: float
    encode_ms: float
    project_ms: float
    prefill_ms: float
    tokens_encoder: int = 0
    tokens_asked: int | None = None
    tokens_mean_over_layers: float | None = None
    tokens_prompt: int | None = None
    per_type: dict[str, float] = field(default_factory=dict)
    extra_ms: dict[str, float] = field(default_factory=dict)
    spread: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    floor: dict[str, dict[str, Any]] = field(default_factory=dict)
    dtype: str | None = None
    model_ms: float = field(init=False)
    total_ms: float = field(init=False)
    tokens_per_frame: float = field(init=False)

    def __post_init__(self) -> None:
        where = f"row of {self.arm!r} at {self.frames} frames"
        if self.frames < 1 or self.questions < 1:
            raise ValueError(f"{where}: frames and questions must be at least 1, questions are {self.questions}")
        if not 0.0 <= self.accuracy_low <= self.accuracy_high <= 1.0 or not 0.0 <= self.accuracy <= 1.0:
            raise ValueError(
                f"{where}: accuracy {self.accuracy} and its interval [{self.accuracy_low}, {self.accuracy_high}] "
                "must lie in [0, 1]"
            )
        if min(self.stage_ms.values()) < 0:
            raise ValueError(f"{where}: a stage takes less than no time: {self.stage_ms}")
        self.model_ms = self.encode_ms + self.project_ms + self.prefill_ms
        self.total_ms = self.model_ms + self.decode_ms + self.preprocess_ms
        self.tokens_per_frame = self.tokens / self.frames

    @property
    def stage_ms(self) -> dict[str, float]:
        """The five stages and their medians, in the order in which they happen."""
        return {name: float(getattr(self, f"{name}_ms")) for name in STAGES}

    @classmethod
    def from_samples(
        cls,
        method: str,
        frames: int,
        accuracy: Mapping[str, Any],
        samples: Mapping[str, Sequence[float]],
        **about: Any,
    ) -> RowRecord:
        """A row from what was measured.

        Args:
            method: its name.
            frames: frames of a video.
            accuracy: what ``MultipleChoiceAccuracy.compute`` returned.
            samples: stage -> raw milliseconds; the five of ``STAGES`` at least.
            about: tokens, peak memory and floors, as the fields.
        """
        from liteframe.bench.timers import summary

        missing = [name for name in STAGES if not len(samples.get(name, ()))]
        if missing:
            raise ValueError(f"row of {method!r} at {frames} frames has no samples of {', '.join(missing)}")
        raw = {name: [round(float(value), 4) for value in values] for name, values in samples.items()}
        spread = {name: summary(values) for name, values in raw.items()}
        for name, parts in (("model", MODEL_STAGES), ("total", STAGES)):
            if len({len(raw[part]) for part in parts}) == 1:
                spread[name] = summary([sum(run) for run in zip(*(raw[part] for part in parts), strict=True)])
        times: dict[str, Any] = {f"{name}_ms": spread[name]["median"] for name in STAGES}
        scores = {name: accuracy[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "questions", "videos")}
        return cls(
            method,
            frames,
            **about,
            **scores,
            **times,
            per_type=dict(accuracy.get("per_type", {})),
            extra_ms={name: spread[name]["median"] for name in raw if name not in STAGES},
            spread=spread,
            samples=raw,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, the computed ones too."""
        return asdict(self)


_Made = TypeVar("_Made")


def from_fields(kind: type[_Made], values: Any, where: str, remedy: str = "measure it again") -> _Made:
    """A dataclass of a record from its JSON object; fields that it does not know are ignored, sums are made again.

    Args:
        kind: of the dataclass.
        values: the object.
        where: file and place in it, for errors.
        remedy: what to do about a record that is broken.

    Raises:
        DataError: a field is missing, or holds what it cannot; the message names it.
    """
    if not isinstance(values, Mapping):
        raise DataError(f"{where}: is no object of fields; {remedy}")
    names = {item.name for item in fields(kind) if item.init}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in values.items() if name in names})
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}; {remedy}") from error


def write_record(
    path: str | os.PathLike[str],
    kind: str,
    environment: Mapping[str, Any],
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
) -> Path:
    """Write one record: ``kind``, ``environment``, ``settings`` and the fields of ``data``, raw samples among them."""
    return write_json(path, {"kind": kind, "environment": dict(environment), "settings": dict(settings), **data})


def rows_of(report: Mapping[str, Any], name: str = "report") -> list[RowRecord]:
    """The rows of a report, each under the method that it is of by its settings; ``DataError`` names what is wrong."""
    if not isinstance(report.get("rows"), list):
        raise DataError(f"{name}: has no list 'rows'; it is not a report of the sweep")
    rows = [from_fields(RowRecord, row, f"{name}: rows[{index}]") for index, row in enumerate(report["rows"])]
    try:
        settings = (report.get("settings") or {}).get("compressors") or {}
        return [replace(row, arm=recorded_method(row.arm, settings.get(row.arm))) for row in rows]
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{name}: field 'settings': {error}") from error


def recorded_method(method: str, how: Mapping[str, Any] | None) -> str:
    """The method that a row of a record is of, by the settings that stand in it: a method's defaults may have changed.

    Args:
        method: as the record names it.
        how: what the method said of itself; None where the record has nothing of that.
    """
    from liteframe.ops.compressors.registry import recorded_as  # here, because it takes torch, and records do not

    base, plus, name = method.partition("teacher+")
    return method if how is None or not plus else f"{base}{plus}{recorded_as(name, how)}"
