"""Sentences that a report must not leave out, made from its numbers: losses as plainly as gains."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.bench.frontier import accuracy_at, row_at, rows_of_arm
from liteframe.bench.records import RowRecord

_WIDE = 1.5


def notes_from(
    rows: Sequence[RowRecord], environment: Mapping[str, Any] | None = None, chance: float | None = None
) -> list[str]:
    """One sentence each; none where its arms are absent.

    Args:
        rows: all rows of the sweep.
        environment: of the record, for the state of the checkout.
        chance: accuracy of guessing, if known.
    """
    arms = {row.arm for row in rows}
    notes: list[str] = []
    rivals = [
        arm for arm in dict.fromkeys(row.arm for row in rows) if arm.startswith("teacher+") and arm != "teacher+wap"
    ]
    if "teacher+wap" in arms and rivals:
        notes.append(_rank(rows, rivals))
        notes += [_compare(rows, "teacher+wap", other) for other in rivals]
    if {"liteframe-ctd", "teacher+wap"} <= arms:
        notes.append(_compare(rows, "liteframe-ctd", "teacher+wap"))
    if {"liteframe-lma", "teacher"} <= arms:
        notes += [_best(rows), *_end_to_end(rows)]
    return [*notes, *_caveats(rows, chance), *_checkout(environment)]


def _rank(rows: Sequence[RowRecord], rivals: Sequence[str]) -> str:
    """Which ways to reduce the teacher's tokens are above WAP in the mean over the frame counts that both have."""
    gaps: dict[str, float] = {}
    for arm in rivals:
        pairs = [(row, row_at(rows, "teacher+wap", row.frames)) for row in rows_of_arm(rows, arm)]
        both = [row.accuracy - wap.accuracy for row, wap in pairs if wap is not None]
        if both:
            gaps[arm] = sum(both) / len(both)
    above = sorted((arm for arm in gaps if gaps[arm] > 0), key=lambda arm: -gaps[arm])
    told = ", ".join(f"{arm} ({gaps[arm]:+.3f})" for arm in above) or "none"
    return f"Of {len(gaps)} other ways to reduce the teacher's tokens, above teacher+wap in the mean: {told}."


def _compare(rows: Sequence[RowRecord], arm: str, other: str) -> str:
    pairs = [(row, row_at(rows, other, row.frames)) for row in rows_of_arm(rows, arm)]
    both = [(row, against) for row, against in pairs if against is not None]
    if not both:
        return f"{arm} and {other} have no frame count in common."
    parts = [f"{a.accuracy - b.accuracy:+.3f} at {a.frames}" + ("" if _apart(a, b) else "*") for a, b in both]
    mean = sum(a.accuracy - b.accuracy for a, b in both) / len(both)
    word = "above" if mean > 0 else "below"
    overlap = "" if all(_apart(a, b) for a, b in both) else " (* = the unpaired 95 % intervals overlap)"
    return f"{arm} is {abs(mean):.3f} {word} {other} in the mean: {', '.join(parts)} frames{overlap}."


def _apart(a: RowRecord, b: RowRecord) -> bool:
    return a.accuracy_low > b.accuracy_high or b.accuracy_low > a.accuracy_high


def _best(rows: Sequence[RowRecord]) -> str:
    teacher = max(rows_of_arm(rows, "teacher"), key=lambda row: row.accuracy)
    student = max(rows_of_arm(rows, "liteframe-lma"), key=lambda row: row.accuracy)
    gap = student.accuracy - teacher.accuracy
    return (
        f"The best row of liteframe-lma ({student.accuracy:.3f} at {student.frames} frames, {student.model_ms:.1f} ms) "
        f"is {abs(gap):.3f} {'above' if gap >= 0 else 'below'} the teacher's best ({teacher.accuracy:.3f} at "
        f"{teacher.frames} frames, {teacher.model_ms:.1f} ms)."
    )


def _end_to_end(rows: Sequence[RowRecord]) -> list[str]:
    students = rows_of_arm(rows, "liteframe-lma")
    notes = []
    for row in rows_of_arm(rows, "teacher"):
        model, whole = accuracy_at(students, row.model_ms), accuracy_at(students, row.total_ms, "total_ms")
        if model.accuracy is None:
            notes.append(f"No row of liteframe-lma is as fast as the teacher at {row.frames} frames by model time.")
        elif whole.accuracy is None:
            notes.append(
                f"At the teacher's {row.frames} frames the gain of {model.accuracy - row.accuracy:+.3f} by model time "
                "has no counterpart end to end: decoding leaves no row of liteframe-lma as fast."
            )
        elif whole.accuracy - row.accuracy < model.accuracy - row.accuracy - 0.005:
            notes.append(
                f"At the teacher's {row.frames} frames the gain is {model.accuracy - row.accuracy:+.3f} by model time, "
                f"of which {whole.accuracy - row.accuracy:+.3f} is left end to end, with decoding."
            )
    slowest = max(students, key=lambda row: row.frames)
    files = (slowest.decode_ms + slowest.preprocess_ms) / slowest.total_ms
    notes.append(
        f"At {slowest.frames} frames decoding and preprocessing are {files:.0%} of liteframe-lma's time end to end."
    )
    return notes


def _caveats(rows: Sequence[RowRecord], chance: float | None) -> list[str]:
    notes = []
    counts = sorted({row.questions for row in rows})
    if len(counts) > 1:
        notes.append(f"Rows answer different numbers of questions ({counts[0]} to {counts[-1]}).")
    if chance is not None:
        at_chance = [f"{row.arm} at {row.frames}" for row in rows if row.accuracy_low <= chance]
        if at_chance:
            notes.append(f"Not above chance ({chance:.2f}) by the interval: {', '.join(at_chance)} frames.")
    for arm in dict.fromkeys(row.arm for row in rows):
        ordered = rows_of_arm(rows, arm)
        for less, more in itertools.pairwise(ordered):
            if more.model_ms < less.model_ms:
                notes.append(
                    f"{arm} took less model time at {more.frames} frames ({more.model_ms:.1f} ms) than at "
                    f"{less.frames} ({less.model_ms:.1f} ms): noise of the clock is larger than the difference."
                )
    few = [row for row in rows if 0 < _runs(row) < 5]
    if few:
        notes.append(
            f"{len(few)} of {len(rows)} cells have fewer than 5 timed runs (a run took over 5 s): "
            + ", ".join(f"{row.arm} at {row.frames}" for row in few)
            + "."
        )
    wide = [row for row in rows if _spread(row) > _WIDE]
    if wide:
        notes.append(
            f"In {len(wide)} of {len(rows)} cells the model time's 90th percentile is more than {_WIDE} times the 10th "
            "(other work on the machine, or small cells): "
            + ", ".join(f"{row.arm} at {row.frames}" for row in wide)
            + "."
        )
    return notes


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
