"""The record of a cell, written by `Worker` and read by the reports: where it lies, what is in it, what it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from liteframe.bench.paper.cells import PaperCell
from liteframe.bench.records import from_fields, recorded_method
from liteframe.errors import DataError
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.system.json_files import read_json, write_json

LARGEST_CHANGE = 0.05
"""One answer in twenty: so many may change by rounding on another machine, far fewer than by another training."""
_ENVIRONMENT = ("device", "threads", "dtype", "packages")
_OTHER_RUN = "this run; remove the record to measure the whole cell anew"
_REMEDY = "remove it and run `make paper`"


@dataclass(frozen=True)
class AnswerRow:
    """The answers of a method at a frame count.

    Attributes:
        arm: name of the method when it was measured; `method` is the one that it is of by ``how``.
        frames: of a video.
        tokens: of the first video.
        right: 1 or 0 for each question, in the order of the manifest.
        how: what the method said of its settings; None in records of before it did.
        accuracy: with the fields that follow, what `MultipleChoiceAccuracy.compute` gives.
    """

    arm: str
    frames: int
    tokens: TokenCounts
    right: list[int]
    how: dict[str, Any] | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    macro: float | None = None
    questions: int | None = None
    videos: int | None = None
    per_type: dict[str, float] | None = None
    per_type_questions: dict[str, int] | None = None

    @property
    def method(self) -> str:
        """The method that the row is of, by the settings that it says."""
        return recorded_method(self.arm, self.how)


@dataclass(frozen=True)
class Answers:
    """What `answer` measures.

    Attributes:
        videos: a number for the video of each question.
        rows: one a method and frame count.
        manifest: sha256 of the questions' file; None in records of before it was told.
        image_size: height and width in pixels of the frames; None in records of before it was told.
        image_size_made_for: of the frames that the models were made for; None in these, too.
    """

    videos: list[int]
    rows: list[AnswerRow]
    manifest: str | None = None
    image_size: list[int] | None = None
    image_size_made_for: list[int] | None = None


@dataclass(frozen=True)
class Measured:
    """Answers, how many seconds they took, the stages that made the models, and what all that ran on."""

    answers: Answers
    seconds: float
    stages: list[dict[str, Any]]
    environment: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CellRecord(Answers):
    """A cell that was measured at a seed.

    Attributes:
        settings: of `PaperCell.describe`.
        seconds: that it took, the training of its student with it.
        stages: that made the models: name, seconds, tries, code, digest; the last two may be None.
        again: methods, seconds and environment of each time that methods were measured anew.
    """

    kind: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    cell: str
    group: str
    seed: int
    seconds: float
    stages: list[dict[str, Any]]
    again: list[dict[str, Any]] = field(default_factory=list)

    def open_methods(self, cell: PaperCell) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Methods of the cell, with their frame counts, without a row here: they worked otherwise then."""
        there = {(row.method, row.frames) for row in self.rows}
        return tuple(
            (method, counts) for method, counts in cell.methods if not {(method, count) for count in counts} <= there
        )


def record_path(records: Path, cell: PaperCell, seed: int) -> Path:
    """Where the record of a cell lies."""
    return records / f"seed{seed}" / f"{cell.name}.json"


def new_cell(cell: PaperCell, seed: int, measured: Measured) -> CellRecord:
    """The record of a cell that has none yet."""
    return CellRecord(
        **vars(measured.answers),
        kind=cell.kind,
        environment=measured.environment,
        settings=cell.describe(),
        cell=cell.name,
        group=cell.group,
        seed=seed,
        seconds=round(measured.seconds, 1),
        stages=measured.stages,
    )


def write_cell(records: Path, cell: PaperCell, record: CellRecord) -> Path:
    """Writes a record whole or not at all; what it does not know is left out."""
    answers = [item.name for item in fields(Answers)]
    data = {name: value for name, value in asdict(record).items() if value not in (None, [])}
    data = {name: data[name] for name in sorted(data, key=answers.__contains__)}
    data["rows"] = [
        {name: value for name, value in row.items() if value is not None or name == "tokens"} for row in data["rows"]
    ]
    return write_json(record_path(records, cell, record.seed), data)


