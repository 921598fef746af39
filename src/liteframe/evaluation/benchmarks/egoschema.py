"""EgoSchema (arXiv 2308.09126): the Parquet copy that lmms-eval reads, or the authors' ``questions.json``.

Answers are published for 500 of the 5,031 questions: the split "subset", or ``subset_answers.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from liteframe.data.sources.row_fields import RowFields
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import (
    Question,
    Unusable,
    checked_options,
    listed_options,
    of_number,
    required_text,
)
from liteframe.evaluation.benchmarks.reading import questions_in

LETTERS = "ABCDE"
_FOLDERS = ("videos", "good_clips_git")
_LISTS = {
    "subset": ("*Subset/*.parquet", "*questions.json"),
    "test": ("*MC/*.parquet", "*GENERATION/*.parquet", "*questions.json"),
}


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Rows of a split: "subset", those with published answers, or "test", all of them."""
    lists = data.lists(*_LISTS[split])
    if lists[0].suffix == ".parquet":
        return questions_in(data, lists, lambda row: _copied(row, data), "question_idx")
    answers = data.json_object(data.lists("*subset_answers.json")[0], "an index for each q_uid")
    return questions_in(data, lists, lambda row: _of_authors(row, data, answers, split), "q_uid")


def _copied(row: RowFields, data: DataFolder) -> Question:
    text = required_text(row, "question")
    options, published = listed_options(row, "option", text, len(LETTERS))
    return Question(
        id=row.name("question_idx") or row.where,
        video=data.video(required_text(row, "video_idx"), _FOLDERS),
        text=text,
        options=options,
        answer=of_number(row, "answer", options),
        groups={},
        where=row.where,
        published=published,
    )


def _of_authors(row: RowFields, data: DataFolder, answers: Mapping[str, Any], split: str) -> Question | None:
    name = required_text(row, "q_uid")
    if split == "subset" and name not in answers:
        return None
    options = [row.text(f"option {number}") or "" for number in range(len(LETTERS))]
    answered = RowFields({"answer": answers.get(name)}, row.where)
    return Question(
        id=name,
        video=data.video(name, _FOLDERS),
        text=required_text(row, "question"),
        options=checked_options(row, "option 0", options, len(LETTERS)),
        answer=of_number(answered, "answer", options),
        groups={},
        where=row.where,
    )
