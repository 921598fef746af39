"""Runs a pipeline again, kills it at random moments of every stage, and compares what it made with a run left alone.

python benchmarks/kill_and_resume.py runs/tiny-seed4 --output benchmarks/records/kill_and_resume.json
python benchmarks/kill_and_resume.py runs/small --small --ranks 2 --kills 3 --output benchmarks/records/kill_small.json

With `--small` the recipe is cut down to a few videos and steps, so that one run takes a minute or two; the reference is
made first where it is not there. Each kill draws its moment and its way from the seed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from liteframe.command.configs import find_config
from liteframe.pipeline.recipe import StageSpec, read_recipe
from liteframe.pipeline.records import done_path, progress_path, read_record
from liteframe.system.atomic import atomic_write_json

COMPARED = ("*.safetensors", "*.jsonl", "*.mp4", "adapter_config.json")
SMALL_STEPS, SMALL_WORLD = 24, ["--train=48", "--val=4", "--test=8"]


def digests(stage: Path) -> Counter[str]:
    """Suffix and sha256 of every file of a finished stage that must not depend on interruptions.

    Without names: those of a feature store's shards carry a hash of where the videos lie.
    """
    files = [file for pattern in COMPARED for file in stage.rglob(pattern)]
    return Counter(f"{file.suffix} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)


def small_recipe(folder: Path, ranks: int) -> Path:
    """The tiny recipe with a few videos and steps, every stage but the sweep, on several ranks."""
    content = yaml.safe_load(find_config("recipes/tiny.yaml").read_text(encoding="utf-8"))
    content["stages"] = [stage for stage in content["stages"] if stage["verb"] != "bench"]
    for stage in content["stages"]:
        if stage["verb"] == "synth":
            stage["args"] += SMALL_WORLD
            continue
        stage["args"] += [f"--trainer.devices={ranks}", "--trainer.strategy=" + ("ddp" if ranks > 1 else "auto")]
        if stage["verb"] == "fit":
            stage["args"].append(f"--trainer.max_steps={SMALL_STEPS}")
    path = folder.with_name(f"{folder.name}-recipe.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _kill_main(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def _kill_some_child(process: subprocess.Popen[bytes]) -> None:
    """A rank, a loader worker or a decode process; the run may also live through the loss of the last."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    if children:
        os.kill(int(children[-1]), signal.SIGKILL)
    else:
        process.kill()


def _end_main(process: subprocess.Popen[bytes]) -> None:
    process.terminate()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)


def _interrupt_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)


WAYS: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
    "kill -9 of the group": _kill_group,
    "kill -9 of the main process": _kill_main,
    "kill -9 of a child": _kill_some_child,
    "SIGTERM to the main process": _end_main,
    "SIGTERM to the group": _end_group,
    "Ctrl-C": _interrupt_group,
}


def run_and_kill(command: list[str], moments: dict[str, list[tuple[float, str]]], run: Path) -> list[dict[str, Any]]:
    """Runs the pipeline until it is done; each stage meets its (seconds spent in it, way) in turn.

    Returns:
        what each kill did: stage, way, seconds and the exit code that followed.
    """
    kills: list[dict[str, Any]] = []
    while True:
        process = subprocess.Popen(command, start_new_session=True)
        struck: dict[str, Any] | None = None
        while process.poll() is None:
            time.sleep(0.1)
            for name, left in moments.items():
                if struck is None and left and _seconds(progress_path(run, name)) >= left[0][0]:
                    seconds, way = left.pop(0)
                    WAYS[way](process)
                    struck = {"stage": name, "way": way, "seconds": round(seconds, 1)}
        if struck is not None:
            kills.append({**struck, "code": process.returncode})
            print(kills[-1], flush=True)
        elif process.returncode:
            raise SystemExit(f"the pipeline ended with exit code {process.returncode}")
        if process.returncode == 0:
            return kills


def draw_moments(stages: list[StageSpec], reference: Path, kills: int, seed: int) -> dict[str, list[tuple[float, str]]]:
    """For each stage so many moments within the seconds that it took alone, in order, each with a way to end it."""
    draw = random.Random(seed)
    moments = {}
    for stage in stages:
        whole = _seconds(done_path(reference, stage.name))
        times = sorted(draw.uniform(0.1, 0.95) * whole for _ in range(kills))
        moments[stage.name] = [(seconds, draw.choice(list(WAYS))) for seconds in times]
    return moments


def _seconds(path: Path) -> float:
    record = read_record(path)
    return float(record["seconds"]) if record else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reference", type=Path, help="run folder of a finished pipeline, made at the same thread count")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--run", type=Path, help="run folder to make; REFERENCE-killed by default")
    parser.add_argument("--small", action="store_true", help="the tiny recipe cut down to a few videos and steps")
    parser.add_argument("--ranks", type=int, default=1, help="ranks of each stage, with --small")
    parser.add_argument("--kills", type=int, default=1, help="how often each stage is ended")
    parser.add_argument("--seed", type=int, default=0, help="of moments and ways")
    parser.add_argument("--output", type=Path)
    settings = parser.parse_args()
    recipe_name = str(small_recipe(settings.reference, settings.ranks)) if settings.small else settings.recipe
    recipe = read_recipe(recipe_name)
    stages = [stage for stage in recipe.stages if stage.verb != "bench"]
    run = settings.run or settings.reference.with_name(f"{settings.reference.name}-killed")
    done = read_record(done_path(settings.reference, stages[-1].name))
    if done is None and not settings.small:
        raise SystemExit(f"wanted a finished run in {settings.reference}")
    seed = done["fingerprint"]["seed"] if done else 0
    command = [sys.executable, "-m", "liteframe", "pipeline", recipe_name, f"--seed={seed}"]
    only = ["--only", *(stage.name for stage in stages)]
    if done is None:
        subprocess.run([*command, f"--run={settings.reference}", *only], check=True)
    moments = draw_moments(stages, settings.reference, settings.kills, settings.seed)
    kills = run_and_kill([*command, f"--run={run}", *only], moments, run)

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
    record = {"recipe": recipe.name, "threads": torch.get_num_threads(), "torch": torch.__version__}
    record |= {"small": settings.small, "ranks": settings.ranks, "seed": settings.seed, "stages": rows, "kills": kills}
    if settings.output:
        atomic_write_json(settings.output, record)
    raise SystemExit(any(row["different"] or not row["files"] for row in rows) or not kills)


if __name__ == "__main__":
    main()
