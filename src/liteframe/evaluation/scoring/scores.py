"""Accuracies of one set of answers, by every rule side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from liteframe.errors import DataError
from liteframe.evaluation.accuracy import accuracy_by_kind, accuracy_over
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import Benchmark
from liteframe.evaluation.scoring.likelihood import likeliest
from liteframe.evaluation.scoring.reading import Reading, one
from liteframe.evaluation.scoring.rules import LIKELIHOOD, rules_for

PAPER_FOUR = ("video-mme", "video-mme with subtitles", "mlvu", "longvideobench")
"""What the paper's average is over."""


@dataclass(frozen=True)
class Answer:
    """What a model made of a question: a text, a logit for each option, or both."""

    text: str | None = None
    option_logits: tuple[float, ...] | None = None


def readings(
    benchmark: str, questions: Sequence[Question], answers: Mapping[str, Answer], seed: int = 0
) -> dict[str, dict[str, Reading]]:
    """What each rule makes of the answers: rule -> id of a question that has such an answer -> reading.

    Args:
        benchmark: its name.
        questions: that were asked.
        answers: by the id of their question; those that got none are left out.
        seed: of what lmms-eval draws.

    Raises:
        DataError: an answer is to no question, or its logits are not one an option.
    """
    by_id = {question.id: question for question in questions}
    stray = [name for name in answers if name not in by_id]
    if stray:
        raise DataError(f"{len(stray)} answers are to no question of {benchmark}, such as {stray[0]!r}; read its split")
    rules = rules_for(benchmark, seed)
    read: dict[str, dict[str, Reading]] = {name: {} for name in (*rules, LIKELIHOOD)}
    for name, answer in answers.items():
        question = by_id[name]
        if answer.text is not None:
            for rule, reads in rules.items():
                read[rule][name] = reads(answer.text, question)
        if answer.option_logits is not None:
            if len(answer.option_logits) != len(question.options):
                raise DataError(f"{name}: {len(answer.option_logits)} logits for {len(question.options)} options")
            read[LIKELIHOOD][name] = one(likeliest(answer.option_logits))
    return {rule: found for rule, found in read.items() if found}


def scores(
    benchmark: Benchmark,
    rows: Sequence[Question | Unusable],
    answers: Mapping[str, Answer],
    seed: int = 0,
    samples: int = 2000,
) -> dict[str, Any]:
    """How many answers are right, by every rule; questions without an answer, or without a key, count nowhere.

    Args:
        benchmark: that the rows are of.
        rows: as it was read.
        answers: by the id of their question.
        seed: of draws.
        samples: how often videos are drawn for the intervals.

    Returns:
        ``rows``, ``left_out`` (could not be read), ``answered``, ``unanswered``, ``without_key``, and ``scores``: a
        table of `figures` for each rule.

    Raises:
        DataError: as of `readings`.
    """
    questions = [row for row in rows if isinstance(row, Question)]
    keyed = {question.id: question for question in questions if question.answer is not None}
    tables = {}
    for rule, found in readings(benchmark.name, questions, answers, seed).items():
        known = {name: reading for name, reading in found.items() if name in keyed}
        if known:
            tables[rule] = figures(benchmark, [keyed[name] for name in known], list(known.values()), seed, samples)
    return {
        "rows": len(rows),
        "left_out": len(rows) - len(questions),
        "answered": len(answers),
        "unanswered": len(questions) - len(answers),
        "without_key": sum(name not in keyed for name in answers),
        "scores": tables,
    }


def figures(
    benchmark: Benchmark,
    questions: Sequence[Question],
    found: Sequence[Reading],
    seed: int = 0,
    samples: int = 2000,
) -> dict[str, Any]:
    """The figures of one rule, over questions with a key and what the rule made of their answers.

    Returns:
        ``headline``, the figure that the authors give; ``accuracy``, the mean over questions, with ``accuracy_low`` and
        ``accuracy_high``, its 95 % interval when whole video files are drawn; ``unparsed``, the share of answers in
        which the rule found no option; ``questions``, ``videos``; ``macro`` (group -> mean over its values); ``by``
        (group -> value -> accuracy and questions).
    """
    correct = [reading.is_right(question) for question, reading in zip(questions, found, strict=True)]
    table = accuracy_over(correct, [question.video for question in questions], samples, seed)
    by = {group: _by(group, questions, correct) for group in benchmark.groups}
    macro = {group: fmean(part["accuracy"] for part in parts.values()) for group, parts in by.items()}
    return {
        "headline": table["accuracy"] if benchmark.macro is None else macro[benchmark.macro],
        **table,
        "unparsed": fmean(not reading.parsed for reading in found),
        "macro": macro,
        "by": by,
    }


def _by(group: str, questions: Sequence[Question], correct: Sequence[bool]) -> dict[str, dict[str, Any]]:
    parts = accuracy_by_kind(correct, [question.groups[group] for question in questions])
    return {str(value): {"accuracy": accuracy, "questions": count} for value, accuracy, count in parts}


def paper_average(headlines: Mapping[str, float]) -> float | None:
    """Mean of the headlines of `PAPER_FOUR`, as the paper averages; None where one is missing."""
    if any(name not in headlines for name in PAPER_FOUR):
        return None
    return fmean(headlines[name] for name in PAPER_FOUR)
