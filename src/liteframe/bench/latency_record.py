"""The record of `liteframe latency`: what `real_size` writes and the reports read, methods, rows, times of stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from liteframe.bench.records import MODEL_STAGES, from_fields
from liteframe.errors import DataError
from liteframe.system.json_files import read_json

BEFORE_ENCODING = ("host_to_device", "normalize")
"""Stages of a run as a whole, in front of those of the model; frames go into encoders as bytes but in older records."""
_REMEDY = "run `liteframe latency` again"


class How(str, Enum):
    """How the time of a stage was found."""

    TIMED = "timed"
    AT_RATE = "operations over a rate measured at neighbouring lengths"
    BY_THE_FRAME = "scaled by the frame"
    EXTRAPOLATED = "longer than any that was timed"
    UNTOLD = "computed"


@dataclass(frozen=True)
class StageTime:
    """How long a stage takes (milliseconds, for the whole batch) and how far that is from the machine's limit.

    Attributes:
        ms: median.
        computed: not measured; ``how`` and, in words, ``note`` say how.
        n: timed runs, 0 where computed; ``p10``, ``p90`` and the raw ``samples`` are of them.
        flops: of the stage; ``moved_bytes``, at least the weights, once.
        floor: of `distance_to_floor`, or None; ``times_floor`` is its ratio.
        peak_mib: see `bench.memory`.
    """

    ms: float
    computed: bool
    n: int = 0
    p10: float | None = None
    p90: float | None = None
    flops: float | None = None
    moved_bytes: float = 0.0
    floor: dict[str, Any] | None = None
    times_floor: float | None = None
    peak_mib: float | None = None
    how: How = How.UNTOLD
    note: str = ""
    samples: list[float] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.ms, bool) or not isinstance(self.ms, int | float):
            raise ValueError(f"field 'ms' is {self.ms!r}, not a number of milliseconds")
        object.__setattr__(self, "how", How(self.how) if self.computed else How.TIMED)


@dataclass(frozen=True)
class LatencyRow:
    """One cell: a method at a number of frames or, of the suite "prefill", of tokens.

    Sums and ratios are made from the stages, so a record's own are not read.

    Attributes:
        suite: "encoder" (stages encode and project); "mixer" (likewise, the student with each temporal mixer; paper,
            Table 2); "prefill" (of arm "llm", a prompt of text: also first_token and, on a GPU, decode, the mean of
            its steps); "pipeline" (encode, project, prefill; where it was run as a whole also `BEFORE_ENCODING`,
            frames in uint8 from pinned memory, and first_token); "throughput" (likewise, of several videos at once);
            "execution" (as "encoder", the encoder run as ``execution`` says; "float8" in that precision; "frozen"
            compiled on a CPU, beside eager); "fastest" (as "pipeline", each encoder run in the way that "execution"
            found fastest); "streamed" (to_first_token, frames fetched from the host's memory in chunks, ``execution``
            says whether while others are encoded; "decoded" likewise from a file).
        status: "ok" or "out of memory", then without stages.
        computed: a stage was computed, or stages of other cells were put together; ``note`` says how.
        tokens_encoder: with ``tokens_llm`` and ``prompt_tokens`` (visual, `Frame` lines and question) of one video.
        tokens_mean_over_layers: visual tokens that a layer of the LLM sees, mean over its layers; None but for methods
            inside the LLM, whose ``tokens_llm`` is what its first layer sees.
        run_ms: whole runs on the synchronised host clock: median, p10, p90, n; None where there are none.
        model_ms: encode + project + prefill, medians added; None where one is missing. ``share`` is of it.
        ttft_ms: time to first token: ``model_ms`` + first_token, and `BEFORE_ENCODING` where that was measured.
        dtype: of the encoder's weights, or of the LLM's in the suite "prefill"; empty in older records, where the
            settings have it.
        frames_per_s: of ``model_ms``, or of encode + project where there is no prefill.
    """

    suite: str
    arm: str
    frames: int | None
    stages: dict[str, StageTime]
    batch: int = 1
    status: str = "ok"
    computed: bool = False
    image_size: int | None = None
    tokens_encoder: int | None = None
    tokens_llm: int | None = None
    tokens_mean_over_layers: float | None = None
    prompt_tokens: int | None = None
    run_ms: dict[str, float] | None = None
    note: str = ""
    execution: str = ""
    dtype: str = ""
    tokens_per_frame: float | None = field(init=False, default=None)
    model_ms: float | None = field(init=False, default=None)
    ttft_ms: float | None = field(init=False, default=None)
    frames_per_s: float | None = field(init=False, default=None)
    share: dict[str, float] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        parts = {name: self.stages[name].ms for name in MODEL_STAGES if name in self.stages}
        model_ms = sum(parts.values()) if len(parts) == len(MODEL_STAGES) else None
        first = self.stages.get("first_token")
        before_ms = sum(self.stages[name].ms for name in BEFORE_ENCODING if name in self.stages)
        done_ms = model_ms if model_ms is not None else parts.get("encode", 0.0) + parts.get("project", 0.0)
        per_frame = self.tokens_llm / self.frames if self.frames and self.tokens_llm is not None else None
        for name, value in {
            "computed": self.computed or self.any_computed,
            "tokens_per_frame": per_frame,
            "model_ms": model_ms,
            "ttft_ms": before_ms + model_ms + first.ms if model_ms is not None and first else None,
            "frames_per_s": 1e3 * self.batch * self.frames / done_ms if self.frames and done_ms else None,
            "share": {name: part / model_ms for name, part in parts.items()} if model_ms else None,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def any_computed(self) -> bool:
        """Whether a stage of it was computed; without, a row is ``computed`` where timed stages were added up."""
        return any(stage.computed for stage in self.stages.values())

    @property
    def encoder_ms(self) -> float | None:
        """Encode + project, None where one is not there."""
        if not {"encode", "project"} <= set(self.stages):
            return None
        return self.stages["encode"].ms + self.stages["project"].ms


@dataclass(frozen=True)
class LatencyMethod:
    """What a method is: size and work of its encoder, and what of the tiny world may stand for its accuracy.

    Attributes:
        group: with ``label``, ``note`` and ``accuracy_relative`` as in `ComparedEncoder`.
        image_size: pixels a side.
        tokens_encoder_per_frame: after what compresses on the encoder's grid; ``tokens_per_frame`` is what the LLM
            sees. Both are None where the method was not run.
        frames_per_group: behind one `Frame` line.
        attention: kernels that its encoder's attention ran on, as torch calls them; none where it is multiplied out.
    """

    name: str
    group: str
    label: str
    note: str = ""
    accuracy_relative: str | None = None
    image_size: int | None = None
    parameters_m: float | None = None
    gflops_per_frame: float | None = None
    tokens_encoder_per_frame: float | None = None
    tokens_per_frame: float | None = None
    frames_per_group: int | None = None
    attention: list[str] = field(default_factory=list)


@dataclass
class LatencyRecord:
    """All of one run of `liteframe latency`.

    Attributes:
        limits: bf16_gflops, fp32_gflops and bandwidth_gbs of this machine, the best of what was measured at the begin
            of the run and after every cell; seconds that this took.
        methods: by name; the file calls them ``arms``.
        dropped: cells that were not run: suite ("all" for a method that cannot be made), arm, frames (tokens of a
            prompt for "prefill"), batch, reason.
        complete: False until the end.
    """

    environment: dict[str, Any]
    settings: dict[str, Any]
    limits: dict[str, float]
    methods: dict[str, LatencyMethod] = field(default_factory=dict)
    rows: list[LatencyRow] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False

    def suite(self, name: str, method: str | None = None, batch: int | None = None) -> list[LatencyRow]:
        """The rows of a suite, all of them or a method's, as they come."""
        found = [row for row in self.rows if row.suite == name and method in (None, row.arm)]
        return [row for row in found if batch in (None, row.batch)]

    def row(self, suite: str, method: str, frames: int, batch: int = 1) -> LatencyRow | None:
        """One row, if there is one."""
        return next((row for row in self.suite(suite, method, batch) if row.frames == frames), None)


