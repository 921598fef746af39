"""MLVU (arXiv 2406.04264), multiple choice alone: the authors' JSON files, or the Parquet copy that lmms-eval reads.

The authors give ``json/1_plotQA.json`` and so on with `candidates` and the answer's text, and for the test split
``test-ground-truth/test_mcq_gt.json``; the copy has options in the question (``(A) text``) and the answer's letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from liteframe.data.sources.row_fields import RowFields
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.options_inside import taken_apart
from liteframe.evaluation.benchmarks.question import (
    Question,
    Unusable,
    checked_options,
    of_letter,
    of_text,
    required_options,
    required_text,
)
from liteframe.evaluation.benchmarks.reading import questions_in

LETTERS = "ABCDEF"
_SHARED = ("ego", "count", "order", "anomaly_reco", "topic_reasoning")
TASKS = {"dev": ("plotQA", "needle", *_SHARED), "test": ("plotQA", "needleQA", *_SHARED, "sportsQA", "tutorialQA")}
"""The tasks of multiple choice of each split, those of "dev" in the order of their numbers."""
SAME_TASK = {"findNeedle": "needle"}
"""The authors' dev files call a task so; their papers, folders and every harness have the other name."""
_LISTS = {
    "dev": ("*[1-7]_*.json", "mlvu/test-*.parquet", "*test-*.parquet"),
    "test": ("*test_mcq_gt.json", "*test_multi_choice_tasks.json", "*test-*.parquet"),
}
_FREE_ANSWERS = ("sub_scene", "summary")
FOLDER_OF = {task: f"{number}_{task}" for number, task in enumerate((*TASKS["dev"], *_FREE_ANSWERS), start=1)}
"""Folder of a task's videos in the dev split. Videos of other tasks may have the same names."""
_FOLDERS_OF_TEST = ("MLVU_Test/video", "video")


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Rows of a split, "dev" or "test". A row without options belongs to a task of free answers, and is none."""

    def parse(row: RowFields) -> Question | None:
        reorganised = "video_name" in row.rest
        if not reorganised and "candidates" not in row.rest:
            return None
        video = required_text(row, "video_name" if reorganised else "video")
        text, published = required_text(row, "question"), None
        apart = taken_apart(text)
        if apart is not None:
            (text, options), published = apart, text
            options = checked_options(row, "question", options, len(LETTERS))
        elif "candidates" in row.rest:
            options = required_options(row, "candidates", len(LETTERS))
        else:
            raise row.fault(
                "question",
                "no options in it, as lines that begin with (A), (B), ..., with nothing behind them but how to answer;"
                " repair the row",
            )
        task = required_text(row, "task_type" if "task_type" in row.rest else "question_type")
        task = SAME_TASK.get(task, task)
        spelt = of_letter if reorganised else of_text
        return Question(
            id=row.name("question_id") or f"{task} {_number(row.where)}",
            video=_video(data, split, video, task),
            text=text,
            options=options,
            answer=spelt(row, "answer", options),
            groups={"task": task},
            where=row.where,
            published=published,
        )

    return questions_in(data, data.lists(*_LISTS[split]), parse, "question_id")


def _video(data: DataFolder, split: str, name: str, task: str) -> str:
    own = FOLDER_OF.get(task) if split == "dev" else None
    others = [folder for folder in FOLDER_OF.values() if folder != own]
    folders = _FOLDERS_OF_TEST if own is None else (f"MLVU/video/{own}", own)
    return data.video(name, folders, never_in=others)


def _number(where: str) -> str:
    return PurePosixPath(where).name.rpartition(" ")[2]
