"""What of the paper's claims is about time and size: in the tiny world by the sweeps, at real shapes by records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.methods import label
from liteframe.bench.paper.cells import ALL_SEEDS, CTD, FRAMES
from liteframe.bench.records import MODEL_STAGES

from .accuracy_claims import AT_16X, WAP, counted
from .evidence import Evidence
from .verdicts import MISSING, OPEN, ByFrames, Figures, Part, Reason, judge_cases

STUDENT, TEACHER, ENCODER = "student", "teacher", ("encode", "project")
PAPERS_BASE = "internvl3-8b"
MIXER_NAMES = {"depthwise": "student"} | {name: f"student-{name}" for name in ("full", "attention", "joint", "none")}
"""The student with each mixer of a clip's frames, as records of latency call it."""
FRAMES_64, MOST_FRAMES, MOST_SHARE = 64, 512, 0.65
"""Of the paper's figures: the base VLM's frames, the student's that are 8 times as many, and its part of the time."""
_NO_RECORD = Part("at the paper's shapes", MISSING, reasons=(Reason("run latency"),))


def machine(record: LatencyRecord) -> str:
    """In a few words, with the base VLM."""
    device, base = record.environment.get("device", "unknown device"), record.settings.get("host")
    return f"{device}, base VLM {base}" if base else str(device)


def _complete(evidence: Evidence) -> list[LatencyRecord]:
    return [record for record in evidence.records.latency.values() if record.complete]


def _of_the_papers_setup(evidence: Evidence) -> list[LatencyRecord]:
    """The records of a GPU with the paper's base VLM."""
    return [
        record
        for record in _complete(evidence)
        if record.environment.get("device_type") == "cuda" and record.settings.get("host") == PAPERS_BASE
    ]


def rows_with(record: LatencyRecord, suite: str, name: str, stages: Sequence[str]) -> dict[int | None, LatencyRow]:
    """The rows of a method at batch 1 that have these stages, by frames, as they come."""
    return {row.frames: row for row in record.suite(suite, name, batch=1) if set(stages) <= row.stages.keys()}


def time_of(row: LatencyRow, stages: Sequence[str] = ENCODER) -> tuple[float, bool]:
    """Milliseconds of some stages of a row, and whether they were computed and not measured."""
    return sum(row.stages[stage].ms for stage in stages), any(row.stages[stage].computed for stage in stages)


def clip_time(record: LatencyRecord, mixer: str) -> tuple[float, bool] | None:
    """What a clip takes the student with that mixer, encode + project, and whether that was computed."""
    rows = rows_with(record, "mixer", MIXER_NAMES[mixer], ENCODER)
    return time_of(next(iter(rows.values()))) if rows else None


def _unless_computed(part: Part, computed: bool) -> Part:
    """A verdict on a number that was computed is none."""
    if not computed or part.verdict == MISSING:
        return part
    return replace(part, verdict=OPEN, reasons=(Reason("computed"),))


def _by_frames(
    evidence: Evidence,
    what: str,
    names: tuple[str, ...],
    values: Mapping[int, Mapping[int, float]],
    least: float,
    shape: str,
) -> Part:
    """Something that ought to be above ``least`` at every frame count and seed.

    Args:
        evidence: of the times.
        what: the part of the claim.
        names: methods that it is about.
        values: frames -> seed -> value.
        least: that every value has to be above.
        shape: format of a value.
    """
    cases = [value > least for known in values.values() for value in known.values()]
    complete = all(set(ALL_SEEDS) <= known.keys() for known in values.values())
    untimed = evidence.untimed_seeds(*names)
    missing = (Reason("not timed", {"seeds": untimed}),) if untimed else ()
    part = judge_cases(what, cases, ByFrames(values, shape) if cases else None, missing, complete)
    return replace(part, methods=names)


def _ratios(evidence: Evidence, own: tuple[str, str], other: tuple[str, str]) -> dict[int, dict[int, float]]:
    """Frames -> seed -> a time (method, field) over another."""
    found: dict[int, dict[int, float]] = {}
    for count in FRAMES:
        one, rest = (evidence.milliseconds(method, count, field) for method, field in (own, other))
        found[count] = {seed: one[seed] / rest[seed] for seed in sorted(one.keys() & rest.keys())}
    return found


def frozen_is_faster(evidence: Evidence) -> list[Part]:
    """The student alone against every reduction before the LLM, at equal frames."""
    what, parts = "model time of {} over that of the student after CTD, equal frames", []
    for name in counted(*AT_16X):
        ratios = _ratios(evidence, (name, "model_ms"), (CTD, "model_ms"))
        parts.append(_by_frames(evidence, what.format(label(name)), (CTD, name), ratios, 1, ".1f"))
    return parts


def bottleneck(evidence: Evidence) -> list[Part]:
    """The encoder's share of the model time: by how much it is larger with WAP at 16x, and whether it is over half."""
    names = (TEACHER, WAP)
    other, own = (_ratios(evidence, (name, "encode_ms"), (name, "model_ms")) for name in names)
    shifts = {
        count: {seed: share - other[count][seed] for seed, share in known.items() if seed in other[count]}
        for count, known in own.items()
    }
    less, half = "the share with WAP less that without", "the share with WAP, over half"
    parts = [part for record in _complete(evidence) for part in _real_shares(record, less, half)]
    return [
        _by_frames(evidence, f"tiny world: {less}", names, shifts, 0, "+.0%"),
        _by_frames(evidence, f"tiny world: {half}", names, own, 0.5, ".0%"),
        *(parts or [_NO_RECORD]),
    ]


