"""What an export takes from the folder of a run: the exported parts, the host, and the records for the model card."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liteframe.bench.records import RowRecord, read_json, rows_of
from liteframe.bounded_text import parse_yaml
from liteframe.errors import ConfigError, DataError
from liteframe.models.adapted import host_of, is_adapted

_ENCODER = "config.json"
_PARTS = ("model", "data", "trainer")
_MOST_FRAMES = 1_000_000


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
            ConfigError: there is no export of LMA or CTD, or the run's `config.yaml` is none.
            DataError: another file of the run is damaged.
        """
        for export in (given, given / "export"):
            if is_adapted(export) or os.path.isfile(export / _ENCODER):
                return cls._read(export)
        raise ConfigError(f"{given}: no export of LMA or CTD in it; give the run folder of a stage that has finished")

    @classmethod
    def _read(cls, export: Path) -> RunFolder:
        run, adapted = export.resolve().parent, is_adapted(export)
        config_file, done_file, report = run / "config.yaml", run / "done.json", run.parent / "report.json"
        arm = "liteframe-lma" if adapted else "liteframe-ctd"
        return cls(
            export=export,
            adapted=adapted,
            config=_read_config(config_file) if config_file.is_file() else {},
            seconds=_seconds(done_file) if done_file.is_file() else None,
            rows=[row for row in rows_of(read_json(report), str(report)) if row.arm == arm] if report.is_file() else [],
        )

    @property
    def encoder(self) -> Path:
        """Folder of the encoder."""
        return self.export / "encoder" if self.adapted else self.export

    def setting(self, part: str, name: str) -> Any:
        """What the run's config says of `init_args.name` of "model" or "data"; None if nothing."""
        arguments = (self.config.get(part) or {}).get("init_args") or {}
        return arguments.get(name) if isinstance(arguments, dict) else None

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
        arguments = teacher.get("init_args")
        source = arguments.get("source") if isinstance(arguments, dict) else None
        kind = str(teacher.get("class_path")).rpartition(".")[2]
        if kind != "InternVL":
            raise ConfigError(
                f"{self.export}: distilled from {kind} {source}, which is no host; name the InternVL whose projector"
                " takes these features with --host, or export the encoder alone to a file that ends in .onnx"
            )
        return None if source is None else str(source)

    def most_frames(self) -> int | None:
        """Most frames of a video that the run trained on; None if not known.

        Raises:
            ConfigError: the run's config has no numbers there.
        """
        shapes = self.setting("data", "shapes") or []
        shapes = shapes if isinstance(shapes, list) else [shapes]
        counts = [shape.get("frames") if isinstance(shape, dict) else shape for shape in shapes]
        counts = counts or [self.setting("data", "frames")]
        if None in counts:
            return None
        return max(self._whole("frames", count, _MOST_FRAMES) for count in counts)

    def image_size(self) -> tuple[int, int] | None:
        """Height and width in pixels of the run's frames; None if not known.

        Raises:
            ConfigError: the run's config has no numbers there.
        """
        size = self.setting("data", "image_size")
        if size is None:
            return None
        sides = size if isinstance(size, list) else [size, size]
        if len(sides) != 2:
            raise ConfigError(f"{self.export.resolve().parent}: image_size in config.yaml is {str(size)[:60]}")
        height, width = (self._whole("image_size", side, 4096) for side in sides)
        return height, width

    def _whole(self, name: str, value: Any, most: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            folder = self.export.resolve().parent
            raise ConfigError(
                f"{folder / 'config.yaml'}: {name} of data is {str(value)[:60]}; it must be a number from 1 to {most:,}"
            )
        return value


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable ({error}); copy the run folder again") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, not the config of a run")
    for part in _PARTS:
        if not isinstance((content or {}).get(part), dict | None):
            raise ConfigError(f"{path}: `{part}` is no mapping, so this is not the config of a run")
    return content or {}


def _seconds(path: Path) -> float | None:
    seconds = read_json(path).get("seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise DataError(f"{path}: `seconds` is {str(seconds)[:60]}, which is no number")
    return seconds