def read_latency(path: Path) -> LatencyRecord:
    """The record in a file.

    Raises:
        DataError: it cannot be read, is of another kind or no real size, or lacks a field; the message names file and
            field.
    """
    data = read_json(path)
    if data.get("kind") != "latency":
        raise DataError(f"{path}: 'kind' is {data.get('kind')!r}, not 'latency'; write it with `liteframe latency`")
    for name, kind in (("environment", dict), ("settings", dict), ("arms", list), ("rows", list)):
        if not isinstance(data.get(name), kind):
            raise DataError(f"{path}: field '{name}' is missing or no {kind.__name__}; {_REMEDY}")
    if data["settings"].get("size", "real") != "real":
        raise DataError(f"{path}: field 'settings.size' is {data['settings']['size']!r}, a try that tells no speed")
    methods = [
        from_fields(LatencyMethod, method, f"{path}: arms[{i}]", _REMEDY) for i, method in enumerate(data["arms"])
    ]
    return LatencyRecord(
        environment=data["environment"],
        settings=data["settings"],
        limits=data.get("limits") or {},
        methods={method.name: method for method in methods},
        rows=[_row(row, f"{path}: rows[{i}]") for i, row in enumerate(data["rows"])],
        dropped=list(data.get("dropped") or []),
        complete=bool(data.get("complete")),
    )


def _row(values: Any, where: str) -> LatencyRow:
    stages = values.get("stages") if isinstance(values, Mapping) else None
    if not isinstance(stages, Mapping):
        raise DataError(f"{where}: field 'stages' is missing or no dict; {_REMEDY}")
    if missing := [name for name in ("batch", "status", "computed") if name not in values]:
        raise DataError(f"{where}: field {missing[0]!r} is missing; {_REMEDY}")
    times = {name: from_fields(StageTime, stage, f"{where}.stages.{name}", _REMEDY) for name, stage in stages.items()}
    return from_fields(LatencyRow, {**values, "stages": times}, where, _REMEDY)
