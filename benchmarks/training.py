"""What training takes: samples a second, waiting for the loader, MFU and memory of the cache stage, CTD and LMA.

python benchmarks/training.py --output benchmarks/records/training.json
python benchmarks/training.py --against ../older --output benchmarks/records/training.json
python benchmarks/training.py --size real --device cuda --output benchmarks/records/training_gpu.json

Base VLMs have random weights, as times do not depend on them. `--against` is a checkout of another commit, whose stages
run in turns with this one's on the same videos and base VLM, each on its own feature store and encoder. Operations are
those of forward and backward pass as torch counts them, in a run of its own. Three shares of a batch's time say how
much faster it could become: its matrix products, convolutions and attention alone; all operations that torch is asked
for, each alone and without what is between them; and what decoding takes of the cores meanwhile. Words behind `--` go
to every stage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from liteframe.bench.environment import environment
from liteframe.bench.floor import best_limits, measure_limits
from liteframe.bench.real_size.quick_weights import QuickWeights
from liteframe.bench.records import write_record
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config
from liteframe.system.json_files import read_json
from liteframe.system.runtime import usable_cores
from liteframe.system.tables import aligned
from liteframe.tiny.models import build_tiny_base_vlm, tiny_processor

_PROBE = Path(__file__).parent / "training" / "step_probe.py"
STAGES = {"cache": "predict", "ctd": "fit", "lma": "fit"}
WARM_UP = 3
"""Batches of a run that are not counted."""
SEED = 4
_BASE_VLM = "internvl3-1b"
_SCALE = {"tiny": 1, "real": 4}
_CONFIGS = {"tiny": "tiny/{}.yaml", "real": "{}.yaml"}
_SHOWN = {
    "samples/s": ("samples_per_s", ".1f"),
    "data wait": ("data_wait", ".1%"),
    "MFU": ("mfu", ".1%"),
    "products": ("products", ".1%"),
    "operations": ("operations", ".1%"),
    "decoding": ("decoding", ".1%"),
    "peak MiB": ("peak_mib", ".0f"),
}
"""Columns of what is printed: fields of the rows, and how they are written."""
Step = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Where and how stages are run.

    Attributes:
        work: folder of all that they read and write.
        size: "tiny", or "real" for the shapes of InternVL3-1B at 448 pixels.
        device: "cpu" or "cuda".
        precision: of the trainer.
        steps: of CTD and LMA.
        more: words for each stage.
    """

    work: Path
    size: str
    device: str
    precision: str
    steps: int
    more: tuple[str, ...] = ()

    @property
    def world(self) -> Path:
        """List of the videos."""
        return self.work / "world" / "train.jsonl"

    def command(self, stage: str, code: str) -> list[str]:
        """The command line of a stage."""
        own, base_vlm = self.work / code, self.work / "base-vlm"
        words = [STAGES[stage], "--config", _CONFIGS[self.size].format(stage)]
        words += [] if self.device == "cpu" else ["--config", "trainer/gpu1.yaml"]
        words += [f"--trainer.precision={self.precision}", f"--trainer.default_root_dir={own / stage}"]
        words += [f"--data.seed={SEED}", f"--seed_everything={SEED}"]
        words += [] if stage == "cache" else [f"--trainer.max_steps={self.steps}", "--data.val=null"]
        if stage == "cache":
            words += [f"--data.predict={self.world}", f"--model.teacher={base_vlm}", f"--model.store={own}/store"]
        elif stage == "ctd":
            words += ["--data.train=null", f"--data.store={own}/store"]
            words += ["--model.teacher=null", "--model.timm_weights=null"] if self.size == "real" else []
        else:
            words += [f"--data.train={self.world}", f"--model.host={base_vlm}", f"--model.encoder={own}/ctd/export"]
        return [*words, *self.more]


def make_ground(setup: Setup, videos: int) -> None:
    """Videos and a base VLM with random weights, where they are not there yet."""
    world = ["synth", str(setup.world.parent), "--train", str(videos), "--val", "0", "--test", "0"]
    subprocess.run([sys.executable, "-m", "liteframe", *world, "--scale", str(_SCALE[setup.size])], check=True)
    folder = setup.work / "base-vlm"
    if folder.is_dir():
        return
    if setup.size == "tiny":
        base_vlm, processor = build_tiny_base_vlm(SEED)
    else:
        processor = tiny_processor(tokens_per_frame=256)
        config = base_vlm_config(_BASE_VLM)
        config.image_token_id = processor.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        with QuickWeights():
            base_vlm = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    base_vlm.save_pretrained(folder)
    processor.save_pretrained(folder)


def run(setup: Setup, stage: str, code: str, source: Path, count_flops: bool = False) -> dict[str, Any]:
    """What the probe saw of a stage, run by the code in `source`. Raises SystemExit where the stage fails."""
    for left in [stage, "store"] if stage == "cache" else [stage]:
        _set_aside(setup.work / code / left)
    output = setup.work / f"{code}-{stage}.json"
    command = [
        sys.executable,
        str(_PROBE),
        str(output),
        *(["--flops"] if count_flops else []),
        *setup.command(stage, code),
    ]
    variables = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    probed: dict[str, Any] = read_json(output)
    if len(probed["steps"]) <= WARM_UP:
        raise SystemExit(f"{' '.join(command)}\n{len(probed['steps'])} batches seen, of which {WARM_UP} do not count")
    return probed


