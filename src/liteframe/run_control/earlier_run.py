"""What an earlier run left in a run folder: the checkpoint to go on from, and what a new run must not replace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn

from liteframe.data.loading.run_ledger import writes_nothing
from liteframe.errors import ConfigError
from liteframe.run_control.redaction import redacted
from liteframe.run_control.run_record import RunRecord, read_run_record, record_name
from liteframe.system.atomic import atomic_write_text
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.checkpoint_io import is_run_checkpoint
from liteframe.system.own_folder import is_own, require_place, require_replaceable

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints in its run folder, where its config names no other."""
_KEPT = ("last.ckpt", "previous.ckpt")
_HEADER = b"# lightning.pytorch=="
_LOCK = ".lock"
_NEW_FOLDER = "give another --trainer.default_root_dir"
_EVALUATION = "evaluation.json"


def config_name(verb: str) -> str:
    """File in the run folder that holds the config of a run: `config.yaml` of `fit`, `config-test.yaml` of `test`."""
    return "config.yaml" if verb == "fit" else f"config-{verb}.yaml"


def checkpoints_in(folder: Path, *named: Path, names: str = "*.ckpt") -> list[Path]:
    """Checkpoints of the run in a folder, without those of runs whose folders lie in it, and without files of others.

    Args:
        folder: the run folder; whatever lies in its `checkpoints` is the run's.
        named: other folders that its checkpoints go to.
        names: of the files.
    """
    own = folder / CHECKPOINTS
    found = _below(own, names)
    for place in named:
        if place.resolve() != own.resolve():
            # What a run goes on from is its own even where it is damaged, and no longer to be told by what it holds.
            found += [path for path in _below(place, names) if path.name in _KEPT or is_run_checkpoint(path)]
    return found


def _below(folder: Path, names: str) -> list[Path]:
    return [path for path in sorted(folder.rglob(names)) if path.is_file() and not _is_of_another(path, folder)]


def _is_of_another(path: Path, folder: Path) -> bool:
    between = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    return any((parent / _LOCK).exists() for parent in between)


