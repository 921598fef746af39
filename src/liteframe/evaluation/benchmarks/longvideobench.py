"""LongVideoBench (arXiv 2407.15754): ``lvb_val.json`` and ``lvb_test_wo_gt.json``, or the same rows as Parquet.

Parquet has the options in columns ``option0`` to ``option4``, with ``N/A`` where there are fewer.
"""

from __future__ import annotations

from collections.abc import Iterator

from liteframe.data.sources.row_fields import MAX_NAME, RowFields
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import (
    Question,
    Unusable,
    checked_options,
    group_of,
    of_number,
    required_options,
    required_text,
)
from liteframe.evaluation.benchmarks.reading import questions_in

LETTERS = "ABCDE"
_LISTS = {
    "val": ("*lvb_val.json", "*validation-*.parquet"),
    "test": ("*lvb_test_wo_gt.json", "*test-*.parquet"),
}
_NO_OPTION = "N/A"


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Rows of a split: "val", or "test", whose answers are not published."""

    def parse(row: RowFields) -> Question:
        options = _options(row)
        subtitles = row.text("subtitle_path", MAX_NAME)
        return Question(
            id=row.name("id") or row.where,
            video=data.video(required_text(row, "video_path"), ("videos",)),
            text=required_text(row, "question"),
            options=options,
            answer=of_number(row, "correct_choice", options) if split == "val" else None,
            groups={
                "duration": group_of(row, "duration_group"),
                "task": group_of(row, "question_category"),
                "topic": group_of(row, "topic_category"),
            },
            where=row.where,
            subtitles=data.subtitles(subtitles, ("subtitles",), ".json") if subtitles else None,
            subtitles_start_s=row.seconds("starting_timestamp_for_subtitles") or 0.0,
            duration_s=row.seconds("duration"),
        )

    return questions_in(data, data.lists(*_LISTS[split]), parse, "id")


def _options(row: RowFields) -> tuple[str, ...]:
    if "candidates" in row.rest:
        return required_options(row, "candidates", len(LETTERS))
    columns = [row.text(f"option{number}") for number in range(len(LETTERS))]
    given = [option for option in columns if option is not None and option != _NO_OPTION]
    if columns[: len(given)] != given:
        raise row.fault("option0", f"the options {columns!r:.200} leave one out before the last; repair the row")
    return checked_options(row, "option0", given, len(LETTERS))
