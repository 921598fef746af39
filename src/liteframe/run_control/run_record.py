"""`run.json`: what a run was made of, enough to repeat it, and how it ended."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from liteframe.bench.environment import environment
from liteframe.errors import ConfigError, LiteFrameError, as_one_line
from liteframe.run_control.redaction import redacted, redacted_words
from liteframe.run_control.run_inputs import facts_of, inputs_of, texts_of
from liteframe.run_control.stop_signals import Stopped
from liteframe.stages.distributed import gather_objects
from liteframe.stages.stage import Stage
from liteframe.system.atomic import atomic_write_json
from liteframe.system.bounded_text import parse_json

FORMAT = 1
_OF_A_TRY = ("status", "started", "seconds", "steps", "words", "from_checkpoint", "error")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")
"""Of the environment, those that change results."""


def record_name(verb: str) -> str:
    """File in the run folder that says what a run was made of: `run.json` of `fit`, `run-test.json` of `test`."""
    return "run.json" if verb == "fit" else f"run-{verb}.json"


def outputs_of(stage: LightningModule) -> list[str]:
    """Dotted names of the settings that name what a stage writes."""
    return ["model.init_args." + name for name in getattr(type(stage), "outputs", ())]


def read_run_record(path: Path) -> dict[str, Any]:
    """The record in a file.

    Raises:
        ConfigError: it is none, or of a later version.
    """
    record = parse_json(path.read_bytes(), str(path))
    if not isinstance(record, dict) or record.get("written_by") != "liteframe" or "run_format" not in record:
        raise ConfigError(f"{path}: no run of liteframe wrote it; give the folder of a run, or its run.json")
    if record["run_format"] != FORMAT:
        raise ConfigError(
            f"{path}: of format {record['run_format']}, and this version reads {FORMAT}; upgrade liteframe"
        )
    kinds = {"verb": str, "folder": str, "run_folder": str, "seed": int, "goes_on": bool}
    kinds |= {"config": dict, "inputs": dict, "outputs": list, "environment": dict, "words": list, "earlier": list}
    for name, kind in kinds.items():
        if not isinstance(record.get(name), kind):
            raise ConfigError(f"{path}: `{name}` is missing or no {kind.__name__}; copy the file again")
    return record


class RunRecord:
    """Writes the record of a run when it begins, and again when it ends; on rank 0 alone, and without credentials.

    Args:
        verb: fit, validate, test or predict.
        words: of the command line, behind the verb.

    Attributes:
        checkpoint: file that the run begins from, to be set before it does.
        goes_on: whether that is one of its own, from which it was broken off.
    """

    def __init__(self, verb: str, words: Sequence[str]) -> None:
        self._verb, self._words = verb, redacted_words(words)
        self.checkpoint: str | None = None
        self.goes_on = False
        self._record: dict[str, Any] | None = None
        self._path = Path()
        self._began = 0.0
        self._results: dict[str, tuple[Path, str]] = {}

    def begin(self, trainer: Trainer, stage: LightningModule, config: dict[str, Any]) -> None:
        """Writes it with the status "running"; every rank has to call it.

        Args:
            trainer: of the run.
            stage: that runs.
            config: all settings, as plain values.

        Raises:
            ConfigError: somebody else's file has its name, or it cannot be written.
        """
        ranks = gather_objects(_this_rank(trainer))
        if not trainer.is_global_zero:
            return
        self._path = Path(trainer.default_root_dir) / record_name(self._verb)
        earlier = _earlier_tries(self._path)
        self._began = time.monotonic()
        places = _places(self._verb, stage, Path(trainer.default_root_dir), config)
        self._results = {name: (place, names) for name, place, names in places}
        outputs, told = outputs_of(stage), redacted(config)
        self._record = {
            "written_by": "liteframe",
            "run_format": FORMAT,
            "verb": self._verb,
            "status": "running",
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": None,
            "steps": None,
            "skipped": None,
            "results": {},
            "error": None,
            "words": self._words,
            "folder": os.getcwd(),
            "run_folder": os.path.abspath(trainer.default_root_dir),
            "from_checkpoint": self.checkpoint,
            "goes_on": self.goes_on,
            "seed": int(os.environ.get("PL_GLOBAL_SEED", 0)),
            "ranks": ranks,
            "environment": {
                **environment(str(trainer.strategy.root_device), str(trainer.precision)),
                "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
            },
            "inputs": dict(inputs_of({**told, "ckpt_path": None if self.goes_on else self.checkpoint}, outputs)),
            "outputs": outputs,
            "config": told,
            "earlier": earlier,
        }
        self._write()

    def end(self, trainer: Trainer, error: BaseException | None) -> None:
        """Writes how the run ended, where it had begun.

        Args:
            trainer: of the run.
            error: that it ended by; None where it finished.
        """
        if self._record is None:
            return
        status = "finished" if error is None else "interrupted" if _is_stop(error) else "failed"
        ledger = getattr(getattr(trainer, "datamodule", None), "ledger", None)
        told = as_one_line(str(error)) if isinstance(error, LiteFrameError) else f"{type(error).__name__}: {error}"
        self._record |= {
            "status": status,
            "seconds": round(time.monotonic() - self._began, 3),
            "steps": trainer.global_step if trainer.state.fn == TrainerFn.FITTING else None,
            "skipped": None if ledger is None else ledger.count(),
            "results": {} if error is not None else self._facts_of_results(),
            "error": redacted(as_one_line(told)) if status == "failed" else None,
        }
        self._write()

    def _facts_of_results(self) -> dict[str, Any]:
        facts = {name: facts_of(str(place), names) for name, (place, names) in self._results.items()}
        return {name: told for name, told in facts.items() if told is not None}

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(self._path, self._record)
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be written ({error.strerror or error}); free some space, or give another"
                " --trainer.default_root_dir"
            ) from error


def _places(
    verb: str, stage: LightningModule, folder: Path, config: Mapping[str, Any]
) -> Iterator[tuple[str, Path, str]]:
    """What a run is to make, by names, and the pattern of its files: the same of two runs that are the same."""
    if verb == "fit" and isinstance(stage, Stage):
        yield "export", stage.export_folder(folder), "*"
    elif verb == "predict":
        texts, shard = dict(texts_of(config)), getattr(stage, "list_shard", None)
        for name in getattr(type(stage), "outputs", ()):
            # Beside the files of a shard lie those of others, of whichever jobs have come so far.
            yield name, Path(texts[f"model.init_args.{name}"]), "*" if shard is None else f"{shard.tag}*"
    elif verb == "test":
        yield "evaluation.json", folder / "evaluation.json", "*"


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, (Stopped, KeyboardInterrupt))


def _this_rank(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"host": socket.gethostname(), "device": name, "threads": torch.get_num_threads()}


def _earlier_tries(path: Path) -> list[dict[str, Any]]:
    """What earlier runs of the verb in this folder came to, oldest first; their configs lie beside it."""
    if not path.exists():
        return []
    before = read_run_record(path)
    before |= {"words": redacted_words(before["words"]), "error": redacted(before.get("error"))}  # of older versions
    commit = before["environment"].get("commit")
    return [*before["earlier"], {**{name: before.get(name) for name in _OF_A_TRY}, "commit": commit}]


def version_differences(record: Mapping[str, Any]) -> Iterator[str]:
    """In words, what of code, machine and processes is not what it was."""
    before, now = record["environment"], environment()
    versions = before.get("packages", {})
    for name, version in now["packages"].items():
        if versions.get(name) != version:
            yield f"{name} was {versions.get(name)}, is {version}"
    for name in ("python", "platform", "commit", "cpu", "cpu_count"):
        if before.get(name) != now[name]:
            yield f"{name} was {before.get(name)}, is {now[name]}"
    if before.get("dirty"):
        yield "its checkout had changes that were not committed"
