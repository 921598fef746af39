"""Runs a pipeline again, kills it once in the middle of every stage, and compares what it made with a run left alone.

python benchmarks/kill_and_resume.py runs/tiny-seed4 --output benchmarks/records/kill_and_resume.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from liteframe.atomic import atomic_write_json
from liteframe.pipeline.recipe import Recipe, StageSpec, read_recipe
from liteframe.pipeline.records import done_path, progress_path, read_record

COMPARED = ("*.safetensors", "*.jsonl", "*.mp4")


def digests(stage: Path) -> dict[str, str]:
    """sha256 of every file of a finished stage that must not depend on interruptions."""
    files = sorted(file for pattern in COMPARED for file in stage.rglob(pattern))
    return {str(file.relative_to(stage)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def run_and_kill(recipe: Recipe, stages: list[StageSpec], seed: int, reference: Path, run: Path) -> dict[str, float]:
    """Runs the stages; kills each after half of the reference's seconds. Seconds into it at which each was killed."""
    command = [sys.executable, "-m", "liteframe", "pipeline", recipe.name, f"--seed={seed}", f"--run={run}"]
    command += ["--only", *(stage.name for stage in stages)]
    wanted = {stage.name: _seconds(done_path(reference, stage.name)) / 2 for stage in stages}
    killed: dict[str, float] = {}
    while True:
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None:
            time.sleep(0.5)
            for name in wanted.keys() - killed.keys():
                if progress_path(run, name).is_file() and (spent := _seconds(progress_path(run, name))) > wanted[name]:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    killed[name] = spent
                    print(f"killed in {name} after {spent:.0f} s", flush=True)
                    break
        if process.returncode == 0:
            return killed
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
    if done is None or run.exists():
        raise SystemExit(f"wanted a finished run in {settings.reference} and nothing in {run}")
    killed = run_and_kill(recipe, stages, done["fingerprint"]["seed"], settings.reference, run)

    rows: list[dict[str, Any]] = []
    for stage in stages:
        straight, resumed = digests(settings.reference / stage.name), digests(run / stage.name)
        different = sorted(name for name in straight.keys() | resumed.keys() if straight.get(name) != resumed.get(name))
        rows.append(
            {
                "stage": stage.name,
                "killed_after_s": killed.get(stage.name),
                "files": len(straight),
                "different": different,
                "safetensors": {name: digest for name, digest in resumed.items() if name.endswith("safetensors")},
            }
        )
    record = {"recipe": recipe.name, "threads": torch.get_num_threads(), "torch": torch.__version__, "stages": rows}
    print(
        json.dumps([{k: row[k] for k in ("stage", "killed_after_s", "files", "different")} for row in rows], indent=1)
    )
    if settings.output:
        atomic_write_json(settings.output, record)
    raise SystemExit(any(row["different"] or row["killed_after_s"] is None or not row["files"] for row in rows))


if __name__ == "__main__":
    main()
