"""Verdicts in words: the numbers of a part, each seed's own, and why it has no other verdict."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from liteframe.bench.methods import tomllib_load

from .evidence import Estimate
from .verdicts import ENDS, HOLDS, MISSING, AtTime, ByFrames, Figures, Growth, Measured, Part, Reason, Verdict


@cache
def words() -> dict[str, Any]:
    """All of `wording.toml`."""
    return tomllib_load(__file__)


def interval(found: Estimate | None, signs: bool = False, wanted: Sequence[int] = ()) -> str:
    """Mean and interval; in square brackets the seeds that there are, where some of those wanted are missing."""
    if found is None:
        return MISSING
    sign = "+" if signs else ""
    seeds = "" if set(found.seeds) >= set(wanted) else f" [{listed(found.seeds)}]"
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f}){seeds}"


def signed(found: Estimate) -> str:
    """A difference and its interval."""
    return interval(found, signs=True)


def each_seed(found: Estimate) -> str:
    """Each seed's own difference."""
    return ", ".join(f"seed {seed} {value:+.3f}" for seed, value in sorted(found.by_seed.items()))


def reason(found: Reason | None) -> str:
    """Why, as a sentence's end."""
    if found is None:
        return MISSING
    values = {name: listed(value) if isinstance(value, list) else value for name, value in found.values.items()}
    if found.name == "not timed":
        first, *rest = found.values["seeds"]
        values = {"first": first, "rest": f" (and {listed(rest)})" if rest else ""}
    return str(words()["reasons"][found.name]).format(**values)


def why(part: Part) -> str:
    """All reasons of a part."""
    joint = ": " if part.reasons and part.reasons[0].name == "not at the ends" else "; "
    return joint.join(map(reason, part.reasons))


def measured(found: Measured) -> str:
    """The numbers of a part."""
    match found:
        case Estimate():
            return signed(found)
        case Growth():
            return f"{signed(found.slope)} a doubling, the last less the first {signed(found.bend)}"
        case AtTime():
            return f"{signed(found.medians)}; {ENDS}: {signed(found.far) if found.far else reason(found.no_far)}"
        case ByFrames():
            known = {count: list(values.values()) for count, values in found.values.items() if values}
            return "; ".join(f"{_range(values, found.shape)} at {count} frames" for count, values in known.items())
        case Figures():
            return str(words()["figures"][found.name]).format(**found.values)
    return ""


def by_seed(found: Measured) -> str:
    """Each seed's own numbers."""
    match found:
        case Estimate():
            return each_seed(found)
        case Growth():
            return f"{each_seed(found.slope)}; last less first {each_seed(found.bend)}"
        case AtTime():
            return each_seed(found.medians) + (f"; {ENDS} {each_seed(found.far)}" if found.far else "")
        case ByFrames():
            seeds = sorted({seed for known in found.values.values() for seed in known})
            own = {seed: [known[seed] for known in found.values.values() if seed in known] for seed in seeds}
            return ", ".join(f"seed {seed} {_range(known, found.shape)}" for seed, known in own.items())
    return ""


def _range(values: Sequence[float], shape: str) -> str:
    low, high = format(min(values), shape), format(max(values), shape)
    return low if low == high else f"{low} to {high}"


def decided_by(verdict: Verdict) -> str:
    """The number that decides a claim."""
    part = verdict.deciding
    numbers = measured(part.measured)
    if verdict.verdict == MISSING and len(verdict.parts) > 1:
        lacking = sum(each.verdict == MISSING for each in verdict.parts)
        example = "; ".join(filter(None, [numbers and f"{part.what}: {numbers}", why(part)]))
        return ", ".join(filter(None, [f"{lacking} of {len(verdict.parts)} parts lack something", example]))
    said = [numbers] if verdict.verdict == HOLDS else [numbers, why(part)]
    return ": ".join(filter(None, [part.what, "; ".join(filter(None, said))]))


def listed(values: Sequence[object], last: str = ", ", between: str = ", ") -> str:
    """4, 5, 6; or with " and " before the last."""
    *first, end = map(str, values) if len(values) else ("",)
    return f"{between.join(first)}{last}{end}" if first else end


def milliseconds(value: float) -> str:
    """Three figures: 0.12, 1.23, 12.3, 123, 1,234."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
