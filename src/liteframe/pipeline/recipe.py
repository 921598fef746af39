"""Recipes: which stages a pipeline runs, in which order, with which arguments."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from liteframe.command.code_names import require_known_recipe
from liteframe.command.configs import find_config, shipped_configs
from liteframe.errors import ConfigError
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.contained_path import OutsideRoot, contained

SET_ASIDE = "set-aside"
"""Folder in a run for what stages made that ran again."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class StageSpec:
    """One stage of a recipe.

    ``{run}`` (the run folder) and ``{seed}`` are filled in in ``args`` and ``outputs``.

    Attributes:
        name: unique in the recipe; the stage's folder is ``{run}/<name>``.
        verb: the verb of the ``liteframe`` command that does it.
        about: what it does, in one line.
        config: names of config files, merged in this order; only for verbs that take ``--config``.
        args: further words of the command line.
        budget_s: seconds it may take before the pipeline warns.
        outputs: files that exist when it is done; relative ones lie in the stage's folder.
    """

    name: str
    verb: str
    about: str = ""
    config: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    budget_s: float | None = None
    outputs: list[str] = field(default_factory=list)

    def fill(self, text: str, run: Path, seed: int) -> str:
        """``text`` with its placeholders filled in."""
        return text.replace("{run}", str(run)).replace("{seed}", str(seed))

    def output_paths(self, run: Path, seed: int) -> list[Path]:
        """Where the outputs lie. Raises ConfigError for one that does not lie in the run folder."""
        return [self._output_path(text, run, seed) for text in self.outputs]

    def _output_path(self, text: str, run: Path, seed: int) -> Path:
        path = Path(self.fill(text, run, seed)) if text.startswith("{run}") else run / self.name / text
        try:
            contained(run, os.path.abspath(path))
        except OutsideRoot as error:
            raise ConfigError(f"stage {self.name}: `outputs`: {error}; name files of the run") from error
        return path


@dataclass(frozen=True)
class Recipe:
    """Stages in the order in which they run.

    Attributes:
        name: of its run folder.
        stages: what it does.
        foreign: whether nobody vouches for it, so that what it says names known code only.
        allow_code: whether the user allows any code to be named.
    """

    name: str
    stages: list[StageSpec]
    foreign: bool = False
    allow_code: bool = False

    @property
    def budget_s(self) -> float:
        """Seconds that all stages together may take."""
        return sum(stage.budget_s or 0.0 for stage in self.stages)


def read_recipe(name: str, allow_code: bool = False) -> Recipe:
    """Reads a recipe: a file of that name, or the shipped ``recipes/<name>.yaml``.

    Args:
        name: of the recipe.
        allow_code: whether one that is not shipped may name any code.

    Raises:
        ConfigError: if there is none, or a field of it is wrong, or names code that it may not; the message names file,
            stage and field.
    """
    path = find_config(name) if name.endswith((".yaml", ".yml")) else find_config(f"recipes/{name}.yaml")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("stages"), list) or not content["stages"]:
        raise ConfigError(f"{path}: a recipe needs a list `stages`")
    unknown = sorted(set(content) - {"name", "stages"})
    if unknown:
        raise ConfigError(f"{path}: no field {unknown[0]!r} in a recipe; it has `name` and `stages`")
    stages = [_read_stage(path, index, row) for index, row in enumerate(content["stages"])]
    names = [stage.name for stage in stages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: two stages are called {twice[0]!r}")
    foreign = not allow_code and not path.is_relative_to(shipped_configs().resolve())
    if foreign:
        for stage in stages:
            require_known_recipe(path, stage.name, stage.config, stage.args)
    return Recipe(str(content.get("name", path.stem)), stages, foreign, allow_code)


def _read_stage(path: Path, index: int, row: Any) -> StageSpec:
    where = f"{path}: stage {row['name'] if isinstance(row, dict) and 'name' in row else index + 1}"
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: must be a mapping with `name` and `verb`")
    known = {item.name for item in fields(StageSpec)}
    if unknown := sorted(set(row) - known):
        raise ConfigError(f"{where}: no field {unknown[0]!r}; there are {', '.join(sorted(known))}")
    for required in ("name", "verb"):
        if not isinstance(row.get(required), str):
            raise ConfigError(f"{where}: `{required}` is missing or not a word")
    if row["name"] == SET_ASIDE:
        raise ConfigError(f"{where}: `name` {SET_ASIDE} is the folder of what earlier stages made; take another")
    if not _NAME.fullmatch(row["name"]):
        raise ConfigError(f"{where}: `name` must be letters, digits, '.', '_' and '-': it is a folder")
    values = dict(row)
    for name in ("config", "args", "outputs"):
        value = values.get(name, [])
        values[name] = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    budget = values.get("budget_s")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, (int, float)) or budget <= 0):
        raise ConfigError(f"{where}: `budget_s` must be a number of seconds above 0, not {budget!r}")
    stage = StageSpec(**values)
    try:
        stage.output_paths(Path("run"), 0)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return stage
