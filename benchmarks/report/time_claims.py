"""What of the paper's claims is about time and size: in the tiny world by the sweeps, at real shapes by records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.methods import label
from liteframe.bench.paper.cells import ALL_SEEDS, CTD, FRAMES, LMA

from .accuracy_claims import AT_16X, WAP, counted
from .evidence import Evidence
from .verdicts import MISSING, OPEN, ByFrames, Figures, Part, Reason, as_context, judge_cases

STUDENT, TEACHER = "student", "teacher"
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


def _is_the_papers(record: LatencyRecord) -> bool:
    on_gpu = record.environment.get("device_type") == "cuda"
    return on_gpu and record.settings.get("host") == PAPERS_BASE


def _complete(evidence: Evidence) -> list[LatencyRecord]:
    return [record for record in evidence.records.latency.values() if record.complete]


def row_of(record: LatencyRecord, suite: str, name: str, frames: int | None = None) -> LatencyRow | None:
    """The row of a method at batch 1; None where there is none that ran."""
    rows = record.suite(suite, name, batch=1)
    return next((row for row in rows if row.status == "ok" and frames in (None, row.frames)), None)


def stages_ms(
    record: LatencyRecord, suite: str, name: str, frames: int | None, stages: Sequence[str] = ("encode", "project")
) -> tuple[float, bool] | None:
    """Milliseconds of some stages of a row, and whether they were computed and not measured."""
    row = row_of(record, suite, name, frames)
    if row is None or any(stage not in row.stages for stage in stages):
        return None
    return sum(row.stages[stage].ms for stage in stages), any(row.stages[stage].computed for stage in stages)


def shared_frames(record: LatencyRecord, suite: str, *names: str) -> list[int]:
    """Frame counts that all of some methods ran at."""
    rows = [[row for row in record.suite(suite, name, 1) if row.status == "ok" and row.frames] for name in names]
    return sorted(set.intersection(*({row.frames for row in own if row.frames} for own in rows)))


def _unless_computed(part: Part, computed: bool) -> Part:
    """A verdict on a number that was computed is none."""
    if not computed or part.verdict == MISSING:
        return part
    return replace(part, verdict=OPEN, reasons=(Reason("computed"),))


def _by_frames(
    what: str,
    values: Mapping[int, Mapping[int, float]],
    is_so: Callable[[float], bool],
    shape: str,
    untimed: Sequence[int] = (),
    names: tuple[str, ...] = (),
) -> Part:
    """Something of every frame count and seed.

    Args:
        what: the part of the claim.
        values: frames -> seed -> value.
        is_so: whether a value is as claimed.
        shape: format of a value.
        untimed: seeds without it.
        names: methods that it is about.
    """
    cases = [is_so(value) for known in values.values() for value in known.values()]
    complete = all(set(ALL_SEEDS) <= known.keys() for known in values.values())
    missing = (Reason("not timed", {"seeds": list(untimed)}),) if untimed else ()
    part = judge_cases(what, cases, ByFrames(values, shape) if cases else None, missing, complete)
    return replace(part, methods=names)


def _ratios(
    evidence: Evidence, own: tuple[str, str], other: tuple[str, str], counts: Sequence[int] = FRAMES, times: int = 1
) -> dict[int, dict[int, float]]:
    """Frames -> seed -> a time (method, field) with so many times the frames over another."""
    found: dict[int, dict[int, float]] = {}
    for count in counts:
        one = evidence.milliseconds(own[0], times * count, own[1])
        rest = evidence.milliseconds(other[0], count, other[1])
        found[count] = {seed: one[seed] / rest[seed] for seed in sorted(one.keys() & rest.keys())}
    return found


def frozen_is_faster(evidence: Evidence) -> list[Part]:
    """The student alone against every reduction before the LLM, at equal frames."""
    return [
        _by_frames(
            f"model time of {label(name)} over that of the student after CTD, equal frames",
            _ratios(evidence, (name, "model_ms"), (CTD, "model_ms")),
            lambda ratio: ratio > 1,
            ".1f",
            evidence.untimed_seeds(CTD, name),
            (CTD, name),
        )
        for name in counted(*AT_16X)
    ]


def bottleneck(evidence: Evidence) -> list[Part]:
    """The encoder's share of the model time: by how much it is larger with WAP at 16x, and whether it is over half."""
    own, other = (_ratios(evidence, (name, "encode_ms"), (name, "model_ms")) for name in (WAP, TEACHER))
    shifts = {
        count: {seed: share - other[count][seed] for seed, share in known.items() if seed in other[count]}
        for count, known in own.items()
    }
    untimed = evidence.untimed_seeds(TEACHER, WAP)
    less, half = "tiny world: the share with WAP less that without", "tiny world: the share with WAP, over half"
    return [
        _by_frames(less, shifts, lambda shift: shift > 0, "+.0%", untimed, (TEACHER, WAP)),
        _by_frames(half, own, lambda share: share > 0.5, ".0%", untimed, (TEACHER, WAP)),
        *_real_bottleneck(evidence),
    ]


