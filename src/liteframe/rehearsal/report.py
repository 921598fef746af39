"""What a rehearsal says: what it cuts down, what it cannot show, and how each step went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from liteframe.rehearsal.small_models import SmallModel
from liteframe.rehearsal.steps import ENDED_BY_SIGTERM, RANK_LOST, Result, last_lines
from liteframe.system.tables import aligned

_MOST_OF_A_VALUE, _MOST_OF_AN_OUTCOME = 44, 84
NOT_REHEARSED = (
    "GPUs: kernels, NCCL, memory (`liteframe plan` estimates it), speed",
    "weights: these are random, and nothing is learnt in a few steps",
    "your lists and videos (`liteframe check` looks at those)",
    "a power cut, or `kill -9` of all ranks: the last checkpoint of a long run is up to 100 steps old",
)


def differences(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, value before and value after, of all in which two configs of plain values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from differences(before.get(key), after.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{name}[{number}]")
    elif before != after:
        yield name, before, after


def table_of_cuts(title: str, before: dict[str, Any], after: dict[str, Any], home: Path) -> str:
    """A table of the settings that differ."""
    rows = [
        [f"  {name.replace('.init_args', '')}", _shown(one, home), _shown(other, home)]
        for name, one, other in differences(before, after)
    ]
    return aligned([title, "as configured", "rehearsed"], rows)


def table_of_model(model: SmallModel, home: Path) -> str:
    """A table of the sizes of a model that differ from the published one's, and what is known of it."""
    known = (
        f"its config: {model.known_from}"
        if model.known_from
        else "its config is not here: that of its family is assumed"
    )
    words = "tokenizer and template: its own" if model.own_processor else "tokenizer and template, if any: a stand-in"
    table = table_of_cuts(model.stands_for, model.fields, model.small_fields, home)
    return f"{table}\n  weights: random; {known}; {words}"


def _shown(value: Any, home: Path) -> str:
    text = str(value).replace(f"{home}/", "")
    return text if len(text) <= _MOST_OF_A_VALUE else f"... {text[-_MOST_OF_A_VALUE + 4 :]}"


def summary(results: Sequence[Result], planned: int, home: Path) -> str:
    """Seconds and outcome of each step."""
    rows = [
        [
            result.step.name,
            f"{result.seconds:.0f}",
            "ok" if result.went_well else "FAILED",
            _outcome(result).replace(f"{home}/", "")[:_MOST_OF_AN_OUTCOME],
        ]
        for result in results
    ]
    rows += [["steps not run", "", "", str(planned - len(results))]] if len(results) < planned else []
    head = aligned(["step", "seconds", ""], [row[:3] for row in rows]).splitlines()
    return "\n".join([head[0], *(f"{line}  {row[3]}".rstrip() for line, row in zip(head[1:], rows, strict=True))])


def _outcome(result: Result) -> str:
    if result.code is None:
        return "given up: it did not end"
    if not result.went_well:
        return f"exit code {result.code}"
    ended = {ENDED_BY_SIGTERM: "ended by SIGTERM", RANK_LOST: "ended after kill -9 of its last rank"}
    return f"{ended[result.code]}, exit code {result.code}" if result.code else result.said


def failure(result: Result, lines: int = 30) -> str:
    """The command that failed and the end of its log."""
    wanted = f" and the words {result.step.writes!r}" if result.step.writes else ""
    return (
        f"{result.step.name} failed with exit code {result.code}, expected {result.step.code}{wanted}:\n"
        f"  {result.step.command_line()}\n{last_lines(result.log, lines)}\nall of it: {result.log}"
    )
