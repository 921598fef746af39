"""Configs of stages, recipes, and run folders of others."""

from __future__ import annotations

import io
import json
import random
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from fuzz.mutate import damage_file, mutate_tree, to_json
from fuzz.outcome import Input, Verdict
from liteframe.command.configs import resolve_config_args, shipped_configs
from liteframe.command.lightning_cli import StageCLI, import_stages
from liteframe.data.sampling import FpsCapped
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.hf.run_folder import RunFolder
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.pipeline.recipe import read_recipe
from liteframe.system.own_folder import list_files, listing_sha256
from liteframe.system.user_path import user_path

_STAGES = ("tiny/ctd.yaml", "tiny/lma.yaml", "ctd.yaml", "lma.yaml", "tiny/pretrain_llm.yaml")
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
_TEXTS = (
    _BOMB,
    _BOMB + "model: *i\n",
    "model: &m {a: *m}\n",
    "stages: &s [*s]\n",
    "model: " + "[" * 5_000 + "]" * 5_000,
    "model: " + "{a: " * 3_000 + "1" + "}" * 3_000,
    "model: !!python/object/apply:os.system ['TOUCH']\n",
    "model: !!python/name:os.system\n",
    "<<: *x\n",
    "model: 1\nmodel: 2\n",
    "? [a, b]\n: 1\n",
    "a: 2020-13-45\nb: 12:99:99\nc: 0o9\n",
    "--- 1\n--- 2\n",
    "\ufeffmodel: {}\n",
    "model: 'a\n",
    "x: " + "9" * 6_000 + "\n",
    "- " * 2_000 + "x\n",
)
_FOREIGN = ("fuzz_canary.Touch", "fuzz_canary:touch", "os.system", "subprocess.Popen", "torch.nn.Linear")


