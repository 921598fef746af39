"""What an evaluation found: its scores, the paper's average of several, and two compared question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.errors import DataError, as_one_line
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import Benchmark
from liteframe.evaluation.results import FORMAT, ResultFolder, answers_of, require_same_questions
from liteframe.evaluation.scoring.compare import Comparison, Judged, compare
from liteframe.evaluation.scoring.scores import PAPER_FOUR, paper_average, readings, scores
from liteframe.system.json_files import read_json, write_json
from liteframe.system.own_record import require_own_record
from liteframe.system.tables import aligned, or_dash

REPORT = "report.json"
_FIELDS = ("format", "settings", "complete", "frames", "judged")
_MOST_VALUES = 12
_MOST_TOLD = 20
_SAME_MODEL = ("weights_sha256", "compressor", "image_size", "sampler", "answer")
_SAME_QUESTIONS = ("benchmark", "split", "prompt", "subtitles", "limit")


def write_report(folder: ResultFolder, benchmark: Benchmark, rows: Sequence[Question | Unusable]) -> dict[str, Any]:
    """Scores all answers that are there and writes `report.json`.

    Returns:
        ``settings``; ``complete``, whether every question has an answer or is skipped; ``frames``: what `scores` gives
        for each frame count, with ``skipped``; ``skipped`` and ``left_out``: what was not answered, and why;
        ``judged``: frame count -> rule -> question -> whether it was right, None of those without an answer.

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
            frames[str(count)] = {**scores(benchmark, rows, answers), "skipped": len(why)}
            judged[str(count)] = _judged(benchmark, questions, answers, why)
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


def _judged(
    benchmark: Benchmark, questions: Sequence[Question], answers: Mapping[str, Any], skipped: Mapping[str, str]
) -> dict[str, dict[str, bool | None]]:
    keys = {question.id: question.answer for question in questions if question.answer is not None}
    nothing = dict.fromkeys((name for name in skipped if name in keys), None)
    return {
        rule: {**{name: keys[name] in reading.chosen for name, reading in found.items() if name in keys}, **nothing}
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
    return "\n\n".join([aligned(header, rows), *_by_group(report)])


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


def average_of(folders: Sequence[str | Path]) -> str:
    """The paper's average over its four evaluations, for each frame count and rule that all of them have.

    Raises:
        DataError: they are not the four, not of one model, or have no frame count in common.
    """
    reports = {_title(report["settings"]): report for report in map(read_report, folders)}
    if set(reports) != set(PAPER_FOUR) or len(folders) != len(PAPER_FOUR):
        raise DataError(f"--average takes evaluations of {', '.join(PAPER_FOUR)}, not of {', '.join(reports)}")
    first, *others = (reports[name]["settings"] for name in PAPER_FOUR)
    for each in (first, *others):
        if each.get("limit") is not None:
            raise DataError(
                f"--average: {_title(each)} was asked {each['limit']} rows alone; evaluate it without --limit"
            )
    for other in others:
        for name in _SAME_MODEL:
            if other.get(name) != first.get(name):
                raise DataError(
                    f"--average: {name} is {first.get(name)!r} in {_title(first)} and {other.get(name)!r} in"
                    f" {_title(other)}; evaluate one model alike"
                )
    rows = []
    for count in reports[PAPER_FOUR[0]]["frames"]:
        tables = [reports[name]["frames"].get(count, {}).get("scores", {}) for name in PAPER_FOUR]
        for rule in tables[0]:
            if all(rule in found for found in tables):
                headlines = [found[rule]["headline"] for found in tables]
                mean = paper_average(dict(zip(PAPER_FOUR, headlines, strict=True)))
                rows.append([count, rule, *map(or_dash, headlines), or_dash(mean)])
    if not rows:
        raise DataError("--average: no frame count and rule is in all four; evaluate them with the same --frames")
    return aligned(["frames", "rule", *PAPER_FOUR, "average"], rows)


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
    for pair in _pairs(reports, [str(count) for count in frames]):
        tables = [report["judged"].get(count, {}) for report, count in zip(reports, pair, strict=True)]
        rules = [rule for rule in tables[0] if rule in tables[1]]
        name = pair[0] if pair[0] == pair[1] else f"{pair[0]} and {pair[1]}"
        found[name] = {
            rule: compare(_of(str(a), reports[0], tables[0][rule]), _of(str(b), reports[1], tables[1][rule]))
            for rule in rules
        }
    if not any(found.values()):
        raise DataError(f"{a} and {b} have no frame count and rule in common; name those of each: --frames 8,64")
    return found


def _pairs(reports: Sequence[Mapping[str, Any]], frames: Sequence[str]) -> list[tuple[str, str]]:
    if frames:
        return [(frames[0], frames[-1])]
    first, second = (list(report["judged"]) for report in reports)
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    return [(count, count) for count in first if count in second]


def _of(name: str, report: Mapping[str, Any], found: Mapping[str, bool | None]) -> Judged:
    asked = {key: report["settings"].get(key) for key in _SAME_QUESTIONS}
    right = {question: value for question, value in found.items() if value is not None}
    return Judged(name, asked, frozenset(found), right)


def comparison_text(found: Mapping[str, Mapping[str, Comparison]]) -> str:
    """What `compare_reports` found as text: a table, and the questions that flipped by the first rule."""
    rows = [
        [
            *(frames, rule, f"{c.accuracy_a:.3f}", f"{c.accuracy_b:.3f}", f"{c.accuracy_b - c.accuracy_a:+.3f}"),
            *(str(len(c.only_a)), str(len(c.only_b)), f"{c.p:.3g}", str(c.pairs), str(c.unpaired)),
        ]
        for frames, rules in found.items()
        for rule, c in rules.items()
    ]
    header = ["frames", "rule", "A", "B", "B - A", "only A", "only B", "p (McNemar)", "pairs", "unpaired"]
    told = [aligned(header, rows)]
    for frames, rules in found.items():
        for rule, c in list(rules.items())[:1]:
            for which, names in (("A", c.only_a), ("B", c.only_b)):
                more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
                listed = ", ".join(names[:_MOST_TOLD]) or "none"
                told.append(f"right in {which} alone at {frames} frames ({rule}): {listed}{more}")
    return "\n\n".join(told)


def _title(settings: Mapping[str, Any]) -> str:
    return f"{settings['benchmark']}{' with subtitles' if settings['subtitles'] else ''}"