def read_cell(records: Path, cell: PaperCell, seed: int) -> CellRecord | None:
    """The record of a cell; None where there is none, or one of other settings.

    Raises:
        DataError: the file is no record of this cell; the message names file and field.
    """
    path = record_path(records, cell, seed)
    if not path.is_file():
        return None
    values = read_json(path)
    record = from_fields(CellRecord, values, str(path), _REMEDY)
    if record.settings != cell.describe():
        return None
    if wrong := _wrong_fields(record):
        raise DataError(f"{path}: {wrong}; {_REMEDY}")
    rows = [_row(row, f"{path}: rows[{index}]", len(record.videos)) for index, row in enumerate(values["rows"])]
    wanted = [(method, count) for method, counts in cell.methods for count in counts]
    found = [(row.arm, row.frames) for row in rows]
    if found != wanted:
        differ = [point for point in (*found, *wanted) if point not in wanted or point not in found]
        what = differ[0] if differ else "their order"
        raise DataError(f"{path}: field 'rows' is not the cell's methods and frames, see {what}; {_REMEDY}")
    return replace(record, rows=rows)


def _wrong_fields(record: CellRecord) -> str | None:
    kinds: dict[str, Any] = {"environment": dict, "seconds": (int, float), "stages": list, "videos": list, "rows": list}
    for name, kind in kinds.items():
        if not isinstance(getattr(record, name), kind):
            return f"field {name!r} is {type(getattr(record, name)).__name__}"
    if missing := [name for name in _ENVIRONMENT if name not in record.environment]:
        return f"field 'environment' has no {missing[0]!r}"
    if not record.videos:
        return "field 'videos' is empty"
    if any("name" not in stage for stage in record.stages):
        return "field 'stages' has a stage without 'name'"
    return None


def _row(values: Any, where: str, questions: int) -> AnswerRow:
    row = from_fields(AnswerRow, values, where, _REMEDY)
    tokens = row.tokens if isinstance(row.tokens, Mapping) else {}
    if lacking := [item.name for item in fields(TokenCounts) if item.name not in tokens]:
        raise DataError(f"{where}: field 'tokens' has no {lacking[0]!r}; {_REMEDY}")
    right = row.right if isinstance(row.right, list) else []
    if len(right) != questions or not set(map(repr, right)) <= {"0", "1"}:
        raise DataError(f"{where}: field 'right' is not a 0 or 1 for each of {questions} questions; {_REMEDY}")
    return replace(row, tokens=TokenCounts(**tokens))


def add_methods(record: CellRecord, cell: PaperCell, measured: Measured) -> CellRecord:
    """A record with the rows of its open methods measured anew, the other rows as they were.

    Args:
        record: of the cell, as it is.
        cell: what it is of.
        measured: the open methods, and one row that the record has, which shows that the models are the same; seconds
            and environment stand in ``again``, with the methods.

    Raises:
        DataError: world, stages or the answers of the row that both have are not those of the record.
    """
    answers = measured.answers
    if record.videos != answers.videos or record.manifest not in (None, answers.manifest):
        raise DataError(f"{cell.name}: its record is of another world than {_OTHER_RUN}")
    now = {stage["name"]: stage.get("digest") for stage in measured.stages}
    for stage in record.stages:
        if stage.get("digest") and now.get(stage["name"], stage["digest"]) != stage["digest"]:
            raise DataError(f"{cell.name}: stage {stage['name']} of its record is not that of {_OTHER_RUN}")
    known = {(row.method, row.frames): row for row in record.rows}
    for row in answers.rows:
        before = known.setdefault((row.arm, row.frames), row)
        if (gap := _changed(before.right, row.right)) > LARGEST_CHANGE:
            raise DataError(
                f"{cell.name}: {row.arm} at {row.frames} frames answers {gap:.1%} of the questions otherwise than in"
                f" its record, so the models are not those of {_OTHER_RUN}"
            )
    names = [method for method, _ in record.open_methods(cell)]
    again = {"arms": names, "seconds": round(measured.seconds, 1), "environment": measured.environment}
    rows = [known[method, count] for method, counts in cell.methods for count in counts]
    return replace(record, rows=rows, again=[*record.again, again])


def _changed(before_Q: Sequence[int], now_Q: Sequence[int]) -> float:
    """Share of the questions that were answered otherwise."""
    return sum(one != other for one, other in zip(before_Q, now_Q, strict=True)) / len(before_Q)
