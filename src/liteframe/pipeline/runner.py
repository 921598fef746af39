"""Runs the stages of a recipe: skips what is done, goes on where it was broken off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from liteframe.command.cli import CHILD_ARGS, STAGE_VERBS
from liteframe.command.code_names import ALLOW_CODE, words_of_a_recipe
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.pipeline.isolation import isolated
from liteframe.pipeline.recipe import SET_ASIDE, Recipe, StageSpec
from liteframe.pipeline.records import (
    Fingerprint,
    StageClock,
    code_digest,
    done_path,
    fingerprint,
    progress_path,
    read_record,
)
from liteframe.system.atomic import atomic_write_json
from liteframe.system.own_folder import listing_sha256
from liteframe.system.run_lock import RunLock
from liteframe.system.stage_records import read_stage_records

_REPORTS = ("report.md", "report.json", "pareto.png")

RunVerb = Callable[[Sequence[str]], int]


class PipelineRunner:
    """Runs a recipe in one run folder.

    Args:
        recipe: what to run.
        run: the run folder; made if absent.
        seed: fills ``{seed}`` and seeds every stage.
        run_verb: runs one command line in this process and returns its exit code.
    """

    def __init__(self, recipe: Recipe, run: Path, seed: int, run_verb: RunVerb) -> None:
        self.recipe, self.run, self.seed, self._run_verb = recipe, run, seed, run_verb
        self._digests: dict[str, str] = {}

    def execute(self, only: Sequence[str] | None = None) -> None:
        """Runs all stages, or those named in ``only``; what these need must be done.

        Raises:
            ConfigError: for an unknown stage, a run folder in use, or a stage that another one needs first.
            LiteFrameError: what a stage raises, or if it does not make what the recipe says.
        """
        names = [stage.name for stage in self.recipe.stages]
        if unknown := [name for name in only or () if name not in names]:
            raise ConfigError(f"--only {unknown[0]}: no such stage; recipe {self.recipe.name} has {', '.join(names)}")
        for stage in self.recipe.stages:
            stage.output_paths(self.run, self.seed)  # refused before anything is done, not after
        with RunLock(self.run):
            _say(f"recipe {self.recipe.name}, seed {self.seed}, in {self.run} (budget {_time(self.recipe.budget_s)})")
            for position, stage in enumerate(self.recipe.stages):
                wanted = fingerprint(stage, self.seed, dict(self._digests))
                self._digests[stage.name] = wanted.digest
                reason = self._why_not_done(stage, wanted)
                if only and stage.name not in only:
                    needed = [name for name in only if names.index(name) > position]
                    if reason and needed:
                        raise ConfigError(f"--only {needed[0]}: stage {stage.name} must run first: {reason}")
                elif reason is None:
                    record = read_record(done_path(self.run, stage.name)) or {}
                    by = (
                        ""
                        if record.get("code") == code_digest()
                        else f" by other code (move {self.run / stage.name} away to run it anew)"
                    )
                    _say(f"{stage.name}: done before ({_time(record['seconds'])}){by}, skipped")
                else:
                    self._run_stage(position, stage, wanted, reason)
            self._summarise()

    def _why_not_done(self, stage: StageSpec, wanted: Fingerprint) -> str | None:
        record = read_record(done_path(self.run, stage.name))
        if record is None:
            return "it has not run yet"
        if reason := wanted.difference(record["fingerprint"]):
            return reason
        missing = [path for path in stage.output_paths(self.run, self.seed) if not path.exists()]
        return f"{missing[0]} is missing" if missing else None

    def _run_stage(self, position: int, stage: StageSpec, wanted: Fingerprint, reason: str) -> None:
        earlier = self._make_room(stage, wanted, reason)
        folder = self.run / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        budget = f", budget {_time(stage.budget_s)}" if stage.budget_s else ""
        gone = f"; goes on after {_time(earlier['seconds'])} of earlier work" if earlier else ""
        _say(f"{stage.name} ({position + 1}/{len(self.recipe.stages)}): {stage.about or stage.verb}{budget}{gone}")
        record = {
            "name": stage.name,
            "verb": stage.verb,
            "about": stage.about,
            "position": position,
            "budget_s": stage.budget_s,
            "tries": int(earlier["tries"]) + 1 if earlier else 1,
            "seconds": float(earlier["seconds"]) if earlier else 0.0,
            "seed": self.seed,
            "digest": wanted.digest,
            "code": code_digest(),
            "fingerprint": asdict(wanted),
        }
        progress = progress_path(self.run, stage.name)
        command = self._command(stage)
        from_recipe, variables = words_of_a_recipe(self.recipe.foreign), {CHILD_ARGS: json.dumps(command)}
        with from_recipe, isolated(self.seed, variables), StageClock(progress, record) as clock:
            code = self._run_verb(command)
        if code:
            raise LiteFrameError(f"stage {stage.name} ended with code {code}; run the same command again to go on")
        for path in stage.output_paths(self.run, self.seed):
            if not path.exists():
                raise LiteFrameError(f"stage {stage.name} ended without making {path}, which the recipe promises")
        seconds = round(clock.seconds, 3)
        export = listing_sha256(folder / "export")
        proof = {} if export is None else {"export_sha256": export}
        atomic_write_json(done_path(self.run, stage.name), {**record, "seconds": seconds, **proof})
        progress.unlink()
        _say(f"{stage.name}: done in {_time(seconds)}")
        if stage.budget_s and seconds > stage.budget_s:
            _say(f"{stage.name}: WARNING: {_time(seconds - stage.budget_s)} over its budget of {_time(stage.budget_s)}")

    def _make_room(self, stage: StageSpec, wanted: Fingerprint, reason: str) -> dict[str, Any] | None:
        """Sets aside what an outdated run of the stage left; the record of one to go on with, or None to start anew.

        Raises:
            ConfigError: the stage's folder holds something that no pipeline wrote.
        """
        folder = self.run / stage.name
        done = read_record(done_path(self.run, stage.name))
        progress = read_record(progress_path(self.run, stage.name))
        if done is not None:
            _say(f"{stage.name}: runs again, because {reason}; what it made before is kept as {_set_aside(folder)}")
            return None
        if progress is not None and (change := wanted.difference(progress["fingerprint"])):
            _say(
                f"{stage.name}: starts anew, because {change} since it was broken off; what it made before is kept as"
                f" {_set_aside(folder)}"
            )
            return None
        if progress is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: holds something that no pipeline wrote; move it away, or give another --run")
        return progress

    def _command(self, stage: StageSpec) -> list[str]:
        words = [stage.verb]
        if self.recipe.allow_code and stage.verb in (*STAGE_VERBS, "pipeline"):
            words.append(ALLOW_CODE)
        if stage.verb in STAGE_VERBS:
            folder = self.run / stage.name
            words += [word for name in stage.config for word in ("--config", name)]
            words += [f"--seed_everything={self.seed}", f"--trainer.default_root_dir={folder}"]
            if stage.verb == "fit" and any(folder.rglob("last*.ckpt")):
                words += ["--ckpt_path=last"]
        elif stage.config:
            raise ConfigError(f"recipe {self.recipe.name}: stage {stage.name}: `{stage.verb}` takes no config")
        return words + [stage.fill(word, self.run, self.seed) for word in stage.args]

    def _summarise(self) -> None:
        records = read_stage_records(self.run)
        width = max((len(record["name"]) for record in records), default=0)
        for record in records:
            budget = f" of {_time(record['budget_s'])}" if record["budget_s"] else ""
            _say(f"  {record['name']:<{width}}  {_time(record['seconds'])}{budget}")
        _say(f"all stages together: {_time(sum(record['seconds'] for record in records))}")
        for path in (self.run / name for name in _REPORTS):
            if path.is_file():
                _say(f"see {path}")


def _set_aside(folder: Path) -> Path:
    """Moves a stage's folder out of the way: its work may have taken days, so nobody but its owner removes it."""
    number = 1
    while (kept := folder.parent / SET_ASIDE / f"{folder.name}-{number}").exists():
        number += 1
    kept.parent.mkdir(exist_ok=True)
    folder.rename(kept)
    return kept


def _say(text: str) -> None:
    print(text, flush=True)


def _time(seconds: float | None) -> str:
    seconds = seconds or 0.0
    return f"{seconds:.0f} s" if seconds < 120 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"
