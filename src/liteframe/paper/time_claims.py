"""What of the paper's claims is about time and size: by the tiny world's sweep, and at the paper's shapes."""

from __future__ import annotations

from collections.abc import Callable

from liteframe.paper.cells import FRAMES
from liteframe.paper.evidence import Evidence
from liteframe.paper.shapes import MIXER_ARMS, Shapes
from liteframe.paper.verdicts import OPEN, Finding, judge_cases

STUDENT, TEACHER, WAP = "liteframe-lma", "teacher", "teacher+wap"
NOT_TIMED = "not run yet (`liteframe latency`)"
COMPUTED = "computed, not measured as a whole"
LESS = 0.35
ENCODER_FACTOR, PREFILL_FACTOR = 5.3, 12.7


def bottleneck(evidence: Evidence) -> list[Finding]:
    """The encoder's share of the model time, with WAP at 16x and without."""
    pairs = [
        (_share(evidence, WAP, count, seed), _share(evidence, TEACHER, count, seed))
        for count in FRAMES
        for seed in evidence.times
    ]
    cases = [with_wap > 0.5 and with_wap > without for with_wap, without in pairs if with_wap and without]
    measured = " and ".join(
        f"{min(known):.0%} to {max(known):.0%} {name}"
        for name, known in (
            ("with WAP", [pair[0] for pair in pairs if pair[0]]),
            ("without", [pair[1] for pair in pairs if pair[1]]),
        )
        if known
    )
    tiny = judge_cases("tiny world: the encoder's share is over half, and larger with WAP", cases, measured)
    return [tiny, *_at_shapes(evidence, _bottleneck_at)]


def _share(evidence: Evidence, arm: str, frames: int, seed: int) -> float | None:
    encode = evidence.milliseconds(arm, frames, "encode_ms").get(seed)
    model = evidence.milliseconds(arm, frames).get(seed)
    return encode / model if encode is not None and model else None


def _bottleneck_at(shapes: Shapes) -> Finding:
    what = f"paper's shapes ({shapes.machine}): the same"
    cases, shares, computed = [], [], False
    for count in shapes.frames_of("pipeline", TEACHER, WAP):
        rows = [shapes.row("pipeline", arm, count) for arm in (WAP, TEACHER)]
        both = [row["share"]["encode"] for row in rows if row and row.get("share") and row["share"].get("encode")]
        if len(both) == 2:
            cases.append(both[0] > 0.5 and both[0] > both[1])
            shares.append(both[0])
            computed = computed or any(row["computed"] for row in rows if row)
    measured = f"{min(shares):.0%} to {max(shares):.0%} with WAP" if shares else ""
    return _unless_computed(judge_cases(what, cases, measured, "no whole model in this record"), computed)


def sizes(evidence: Evidence) -> list[Finding]:
    """Parameters of the two encoders."""
    return _at_shapes(evidence, _sizes_at)


def _sizes_at(shapes: Shapes) -> Finding:
    own, other = shapes.of_arm("student", "parameters_m"), shapes.of_arm(TEACHER, "parameters_m")
    what = "counted, within 1 M"
    if own is None or other is None:
        return judge_cases(what, [], "", "not in this record")
    return judge_cases(what, [abs(own - 87) <= 1 and abs(other - 304) <= 1], f"{own:.1f} M and {other:.1f} M")


def mixer_costs(evidence: Evidence) -> list[Finding]:
    """Milliseconds of a clip and FLOPs a frame of the student, with the paper's mixer and with each other."""
    findings = []
    for mixer in ("full", "attention", "joint"):
        for shapes in evidence.shapes.values():
            own, other = (shapes.encoder_ms("mixer", MIXER_ARMS[name]) for name in ("depthwise", mixer))
            what = f"faster than {mixer} ({shapes.machine})"
            if own is None or other is None:
                findings.append(judge_cases(what, [], "", "not in this record"))
            else:
                text = f"{own[0]:.0f} against {other[0]:.0f} ms a clip"
                findings.append(_unless_computed(judge_cases(what, [own[0] < other[0]], text), own[1] or other[1]))
    for shapes in list(evidence.shapes.values())[:1]:
        own_flops = shapes.of_arm(MIXER_ARMS["depthwise"], "gflops_per_frame")
        for mixer in ("full", "attention", "joint"):
            flops = shapes.of_arm(MIXER_ARMS[mixer], "gflops_per_frame")
            if own_flops is not None and flops is not None:
                text = f"{own_flops:.1f} against {flops:.1f} GFLOP a frame"
                findings.append(judge_cases(f"fewer operations than {mixer}", [own_flops < flops], text))
    return findings or [Finding("", OPEN, why=NOT_TIMED)]


