"""The paper's average of four evaluations of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.report import read_report
from liteframe.evaluation.scoring.scores import PAPER_FOUR, paper_average
from liteframe.system.tables import aligned, or_dash

_SAME_MODEL = ("weights_sha256", "compressor", "image_size", "sampler", "answer", "dtype")


def average_of(folders: Sequence[str | Path]) -> str:
    """The paper's average over its four evaluations, for each frame count and rule that all of them have.

    Below the table stands what the four do not share: a part of the questions that has no answer, other words.

    Raises:
        DataError: they are not the four, not whole, not of one model, or have no frame count in common.
    """
    reports = {_title(report["settings"]): report for report in map(read_report, folders)}
    if set(reports) != set(PAPER_FOUR) or len(folders) != len(PAPER_FOUR):
        raise DataError(f"--average takes evaluations of {', '.join(PAPER_FOUR)}, not of {', '.join(reports)}")
    _require_alike([reports[name]["settings"] for name in PAPER_FOUR])
    rows, counts = [], []
    for count in reports[PAPER_FOUR[0]]["frames"]:
        tables = [reports[name]["frames"].get(count, {}).get("scores", {}) for name in PAPER_FOUR]
        rules = [rule for rule in tables[0] if all(rule in found for found in tables)]
        for rule in rules:
            headlines = [found[rule]["headline"] for found in tables]
            mean = paper_average(dict(zip(PAPER_FOUR, headlines, strict=True)))
            rows.append([count, rule, *map(or_dash, headlines), or_dash(mean)])
        if rules:
            counts.append(count)
    if not rows:
        raise DataError("--average: no frame count and rule is in all four; evaluate them with the same --frames")
    return "\n".join([aligned(["frames", "rule", *PAPER_FOUR, "average"], rows), *_not_shared(reports, counts)])


def _require_alike(four: Sequence[Mapping[str, Any]]) -> None:
    for each in four:
        if each.get("limit") is not None:
            raise DataError(
                f"--average: {_title(each)} was asked {each['limit']} rows alone; evaluate it without --limit"
            )
        usual = benchmark(each["benchmark"]).splits[0]
        if each.get("split") != usual:
            raise DataError(
                f"--average: {_title(each)} was asked of its split {each.get('split')!r}; the paper's is {usual!r}"
            )
        for name in _SAME_MODEL:
            if each.get(name) != four[0].get(name):
                raise DataError(
                    f"--average: {name} is {four[0].get(name)!r} in {_title(four[0])} and {each.get(name)!r} in"
                    f" {_title(each)}; evaluate one model alike"
                )


def _not_shared(reports: Mapping[str, Mapping[str, Any]], counts: Sequence[str]) -> list[str]:
    told = []
    for count in counts:
        answered = [
            (name, *(reports[name]["frames"][count][key] for key in ("answered", "rows"))) for name in PAPER_FOUR
        ]
        parts = [f"{name} {some} of {rows}" for name, some, rows in answered if some < rows]
        if parts:
            told.append(f"at {count} frames not all questions have an answer: {', '.join(parts)}")
        for name in PAPER_FOUR:
            if gone := reports[name]["frames"][count].get("not_averaged"):
                told.append(f"at {count} frames the mean of {name} leaves out {', '.join(gone)}, which have no answer")
    prompts = {name: reports[name]["settings"]["prompt"]["name"] for name in PAPER_FOUR}
    if len(set(prompts.values())) > 1:
        told.append(f"asked in different words: {', '.join(f'{name} by {asked}' for name, asked in prompts.items())}")
    return told


def _title(settings: Mapping[str, Any]) -> str:
    return f"{settings['benchmark']}{' with subtitles' if settings['subtitles'] else ''}"
