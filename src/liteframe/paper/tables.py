"""The tables of the page, each from the evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from liteframe.bench.page import markdown
from liteframe.bench.tables import milliseconds
from liteframe.evaluation.paired import Estimate
from liteframe.paper.cells import ALL_SEEDS, BUDGETS, FRAMES, LONGEST, RATIOS, TWO_SEEDS, frames_at
from liteframe.paper.claims import CLAIMS
from liteframe.paper.evidence import Evidence, difference
from liteframe.paper.names import ABLATIONS, CTD, LMA, MIXERS, POST_HOC, name_of
from liteframe.paper.shapes import MIXER_ARMS
from liteframe.paper.verdicts import OPEN, Finding

MISSING = "not run yet"
NO_TIME = "not timed"


def interval(found: Estimate | None, signs: bool = False, wanted: Sequence[int] = ()) -> str:
    """Mean and interval; in square brackets the seeds that there are, where some of those wanted are missing."""
    if found is None:
        return MISSING
    sign = "+" if signs else ""
    seeds = "" if set(found.seeds) >= set(wanted) else f" [{', '.join(map(str, found.seeds))}]"
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f}){seeds}"


def claims(evidence: Evidence) -> str:
    """Every claim beside what was measured."""
    rows = []
    for claim in CLAIMS:
        judged = claim.judged(evidence)
        rows.append([claim.text, claim.where, f"**{judged.verdict}**", "<br>".join(map(_part, judged.findings))])
    return markdown(["claim of the paper", "where", "here it", "measured"], rows).replace("---:", "---")


def _part(finding: Finding) -> str:
    verdict = "" if finding.verdict == OPEN and finding.why else finding.verdict
    said = "; ".join(text for text in (finding.measured, verdict, finding.why) if text)
    return f"{finding.what}: {said}" if finding.what else said


def _accuracies(evidence: Evidence, arm: str, frames: Sequence[int], seeds: Sequence[int] | None) -> list[str]:
    return [interval(evidence.accuracy(arm, count, seeds), wanted=seeds or ALL_SEEDS) for count in frames]


def table_1(evidence: Evidence) -> str:
    """Reductions at 16x."""
    rows = []
    for arm in ("teacher", *POST_HOC):
        gain = evidence.combine(difference("teacher+wap", arm, FRAMES))
        less = "" if arm == "teacher+wap" else interval(gain, signs=True, wanted=ALL_SEEDS)
        rows.append([name_of(arm), *_accuracies(evidence, arm, FRAMES, None), less, _tokens(evidence, arm)])
    header = ["reduction", *(f"{count} frames" for count in FRAMES), "WAP less this", "tokens at 64: asked / given"]
    return markdown(header, rows)


def _tokens(evidence: Evidence, arm: str) -> str:
    """Visual tokens at the most frames: asked for, and given to the LLM."""
    tokens = evidence.tokens.get((arm, max(FRAMES)))
    if tokens is None:
        return MISSING
    asked, mean = tokens["asked"], tokens["mean_over_layers"]
    given = f"{tokens['llm']}" if mean is None else f"{mean:.0f}, mean over the LLM's layers"
    return f"{'-' if asked is None else asked} / {given}"


def figure_3_left(evidence: Evidence) -> str:
    """Accuracy by frames."""
    counts = (*FRAMES, LONGEST)
    rows = []
    for arm in ("teacher", "teacher+wap", CTD, LMA):
        known = [
            _blank_or(arm, count, text)
            for count, text in zip(counts, _accuracies(evidence, arm, counts, None), strict=True)
        ]
        rows.append([name_of(arm), *known])
    return markdown(["arm", *(f"{count} frames" for count in counts)], rows)


def _blank_or(arm: str, frames: int, text: str) -> str:
    return "-" if (arm, frames) == ("teacher", LONGEST) else text


def figure_3_right(evidence: Evidence) -> str:
    """WAP by ratio at equal visual tokens."""
    rows = []
    for arm, ratio in RATIOS.items():
        cells = []
        for budget in BUDGETS:
            frames = frames_at(budget, ratio)
            text = "-" if frames is None else interval(evidence.accuracy(arm, frames), wanted=ALL_SEEDS)
            cells.append(text if frames is None else f"{text} at {frames} frames")
        rows.append(["none" if ratio == 1 else f"{ratio}x", *cells])
    return markdown(["ratio", *(f"{budget} tokens" for budget in BUDGETS)], rows)


def table_2(evidence: Evidence) -> str:
    """Latency and FLOPs of the mixers at the paper's shapes."""
    if not evidence.shapes:
        return f"{MISSING}: `liteframe latency` makes the record."
    parts = []
    for shapes in evidence.shapes.values():
        rows = []
        for mixer, text in MIXERS.items():
            found = shapes.encoder_ms("mixer", MIXER_ARMS[mixer])
            flops = shapes.of_arm(MIXER_ARMS[mixer], "gflops_per_frame")
            parameters = shapes.of_arm(MIXER_ARMS[mixer], "parameters_m")
            taken = MISSING if found is None else milliseconds(found[0]) + (" (computed)" if found[1] else "")
            rows.append(
                [
                    text,
                    taken,
                    MISSING if flops is None else f"{flops:.1f}",
                    MISSING if parameters is None else f"{parameters:.1f}",
                ]
            )
        table = markdown(["mixer", "ms for a clip of 4 frames", "GFLOP a frame", "M parameters"], rows)
        parts.append(f"On {shapes.machine}, random weights, batch 1:\n\n{table}")
    return "\n\n".join(parts)


