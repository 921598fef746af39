"""The tiny world (`liteframe synth`): ``test.jsonl`` and videos beside it, four questions about each."""

from __future__ import annotations

from collections.abc import Iterator

from liteframe.data.sources.manifest import VideoRow
from liteframe.errors import ManifestError
from liteframe.evaluation.benchmarks import own
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable

LETTERS = own.LETTERS


def read(data: DataFolder, split: str) -> Iterator[Question | Unusable]:
    """Questions of a split. Others than this world's are left out, as they would be asked without their options."""
    return own.read(data, split, _require_scene)


def _require_scene(row: VideoRow, where: str) -> None:
    if row.error is None and "scene" not in row.extra:
        raise ManifestError(f"{where}: field 'scene': missing, so no row of the tiny world; ask it by --benchmark own")
