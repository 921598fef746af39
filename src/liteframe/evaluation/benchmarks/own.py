"""Questions of one's own: a manifest with `questions`, ``test.jsonl``, and videos beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from liteframe.data.decoding.video_file import fault_of
from liteframe.data.sources.manifest import VideoRow, read_manifest
from liteframe.data.sources.row_forms import require_one_form
from liteframe.data.sources.row_split import contradicts, split_of
from liteframe.errors import ManifestError
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable, questions_of, unusable, video_key

LETTERS = "ABCDEFGH"


def read(
    data: DataFolder, split: str, check: Callable[[VideoRow, str], None] = lambda row, where: None
) -> Iterator[Question | Unusable]:
    """Questions of a split's manifest; a bad one costs only itself.

    Args:
        data: folder of the manifest.
        split: its name.
        check: raises ManifestError for a row, with its place, whose questions are none of this benchmark.
    """
    path = data.lists(f"{split}.jsonl")[0]
    for row in read_manifest(path, root=str(data.root), keep_unusable=True, asked_apart=True):
        fields = row.as_dict()
        asked, where = fields.get("questions") or [fields], row.place or row.path
        of_row = _fault_of_row(row, fields, split, where)
        for number, item in enumerate(asked):
            name = f"{row.id} {number}"
            try:
                check(row, where)
                if of_row is not None:
                    raise of_row
                alone = {**fields, "question": None, "conversations": None, "questions": [item]}
                yield _question(name, row, alone, where, data.root)
            except ManifestError as error:
                yield unusable(name if len(asked) > 1 else row.id, where, error)


def _fault_of_row(row: VideoRow, fields: dict[str, Any], split: str, where: str) -> ManifestError | None:
    """Why none of a row's questions can be asked, if so."""
    told = split_of(row.extra)
    if told is not None and contradicts(split, told[0], {}):
        return ManifestError(f"{where}: {told[1]} is of another split than {split!r}; drop the row, or the field")
    try:
        require_one_form(fields, where)
    except ManifestError as error:
        return error
    return None


def _question(name: str, row: VideoRow, fields: dict[str, Any], where: str, root: Path) -> Question:
    if row.error:
        raise ManifestError(row.error)
    if fault := fault_of(row.path):
        raise ManifestError(f"{where}: field 'path': {row.path}: {fault}; give the file of a video")
    video = Path(video_key(fields)).relative_to(os.path.realpath(root)).as_posix()
    (question,) = questions_of(fields, where, video)
    if len(question.options) > len(LETTERS):
        raise ManifestError(f"{where}: field 'options': more than {len(LETTERS)} of them; leave some out")
    return replace(question, id=name)
