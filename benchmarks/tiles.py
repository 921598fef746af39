"""What tiles show of objects that are small in the picture: `liteframe evaluate` on larger tiny worlds.

python benchmarks/tiles.py runs/seed4 runs/seed5 runs/seed6 --output benchmarks/records/tiles.json

At scale 4 a picture is four times as wide and high, and objects are as large in pixels as in the world that the models
were trained on. Shown at the models' usual size, they are a quarter of that. Each way of showing them is one setting of
`liteframe evaluate`; models were trained on none but the first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from liteframe.bench.environment import environment
from liteframe.system.json_files import read_json, write_json
from liteframe.tiny.synthetic import SIZE

SCALES = (1, 2, 4)
_RULE = "likelihood"


def ways(scale: int) -> dict[str, list[str]]:
    """Words of `liteframe evaluate` for each way to show frames of a scale."""
    whole = {"whole frames at the usual size": []}
    if scale == 1:
        return whole
    tiles = ["--tiles", str(scale**2)]
    return {
        **whole,
        "tiles and thumbnail, by frame": tiles,
        "tiles alone, by frame": [*tiles, "--thumbnail", "false"],
        "tiles and thumbnail, by position": [*tiles, "--tile_order", "position"],
        "whole frames at their own size": ["--image_size", str(scale * SIZE)],
    }


def liteframe(*words: object) -> None:
    """Runs a verb. Raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "liteframe", *map(str, words)], check=True)


def measured(out: Path, frames: int) -> dict[str, Any]:
    """Accuracy of an evaluation, with its interval, by type of question, and the visual tokens of a video."""
    at = read_json(out / "report.json")["frames"][str(frames)]
    found = at["scores"][_RULE]
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        **{name: found[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "questions", "videos")},
        "by_type": {name: part["accuracy"] for name, part in found["by"]["type"].items()},
        "visual_tokens": median(line["visual_tokens"] for line in lines),
        "unanswered": at["unanswered"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="runs of LMA on the tiny world, or exports of them")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--videos", type=int, default=150, help="of each scale, four questions each")
    parser.add_argument("--work", type=Path, default=Path("runs/tiles"), help="folder of worlds and answers")
    parser.add_argument("--output", required=True, help="file of the record")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for scale in SCALES:
        world = args.work / f"world-{scale}"
        liteframe("synth", world, "--scale", scale, "--train", 0, "--val", 0, "--test", args.videos)
        for number, model in enumerate(args.models):
            for index, (way, words) in enumerate(ways(scale).items()):
                out = args.work / f"model-{number}-scale-{scale}-way-{index}"
                asked = ["--benchmark", "tiny-world", "--data", world, "--frames", args.frames, "--answer", _RULE]
                liteframe("evaluate", model, *asked, *words, "--out", out)
                settings = read_json(out / "evaluation.json")["settings"]
                weights = {"weights_sha256": settings["weights_sha256"]}
                row = {"scale": scale, "way": way, "model": number, **weights, **measured(out, args.frames)}
                rows.append(row)
                print(f"scale {scale}, model {number}, {way}: {row['accuracy']:.3f}", flush=True)
    settings = {"frames": args.frames, "videos": args.videos, "answer": _RULE, "models": len(args.models)}
    write_json(args.output, {"settings": settings, "rows": rows, "environment": environment("cpu", "float32")})


if __name__ == "__main__":
    main()
