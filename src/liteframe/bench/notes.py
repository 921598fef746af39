"""Sentences that a report must not leave out, made from its numbers: losses as plainly as gains."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from liteframe.bench.arm_names import arm_name
from liteframe.bench.frontier import accuracy_at, row_at, rows_of_arm
from liteframe.bench.records import RowRecord

_WAP, _CTD, _LMA = "teacher+wap", "liteframe-ctd", "liteframe-lma"
_WIDE = 1.5


def notes_from(
    rows: Sequence[RowRecord],
    environment: Mapping[str, Any] | None = None,
    chance: float | None = None,
    seeds: Sequence[Sequence[RowRecord]] = (),
) -> list[str]:
    """One sentence each; none where its arms are absent.

    Args:
        rows: all rows of the sweep.
        environment: of the record, for the state of the checkout.
        chance: accuracy of guessing, if known.
        seeds: the rows of each seed where `rows` are their means: gains at equal latency are means of the seeds' own,
            and the noise of the clock is that of the single runs.
    """
    arms = {row.arm for row in rows}
    notes: list[str] = []
    rivals = [arm for arm in dict.fromkeys(row.arm for row in rows) if "teacher+" in arm and arm != _WAP]
    if _WAP in arms and rivals:
        notes.append(_rank(rows, rivals))
        notes += [_compare(rows, _WAP, other) for other in rivals]
    if {_CTD, _WAP} <= arms:
        notes.append(_compare(rows, _CTD, _WAP))
    if {_LMA, "teacher"} <= arms:
        notes += [_best(rows), *_end_to_end(rows, seeds or [rows])]
    return [*notes, *_caveats(rows, chance), *_wide(seeds or [rows]), *_checkout(environment)]


def _rank(rows: Sequence[RowRecord], rivals: Sequence[str]) -> str:
    """Which ways to reduce the teacher's tokens are above WAP in the mean over the frame counts that both have."""
    gaps: dict[str, float] = {}
    for arm in rivals:
        pairs = [(row, row_at(rows, "teacher+wap", row.frames)) for row in rows_of_arm(rows, arm)]
        both = [row.accuracy - wap.accuracy for row, wap in pairs if wap is not None]
        if both:
            gaps[arm] = sum(both) / len(both)
    above = sorted((arm for arm in gaps if gaps[arm] > 0), key=lambda arm: -gaps[arm])
    told = ", ".join(f"{arm_name(arm)} ({gaps[arm]:+.3f}{_more_tokens(rows, arm, ', with ')})" for arm in above)
    return (
        f"Of {len(gaps)} other ways to reduce the teacher's tokens, above {arm_name(_WAP)} in the mean: "
        f"{told or 'none'}."
    )


def _more_tokens(rows: Sequence[RowRecord], arm: str, before: str, after: str = "") -> str:
    """How many times WAP's tokens the LLM sees, in the mean of its layers; empty where as many."""
    own = max(rows_of_arm(rows, arm), key=lambda row: row.frames)
    wap = row_at(rows, _WAP, own.frames)
    seen = own.tokens_mean_over_layers or own.tokens
    if wap is None or seen <= wap.tokens:
        return ""
    return f"{before}{seen / wap.tokens:.3g} times its tokens{after}"


def _compare(rows: Sequence[RowRecord], arm: str, other: str) -> str:
    pairs = [(row, row_at(rows, other, row.frames)) for row in rows_of_arm(rows, arm)]
    both = [(row, against) for row, against in pairs if against is not None]
    if not both:
        return f"{arm_name(arm)} and {arm_name(other)} have no frame count in common."
    parts = [f"{a.accuracy - b.accuracy:+.3f} at {a.frames}" + ("" if _apart(a, b) else "*") for a, b in both]
    mean = sum(a.accuracy - b.accuracy for a, b in both) / len(both)
    word = "above" if mean > 0 else "below"
    overlap = "" if all(_apart(a, b) for a, b in both) else " (* = the unpaired 95 % intervals overlap)"
    tokens = _more_tokens(rows, other, " (which gives the LLM ", ")") if arm == _WAP else ""
    return (
        f"{arm_name(arm)} is {abs(mean):.3f} {word} {arm_name(other)}{tokens} in the mean: {', '.join(parts)} "
        f"frames{overlap}."
    )


def _apart(a: RowRecord, b: RowRecord) -> bool:
    return a.accuracy_low > b.accuracy_high or b.accuracy_low > a.accuracy_high


def _best(rows: Sequence[RowRecord]) -> str:
    teacher = max(rows_of_arm(rows, "teacher"), key=lambda row: row.accuracy)
    student = max(rows_of_arm(rows, _LMA), key=lambda row: row.accuracy)
    gap = student.accuracy - teacher.accuracy
    word = "above" if gap >= 0 else "below"
    return (
        f"The best row of the {arm_name(_LMA)} ({student.accuracy:.3f} at {student.frames} frames, "
        f"{student.model_ms:.1f} ms) is {abs(gap):.3f} {word} the teacher's best ({teacher.accuracy:.3f} at "
        f"{teacher.frames} frames, {teacher.model_ms:.1f} ms)."
    )


