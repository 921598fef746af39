"""What an evaluation found: its scores, and two compared question by question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.errors import DataError, as_one_line
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import Benchmark
from liteframe.evaluation.results import FORMAT, ResultFolder, answers_of, require_same_questions
from liteframe.evaluation.scoring.compare import Comparison, Judged, compare
from liteframe.evaluation.scoring.scores import readings, scores
from liteframe.system.json_files import read_json, write_json
from liteframe.system.own_record import require_own_record
from liteframe.system.tables import aligned, or_dash

REPORT = "report.json"
_FIELDS = ("format", "settings", "complete", "frames", "judged")
_MOST_VALUES = 12
_MOST_TOLD = 20
_SAME_QUESTIONS = ("benchmark", "split", "prompt", "subtitles", "limit")


def write_report(folder: ResultFolder, benchmark: Benchmark, rows: Sequence[Question | Unusable]) -> dict[str, Any]:
    """Scores all answers that are there and writes `report.json`.

    Returns:
        ``settings``; ``complete``, whether every question has an answer or is skipped; ``frames``: what `scores` gives
        for each frame count, with ``skipped``, ``cut_by_context`` (answers that end where the LLM's context does),
        ``not_averaged`` (tasks without an answer, in a mean over tasks), and ``tiles``, where frames are cut: answers
        of each grid, "1 x 1" is not cut; ``skipped`` and ``left_out``: what was not
        answered, and why; ``judged``: frame count -> rule -> question -> whether it was right, None of those that the
        rule had nothing of.

    Raises:
        ConfigError: a report is there that liteframe did not write.
        DataError: as of `require_same_questions`.
    """
    path = folder.path / REPORT
    with folder.locked():
        require_own_record(path, _FIELDS, "--out")
        settings = folder.record()["settings"]
        lines, questions = folder.lines(), [row for row in rows if isinstance(row, Question)]
        require_same_questions(lines, rows, str(folder.path))
        frames: dict[str, Any] = {}
        judged: dict[str, Any] = {}
        skipped: list[dict[str, Any]] = []
        for count in settings["frames"]:
            answers, why = answers_of(lines, questions, count)
            cut = sum(lines[name, count].get("cut_by_context", False) for name in answers)
            frames[str(count)] = {
                **scores(benchmark, rows, answers),
                "skipped": len(why),
                "cut_by_context": cut,
                "not_averaged": _not_averaged(benchmark, settings, [each for each in questions if each.id in answers]),
                **_tiles([lines[name, count] for name in answers]),
            }
            judged[str(count)] = _judged(benchmark, questions, answers)
            skipped += [{"question": name, "frames": count, "why": reason} for name, reason in why.items()]
        report = {
            "format": FORMAT,
            "settings": settings,
            "complete": all((asked.id, count) in lines for asked in questions for count in settings["frames"]),
            "frames": frames,
            "skipped": skipped,
            "left_out": [
                {"id": row.id, "where": row.where, "why": row.why} for row in rows if isinstance(row, Unusable)
            ],
            "judged": judged,
        }
        write_json(path, report)
    return report


def _tiles(answered: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    grids = Counter(" x ".join(map(str, line["grid"])) for line in answered if "grid" in line)
    return {"tiles": dict(grids.most_common())} if grids else {}


def _not_averaged(benchmark: Benchmark, settings: Mapping[str, Any], answered: Sequence[Question]) -> list[str]:
    """The values, such as tasks, that the authors' average is over and not one answer is about."""
    if benchmark.macro is None or settings["limit"] is not None:
        return []
    there = {question.groups[benchmark.macro] for question in answered}
    return [value for value in benchmark.averaged.get(settings["split"], ()) if value not in there]


def _judged(
    benchmark: Benchmark, questions: Sequence[Question], answers: Mapping[str, Any]
) -> dict[str, dict[str, bool | None]]:
    keyed = [question for question in questions if question.answer is not None]
    return {
        rule: {asked.id: found[asked.id].is_right(asked) if asked.id in found else None for asked in keyed}
        for rule, found in readings(benchmark.name, questions, answers).items()
    }


def read_report(folder: str | Path) -> dict[str, Any]:
    """The finished report of an evaluation. Raises DataError where there is none."""
    path = Path(folder) / REPORT
    report = read_json(path)
    if report.get("format") != FORMAT or not set(_FIELDS) <= set(report):
        raise DataError(f"{path}: no report of an evaluation of this version of liteframe; evaluate again")
    if not report["complete"]:
        raise DataError(f"{path}: the evaluation is not finished; run it again, and it goes on")
    return report


def table(report: Mapping[str, Any]) -> str:
    """The scores of a report as text."""
    header = ["frames", "rule", "accuracy", "95 %", *_macros(report), "unparsed", "answered", "skipped", "left out"]
    rows = []
    for count, at in report["frames"].items():
        for rule, found in at["scores"].items():
            low, high = found["accuracy_low"], found["accuracy_high"]
            macros = [or_dash(found["macro"].get(name.removeprefix("by "))) for name in _macros(report)]
            counts = [str(at[name]) for name in ("answered", "skipped", "left_out")]
            interval = f"{low:.3f} to {high:.3f}"
            rows.append(
                [count, rule, f"{found['accuracy']:.3f}", interval, *macros, f"{found['unparsed']:.3f}", *counts]
            )
        if not at["scores"]:
            counts = [str(at[name]) for name in ("answered", "skipped", "left_out")]
            rows.append([count, "-", "-", "-", *("-" for _ in _macros(report)), "-", *counts])
    return "\n\n".join([aligned(header, rows), *_tiles_told(report), *_by_group(report)])


def _tiles_told(report: Mapping[str, Any]) -> list[str]:
    """Rows and columns that frames were cut to, for how many answers."""
    told = []
    for count, at in report["frames"].items():
        if grids := at.get("tiles"):
            parts = [f"{'not cut' if grid == '1 x 1' else grid}: {answers}" for grid, answers in grids.items()]
            told.append(f"tiles at {count} frames, answers: {', '.join(parts)}")
    return ["\n".join(told)] if told else []


def _macros(report: Mapping[str, Any]) -> list[str]:
    """Columns for the means over the values of a group."""
    found = {name for at in report["frames"].values() for each in at["scores"].values() for name in each["macro"]}
    return [f"by {name}" for name in sorted(found)]


def _by_group(report: Mapping[str, Any]) -> list[str]:
    """A table for each group of few values, by the first rule that there is."""
    columns = {count: next(iter(at["scores"].items())) for count, at in report["frames"].items() if at["scores"]}
    if not columns:
        return []
    rule, first = next(iter(columns.values()))
    tables = []
    for group, parts in first["by"].items():
        if len(parts) > _MOST_VALUES:
            continue
        rows = [
            [
                as_one_line(value),
                str(part["questions"]),
                *(_accuracy(found["by"][group].get(value)) for _, found in columns.values()),
            ]
            for value, part in parts.items()
        ]
        tables.append(aligned([f"{group} ({rule})", "questions", *columns], rows))
    return tables


def _accuracy(part: Mapping[str, Any] | None) -> str:
    return or_dash(None if part is None else part["accuracy"])


def compare_reports(a: str | Path, b: str | Path, frames: Sequence[int] = ()) -> dict[str, dict[str, Comparison]]:
    """Two evaluations on the same questions, for each frame count and each rule that both have.

    Args:
        a, b: their folders.
        frames: one count for both, or one for each; by default each count that both have, or the only one of each.

    Raises:
        DataError: they were asked otherwise, or have no such frame counts.
    """
    reports = read_report(a), read_report(b)
    found: dict[str, dict[str, Comparison]] = {}
    for pair in _pairs([report["judged"] for report in reports], [str(count) for count in frames]):
        one, other = _judgements(str(a), reports[0], pair[0]), _judgements(str(b), reports[1], pair[1])
        found[_frames_of(pair)] = {rule: compare(one[rule], other[rule]) for rule in one if rule in other}
    if not any(found.values()):
        counts = [", ".join(report["judged"]) for report in reports]
        raise DataError(
            f"{a} and {b} have no frame count and rule in common; name those of each, as --frames 8,64: there are"
            f" {counts[0]} in the first and {counts[1]} in the second"
        )
    return found


def not_compared(a: str | Path, b: str | Path, frames: Sequence[int] = ()) -> list[str]:
    """What `compare_reports` leaves out, in lines: frame counts and rules that only one of the two has."""
    judged = read_report(a)["judged"], read_report(b)["judged"]
    pairs = _pairs(judged, [str(count) for count in frames])
    told = []
    for mine, which in enumerate("AB"):
        alone = [count for count in judged[mine] if count not in [pair[mine] for pair in pairs]]
        if alone and not frames:
            told.append(f"not compared: {', '.join(alone)} frames, which only {which} was asked with")
        for pair in pairs:
            rules = [
                rule
                for rule in judged[mine].get(pair[mine], {})
                if rule not in judged[1 - mine].get(pair[1 - mine], {})
            ]
            if rules:
                told.append(f"not compared at {_frames_of(pair)} frames: {', '.join(rules)}, which only {which} has")
    return told


def _frames_of(pair: tuple[str, str]) -> str:
    return pair[0] if pair[0] == pair[1] else f"{pair[0]} and {pair[1]}"


def _pairs(judged: Sequence[Mapping[str, Any]], frames: Sequence[str]) -> list[tuple[str, str]]:
    """The frame counts that are compared, of the one and of the other."""
    if frames:
        return [(frames[0], frames[-1])]
    first, second = map(list, judged)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    return [(count, count) for count in first if count in second]


def _judgements(name: str, report: Mapping[str, Any], count: str) -> dict[str, Judged]:
    """What each rule made of the answers at a frame count."""
    table: Mapping[str, Mapping[str, bool | None]] = report["judged"].get(count, {})
    asked = {key: report["settings"].get(key) for key in _SAME_QUESTIONS}
    questions = frozenset(question for found in table.values() for question in found)
    return {
        rule: Judged(
            name,
            asked,
            questions,
            {question: value for question, value in found.items() if value is not None},
            len(report["left_out"]),
        )
        for rule, found in table.items()
    }


def comparison_text(found: Mapping[str, Mapping[str, Comparison]]) -> str:
    """What `compare_reports` found as text: a table, and the questions that flipped by the first rule."""
    rows = [
        [
            *(frames, rule, f"{c.accuracy_a:.3f}", f"{c.accuracy_b:.3f}", f"{c.accuracy_b - c.accuracy_a:+.3f}"),
            *(str(len(c.only_a)), str(len(c.only_b)), f"{c.p:.3g}", str(c.pairs)),
            *(str(c.unanswered_a), str(c.unanswered_b)),
        ]
        for frames, rules in found.items()
        for rule, c in rules.items()
    ]
    header = ["frames", "rule", "A", "B", "B - A", "only A", "only B", "p (McNemar)", "pairs", "not in A", "not in B"]
    told = [aligned(header, rows)]
    for frames, rules in found.items():
        for rule, c in list(rules.items())[:1]:
            for which, names in (("A", c.only_a), ("B", c.only_b)):
                more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
                listed = ", ".join(names[:_MOST_TOLD]) or "none"
                told.append(f"right in {which} alone at {frames} frames ({rule}): {listed}{more}")
    return "\n\n".join(told)