def table_3(evidence: Evidence) -> str:
    """Accuracy beside latency, for the arms of the frontier."""
    rows = []
    for arm in ("teacher", "teacher+wap", CTD, LMA):
        for count in (*FRAMES, LONGEST):
            if count not in evidence.frames_of(arm) or (arm, count) == ("teacher+wap", LONGEST):
                continue
            found = interval(evidence.accuracy(arm, count), wanted=ALL_SEEDS)
            times = [
                _mean_ms(evidence, arm, count, field) for field in ("encode_ms", "prefill_ms", "model_ms", "total_ms")
            ]
            rows.append([name_of(arm), count, found, *times])
    if not rows:
        return f"{MISSING}."
    return markdown(["arm", "frames", "accuracy", "encode ms", "prefill ms", "model ms", "end to end ms"], rows)


def _mean_ms(evidence: Evidence, arm: str, frames: int, field: str = "model_ms") -> str:
    known = evidence.milliseconds(arm, frames, field)
    return milliseconds(fmean(known.values())) if known else NO_TIME


def figure_6(evidence: Evidence) -> str:
    """The student after CTD, the LLM frozen, against every reduction."""
    rows = []
    for arm in POST_HOC:
        gain = evidence.combine(difference(CTD, arm, FRAMES))
        times = []
        for count in (min(FRAMES), max(FRAMES)):
            own, other = evidence.milliseconds(CTD, count), evidence.milliseconds(arm, count)
            shared = sorted(own.keys() & other.keys())
            times.append(f"{fmean(other[s] / own[s] for s in shared):.1f}" if shared else NO_TIME)
        rows.append([name_of(arm), interval(gain, signs=True, wanted=ALL_SEEDS), *times])
    header = ["reduction", "student less this, mean of 8 to 64 frames", "times slower at 8 frames", "at 64 frames"]
    return markdown(header, rows)


def table_5(evidence: Evidence) -> str:
    """The mixers' accuracy."""
    parts = []
    for stage, own, title in (("ctd", CTD, "After CTD, the LLM frozen"), ("lma", LMA, "After LMA")):
        arms = [(own if mixer == "depthwise" else f"{stage}-{mixer}", text) for mixer, text in MIXERS.items()]
        parts.append(f"{title}:\n\n{_compared(evidence, arms, 'mixer')}")
    return "\n\n".join(parts)


def ablations(evidence: Evidence) -> str:
    """All the other settings."""
    return "\n\n".join(f"### {title}\n\n{_compared(evidence, arms, 'setting')}" for title, arms in ABLATIONS.items())


def _compared(evidence: Evidence, arms: Sequence[tuple[str, str]], what: str) -> str:
    """Arms on two seeds, each less the first of them."""
    first = arms[0][0]
    rows = []
    for arm, text in arms:
        found = evidence.combine(difference(arm, first, FRAMES), TWO_SEEDS)
        less = "" if arm == first else interval(found, signs=True, wanted=TWO_SEEDS)
        rows.append([text, *_accuracies(evidence, arm, FRAMES, TWO_SEEDS), less])
    return markdown([what, *(f"{count} frames" for count in FRAMES), "less the first"], rows)
