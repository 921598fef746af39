"""How long the command takes to start: help, a mistyped option and, with a model, an answer of chat in cold processes.

python benchmarks/start.py --chat runs/tiny/lma/export film.mp4 "color of the star" --output start.json

CPU seconds are of the process and all its children; wall seconds mean little where the machine is not quiet. A run of
each command that is not counted comes first, so that files are in memory and parsers remembered. Beside them, in turns:
the help of transformers, and what it takes to import what any program needs that runs a model of transformers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Any

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.command.cli import FUNCTION_VERBS, STAGE_VERBS
from liteframe.system.tables import aligned

_VERBS = (*STAGE_VERBS, *FUNCTION_VERBS)
_IMPORTS = {
    "torch": "import torch",
    "transformers": "import torch, transformers.modeling_utils",
}


def commands(chat: list[str] | None) -> dict[str, list[str]]:
    """What is timed, by name: words of a Python."""
    command = ["-m", "liteframe"]
    timed = {"--help": [*command, "--help"]}
    timed |= {f"{verb} --help": [*command, verb, "--help"] for verb in _VERBS}
    timed |= {f"{verb} --mistyped": [*command, verb, "--mistyped", "1"] for verb in _VERBS}
    timed["transformers --help"] = ["-m", "transformers.cli.transformers", "--help"]
    timed |= {f"import {name}": ["-c", code] for name, code in _IMPORTS.items()}
    return {**timed, "chat": [*command, "chat", *chat]} if chat else timed


def seconds(words: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a Python and its children; what it says is left out."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return round(cpu, 3), round(wall, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chat", nargs=3, metavar=("MODEL", "VIDEO", "QUESTION"), help="what chat is asked")
    parser.add_argument("--repeats", type=int, default=3, help="of each command, in turns")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    timed = commands(options.chat)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for repeat in range(options.repeats + 1):
        for name, words in timed.items():
            sample = seconds(words)
            if repeat:
                samples[name].append(sample)
    rows: list[dict[str, Any]] = [
        {"command": name, "cpu_s": [cpu for cpu, _ in each], "wall_s": [wall for _, wall in each]}
        for name, each in samples.items()
    ]
    lines = [[row["command"], f"{min(row['cpu_s']):.2f}", f"{min(row['wall_s']):.2f}"] for row in rows]
    print(aligned(["command", "CPU s", "wall s"], lines))
    if options.output:
        settings = {"repeats": options.repeats, "shown": "least"}
        print(write_record(options.output, "start", environment(), settings, {"rows": rows}))


if __name__ == "__main__":
    main()