def _real_shares(record: LatencyRecord, less: str, half: str) -> Iterator[Part]:
    own, other = (rows_with(record, "pipeline", name, MODEL_STAGES) for name in (WAP, TEACHER))
    pairs = [(own[count], other[count]) for count in own if count in other]
    computed = any(row.computed or row.any_computed for pair in pairs for row in pair)
    shares = [[row.stages["encode"].ms / (row.model_ms or 1.0) for row in pair] for pair in pairs]
    for what, values, least in (
        (less, [with_wap - without for with_wap, without in shares], 0.0),
        (half, [with_wap for with_wap, _ in shares], 0.5),
    ):
        shown = Figures("share", {"low": min(values), "high": max(values)}) if values else None
        cases = [value > least for value in values]
        part = judge_cases(f"{machine(record)}: {what}", cases, shown, (Reason("no whole model"),))
        yield _unless_computed(part, computed)


def sizes(evidence: Evidence) -> list[Part]:
    """Parameters of the two encoders."""
    what = "counted, within 1 M"
    for record in _complete(evidence):
        own, other = (getattr(record.methods.get(name), "parameters_m", None) for name in (STUDENT, TEACHER))
        if own is not None and other is not None:
            shown = Figures("sizes", {"own": own, "other": other})
            return [judge_cases(what, [abs(own - 87) <= 1 and abs(other - 304) <= 1], shown)]
    return [replace(_NO_RECORD, what=what)]


def mixer_costs(evidence: Evidence) -> list[Part]:
    """Milliseconds of a clip and FLOPs a frame of the student, with the paper's mixer and with each other."""
    parts, others, records = [], ("full", "attention", "joint"), _complete(evidence)
    for record, mixer in product(records, others):
        own, other = clip_time(record, "depthwise"), clip_time(record, mixer)
        what = f"{machine(record)}: faster than {mixer}"
        if own is None or other is None:
            parts.append(judge_cases(what, [], None, (Reason("not in this record"),)))
        else:
            shown = Figures("clip", {"own": own[0], "other": other[0]})
            parts.append(_unless_computed(judge_cases(what, [own[0] < other[0]], shown), own[1] or other[1]))
    for record, mixer in product(records[:1], others):
        methods = [record.methods.get(MIXER_NAMES[name]) for name in ("depthwise", mixer)]
        least, most = (getattr(method, "gflops_per_frame", None) for method in methods)
        if least is not None and most is not None:
            shown = Figures("operations", {"own": least, "other": most})
            parts.append(judge_cases(f"fewer operations than {mixer}", [least < most], shown))
    return parts or [_NO_RECORD]


def eight_times_frames(evidence: Evidence) -> list[Part]:
    """Time of the student with 8 times the teacher's frames, to the first token, on a GPU with the paper's base VLM."""
    what = f"{MOST_FRAMES} frames of the student over {FRAMES_64} of the teacher, at most {MOST_SHARE:.2f} of its time"
    parts = []
    for record in _of_the_papers_setup(evidence):
        own, other = record.row("pipeline", STUDENT, MOST_FRAMES), record.row("pipeline", TEACHER, FRAMES_64)
        if own is None or other is None or not own.model_ms or not other.model_ms:
            continue
        shown = Figures("model time", {"ratio": own.model_ms / other.model_ms})
        if own.ttft_ms and other.ttft_ms:
            shown = Figures("first token", {"ratio": own.ttft_ms / other.ttft_ms})
        part = judge_cases(f"{machine(record)}: {what}", [shown.values["ratio"] <= MOST_SHARE], shown)
        parts.append(_unless_computed(part, any(row.computed or row.any_computed for row in (own, other))))
    return parts or [Part(what, MISSING, reasons=(Reason("run on a GPU"),))]


def encoder_factor(evidence: Evidence) -> list[Part]:
    """How many times faster encode + project are at 64 frames."""
    return _factor(evidence, "encoder", ENCODER, 5.3)


def prefill_factor(evidence: Evidence) -> list[Part]:
    """How many times faster the prefill is at 64 frames."""
    return _factor(evidence, "pipeline", ("prefill",), 12.7)


def _factor(evidence: Evidence, suite: str, stages: Sequence[str], wanted: float) -> list[Part]:
    """Judged at 64 frames on a GPU with the paper's base VLM."""
    parts = []
    for record in _of_the_papers_setup(evidence):
        own, other = (rows_with(record, suite, name, stages).get(FRAMES_64) for name in (STUDENT, TEACHER))
        if own is None or other is None:
            continue
        (fast_ms, fast_computed), (slow_ms, slow_computed) = (time_of(row, stages) for row in (own, other))
        ratio = slow_ms / fast_ms
        shown = Figures("times", {"ratio": ratio, "frames": FRAMES_64})
        part = judge_cases(f"{machine(record)}: at least {wanted:g} times", [ratio >= wanted], shown)
        parts.append(_unless_computed(part, fast_computed or slow_computed))
    what = f"at least {wanted:g} times at {FRAMES_64} frames, {PAPERS_BASE} on a GPU"
    return parts or [Part(what, MISSING, reasons=(Reason("run on a GPU"),))]
