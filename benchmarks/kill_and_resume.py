"""Runs a pipeline again, kills it once in the middle of every stage, and compares what it made with a run left alone.

python benchmarks/kill_and_resume.py runs/tiny-seed4 --output benchmarks/records/kill_and_resume.json

A second run that is finished already is only compared.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from liteframe.atomic import atomic_write_json
from liteframe.pipeline.recipe import Recipe, StageSpec, read_recipe
from liteframe.pipeline.records import done_path, progress_path, read_record

COMPARED = ("*.safetensors", "*.jsonl", "*.mp4")


def digests(stage: Path) -> Counter[str]:
    """Suffix and sha256 of every file of a finished stage that must not depend on interruptions.

    Without names: those of a feature store's shards carry a hash of where the videos lie.
    """
    files = [file for pattern in COMPARED for file in stage.rglob(pattern)]
    return Counter(f"{file.suffix} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)


def run_and_kill(recipe: Recipe, stages: list[StageSpec], seed: int, reference: Path, run: Path) -> None:
    """Runs the stages; kills each once, after half of the reference's seconds."""
    command = [sys.executable, "-m", "liteframe", "pipeline", recipe.name, f"--seed={seed}", f"--run={run}"]
    command += ["--only", *(stage.name for stage in stages)]
    wanted = {stage.name: _seconds(done_path(reference, stage.name)) / 2 for stage in stages}
    killed: set[str] = set()
    while True:
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None:
            time.sleep(0.5)
            for name in wanted.keys() - killed:
                if progress_path(run, name).is_file() and (spent := _seconds(progress_path(run, name))) > wanted[name]:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    killed.add(name)
                    print(f"killed in {name} after {spent:.0f} s", flush=True)
                    break
        if process.returncode == 0:
            return
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the pipeline ended with exit code {process.returncode}")


def _seconds(path: Path) -> float:
    record = read_record(path)
    return float(record["seconds"]) if record else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reference", type=Path, help="run folder of a finished pipeline, made at the same thread count")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--run", type=Path, help="run folder to make; REFERENCE-killed by default")
    parser.add_argument("--output", type=Path)
    settings = parser.parse_args()
    recipe = read_recipe(settings.recipe)
    stages = [stage for stage in recipe.stages if stage.verb != "bench"]
    run = settings.run or settings.reference.with_name(f"{settings.reference.name}-killed")
    done = read_record(done_path(settings.reference, stages[-1].name))
    if done is None:
        raise SystemExit(f"wanted a finished run in {settings.reference}")
    run_and_kill(recipe, stages, done["fingerprint"]["seed"], settings.reference, run)

    rows: list[dict[str, Any]] = []
    for stage in stages:
        straight, resumed = digests(settings.reference / stage.name), digests(run / stage.name)
        rows.append(
            {
                "stage": stage.name,
                "tries": (read_record(done_path(run, stage.name)) or {})["tries"],
                "files": straight.total(),
                "different": (straight - resumed).total() + (resumed - straight).total(),
                "safetensors": sorted(digest for digest in resumed if digest.startswith(".safetensors")),
            }
        )
        print({name: value for name, value in rows[-1].items() if name != "safetensors"}, flush=True)
    record = {"recipe": recipe.name, "threads": torch.get_num_threads(), "torch": torch.__version__, "stages": rows}
    if settings.output:
        atomic_write_json(settings.output, record)
    raise SystemExit(any(row["different"] or row["tries"] < 2 or not row["files"] for row in rows))


if __name__ == "__main__":
    main()
