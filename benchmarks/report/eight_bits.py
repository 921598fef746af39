"""The tables of eight bits in `docs/export.md`."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median

import pandas as pd

from liteframe.system.json_files import read_json

from .render import markdown


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> the table: of every format of the student, and how fast one in int8 is."""
    record = read_json(folder / "eight_bits.json")
    sizes = record["times"] + read_json(folder / "eight_bits_real.json")["times"]
    models = record["models"]
    lines = []
    for engine in next(iter(models))["accuracy"]:
        line = {"student by": engine}
        for times in sizes:
            ms = times["ms_a_frame"].get(f"student, {engine}")
            line[f"ms a frame, {times['size']} size"] = f"{median(ms):.3g}" if ms else "-"
        for count in map(str, record["settings"]["frames"]):
            accuracies = [model["accuracy"][engine][count]["accuracy"] for model in models]
            line[f"accuracy, {count} frames"] = f"{mean(accuracies):.3f}"
        same = [share for model in models for share in model["right_as_float32"][engine].values()]
        line["as float32"] = f"{mean(same):.1%}"
        lines.append(line)
    ratios = [
        {"in OpenVINO int8": student, "against": name, "size": times["size"], "times as fast": f"{ratio['median']:.1f}"}
        for times in sizes
        for student, against in (("student", times["times_faster"]), *times.get("times_faster_by_preset", {}).items())
        for name, ratio in against.items()
    ]
    return {"formats": markdown(pd.DataFrame(lines)), "times as fast": markdown(pd.DataFrame(ratios))}
