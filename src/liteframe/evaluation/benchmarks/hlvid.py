"""HLVid (with AutoGaze and NVILA-HD): ``data/test-*.parquet`` and 4K videos; the options stand in the question."""

from __future__ import annotations

from collections.abc import Iterator

from liteframe.data.sources.row_fields import RowFields
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.options_inside import taken_apart
from liteframe.evaluation.benchmarks.question import (
    Question,
    Unusable,
    checked_options,
    group_of,
    of_letter,
    required_text,
)
from liteframe.evaluation.benchmarks.reading import questions_in

LETTERS = "ABCD"


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Its rows."""

    def parse(row: RowFields) -> Question:
        published = required_text(row, "question")
        apart = taken_apart(published)
        if apart is None:
            raise row.fault(
                "question",
                "no options in it, as lines that begin with A., B., ..., with nothing behind them but how to answer;"
                " repair the row",
            )
        options = checked_options(row, "question", apart[1], len(LETTERS))
        return Question(
            id=row.name("question_id") or row.where,
            video=data.video(required_text(row, "video_path"), ("videos", "example")),
            text=apart[0],
            options=options,
            answer=of_letter(row, "answer", options),
            groups={"category": group_of(row, "category")},
            where=row.where,
            published=published,
        )

    return questions_in(data, data.lists("data/test-*.parquet", "*test-*.parquet"), parse, "question_id")
