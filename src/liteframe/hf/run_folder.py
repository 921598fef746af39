"""What an export takes from the folder of a run: the exported parts, the host, and the records for the model card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.errors import ConfigError
from liteframe.models.adapted import host_of, is_adapted

_ENCODER = "config.json"


@dataclass
class RunFolder:
    """A run of LMA or CTD.

    Attributes:
        export: folder of the parts that the stage left.
        adapted: whether it is LMA's (encoder, adapter, projector) and not CTD's (the encoder alone).
        config: the run's `config.yaml`; empty where there is none.
        seconds: the stage took, in a pipeline; None if not recorded.
        rows: of the report that the run's pipeline wrote, those of this stage's arm.
    """

    export: Path
    adapted: bool
    config: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    rows: list[RowRecord] = field(default_factory=list)

    @classmethod
    def open(cls, given: Path) -> RunFolder:
        """The run folder, or `export` folder, at `given`.

        Raises:
            ConfigError: there is no export of LMA or CTD.
        """
        for export in (given, given / "export"):
            if is_adapted(export) or (export / _ENCODER).is_file():
                return cls._read(export)
        raise ConfigError(f"{given}: no export of LMA or CTD in it; give the run folder of a stage that has finished")

    @classmethod
    def _read(cls, export: Path) -> RunFolder:
        run, adapted = export.resolve().parent, is_adapted(export)
        config_file, done_file, report = run / "config.yaml", run / "done.json", run.parent / "report.json"
        config = yaml.safe_load(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
        arm = "liteframe-lma" if adapted else "liteframe-ctd"
        return cls(
            export=export,
            adapted=adapted,
            config=config or {},
            seconds=read_json(done_file).get("seconds") if done_file.is_file() else None,
            rows=[row for row in rows_of(read_json(report), str(report)) if row.arm == arm] if report.is_file() else [],
        )

    @property
    def encoder(self) -> Path:
        """Folder of the encoder."""
        return self.export / "encoder" if self.adapted else self.export

    def setting(self, part: str, name: str) -> Any:
        """What the run's config says of `init_args.name` of "model" or "data"; None if nothing."""
        return ((self.config.get(part) or {}).get("init_args") or {}).get(name)

    def host(self, given: str | None) -> str:
        """Folder or hub id of the host: `given`, else LMA's, else the teacher of CTD.

        Raises:
            ConfigError: none is known.
        """
        known = given or (host_of(self.export) if self.adapted else self._teacher())
        if known is None:
            raise ConfigError(f"{self.export}: an encoder alone; name the host that it goes into with --host")
        return str(known)

    def _teacher(self) -> str | None:
        """Folder or hub id of the InternVL that CTD's teacher was; None if not known."""
        teacher = self.setting("model", "teacher")
        if not isinstance(teacher, dict):
            return None if teacher is None else str(teacher)
        kind, source = str(teacher.get("class_path")).rpartition(".")[2], (teacher.get("init_args") or {}).get("source")
        if kind != "InternVL":
            raise ConfigError(
                f"{self.export}: distilled from {kind} {source}, which is no host; name the InternVL whose projector"
                " takes these features with --host, or export the encoder alone to a file that ends in .onnx"
            )
        return None if source is None else str(source)

    def most_frames(self) -> int | None:
        """Most frames of a video that the run trained on; None if not known."""
        shapes = self.setting("data", "shapes") or []
        counts = [shape["frames"] for shape in shapes] or [self.setting("data", "frames")]
        return max(counts) if None not in counts else None