class Configs:
    """Parses a config as `fit` does, reads a recipe as `pipeline` does, opens a run folder as `export` does."""

    share, deadline_s = 14, 30.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []
        self._stage: StageCLI | None = None

    def prepare(self) -> None:
        for name in _STAGES:
            shutil.copyfile(shipped_configs() / name, self.seeds / name.replace("/", "-"))
        shutil.copyfile(shipped_configs() / "recipes" / "tiny.yaml", self.seeds / "recipe.yaml")
        export = self.seeds / "run" / "lma" / "export"
        (export / "encoder").mkdir(parents=True)
        (export / "liteframe.json").write_text('{"host": "org/host", "host_is_folder": false, "adapter": true}')
        frames = FrameSpec((112, 112), 4, FpsCapped(2.0), 32)
        settings = {"questions_per_video": 4, "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj"]}}
        TrainingRecord("LMAStage", 350, "bf16-mixed", frames, model=settings).write(export)
        list_files(export)
        proof = listing_sha256(export)
        fingerprint = {"verb": "fit", "args": [], "seed": 0, "configs": {}, "version": "0.1.0", "before": {}}
        record = {"name": "lma", "seconds": 123.4, "tries": 1, "position": 1, "fingerprint": fingerprint}
        record["export_sha256"] = proof
        (export.parent / "done.json").write_text(json.dumps(record))
        times = {f"{stage}_ms": 1.5 for stage in ("decode", "preprocess", "encode", "project", "prefill")}
        scores = {"accuracy": 0.79, "accuracy_low": 0.77, "accuracy_high": 0.81, "questions": 1520, "videos": 190}
        rows = [{"arm": name, "frames": 16, "tokens": 16, **scores, **times} for name in ("teacher", "liteframe-lma")]
        (self.seeds / "run" / "report.json").write_text(
            json.dumps({"settings": {"exports": {"liteframe-lma": proof}}, "rows": rows})
        )

    def make(self, rng: random.Random, folder: Path) -> Input:
        seed = rng.choice(("stage", "recipe", "run"))
        if seed == "run":
            shutil.copytree(self.seeds / "run", folder / "run")
            path, files = (
                folder / "run" / "lma",
                ["export/trained.json", "done.json", "export/liteframe.json", "../report.json"],
            )
            file = path / rng.choice(files)
        else:
            name = "recipe.yaml" if seed == "recipe" else rng.choice(_STAGES).replace("/", "-")
            path = file = folder / name
            shutil.copyfile(self.seeds / name, path)
        intact = rng.random() < 0.02
        what = "intact" if intact else self._change(rng, file)
        data = {"seed": seed, "address": seed == "stage", "trusted": seed == "stage", "commands": seed == "recipe"}
        return Input(f"{seed}: {file.name}: {what}", path, data, intact)

    def _change(self, rng: random.Random, file: Path) -> str:
        chance = rng.random()
        if chance < 0.15 and file.suffix == ".yaml":
            touch = next((str(name) for name in self.names if str(name).startswith("touch ")), "true")
            text = rng.choice(_TEXTS).replace("TOUCH", touch)
            both = rng.random() < 0.5
            file.write_text(text + file.read_text() if both else text, encoding="utf-8")
            return f"text {text[:30]!r}"
        if chance < 0.45:
            return damage_file(rng, file, [self.seeds / "recipe.yaml", self.seeds / "ctd.yaml"])
        value = yaml.safe_load(file.read_text())
        if chance < 0.65:
            how = _name_code(rng, value, [*_FOREIGN, *self.names])
        else:
            value, how = mutate_tree(rng, value, self.names)
        file.write_text(to_json(value) if rng.random() < 0.5 or file.suffix == ".json" else _yaml(value))
        return how

    def feed(self, item: Input) -> Verdict:
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(said):
                return getattr(self, f"_feed_{item.data['seed']}")(item)
        except SystemExit as leaving:  # the parser has said why
            text = said.getvalue()
            told = leaving.code not in (0, None) and "error:" in text and "Traceback" not in text
            return Verdict("named" if told else "unnamed", f"exit code {leaving.code}: {text[-250:]}")

    def _feed_stage(self, item: Input) -> Verdict:
        if self._stage is None:
            import_stages()
            self._stage = _ParseOnly("fit", ["--config", str(shipped_configs() / "tiny" / "ctd.yaml")])
        self._stage.parse_arguments(self._stage.parser, ["fit", *resolve_config_args(["--config", str(item.path)])])
        parsed, plain = self._stage.config["fit"], _plain(item.path)
        for part in ("model", "data"):
            said = (plain.get(part) or {}).get("init_args", {}) if isinstance(plain.get(part), dict) else {}
            for name, value in said.items():
                found = parsed[part]["init_args"].get(name)
                plainly = isinstance(value, int | float | str) and type(found) in (type(value), float)
                if (
                    plainly
                    and value == value
                    and not _says_the_same(found, user_path(value) if isinstance(value, str) else value)
                ):
                    return Verdict("silent", f"{part}.{name}: {found!r}, not {value!r}")
        return Verdict("right")

    def _feed_recipe(self, item: Input) -> Verdict:
        recipe, plain = read_recipe(str(item.path)), _plain(item.path)
        told = [(str(row["name"]), row["verb"]) for row in plain["stages"]]
        if [(stage.name, stage.verb) for stage in recipe.stages] != told:
            return Verdict("silent", f"stages {recipe.stages}")
        out = [path for stage in recipe.stages for path in stage.output_paths(item.path.parent / "run", 0)]
        if any(not path.resolve().is_relative_to(item.path.parent / "run") for path in out):
            return Verdict("escape", f"outputs that lie outside of the run: {out}")
        return Verdict("right")

    def _feed_run(self, item: Input) -> Verdict:
        run = RunFolder.open(item.path)
        host, frames = run.host(None), run.frames.most_frames
        done = json.loads((item.path / "done.json").read_text()) if run.seconds is not None else {}
        told = _plain(item.path / "export" / "trained.json")
        if run.record is not None and (run.record.steps, frames) != (told.get("steps"), told.get("most_frames")):
            return Verdict("silent", f"record {run.record}")
        if run.seconds is not None and repr(run.seconds) != repr(done["seconds"]):
            return Verdict("silent", f"seconds {run.seconds} {done}")
        if frames is not None and not isinstance(frames, int):
            return Verdict("silent", f"frames of kind {type(frames).__name__}")
        return Verdict("right", host)


class _ParseOnly(StageCLI):
    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def _name_code(rng: random.Random, value: Any, names: list[Any]) -> str:
    """A class, path or word of a command line that the author of the file chose."""
    name = rng.choice(names)
    if isinstance(value, dict) and isinstance(value.get("stages"), list):
        stage = rng.choice(value["stages"])
        field = rng.choice(("name", "verb", "config", "args", "outputs"))
        words = {"args": [f"--model={name}", "--config", str(name)], "config": [name], "outputs": [name]}
        stage[field] = words.get(field, name)
        return f"{field} {name}"
    part = value.setdefault(rng.choice(("model", "data", "trainer")), {}) if isinstance(value, dict) else {}
    if isinstance(part, dict):
        holder = part.setdefault("init_args", {}) if rng.random() < 0.6 else part
        field = rng.choice(("class_path", "teacher", "sampler", "callbacks", "decoder", "host", "encoder", "shapes"))
        holder[field] = rng.choice((name, {"class_path": name}, [{"class_path": name, "init_args": {}}]))
        return f"{field} {name}"
    return "nothing"


def _says_the_same(found: Any, value: Any) -> bool:
    """Whether a value is the plain parser's, which takes some numbers, such as 1e9, for text."""
    try:
        return found == value or str(found) == str(value) or float(found) == float(value)
    except (ValueError, OverflowError):
        return False


def _yaml(value: Any) -> str:
    try:
        return yaml.safe_dump(value)
    except (yaml.YAMLError, UnicodeEncodeError):
        return to_json(value)


def _plain(path: Path) -> Any:
    """What a file says, by the plain parser; it is asked after liteframe has found the file small enough."""
    return yaml.safe_load(path.read_text(encoding="utf-8-sig")) if path.is_file() else None
