"""What an export takes from the folder of a run: the exported parts, their record, and what else is of this export."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liteframe.bench.records import RowRecord, rows_of
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError, DataError
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.teachers import TeacherSource
from liteframe.models.video_llm.adapted import base_vlm_of, frames_of, is_adapted
from liteframe.models.video_llm.hosts import HOSTS
from liteframe.system.json_files import read_json
from liteframe.system.own_folder import listing_sha256

_ENCODER = "config.json"
_TEACHERS = [host.teacher for host in HOSTS.values()]
_BASE_VLMS = [kind.__name__ for kind in TeacherSource.__subclasses__() if getattr(kind, "teacher", None) in _TEACHERS]
"""Teachers that are the encoders of base VLMs."""


@dataclass
class RunFolder:
    """An export of LMA or CTD, and what the run around it says of this very export.

    Attributes:
        export: folder of the parts that the stage left.
        adapted: whether it is LMA's (encoder, adapter, projector) and not CTD's (the encoder alone).
        record: that the stage left in it; None in exports of before there were any.
        seconds: the stage took, in a pipeline; None if not recorded of this export.
        rows: of the report that the run's pipeline wrote about this export.
    """

    export: Path
    adapted: bool
    record: TrainingRecord | None = None
    seconds: float | None = None
    rows: list[RowRecord] = field(default_factory=list)

    @classmethod
    def open(cls, given: Path) -> RunFolder:
        """The run folder, or `export` folder, at `given`.

        Raises:
            ConfigError: there is no export of LMA or CTD, or its record is damaged.
            DataError: another file of the run is damaged.
        """
        for export in (given, given / "export"):
            if is_adapted(export) or os.path.isfile(export / _ENCODER):
                return cls._read(export)
        raise ConfigError(f"{given}: no export of LMA or CTD in it; give the run folder of a stage that has finished")

    @classmethod
    def _read(cls, export: Path) -> RunFolder:
        run, adapted, listing = export.resolve().parent, is_adapted(export), listing_sha256(export)
        found = cls(export, adapted, TrainingRecord.read(export))
        done, report = run / "done.json", run.parent / "report.json"
        if listing is not None and done.is_file():
            found.seconds = _seconds(done, listing)
        if listing is not None and report.is_file():
            found.rows = _rows(report, "liteframe-lma" if adapted else "liteframe-ctd", listing)
        return found

    @property
    def encoder(self) -> Path:
        """Folder of the encoder."""
        return self.export / "encoder" if self.adapted else self.export

    @property
    def frames(self) -> FrameSpec:
        """The frames that it was trained on, as far as that is known."""
        return frames_of(self.export)

    def host(self, given: str | None) -> str:
        """Folder or hub id of the base VLM: `given`, else LMA's, else the teacher of CTD.

        Raises:
            ConfigError: none is known.
        """
        known = given or (base_vlm_of(self.export) if self.adapted else self._teacher())
        if known is None:
            raise ConfigError(f"{self.export}: an encoder alone; name the base VLM that it goes into with --host")
        return str(known)

    def _teacher(self) -> str | None:
        """Folder or hub id of the base VLM that CTD's teacher was of; None if not known."""
        teacher = None if self.record is None else self.record.teacher
        if teacher is None:
            return None
        if teacher.kind not in _BASE_VLMS:
            raise ConfigError(
                f"{self.export}: distilled from {teacher.kind} {teacher.source}, no base VLM; name the one"
                " whose projector takes these features with --host, or export the encoder alone to a file that ends"
                " in .onnx"
            )
        return str((self.export / teacher.source).resolve()) if teacher.is_folder else teacher.source


def _seconds(path: Path, listing: str) -> float | None:
    """What the record of a pipeline says that the stage took, if it is of the export with that listing."""
    record = read_json(path)
    seconds = record.get("seconds")
    if record.get("export_sha256") != listing:
        return None
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise DataError(f"{path}: `seconds` is {str(seconds)[:60]}, which is no number")
    return seconds


def _rows(path: Path, method: str, listing: str) -> list[RowRecord]:
    """Rows of a report about a method, if it was measured on the export with that listing."""
    report = read_json(path)
    settings: Any = report.get("settings")
    exports = settings.get("exports") if isinstance(settings, dict) else None
    if not isinstance(exports, dict) or exports.get(method) != listing:
        return []
    return [row for row in rows_of(report, str(path)) if row.arm == method]
