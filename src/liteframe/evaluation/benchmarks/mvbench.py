"""MVBench (arXiv 2311.17005): ``json/<task>.json``, twenty tasks with videos in folders of their own.

Some questions are about a part of a video. One task is published as folders of pictures, 3 a second. In the branch
"video" all are videos, cut already; it has them in ``test.json`` as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from liteframe.data.sources.row_fields import RowFields
from liteframe.errors import ManifestError
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable, of_text, required_options, required_text
from liteframe.evaluation.benchmarks.reading import questions_from, questions_in

LETTERS = "ABCDE"
PICTURES_FPS = 3.0
_STAR = ("star/Charades_v1_480",)
_CLEVRER = ("clevrer/video_validation",)
_PERCEPTION = ("perception/videos",)
CUT = {
    **dict.fromkeys(("action_sequence", "action_prediction", "object_interaction"), "star/Charades_segment"),
    "action_localization": "sta/sta_video_segment",
    "episodic_reasoning": "tvqa/video_fps3_hq_segment",
}
"""Folders of the branch "video" whose videos are the part that is asked about."""
TASKS: dict[str, tuple[str, ...]] = {
    "action_sequence": _STAR,
    "action_prediction": _STAR,
    "action_antonym": ("ssv2_video", "ssv2_video_mp4"),
    "fine_grained_action": ("Moments_in_Time_Raw/videos",),
    "unexpected_action": ("FunQA_test/test",),
    "object_existence": _CLEVRER,
    "object_interaction": _STAR,
    "object_shuffle": _PERCEPTION,
    "moving_direction": _CLEVRER,
    "action_localization": ("sta/sta_video",),
    "scene_transition": ("scene_qa/video",),
    "action_count": _PERCEPTION,
    "moving_count": _CLEVRER,
    "moving_attribute": _CLEVRER,
    "state_change": _PERCEPTION,
    "fine_grained_pose": ("nturgbd", "nturgbd_convert"),
    "character_order": _PERCEPTION,
    "egocentric_navigation": ("vlnqa",),
    "episodic_reasoning": ("tvqa/frames_fps3_hq",),
    "counterfactual_inference": _CLEVRER,
}
"""Each task with the folders of its videos, below ``video/`` or wherever they were unpacked to."""


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Rows of all tasks that there is a list of."""
    lists = data.lists("json/*.json", "*json/*.json", "test.json", "*/test.json", "*.json")
    if lists[0].name == "test.json":
        yield from _of_one_list(data, lists[0])
        return
    lists = [path for path in lists if path.stem in TASKS]
    if not lists:
        raise ManifestError(f"{data.root}: no list of a task, such as json/action_sequence.json; download the lists")
    for path in lists:
        yield from questions_in(data, [path], partial(_parsed, data=data, task=path.stem), None, {"task": path.stem})


def _of_one_list(data: DataFolder, path: Path) -> Iterator[Question | Unusable]:
    """The branch "video" in one file: `meta` (title of a task -> rows) and `root` (title -> folder of its videos)."""
    found = data.json_object(path, "with 'meta' and 'root'")
    meta, folders = found.get("meta"), found.get("root")
    if not isinstance(meta, dict) or not isinstance(folders, dict):
        raise ManifestError(f"{path}: an object with 'meta' and 'root' is needed, rows and folders of each task")
    for title, rows in meta.items():
        folder, task = folders.get(title), re.sub("[ -]", "_", title.lower())
        if not isinstance(folder, str) or not isinstance(rows, list):
            raise ManifestError(f"{path}: field '{title}': a list in 'meta' and a folder in 'root' are needed")
        placed = ((f"{path}: {title} {number}", row) for number, row in enumerate(rows, start=1))
        yield from questions_from(
            placed, partial(_parsed, data=data, task=task, cut_in=folder), None, {"task": title, "root": folder}
        )


def _parsed(row: RowFields, data: DataFolder, task: str, cut_in: str | None = None) -> Question:
    options = required_options(row, "candidates", len(LETTERS))
    name = required_text(row, "video")
    start, end = row.seconds("start"), row.seconds("end")
    if end is not None and end <= (start or 0.0):
        raise row.fault("end", f"{end} s is not after the start at {start or 0.0} s; repair the row")
    if cut_in is not None:
        cut: str | None = data.video(name, [cut_in], anywhere=False)
    else:
        cut = _video_of(data, name, (CUT[task],)) if task in CUT else None
    pictures = data.picture_folder(name, TASKS[task]) if cut is None else None
    return Question(
        id=f"{task} {row.where.rpartition(' ')[2]}",
        video=cut or pictures or data.video(name, _below_video(TASKS[task]), anywhere=False),
        text=required_text(row, "question"),
        options=options,
        answer=of_text(row, "answer", options),
        groups={"task": task},
        where=row.where,
        pictures_fps=PICTURES_FPS if pictures else None,
        start_s=start if cut is None else None,
        end_s=end if cut is None else None,
    )


def _video_of(data: DataFolder, name: str, folders: tuple[str, ...]) -> str | None:
    try:
        return data.video(name, _below_video(folders), anywhere=False)
    except ManifestError:
        return None


def _below_video(folders: tuple[str, ...]) -> list[str]:
    """Where the lists put them; other archives hold some of the same videos, in folders that end alike."""
    return [name for folder in folders for name in (f"video/{folder}", folder)]