def eight_times_frames(evidence: Evidence) -> list[Finding]:
    """Model time of the student with 8 times the teacher's frames, against the teacher's."""
    ratios = [
        own[seed] / other[seed]
        for few in (8, 16)
        for own, other in [(evidence.milliseconds(STUDENT, 8 * few), evidence.milliseconds(TEACHER, few))]
        for seed in own.keys() & other.keys()
    ]
    measured = f"{min(ratios):.2f} to {max(ratios):.2f} of the teacher's time" if ratios else ""
    tiny = judge_cases(
        "tiny world: 64 frames against 8, 128 against 16", [ratio <= 1 - LESS for ratio in ratios], measured
    )
    return [tiny, *_at_shapes(evidence, _eight_times_at)]


def _eight_times_at(shapes: Shapes) -> Finding:
    counts = [
        count
        for count in shapes.frames_of("pipeline", TEACHER)
        if shapes.row("pipeline", "student", 8 * count) is not None
    ]
    what = f"paper's shapes ({shapes.machine})"
    if not counts:
        return judge_cases(what, [], "", "no whole model in this record")
    most = max(counts)
    own, other = shapes.row("pipeline", "student", 8 * most), shapes.row("pipeline", TEACHER, most)
    assert own is not None and other is not None
    ratio = own["model_ms"] / other["model_ms"]
    text = f"{8 * most} frames against {most}: {ratio:.2f} of the teacher's time"
    return _unless_computed(judge_cases(what, [ratio <= 1 - LESS], text), own["computed"] or other["computed"])


def encoder_factor(evidence: Evidence) -> list[Finding]:
    """How many times faster the encoder is, at 64 frames or the most that both ran at."""
    return _at_shapes(evidence, lambda shapes: _factor_at(shapes, "encoder", None, ENCODER_FACTOR))


def prefill_factor(evidence: Evidence) -> list[Finding]:
    """How many times faster the prefill is, at 64 frames or the most that both ran at."""
    return _at_shapes(evidence, lambda shapes: _factor_at(shapes, "pipeline", "prefill", PREFILL_FACTOR))


def _factor_at(shapes: Shapes, suite: str, stage: str | None, wanted: float) -> Finding:
    counts = [count for count in shapes.frames_of(suite, TEACHER, "student") if count <= 64]
    what = f"paper's shapes ({shapes.machine}): at least {wanted:g} times"
    if not counts:
        return judge_cases(what, [], "", "not in this record")
    frames = max(counts)
    if stage is None:
        own, other = shapes.encoder_ms(suite, "student", frames), shapes.encoder_ms(suite, TEACHER, frames)
    else:
        own, other = (shapes.stage_ms(suite, arm, frames, stage) for arm in ("student", TEACHER))
    if own is None or other is None:
        return judge_cases(what, [], "", "not in this record")
    ratio = other[0] / own[0]
    text = f"{ratio:.1f} times at {frames} frames"
    return _unless_computed(judge_cases(what, [ratio >= wanted], text), own[1] or other[1])


def _unless_computed(finding: Finding, computed: bool) -> Finding:
    return Finding(finding.what, OPEN, finding.measured, COMPUTED) if computed else finding


def _at_shapes(evidence: Evidence, judge_one: Callable[[Shapes], Finding]) -> list[Finding]:
    findings = [judge_one(shapes) for shapes in evidence.shapes.values()]
    return findings or [Finding("at the paper's shapes", OPEN, why=NOT_TIMED)]
