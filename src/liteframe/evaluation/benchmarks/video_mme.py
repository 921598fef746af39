"""Video-MME (arXiv 2405.21075): ``videomme/test-*.parquet``, videos in ``data/``, subtitles in ``subtitle/``."""

from __future__ import annotations

from collections.abc import Iterator

from liteframe.data.sources.row_fields import RowFields
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import (
    Question,
    Unusable,
    group_of,
    listed_options,
    of_letter,
    required_text,
)
from liteframe.evaluation.benchmarks.reading import questions_in

LETTERS = "ABCD"
GROUPS = {"duration": "duration", "domain": "domain", "sub_category": "sub_category", "task": "task_type"}


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Its rows; the videos are named after `videoID`."""
    lists = data.lists("videomme/test-*.parquet", "*videomme/test-*.parquet", "*test-*.parquet", "*Video-MME*.json*")

    def parse(row: RowFields) -> Question:
        text = required_text(row, "question")
        options, published = listed_options(row, "options", text, len(LETTERS))
        video = required_text(row, "videoID")
        return Question(
            id=row.name("question_id") or row.where,
            video=data.video(video, ("data", "video", "videos")),
            text=text,
            options=options,
            answer=of_letter(row, "answer", options),
            groups={group: group_of(row, column) for group, column in GROUPS.items()},
            where=row.where,
            published=published,
            subtitles=data.subtitles(video, ("subtitle", "subtitles"), ".srt"),
        )

    return questions_in(data, lists, parse, "question_id")
