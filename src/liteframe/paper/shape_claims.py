"""What of the paper's claims is about time and size at the paper's shapes, by complete records of latency alone."""

from __future__ import annotations

from liteframe.paper.evidence import Evidence
from liteframe.paper.shapes import MIXER_ARMS, PAPERS_HOST, Shapes
from liteframe.paper.verdicts import MISSING, OPEN, Finding, as_context, judge_cases

STUDENT, TEACHER, WAP = "student", "teacher", "teacher+wap"
ON_ANY = "run `liteframe latency`"
ON_GPU = f"run `make bench-gpu` on a machine with a GPU ({PAPERS_HOST})"
COMPUTED = "computed, not measured as a whole"
LESS = 0.35
FRAMES, MOST_FRAMES = 64, 512
"""Of the paper's figures: the host's, and the student's that are 8 times as many."""
ENCODER_FACTOR, PREFILL_FACTOR = 5.3, 12.7


def _complete(evidence: Evidence) -> list[Shapes]:
    return [shapes for shapes in evidence.shapes.values() if shapes.record.complete]


def _unless_computed(finding: Finding, computed: bool) -> Finding:
    """A verdict on a number that was computed is none."""
    if not computed or finding.verdict == MISSING:
        return finding
    return Finding(finding.what, OPEN, finding.measured, COMPUTED)


def bottleneck_at_shapes(evidence: Evidence) -> list[Finding]:
    """The encoder's share of the model time with WAP and without, at every frame count of each record."""
    findings = []
    for shapes in _complete(evidence):
        shifts, with_wap, computed = [], [], False
        for count in shapes.frames_of("pipeline", TEACHER, WAP):
            rows = [row for arm in (WAP, TEACHER) if (row := shapes.row("pipeline", arm, count)) and row.model_ms]
            if len(rows) == 2:
                own, other = (row.stages["encode"].ms / (row.model_ms or 1.0) for row in rows)
                shifts.append(own - other)
                with_wap.append(own)
                computed = computed or any(row.computed or row.any_computed for row in rows)
        for what, values, cases in (
            ("the share with WAP less that without", shifts, [shift > 0 for shift in shifts]),
            ("the share with WAP, over half", with_wap, [share > 0.5 for share in with_wap]),
        ):
            shown = f"{min(values):.0%} to {max(values):.0%}" if values else ""
            finding = judge_cases(f"{shapes.machine}: {what}", cases, shown, "no whole model in this record")
            findings.append(_unless_computed(finding, computed))
    return findings or [Finding("at the paper's shapes", MISSING, why=ON_ANY)]


def sizes(evidence: Evidence) -> list[Finding]:
    """Parameters of the two encoders."""
    what = "counted, within 1 M"
    for shapes in _complete(evidence):
        own, other = shapes.of_arm(STUDENT, "parameters_m"), shapes.of_arm(TEACHER, "parameters_m")
        if own is not None and other is not None:
            return [judge_cases(what, [abs(own - 87) <= 1 and abs(other - 304) <= 1], f"{own:.1f} M and {other:.1f} M")]
    return [Finding(what, MISSING, why=ON_ANY)]


def mixer_costs(evidence: Evidence) -> list[Finding]:
    """Milliseconds of a clip and FLOPs a frame of the student, with the paper's mixer and with each other."""
    findings = []
    for shapes in _complete(evidence):
        for mixer in ("full", "attention", "joint"):
            own, other = (shapes.encoder_ms("mixer", MIXER_ARMS[name]) for name in ("depthwise", mixer))
            what = f"{shapes.machine}: faster than {mixer}"
            if own is None or other is None:
                findings.append(judge_cases(what, [], "", "not in this record"))
            else:
                text = f"{own[0]:.4g} against {other[0]:.4g} ms a clip, encode + project"
                findings.append(_unless_computed(judge_cases(what, [own[0] < other[0]], text), own[1] or other[1]))
    for shapes in _complete(evidence)[:1]:
        own_flops = shapes.of_arm(MIXER_ARMS["depthwise"], "gflops_per_frame")
        for mixer in ("full", "attention", "joint"):
            flops = shapes.of_arm(MIXER_ARMS[mixer], "gflops_per_frame")
            if own_flops is not None and flops is not None:
                text = f"{own_flops:.1f} against {flops:.1f} GFLOP a frame"
                findings.append(judge_cases(f"fewer operations than {mixer}", [own_flops < flops], text))
    return findings or [Finding("at the paper's shapes", MISSING, why=ON_ANY)]


def eight_times_at_shapes(evidence: Evidence) -> list[Finding]:
    """The student with 512 frames against the teacher with 64, to the first token, on a GPU with the paper's host."""
    what = f"{MOST_FRAMES} frames of the student over {FRAMES} of the teacher, at most {1 - LESS:.2f} of its time"
    findings = []
    for shapes in _complete(evidence):
        own, other = shapes.row("pipeline", STUDENT, MOST_FRAMES), shapes.row("pipeline", TEACHER, FRAMES)
        if not shapes.is_the_papers or own is None or other is None or not own.model_ms or not other.model_ms:
            continue
        both = own.ttft_ms and other.ttft_ms
        ratio = own.ttft_ms / other.ttft_ms if own.ttft_ms and other.ttft_ms else own.model_ms / other.model_ms
        text = f"{ratio:.2f} of the {'time to the first token' if both else 'model time'}"
        finding = judge_cases(f"{shapes.machine}: {what}", [ratio <= 1 - LESS], text)
        findings.append(_unless_computed(finding, any(row.computed or row.any_computed for row in (own, other))))
    return findings or [Finding(what, MISSING, why=ON_GPU)]


def encoder_factor(evidence: Evidence) -> list[Finding]:
    """How many times faster encode + project are at 64 frames."""
    return _factor(evidence, "encoder", None, ENCODER_FACTOR)


def prefill_factor(evidence: Evidence) -> list[Finding]:
    """How many times faster the prefill is at 64 frames."""
    return _factor(evidence, "pipeline", "prefill", PREFILL_FACTOR)


def _factor(evidence: Evidence, suite: str, stage: str | None, wanted: float) -> list[Finding]:
    """Judged at 64 frames on a GPU with the paper's host; other records are context, at the most frames they have."""
    judged, context = [], []
    for shapes in _complete(evidence):
        counts = [count for count in shapes.frames_of(suite, TEACHER, STUDENT) if count <= FRAMES]
        if not counts or (shapes.is_the_papers and max(counts) != FRAMES):
            continue
        if stage is None:
            own, other = (shapes.encoder_ms(suite, arm, max(counts)) for arm in (STUDENT, TEACHER))
        else:
            own, other = (shapes.stage_ms(suite, arm, max(counts), stage) for arm in (STUDENT, TEACHER))
        if own is None or other is None:
            continue
        ratio = other[0] / own[0]
        text = f"{ratio:.1f} times at {max(counts)} frames{' (computed)' if own[1] or other[1] else ''}"
        finding = judge_cases(f"{shapes.machine}: at least {wanted:g} times", [ratio >= wanted], text)
        if shapes.is_the_papers:
            judged.append(_unless_computed(finding, own[1] or other[1]))
        else:
            context.append(as_context(finding, "another machine or host than the paper's"))
    missing = Finding(f"at least {wanted:g} times at {FRAMES} frames, {PAPERS_HOST} on a GPU", MISSING, why=ON_GPU)
    return [*(judged or [missing]), *context]