def _set_aside(folder: Path) -> None:
    """Moves what an earlier run made out of the way; whoever named the folder of all this may delete it."""
    number = 0
    while (kept := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    if folder.exists():
        folder.rename(kept)


def by_shape(steps: list[Step]) -> dict[str, list[Step]]:
    """The batches behind the warm-up, by videos and frames a video."""
    shapes: dict[str, list[Step]] = defaultdict(list)
    for step in steps[WARM_UP:]:
        shapes["{}x{}".format(*step["shape"])].append(step)
    return dict(shapes)


def summary(stage: str, code: str, runs: list[dict[str, Any]], counted: dict[str, Any], gflops: float) -> Step:
    """A row of the record. A batch of each shape counts once, by its median time, so that all code is compared on the
    same mixture; `counted` are its operations and its floor."""
    shapes: dict[str, list[Step]] = defaultdict(list)
    for each in runs:
        for shape, steps in by_shape(each["steps"]).items():
            if shape in counted["flops"]:
                shapes[shape] += steps
    seconds = {shape: median(step["s"] for step in steps) for shape, steps in shapes.items()}
    videos = sum(int(shape.split("x")[0]) for shape in shapes)
    total, all_steps = sum(seconds.values()), [step for steps in shapes.values() for step in steps]
    cores = usable_cores()
    return {
        "stage": stage,
        "code": code,
        "samples_per_s": videos / total,
        "step_s": seconds,
        "data_wait": sum(step["wait_s"] for step in all_steps) / sum(step["s"] for step in all_steps),
        "mfu": sum(counted["flops"][shape] for shape in shapes) / (total * gflops * 1e9),
        **{
            name: sum(counted["floor_s"][shape][place] for shape in shapes) / total
            for place, name in enumerate(("products", "operations"))
        },
        "decoding": sum(step["decoding_s"] for step in all_steps) / cores / sum(step["s"] for step in all_steps),
        "step_flops": {shape: counted["flops"][shape] for shape in shapes},
        "floor_s": {shape: counted["floor_s"][shape] for shape in shapes},
        "peak_mib": max(each["peak_mib"] for each in runs),
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*_SCALE], default="tiny")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", help="of the trainer; by default the one whose matrix products are faster here")
    parser.add_argument("--against", type=Path, help="checkout of another commit, to run in turns with this one")
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--steps", type=int, default=60, help="of CTD and LMA")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stages", nargs="+", choices=[*STAGES], default=[*STAGES])
    parser.add_argument("--work", type=Path, default=Path("runs/training-benchmark"), help="folder of what is made")
    parser.add_argument("--output", required=True, help="file of the record")
    parser.add_argument("more", nargs="*", help="words for every stage")
    options = parser.parse_args()

    limits = measure_limits(options.device)
    faster = "bf16-mixed" if limits["bf16_gflops"] > limits["fp32_gflops"] else "32-true"
    precision = options.precision or faster
    more = tuple(options.more)
    setup = Setup(options.work.resolve(), options.size, options.device, precision, options.steps, more)
    make_ground(setup, options.videos)
    codes = {"this": Path(__file__).resolve().parents[1] / "src"}
    if options.against is not None:
        codes = {"other": options.against.resolve() / "src", **codes}

    runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    counted: dict[str, dict[str, Any]] = {}
    for stage in options.stages:
        seen = run(setup, stage, "this", codes["this"], count_flops=True)
        flops = {shape: median(step["flops"] for step in steps) for shape, steps in by_shape(seen["steps"]).items()}
        counted[stage] = {"flops": flops, "floor_s": seen["floor_s"]}
        for _ in range(options.repeats):
            for code, source in codes.items():
                runs[stage, code].append(run(setup, stage, code, source))
    limits = best_limits(limits, measure_limits(options.device))
    gflops = limits["bf16_gflops" if precision.startswith("bf16") else "fp32_gflops"]
    rows = [summary(stage, code, found, counted[stage], gflops) for (stage, code), found in runs.items()]

    lines = [[row["stage"], row["code"], *(f"{row[name]:{form}}" for name, form in _SHOWN.values())] for row in rows]
    print(aligned(["stage", "code", *_SHOWN], lines))
    settings = {name: value for name, value in vars(options).items() if name not in ("work", "output", "against")}
    settings |= {"precision": precision, "warm_up": WARM_UP, "against": _commit(options.against)}
    print(
        write_record(
            options.output,
            "training",
            environment(options.device, precision),
            settings,
            {"limits": limits, "rows": rows},
        )
    )


def _commit(checkout: Path | None) -> str | None:
    """Commit of the other checkout."""
    if checkout is None:
        return None
    words = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
