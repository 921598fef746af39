"""What there is of a finished run before any model of it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError
from liteframe.system.stage_records import read_stage_records


def manifest_of_run(run: Path, split: str) -> Path:
    """The manifest of a split of the run's world. Raises ConfigError if there is none."""
    manifest = run / "world" / f"{split}.jsonl"
    if not manifest.is_file():
        raise ConfigError(f"{manifest} is missing; run the pipeline first (`liteframe pipeline tiny`)")
    return manifest


def run_settings(run: Path, split: str) -> dict[str, Any]:
    """What the settings of a record say of the run: ``run``, ``seed`` and ``split``."""
    seed = next((stage.get("seed") for stage in read_stage_records(run)), None)
    return {"run": run.name, "seed": seed, "split": split}
