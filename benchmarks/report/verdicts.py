"""The fixed rule by which a claim is judged: numbers in, decisions out. What is said of them stands in `wording`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .evidence import Estimate

HOLDS, FAILS, OPEN = "holds", "does not hold", "inconclusive"
MISSING, BEYOND = "not measured yet", "not measurable here"
VERDICTS = (HOLDS, FAILS, OPEN, MISSING, BEYOND)
ENDS = "at the unfavourable ends of the times"


@dataclass(frozen=True)
class Reason:
    """Why a part has no other verdict: a name in `wording.toml` and what is filled in there."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Growth:
    """Gain a doubling of the frames, and the last doubling's less the first one's."""

    slope: Estimate
    bend: Estimate


@dataclass(frozen=True)
class AtTime:
    """A difference at another method's model time; ``far`` with both times at the unfavourable ends of their intervals.

    ``far`` is None where there is no number, which then has a reason.
    """

    medians: Estimate
    far: Estimate | None
    no_far: Reason | None = None


@dataclass(frozen=True)
class ByFrames:
    """A value of every frame count and seed, shown as ``shape`` (a format) says."""

    values: Mapping[int, Mapping[int, float]]
    shape: str


@dataclass(frozen=True)
class Figures:
    """Single figures, filled into a text of `wording.toml`."""

    name: str
    values: Mapping[str, Any]


Measured = Estimate | Growth | AtTime | ByFrames | Figures | None


@dataclass(frozen=True)
class Part:
    """One part of a claim.

    Attributes:
        what: in a few words.
        verdict: of `VERDICTS`.
        measured: the numbers.
        reasons: of a verdict that is open.
        margin: how far it is from turning, where that is a number; the least decides.
        methods: points that it needs, for whoever asks which records it rests on.
    """

    what: str
    verdict: str
    measured: Measured = None
    reasons: tuple[Reason, ...] = ()
    margin: float | None = None
    methods: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A claim, judged by its parts."""

    verdict: str
    parts: Sequence[Part]

    @property
    def deciding(self) -> Part:
        """The part with the claim's verdict that is nearest to another, so that all others say it more strongly."""
        alike = [part for part in self.parts if part.verdict == self.verdict]
        sign = -1.0 if self.verdict == FAILS else 1.0
        known = [part for part in alike if part.margin is not None]
        return min(known or alike[:1], key=lambda part: sign * (part.margin or 0.0))


def judge_difference(
    what: str,
    found: Estimate | None,
    wanted: Sequence[int] = (),
    missing: Sequence[Reason] = (),
    noise: float | None = 0.0,
) -> Part:
    """A difference that ought to be above 0.

    Args:
        what: the part of the claim.
        found: the difference; None where it was not measured.
        wanted: seeds that it needs.
        missing: what to do where it was not measured.
        noise: how far two trainings of the same are apart; None where that is not known but needed.
    """
    if found is None:
        return Part(what, MISSING, reasons=tuple(missing))
    part = Part(what, OPEN, found, margin=found.mean)
    if not set(found.seeds) >= set(wanted):
        lacking = Reason("seeds", {"there": found.seeds, "all": list(wanted)})
        return replace(part, verdict=MISSING, reasons=(lacking, *missing))
    signs = list(found.by_seed.values())
    verdict = HOLDS if found.low > 0 and min(signs) > 0 else FAILS if found.high < 0 and max(signs) < 0 else OPEN
    if verdict == OPEN:
        return replace(part, reasons=(Reason("contains zero" if found.low <= 0 <= found.high else "seeds disagree"),))
    if noise is None:
        return replace(part, verdict=MISSING, reasons=(Reason("noise unknown"),))
    if within := [seed for seed, value in sorted(found.by_seed.items()) if abs(value) <= noise]:
        some = Reason("within noise at seeds", {"seeds": within, "noise": noise})
        every = Reason("within noise", {"noise": noise})
        return replace(part, reasons=(some if len(within) < len(signs) else every,))
    return replace(part, verdict=verdict)


def judge_growth(what: str, slope: Estimate | None, bend: Estimate | None, wanted: Sequence[int] = ()) -> Part:
    """Growth along a straight line over doublings: gain a doubling, and the last doubling's less the first one's."""
    part = judge_difference(what, slope, wanted)
    if slope is None or bend is None:
        return part
    part = replace(part, measured=Growth(slope, bend), margin=bend.mean)
    if part.verdict == MISSING or bend.low <= 0 <= bend.high:
        return part
    return replace(part, verdict=FAILS, reasons=(Reason("saturates" if bend.high < 0 else "grows faster"),))


def judge_cases(
    what: str, cases: Sequence[bool], measured: Measured, missing: Sequence[Reason] = (), complete: bool = True
) -> Part:
    """Something that is so, or not, in each of several cases; empty where it was not measured."""
    if not cases or not complete:
        return Part(what, MISSING, measured, tuple(missing))
    if all(cases):
        return Part(what, HOLDS, measured)
    if not any(cases):
        return Part(what, FAILS, measured)
    return Part(what, OPEN, measured, (Reason("some cases", {"so": sum(cases), "of": len(cases)}),))


def judge(parts: Sequence[Part]) -> Verdict:
    """A claim by its parts. ValueError for a claim without any."""
    if not parts:
        raise ValueError("a claim needs at least one part")
    verdicts = {part.verdict for part in parts}
    return Verdict(next(each for each in (FAILS, MISSING, OPEN, BEYOND, HOLDS) if each in verdicts), list(parts))
