"""The record that a stage leaves in what it exports: how it was trained, and on which frames.

It is all that an export says of its training. Configs that lie beside it may be of another run.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import liteframe
from liteframe.data.sampling import FrameSampler, is_known, sampler_from
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import model_file, read_json_file
from liteframe.system.atomic import atomic_write_json
from liteframe.system.own_folder import is_foreign

RECORD = "trained.json"
_MODEL = (
    *("seed", "optimizer", "lora", "train_llm", "train_encoder", "train_projector", "llm_lr", "encoder_lr"),
    *(
        "projector_lr",
        "questions_per_video",
        "mean_over",
        "target",
        "target_dtype",
        "standardise",
        "clip_sigma",
        "clip",
        "terms",
        "timm_weights",
        "layer_decay",
        "pooled_too",
    ),
    *("longest_video", "max_length", "truncate", "teacher_class"),
)
_DATA = ("samples", "shapes", "seed", "store", "differs")
_INNER = (
    *("name", "lr", "weight_decay", "betas", "warmup_fraction", "final_lr_fraction", "rank", "alpha", "targets"),
    *("compressor", "block", "similarity", "scale", "saliency", "frames", "batch_size", "weight", "sampler", "by"),
    *("direction", "relation"),
)
"""Known fields, alone and within others: nothing else is written, read or shown."""
_WORD = re.compile(r"[\w.+-]{1,64}")
_MOST_SIDE, _MOST_CLIP_FRAMES, _MOST_FRAMES, _MOST_ITEMS = 65_536, 1024, 1_000_000, 256


@dataclass(frozen=True)
class TeacherName:
    """Which teacher CTD read on the fly.

    Attributes:
        kind: class of its source, such as "InternVL".
        source: hub id, or folder as seen from the export.
        is_folder: which of the two.
    """

    kind: str
    source: str
    is_folder: bool

    @classmethod
    def seen_from(cls, folder: Path, kind: str, source: str) -> TeacherName:
        """The teacher at `source`, named for an export in `folder`."""
        is_folder = os.path.isdir(source)
        place = os.path.relpath(Path(source).resolve(), folder.resolve()) if is_folder else source
        return cls(kind, place, is_folder)


@dataclass(frozen=True)
class TrainingRecord:
    """How the model in an export was trained.

    Attributes:
        stage: class of the stage.
        steps: optimizer steps that it did.
        precision: of the trainer.
        frames: that it was trained on.
        teacher: of CTD, where it was read on the fly and its name says nothing of the machine.
        model, data: settings, known fields alone.
    """

    stage: str
    steps: int
    precision: str
    frames: FrameSpec = field(default_factory=FrameSpec)
    teacher: TeacherName | None = None
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `trained.json` into an export."""
        frames, teacher = self.frames, self.teacher
        sampler = frames.sampler if frames.sampler is not None and is_known(frames.sampler) else None
        atomic_write_json(
            folder / RECORD,
            {
                "written_by": "liteframe",
                "version": liteframe.__version__,
                "stage": self.stage,
                "steps": self.steps,
                "precision": self.precision,
                "image_size": None if frames.image_size is None else list(frames.image_size),
                "clip_frames": _at_most(frames.clip_frames, _MOST_CLIP_FRAMES),
                "most_frames": _at_most(frames.most_frames, _MOST_FRAMES),
                "sampler": None if sampler is None else sampler.describe(),
                "teacher": None if teacher is None or os.path.isabs(teacher.source) else vars(teacher),
                "model": known_fields(self.model, _MODEL),
                "data": known_fields(self.data, _DATA),
            },
        )

    def for_others(self) -> TrainingRecord:
        """Without what is named as seen from the run's own folders."""
        return replace(self, teacher=None)

    @classmethod
    def read(cls, folder: Path) -> TrainingRecord | None:
        """The record in an export; None where there is none, or one that liteframe did not write.

        Raises:
            ConfigError: a field that is of another kind or size.
        """
        path = model_file(folder, RECORD)
        if path is None or is_foreign(folder, RECORD):
            return None
        fields = read_json_file(path)
        return _Reader(path, fields).record() if fields.get("written_by") == "liteframe" else None


def _at_most(value: int | None, most: int) -> int | None:
    """The value, if it is one that can be read back."""
    return value if value is not None and value <= most else None


def known_fields(settings: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the settings that have these names and plain values: numbers, single words, lists and dicts of them."""
    if not isinstance(settings, dict):
        return {}
    return {name: settings[name] for name in names if name in settings and _is_plain(settings[name])}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(name in _INNER and _is_plain(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return len(value) <= _MOST_ITEMS and all(map(_is_plain, value))
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class _Reader:
    """Fields of a file that may have come from anywhere."""

    path: Path
    fields: dict[str, Any]

    def record(self) -> TrainingRecord:
        return TrainingRecord(
            self._word("stage"),
            self._steps(),
            self._word("precision"),
            FrameSpec(
                self._image_size(),
                self._whole("clip_frames", 1, _MOST_CLIP_FRAMES),
                self._sampler(),
                self._whole("most_frames", 1, _MOST_FRAMES),
            ),
            self._teacher(),
            known_fields(self.fields.get("model"), _MODEL),
            known_fields(self.fields.get("data"), _DATA),
        )

    def _fault(self, name: str, wanted: str) -> ConfigError:
        shown = str(self.fields.get(name))[:60]
        return ConfigError(f"{self.path}: `{name}` is {shown}; it must be {wanted}: copy or export the folder again")

    def _word(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            raise self._fault(name, "a word")
        return value

    def _whole(self, name: str, least: int, most: int) -> int | None:
        value = self.fields.get(name)
        if value is not None and not _is_whole(value, least, most):
            raise self._fault(name, f"a whole number from {least} to {most:,}")
        return value

    def _steps(self) -> int:
        steps = self._whole("steps", 0, 1 << 53)
        if steps is None:
            raise self._fault("steps", "a whole number")
        return steps

    def _image_size(self) -> tuple[int, int] | None:
        size = self.fields.get("image_size")
        if size is None:
            return None
        if not isinstance(size, list) or len(size) != 2 or not all(_is_whole(side, 1, _MOST_SIDE) for side in size):
            raise self._fault("image_size", "height and width in pixels")
        return size[0], size[1]

    def _sampler(self) -> FrameSampler | None:
        described = self.fields.get("sampler")
        return None if described is None else sampler_from(described, f"{self.path}: `sampler`", ConfigError)

    def _teacher(self) -> TeacherName | None:
        given = self.fields.get("teacher")
        if given is None:
            return None
        kinds = {"kind": str, "source": str, "is_folder": bool}
        if not isinstance(given, dict) or given.keys() != kinds.keys():
            raise self._fault("teacher", "null, or a kind, a source and is_folder")
        if not all(isinstance(given[name], kind) for name, kind in kinds.items()) or not _WORD.fullmatch(given["kind"]):
            raise self._fault("teacher", "null, or a kind, a source and is_folder")
        if not given["source"] or "\0" in given["source"] or os.path.isabs(given["source"]):
            raise self._fault("teacher", "a hub id, or a folder as seen from here")
        return TeacherName(**given)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