def _end_to_end(rows: Sequence[RowRecord], seeds: Sequence[Sequence[RowRecord]]) -> list[str]:
    notes = []
    for frames in [row.frames for row in rows_of_arm(rows, "teacher")]:
        model, whole = (_gain(seeds, frames, field) for field in ("model_ms", "total_ms"))
        if model is None:
            notes.append(f"No row of the {arm_name(_LMA)} is as fast as the teacher at {frames} frames by model time.")
        elif whole is None:
            notes.append(
                f"At the teacher's {frames} frames the gain of {model:+.3f} by model time has no counterpart end to "
                f"end: decoding leaves no row of the {arm_name(_LMA)} as fast."
            )
        elif whole < model - 0.005:
            notes.append(
                f"At the teacher's {frames} frames the gain is {model:+.3f} by model time, of which {whole:+.3f} is "
                "left end to end, with decoding."
            )
    slowest = max(rows_of_arm(rows, _LMA), key=lambda row: row.frames)
    files = (slowest.decode_ms + slowest.preprocess_ms) / slowest.total_ms
    notes.append(
        f"At {slowest.frames} frames decoding and preprocessing are {files:.0%} of the time of the {arm_name(_LMA)} "
        "end to end."
    )
    return notes


def _gain(seeds: Sequence[Sequence[RowRecord]], frames: int, field: str) -> float | None:
    """Accuracy that the student gains at the teacher's latency, mean of the seeds' own; None where one has no row."""
    gains = []
    for rows in seeds:
        row = row_at(rows, "teacher", frames)
        assert row is not None
        found = accuracy_at(rows_of_arm(rows, _LMA), getattr(row, field), field).accuracy
        if found is None:
            return None
        gains.append(found - row.accuracy)
    return fmean(gains)


def _caveats(rows: Sequence[RowRecord], chance: float | None) -> list[str]:
    notes = []
    counts = sorted({row.questions for row in rows})
    if len(counts) > 1:
        notes.append(f"Rows answer different numbers of questions ({counts[0]} to {counts[-1]}).")
    if chance is not None:
        at_chance = [f"{arm_name(row.arm)} at {row.frames}" for row in rows if row.accuracy_low <= chance]
        if at_chance:
            notes.append(f"Not above chance ({chance:.2f}) by the interval: {', '.join(at_chance)} frames.")
    for arm in dict.fromkeys(row.arm for row in rows):
        ordered = rows_of_arm(rows, arm)
        for less, more in itertools.pairwise(ordered):
            if more.model_ms < less.model_ms:
                notes.append(
                    f"{arm_name(arm)} took less model time at {more.frames} frames ({more.model_ms:.1f} ms) than at "
                    f"{less.frames} ({less.model_ms:.1f} ms): noise of the clock is larger than the difference."
                )
    few = [row for row in rows if 0 < _runs(row) < 5]
    if few:
        notes.append(
            f"{len(few)} of {len(rows)} cells have fewer than 5 timed runs (a run took over 5 s): "
            + ", ".join(f"{arm_name(row.arm)} at {row.frames}" for row in few)
            + "."
        )
    return notes


def _wide(seeds: Sequence[Sequence[RowRecord]]) -> list[str]:
    """That the machine did other work, or the clock was too coarse; names where there is one seed."""
    wide = [[row for row in rows if _spread(row) > _WIDE] for rows in seeds]
    if not any(wide):
        return []
    counts = ", ".join(map(str, map(len, wide)))
    whole = f"{counts} of {len(seeds[0])} cells" + (" of the seeds, each alone," if len(seeds) > 1 else "")
    names = ": " + ", ".join(f"{arm_name(row.arm)} at {row.frames}" for row in wide[0]) if len(seeds) == 1 else ""
    return [
        f"In {whole} the model time's 90th percentile is more than {_WIDE} times the 10th (other work on the machine, "
        f"or small cells){names}."
    ]


def _runs(row: RowRecord) -> int:
    return int(min((row.spread[name]["n"] for name in ("encode", "prefill") if name in row.spread), default=0))


def _spread(row: RowRecord) -> float:
    model = row.spread.get("model")
    return model["p90"] / model["p10"] if model and model["p10"] > 0 else 0.0


def _checkout(environment: Mapping[str, Any] | None) -> list[str]:
    if environment is None:
        return []
    if environment.get("commit") is None:
        return ["The code ran outside a checkout, so no commit is known."]
    return ["The checkout had changes that are not committed."] if environment.get("dirty") else []