def _real_bottleneck(evidence: Evidence) -> list[Part]:
    parts = []
    for record in _complete(evidence):
        counts = shared_frames(record, "pipeline", TEACHER, WAP)
        pairs = [[row_of(record, "pipeline", name, count) for name in (WAP, TEACHER)] for count in counts]
        known = [[row for row in pair if row and row.model_ms] for pair in pairs]
        whole = [pair for pair in known if len(pair) == 2]
        shares = [[row.stages["encode"].ms / (row.model_ms or 1.0) for row in pair] for pair in whole]
        computed = any(row.computed or row.any_computed for pair in whole for row in pair)
        shifts, with_wap = [own - other for own, other in shares], [own for own, _ in shares]
        for what, values, least in (
            ("the share with WAP less that without", shifts, 0.0),
            ("the share with WAP, over half", with_wap, 0.5),
        ):
            shown = Figures("share", {"low": min(values), "high": max(values)}) if values else None
            cases = [value > least for value in values]
            part = judge_cases(f"{machine(record)}: {what}", cases, shown, (Reason("no whole model"),))
            parts.append(_unless_computed(part, computed))
    return parts or [_NO_RECORD]


def sizes(evidence: Evidence) -> list[Part]:
    """Parameters of the two encoders."""
    what = "counted, within 1 M"
    for record in _complete(evidence):
        own, other = (getattr(record.arms.get(name), "parameters_m", None) for name in (STUDENT, TEACHER))
        if own is not None and other is not None:
            shown = Figures("sizes", {"own": own, "other": other})
            return [judge_cases(what, [abs(own - 87) <= 1 and abs(other - 304) <= 1], shown)]
    return [replace(_NO_RECORD, what=what)]


def mixer_costs(evidence: Evidence) -> list[Part]:
    """Milliseconds of a clip and FLOPs a frame of the student, with the paper's mixer and with each other."""
    parts, others = [], ("full", "attention", "joint")
    for record in _complete(evidence):
        for mixer in others:
            own, other = (stages_ms(record, "mixer", MIXER_NAMES[name], None) for name in ("depthwise", mixer))
            what = f"{machine(record)}: faster than {mixer}"
            if own is None or other is None:
                parts.append(judge_cases(what, [], None, (Reason("not in this record"),)))
            else:
                shown = Figures("clip", {"own": own[0], "other": other[0]})
                parts.append(_unless_computed(judge_cases(what, [own[0] < other[0]], shown), own[1] or other[1]))
    for record in _complete(evidence)[:1]:
        work = {name: getattr(record.arms.get(arm), "gflops_per_frame", None) for name, arm in MIXER_NAMES.items()}
        for mixer in others:
            if (least := work["depthwise"]) is not None and (most := work[mixer]) is not None:
                shown = Figures("operations", {"own": least, "other": most})
                parts.append(judge_cases(f"fewer operations than {mixer}", [least < most], shown))
    return parts or [_NO_RECORD]


def eight_times_frames(evidence: Evidence) -> list[Part]:
    """Time of the student with 8 times the teacher's frames, to the first token, on a GPU with the paper's base VLM."""
    what = f"{MOST_FRAMES} frames of the student over {FRAMES_64} of the teacher, at most {MOST_SHARE:.2f} of its time"
    parts = []
    for record in filter(_is_the_papers, _complete(evidence)):
        own = row_of(record, "pipeline", STUDENT, MOST_FRAMES)
        other = row_of(record, "pipeline", TEACHER, FRAMES_64)
        if own is None or other is None or not own.model_ms or not other.model_ms:
            continue
        shown = Figures("model time", {"ratio": own.model_ms / other.model_ms})
        if own.ttft_ms and other.ttft_ms:
            shown = Figures("first token", {"ratio": own.ttft_ms / other.ttft_ms})
        part = judge_cases(f"{machine(record)}: {what}", [shown.values["ratio"] <= MOST_SHARE], shown)
        parts.append(_unless_computed(part, any(row.computed or row.any_computed for row in (own, other))))
    parts = parts or [Part(what, MISSING, reasons=(Reason("run on a GPU"),))]
    ratios = _ratios(evidence, (LMA, "model_ms"), (TEACHER, "model_ms"), (8, 16), times=8)
    if any(ratios.values()):
        text = "tiny world, model time over the teacher's with 8 times its frames"
        tiny = _by_frames(text, ratios, lambda ratio: ratio < 1, ".2f", names=(LMA, TEACHER))
        parts.append(as_context(tiny, "few operations"))
    return parts


def encoder_factor(evidence: Evidence) -> list[Part]:
    """How many times faster encode + project are at 64 frames."""
    return _factor(evidence, "encoder", ("encode", "project"), 5.3)


def prefill_factor(evidence: Evidence) -> list[Part]:
    """How many times faster the prefill is at 64 frames."""
    return _factor(evidence, "pipeline", ("prefill",), 12.7)


def _factor(evidence: Evidence, suite: str, stages: Sequence[str], wanted: float) -> list[Part]:
    """Judged at 64 frames on a GPU with the paper's base VLM; other records are context, at their most frames."""
    judged, context = [], []
    for record in _complete(evidence):
        counts = [count for count in shared_frames(record, suite, TEACHER, STUDENT) if count <= FRAMES_64]
        if not counts or (_is_the_papers(record) and max(counts) != FRAMES_64):
            continue
        own, other = (stages_ms(record, suite, name, max(counts), stages) for name in (STUDENT, TEACHER))
        if own is None or other is None:
            continue
        ratio, computed = other[0] / own[0], own[1] or other[1]
        shown = Figures("times, computed" if computed else "times", {"ratio": ratio, "frames": max(counts)})
        part = judge_cases(f"{machine(record)}: at least {wanted:g} times", [ratio >= wanted], shown)
        if _is_the_papers(record):
            judged.append(_unless_computed(part, computed))
        else:
            context.append(as_context(part, "another machine"))
    what = f"at least {wanted:g} times at {FRAMES_64} frames, {PAPERS_BASE} on a GPU"
    return [*(judged or [Part(what, MISSING, reasons=(Reason("run on a GPU"),))]), *context]
