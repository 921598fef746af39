"""The tables of the page, each from the evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from liteframe.bench.page import markdown
from liteframe.bench.tables import milliseconds
from liteframe.evaluation.paired import Estimate
from liteframe.paper.cells import ALL_SEEDS, BUDGETS, FRAMES, LONGEST, RATIOS, TWO_SEEDS, frames_at
from liteframe.paper.evidence import Evidence, difference
from liteframe.paper.names import (
    ABLATIONS,
    BEFORE_LLM,
    CONTROL,
    CTD,
    LMA,
    MIXERS,
    OTHER_BUDGETS,
    REDUCTIONS,
    VARIANTS,
    name_of,
)
from liteframe.paper.shapes import MIXER_ARMS
from liteframe.paper.training_noise import AGAIN, again_less_first, noise_of_training
from liteframe.paper.verdicts import MISSING, signed

NO_TIME = "not timed"


def interval(found: Estimate | None, signs: bool = False, wanted: Sequence[int] = ()) -> str:
    """Mean and interval; in square brackets the seeds that there are, where some of those wanted are missing."""
    if found is None:
        return MISSING
    sign = "+" if signs else ""
    seeds = "" if set(found.seeds) >= set(wanted) else f" [{', '.join(map(str, found.seeds))}]"
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f}){seeds}"


def _accuracies(evidence: Evidence, arm: str, frames: Sequence[int], seeds: Sequence[int] | None) -> list[str]:
    return [interval(evidence.accuracy(arm, count, seeds), wanted=seeds or ALL_SEEDS) for count in frames]


def table_1(evidence: Evidence) -> str:
    """Reductions at 16x."""
    return _reductions(evidence, BEFORE_LLM)


def other_budgets(evidence: Evidence) -> str:
    """The arms of Table 1 whose LLM sees more."""
    return _reductions(evidence, OTHER_BUDGETS)


def control(evidence: Evidence) -> str | None:
    """Table 1 on the host that learnt other pooled tokens; None where nothing was measured on it."""
    arms = [arm for arm in ("teacher", *REDUCTIONS) if evidence.frames_of(CONTROL + arm)]
    return _reductions(evidence, arms, CONTROL) if arms else None


def variants(evidence: Evidence) -> str:
    """Rivals with other settings than those that they are compared with, beside these; what was not measured is out."""
    shown = [arm for arm in VARIANTS if evidence.frames_of(arm) or not arm.startswith("teacher+fastvid")]
    return _reductions(evidence, shown)


def _reductions(evidence: Evidence, arms: Sequence[str], host: str = "") -> str:
    wap, rows = f"{host}teacher+wap", []
    for arm in arms:
        own = host + arm
        gain = evidence.combine(difference(wap, own, FRAMES))
        wanted = evidence.wanted((own, count) for count in FRAMES) or ALL_SEEDS
        less = "" if own == wap else interval(gain, signs=True, wanted=wanted)
        known = [interval(evidence.accuracy(own, count), wanted=wanted) for count in FRAMES]
        rows.append([name_of(arm), *known, less, _tokens(evidence, own)])
    tokens = f"tokens at {max(FRAMES)}: asked / given"
    return markdown(["reduction", *(f"{count} frames" for count in FRAMES), "WAP less this", tokens], rows)


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
        return f"{MISSING}: `liteframe latency` or, on a GPU, `make bench-gpu` makes the record."
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
        table = markdown(
            ["mixer", "ms for a clip of 4 frames: encode + project", "GFLOP a frame", "M parameters"], rows
        )
        partial = "" if shapes.record.complete else " (the record is not complete, so no claim is judged by it)"
        parts.append(f"On {shapes.machine}, random weights, batch 1{partial}:\n\n{table}")
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
    for arm in REDUCTIONS:
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
    """The mixers' accuracy, and what two trainings of the same differ by."""
    parts = []
    for stage, own, title in (("ctd", CTD, "After CTD, the LLM frozen"), ("lma", LMA, "After LMA")):
        arms = [(own if mixer == "depthwise" else f"{stage}-{mixer}", text) for mixer, text in MIXERS.items()]
        arms.append((AGAIN[own], f"{MIXERS['depthwise']}, trained again"))
        parts.append(f"{title}:\n\n{_compared(evidence, arms, 'mixer', 'less depth-wise')}\n\n{_noise(evidence, own)}")
    return "\n\n".join(parts)


def _noise(evidence: Evidence, arm: str) -> str:
    found, largest = again_less_first(evidence, arm), noise_of_training(evidence, arm)
    if found is None or largest is None:
        return f"Noise of training: {MISSING}."
    seeds = ", ".join(f"seed {seed} {value:+.3f}" for seed, value in sorted(found.by_seed.items()))
    needed = f"the largest, {largest:.3f}, is what a difference must exceed at each seed"
    return f"Noise of training: {signed(found)}, {seeds}; {needed}."


def ablations(evidence: Evidence) -> str:
    """All the other settings."""
    return "\n\n".join(
        f"### {title}\n\n{_compared(evidence, arms, 'setting', tokens=title == 'Compression')}"
        for title, arms in ABLATIONS.items()
    )


def _compared(
    evidence: Evidence, arms: Sequence[tuple[str, str]], what: str, less: str = "less the first", tokens: bool = False
) -> str:
    """Arms on two seeds, each less the first of them; with ``tokens`` what the LLM sees at the most frames."""
    first = arms[0][0]
    rows = []
    for arm, text in arms:
        found = evidence.combine(difference(arm, first, FRAMES), TWO_SEEDS)
        gain = "" if arm == first else interval(found, signs=True, wanted=TWO_SEEDS)
        given = [evidence.tokens.get((arm, max(FRAMES)), {}).get("llm", MISSING)] if tokens else []
        rows.append([text, *given, *_accuracies(evidence, arm, FRAMES, TWO_SEEDS), gain])
    column = [f"tokens to the LLM at {max(FRAMES)} frames"] if tokens else []
    return markdown([what, *column, *(f"{count} frames" for count in FRAMES), less], rows)
