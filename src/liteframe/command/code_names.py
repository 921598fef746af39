"""Names of code in configs: who wrote the text decides what it may name.

The command line, and a config that the user wrote, may name any class (`class_path`) and function (`decoder`). The
config that lies in a run folder, and a recipe that does not ship with liteframe, may have been downloaded: they choose
from the classes listed here, unless `--allow-code` stands on the command line. `import_policy` holds the parser to it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liteframe.command.configs import find_config, shipped_configs
from liteframe.errors import ConfigError
from liteframe.system.bounded_text import MAX_YAML_BYTES, parse_yaml
from liteframe.system.user_path import in_home

ALLOW_CODE = "--allow-code"
KNOWN: dict[str, tuple[str, ...]] = {
    "liteframe": ("VideoDataModule",),  # its shortest name, by which a run's config keeps it
    "liteframe.stages.cache": ("CacheStage",),
    "liteframe.stages.ctd": ("CTDStage",),
    "liteframe.stages.evaluate": ("EvaluateStage",),
    "liteframe.stages.lma": ("LMAStage",),
    "liteframe.stages.pretrain": ("HostPretrainStage", "TimmPretrainStage", "VisionPretrainStage"),
    "liteframe.tiny.pretrain": ("HostPretrainStage", "TimmPretrainStage", "VisionPretrainStage"),
    "liteframe.data.datamodule": ("VideoDataModule",),
    "liteframe.data.sampling": (
        *("FpsCapped", "InnerPoints", "JitteredUniform", "KeyFrames", "Linspace", "LogUniformSpacing"),
        *("RandomSegment", "SegmentStarts", "UniformMidpoints"),
    ),
    "liteframe.models.teachers": (
        *("InternVL", "LlavaOnevision", "Qwen3VL", "QwenVL", "Siglip", "TimmViT", "VJEPA2", "VideoPrism"),
    ),
    "lightning.pytorch.accelerators": ("CPUAccelerator", "CUDAAccelerator", "MPSAccelerator"),
    "lightning.pytorch.callbacks": (
        *("DeviceStatsMonitor", "EMAWeightAveraging", "EarlyStopping", "GradientAccumulationScheduler"),
        "LearningRateMonitor",
        *("ModelCheckpoint", "ModelSummary", "RichModelSummary", "RichProgressBar", "ThroughputMonitor", "Timer"),
        "TQDMProgressBar",
    ),
    "lightning.pytorch.loggers": ("CSVLogger", "TensorBoardLogger"),
    "lightning.pytorch.plugins": (
        *("AsyncCheckpointIO", "DoublePrecision", "FSDPPrecision", "HalfPrecision", "MixedPrecision"),
        *("Precision", "TorchSyncBatchNorm"),
    ),
    "lightning.pytorch.profilers": (*("AdvancedProfiler", "PassThroughProfiler", "PyTorchProfiler", "SimpleProfiler"),),
    "lightning.pytorch.strategies": (
        *("DDPStrategy", "FSDPStrategy", "ModelParallelStrategy", "SingleDeviceStrategy"),
    ),
}
"""Package -> classes in it that every config may name."""

_HEADER = "# lightning.pytorch=="
_BESIDE = ("checkpoints", "export", "done.json")
_SUFFIXES = (".yaml", ".yml", ".json")
_FILES = re.compile(
    r".*\.(yaml|yml|jsonl?|csv|parquet|txt|md|log|mp4|webm|mkv|avi|mov|safetensors|ckpt|pt|onnx|np[yz])"
)
_DATA_SUFFIXES = frozenset(
    (".jsonl", ".csv", ".parquet", ".log", ".mp4", ".webm", ".mkv", ".avi", ".mov", ".safetensors", ".ckpt", ".pt")
)
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MOST_JSON_BYTES = 100_000
_foreign_words: ContextVar[bool] = ContextVar("foreign_words", default=False)


def is_known(name: str) -> bool:
    """Whether every config may name this class, by its own name or with its module."""
    package, dot, last = name.rpartition(".")
    return any(
        last in classes and (not dot or package == of or package.startswith(f"{of}.")) for of, classes in KNOWN.items()
    )


def is_of_a_run(path: Path) -> bool:
    """Whether a config lies in a run folder, or was written by Lightning."""
    places = {path.absolute().parent, path.resolve().parent}
    if any(os.path.exists(place / name) for place in places for name in _BESIDE):
        return True
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return any(line.startswith(_HEADER) for _, line in zip(range(20), file, strict=False))
    except OSError:
        return False


@contextmanager
def words_of_a_recipe(foreign: bool) -> Iterator[None]:
    """Inside, words of the command line are those of a recipe, which nobody vouches for if it is `foreign`."""
    token = _foreign_words.set(foreign)
    try:
        yield
    finally:
        _foreign_words.reset(token)


def split_flag(words: Sequence[str]) -> tuple[list[str], bool]:
    """The words without `--allow-code`, and whether it was there.

    Raises:
        ConfigError: a foreign recipe holds it, which is not its to give.
    """
    rest = [word for word in words if word not in (ALLOW_CODE, "--allow_code")]
    given = len(rest) < len(words)
    if given and _foreign_words.get():
        raise ConfigError(f"{ALLOW_CODE} stands in a recipe; it is for the command line alone")
    return rest, given


@dataclass
class Names:
    """What the words of a command line, and the files that they lead to, name.

    Attributes:
        trusted: names of code that the user wrote.
        foreign: whether any of it is of a run folder, of a foreign recipe, or from elsewhere.
        allow_code: whether all of it is trusted.
    """

    trusted: set[str] = field(default_factory=set)
    foreign: bool = False
    allow_code: bool = False
    _seen: set[tuple[Path, bool]] = field(default_factory=set)

    @classmethod
    def of(cls, words: Iterable[str], allow_code: bool = False) -> Names:
        """Reads the words of a command line.

        Raises:
            ConfigError: something foreign names code that is not known, by file and field.
        """
        trusted = allow_code or not _foreign_words.get()
        names = cls(foreign=not trusted, allow_code=allow_code)
        key = ""
        for word in words:
            option, equals, value = word.partition("=")
            if word.startswith("-"):
                key = option.strip("-+")
            if equals or not word.startswith("-"):
                text = value if word.startswith("-") else word
                names.read(text, key, "" if trusted else "its words", None, trusted)
                if key in ("config", "c") and os.path.isfile(text):
                    names._read_file(Path(text), trusted, is_config=True)
        return names

    def read(self, value: Any, key: str, where: str, folder: Path | None, trusted: bool) -> None:
        """Takes note of a value; where it is foreign, refuses what it must not name.

        Args:
            value: of YAML.
            key: dotted names of the fields that lead to it.
            where: the file that it stands in.
            folder: of that file.
            trusted: whether the user wrote it.
        """
        if isinstance(value, dict):
            for name, inner in value.items():
                self.read(inner, f"{key}.{name}" if key else str(name), where, folder, trusted)
        elif isinstance(value, list):
            for inner in value:
                self.read(inner, key, where, folder, trusted)
        elif isinstance(value, str):
            self._read_text(value, key, where, folder, trusted)

    def files(self) -> str:
        """The configs that were read, for messages."""
        return ", ".join(sorted({str(path) for path, _ in self._seen}))

    def _read_text(self, text: str, key: str, where: str, folder: Path | None, trusted: bool) -> None:
        if trusted and (_DOTTED.fullmatch(text) or _FUNCTION.fullmatch(text)):
            self.trusted.add(text)
        elif not trusted:
            require_known(text, key, where)
        if "://" in text:
            self.foreign = self.foreign or text.endswith(_SUFFIXES) or not key
        elif text[:1] in ("{", "[") or "\n" in text or ": " in text:
            inner = _yaml_or_none(text)
            if not isinstance(inner, str):
                self.read(inner, key, where, folder, trusted)
        elif len(text) < 4096 and "\0" not in text:
            name = in_home(text)  # as the parser does before it reads a file
            for path in {Path(name), *([folder / name] if folder else [])}:
                if os.path.isfile(path):
                    self._read_file(path, trusted)

    def _read_file(self, path: Path, trusted: bool, is_config: bool = False) -> None:
        """Reads a file that the parser would read: whatever it is called, if it is given as a config."""
        shipped = path.resolve().is_relative_to(shipped_configs().resolve())
        trusted = shipped or self.allow_code or (trusted and not is_of_a_run(path))
        is_config = is_config or path.suffix.lower() not in _DATA_SUFFIXES
        if not is_config or (path.resolve(), trusted) in self._seen:
            return
        self._seen.add((path.resolve(), trusted))
        self.foreign = self.foreign or not trusted
        if path.stat().st_size > (_MOST_JSON_BYTES if path.suffix == ".json" else MAX_YAML_BYTES):
            return  # a list of data; were it none, the parser is held to the same names
        content = _yaml_or_none(path.read_text(encoding="utf-8", errors="replace"))
        self.read(content, "", str(path), path.parent, trusted)


def require_known(text: str, key: str, where: str) -> None:
    """Refuses a text that names code which is not known.

    Raises:
        ConfigError: it does.
    """
    last = key.rpartition(".")[2]
    importable = _DOTTED.fullmatch(text) and not _FILES.fullmatch(text) and _has_module(text.partition(".")[0])
    function = _FUNCTION.fullmatch(text) and _has_module(re.split(r"[.:]", text)[0])
    wrong = function or (importable and not is_known(text)) or text.rpartition(".")[2] == "LambdaCallback"
    wrong = wrong or (last == "class_path" and not is_known(text)) or (last == "decoder" and not text.isidentifier())
    if wrong:
        field_name = f"{key} " if key else ""
        raise ConfigError(
            f"{where or 'the command'}: {field_name}names {text!r}, code that a run folder or recipe may not choose; if"
            f" you trust whoever wrote it, give {ALLOW_CODE} on the command line"
        )


def _has_module(name: str) -> bool:
    """Whether there is a module of that name; it is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _yaml_or_none(text: str) -> Any:
    try:
        return parse_yaml(text, "")
    except ConfigError:
        return None  # whoever reads it as a config says what is wrong there


def require_known_recipe(path: Path, stage: str, configs: Iterable[str], words: Iterable[str]) -> None:
    """Refuses a stage of a foreign recipe that names code which is not known, or trusts itself.

    Raises:
        ConfigError: it does; the message names recipe, stage and what.
    """
    with words_of_a_recipe(foreign=True):
        names = Names(foreign=True)
        try:
            for word in words:
                if word.startswith("--allow"):
                    raise ConfigError(f"{word} is for the command line alone")
            names = Names.of(words)
            for config in configs:
                names.read(str(find_config(config)) if "://" not in config else config, "", "", None, trusted=False)
        except ConfigError as error:
            raise ConfigError(f"{path}: stage {stage}: {error}") from error
