"""What of the paper's claims is about time in the tiny world, by the sweep's reports of its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from liteframe.paper.cells import ALL_SEEDS, FRAMES
from liteframe.paper.evidence import Evidence
from liteframe.paper.names import BEFORE_LLM, CTD, LMA, SAME_AS, name_of
from liteframe.paper.shape_claims import bottleneck_at_shapes, eight_times_at_shapes
from liteframe.paper.verdicts import Finding, as_context, judge_cases

TEACHER, WAP = "teacher", "teacher+wap"


def bottleneck(evidence: Evidence) -> list[Finding]:
    """The encoder's share of the model time: by how much it is larger with WAP at 16x, and whether it is over half."""
    shares = {
        (arm, count): {seed: share for seed in ALL_SEEDS if (share := _share(evidence, arm, count, seed)) is not None}
        for arm in (TEACHER, WAP)
        for count in FRAMES
    }
    shifts = {
        count: {seed: own - shares[TEACHER, count][seed] for seed, own in shares[WAP, count].items()
                if seed in shares[TEACHER, count]}
        for count in FRAMES
    }  # fmt: skip
    with_wap = {count: shares[WAP, count] for count in FRAMES}
    missing = evidence.how_to_time(TEACHER, WAP)
    less, half = "tiny world: the share with WAP less that without", "tiny world: the share with WAP, over half"
    return [
        _by_frames(less, shifts, lambda shift: shift > 0, "+.0%", missing),
        _by_frames(half, with_wap, lambda share: share > 0.5, ".0%", missing),
        *bottleneck_at_shapes(evidence),
    ]


def _share(evidence: Evidence, arm: str, frames: int, seed: int) -> float | None:
    encode = evidence.milliseconds(arm, frames, "encode_ms").get(seed)
    model = evidence.milliseconds(arm, frames).get(seed)
    return encode / model if encode is not None and model else None


def _by_frames(
    what: str,
    values: Mapping[int, Mapping[int, float]],
    is_so: Callable[[float], bool],
    shown: str,
    missing: str,
) -> Finding:
    """Something of every frame count and seed: the range at each frame count, and each seed's own range.

    Args:
        what: the part of the claim.
        values: frames -> seed -> value.
        is_so: whether a value is as claimed.
        shown: format of a value.
        missing: what to do where seeds are missing.
    """
    measured = "; ".join(
        f"{_range(list(known.values()), shown)} at {count} frames" for count, known in values.items() if known
    )
    seeds = {
        seed: [known[seed] for known in values.values() if seed in known]
        for seed in sorted({seed for known in values.values() for seed in known})
    }
    by_seed = ", ".join(f"seed {seed} {_range(known, shown)}" for seed, known in seeds.items())
    cases = [is_so(value) for known in values.values() for value in known.values()]
    complete = all(set(ALL_SEEDS) <= known.keys() for known in values.values())
    return judge_cases(what, cases, measured, missing, complete, by_seed)


def _range(values: Sequence[float], shown: str) -> str:
    low, high = format(min(values), shown), format(max(values), shown)
    return low if low == high else f"{low} to {high}"


def eight_times_frames(evidence: Evidence) -> list[Finding]:
    """Time of the student with 8 times the teacher's frames, against the teacher's: the tiny world's is context."""
    ratios = {
        few: {seed: own[seed] / other[seed] for seed in sorted(own.keys() & other.keys())}
        for few in (8, 16)
        for own, other in [(evidence.milliseconds(LMA, 8 * few), evidence.milliseconds(TEACHER, few))]
    }
    tiny = []
    if any(ratios.values()):
        what = "tiny world, model time over the teacher's with 8 times its frames"
        finding = _by_frames(what, ratios, lambda ratio: ratio < 1, ".2f", "")
        tiny = [as_context(finding, "at this size the time of a video is that of few operations")]
    return [*eight_times_at_shapes(evidence), *tiny]


def frozen_is_faster(evidence: Evidence) -> list[Finding]:
    """The student alone against every reduction before the LLM, at equal frames."""
    findings = []
    for arm in BEFORE_LLM:
        if arm in SAME_AS:
            continue
        ratios = {
            count: {seed: other[seed] / own[seed] for seed in sorted(own.keys() & other.keys())}
            for count in FRAMES
            for own, other in [(evidence.milliseconds(CTD, count), evidence.milliseconds(arm, count))]
        }
        what = f"model time of {name_of(arm)} over that of the student after CTD, equal frames"
        findings.append(_by_frames(what, ratios, lambda ratio: ratio > 1, ".1f", evidence.how_to_time(CTD, arm)))
    return findings