def last_checkpoint(folder: Path, *named: Path) -> Path | None:
    """The newest `last.ckpt` of the run in a folder, see `checkpoints_in`; None where there is none."""
    found = checkpoints_in(folder, *named, names="last*.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def precision_before(folder: Path, verb: str) -> str | None:
    """The precision of the trainer that a run in a folder had by its config; None where no run has left one there."""
    path = folder / config_name(verb)
    if not path.is_file() or not path.read_bytes().startswith(_HEADER):
        return None
    config = parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
    precision = _value(config, "trainer", "precision")
    return None if precision is None else str(precision)


@dataclass(frozen=True)
class NewRun:
    """A run that is about to begin, and asks whether it may.

    Args:
        verb: fit, validate, test or predict.
        folder: the run folder.
        config: its parsed config, as plain values.
        checkpoint: file that it goes on from, if any.
        export: folder that its export goes to; None where it exports nothing.
        checkpoint_folders: where its checkpoints go.
        of_pipeline: whether a pipeline runs it in a folder that it has made room in.
    """

    verb: str
    folder: Path
    config: dict[str, Any]
    checkpoint: str | None = None
    export: Path | None = None
    checkpoint_folders: tuple[Path, ...] = ()
    of_pipeline: bool = False

    def require_room(self) -> None:
        """Looks at what is there already, and changes nothing.

        Raises:
            ConfigError: the run would replace what another run or somebody else has written; names it, and says what
                to do.
        """
        before = self._config_before()
        record = self.folder / record_name(self.verb)
        if record.exists():
            read_run_record(record)
        if self.verb == "fit":
            self._require_same_stage(before)
            self._require_no_results(before)
        if self.verb == "test":
            self._require_no_other_evaluation(before)

    @property
    def goes_on(self) -> bool:
        """Whether it goes on from a checkpoint of the run in this folder."""
        if self.checkpoint is None:
            return False
        path = Path(self.checkpoint).resolve()
        folders = [folder.resolve() for folder in (self.folder, *self.checkpoint_folders)]
        return any(path.is_relative_to(folder) and not _is_of_another(path, folder) for folder in folders)

    def _config_before(self) -> dict[str, Any] | None:
        path = self.folder / config_name(self.verb)
        if not path.exists():
            return None
        if not path.is_file() or not path.read_bytes().startswith(_HEADER):
            raise ConfigError(f"{path}: no run wrote it, and this one would write over it; {_NEW_FOLDER}")
        content = parse_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
        return content if isinstance(content, dict) else {}

    def _require_same_stage(self, before: dict[str, Any] | None) -> None:
        kinds = [_value(config, "model", "class_path") for config in (before, self.config)]
        if before is not None and kinds[0] != kinds[1]:
            raise ConfigError(f"{self.folder}: holds a run of {kinds[0]}, and this is one of {kinds[1]}; {_NEW_FOLDER}")

    def _require_no_results(self, before: dict[str, Any] | None) -> None:
        if not self.goes_on and not self.of_pipeline:
            for path, advice in self._results():
                raise ConfigError(
                    f"{path}: of an earlier run, and this one would replace it; {advice}, or {_NEW_FOLDER}"
                )
        for folder in self.checkpoint_folders:
            require_place(folder)
        if self.export is None:
            return
        self._require_apart(self.export)
        require_replaceable(self.export)
        outside = not self.export.resolve().is_relative_to(self.folder.resolve())
        places = [_value(config, "model", "init_args", "out") for config in (before, self.config)]
        if outside and is_own(self.export) and places[0] != places[1]:
            raise ConfigError(
                f"{self.export}: holds what another run exported, and this one would replace it; give another"
                " --model.out, or move it away"
            )

    def _results(self) -> Iterator[tuple[Path, str]]:
        """What an earlier run has left that this one would replace, and what to do."""
        for path in checkpoints_in(self.folder, *self.checkpoint_folders):
            yield path, "go on with that run by --ckpt_path last"
        if self.export is not None and is_own(self.export):
            yield self.export, "move it away"

    def _require_apart(self, export: Path) -> None:
        """Raises ConfigError where the export would take the place of the run folder or its checkpoints."""
        place = export.resolve()
        for folder in (self.folder, *self.checkpoint_folders):
            if folder.resolve().is_relative_to(place) or (
                folder != self.folder and place.is_relative_to(folder.resolve())
            ):
                raise ConfigError(
                    f"--model.out {export}: the export would take the place of {folder}; leave --model.out out, or give"
                    " a folder of its own"
                )

    def _require_no_other_evaluation(self, before: dict[str, Any] | None) -> None:
        path = self.folder / _EVALUATION
        if not path.exists() or self.of_pipeline:
            return
        change = (
            "no config of it is there" if before is None else first_difference(redacted(before), redacted(self.config))
        )
        if change is not None:
            raise ConfigError(
                f"{path}: of an earlier evaluation with other settings ({change}), and this one would replace it;"
                f" {_NEW_FOLDER}, or move it away"
            )


def first_difference(before: Any, now: Any, name: str = "", told: str = "{name} was {before}, is {now}") -> str | None:
    """The first setting in which two configs differ, in words; None if there is none."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return None if before == now else told.format(name=name, before=_shown(before), now=_shown(now))
    for key in {**before, **now}:
        change = first_difference(before.get(key), now.get(key), f"{name}.{key}" if name else str(key), told)
        if change is not None:
            return change
    return None


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _value(config: Any, *names: str) -> Any:
    for name in names:
        config = config.get(name) if isinstance(config, dict) else None
    return config


class RunConfig(SaveConfigCallback):
    """Writes config and record of a run into its run folder once all that the run goes on from has been taken in.

    The config of the same run before, where it was another, is kept as `config-1.yaml` and so on. Loggers that keep
    their own files elsewhere get the config, too, without credentials and what is said of loggers.

    Args:
        record: of the run.
        settings: as `SaveConfigCallback` has them.
    """

    def __init__(self, *settings: Any, record: RunRecord, **named: Any) -> None:
        super().__init__(*settings, **named)
        self._record = record

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing yet: a run that is refused leaves the folder as it was."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if writes_nothing(trainer):
            return
        text = self.parser.dump(self.config, skip_unset=False)
        config = parse_yaml(text, "the config")
        if trainer.is_global_zero:
            self._write_config(Path(trainer.default_root_dir) / self.config_filename, text)
            for logger in trainer.loggers:
                if not isinstance(logger, (CSVLogger, TensorBoardLogger)):  # these lie beside the config
                    logger.log_hyperparams(_for_loggers(config))
        self._record.begin(trainer, pl_module, config)

    def _write_config(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
                path.rename(_free_name(path))
            atomic_write_text(path, text)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror or error}); free some space, or {_NEW_FOLDER}"
            ) from error


def _for_loggers(config: dict[str, Any]) -> dict[str, Any]:
    trainer = {name: value for name, value in config["trainer"].items() if name != "logger"}
    return dict(redacted({**config, "trainer": trainer}))


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return name
