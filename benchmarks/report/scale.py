"""The tables of `docs/scale.md`: what each stage takes at a million clips and more, and what grows with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from liteframe.system.json_files import read_json
from scaling.simulate import Bill, Instance, ObjectStore, Work, bill, simulate

from .provenance import measured_on
from .render import markdown

SIZES = ((1e6, 1), (1e8, 16))
"""Clips, and the nodes that share them out."""
WORKERS = 12
SIDE = 448
_STAGES = {
    "cache": "cache: the teacher once",
    "ctd": "CTD from that store",
    "ctd_live": "CTD, teacher on the fly",
    "lma": "LMA",
}
_FRAMES = {"lma": 160}
_USUAL_FRAMES = 16


def blocks(folder: Path) -> dict[str, str]:
    """Name of the markers in the page -> what stands between them."""
    record = read_json(folder / "scale.json")
    node, prices = Instance(), ObjectStore()
    found = {"assumptions": assumptions(node, prices), "growth": growth(record), "decoding": decoding(record)}
    for clips, nodes in SIZES:
        found[f"stages-{_number(clips)}"] = stages(record, clips, nodes, node, prices)
    return {**found, "use": use(record, node), "remedies": remedies(record, node, prices)}


def work_of(record: Mapping[str, Any], stage: str) -> Work:
    """What a stage does with a clip, by a record."""
    counted, frames = record["work"][stage], _FRAMES.get(stage, _USUAL_FRAMES)
    rows = [row for row in record["decode"] if row["frames"] == frames]
    stored = record["work"]["cache"]["stored_bytes"]
    return Work(
        _STAGES[stage],
        counted["flops"],
        counted["batch"],
        [median(row["cpu_s"]) for row in rows],
        [row["bytes"] for row in rows],
        counted["passes"],
        counted["stored_bytes"],
        stored if stage == "ctd" else 0.0,
        in_step=stage != "cache",
    )


def _bills(
    record: Mapping[str, Any], clips: float, nodes: int, node: Instance, prices: ObjectStore, workers: int
) -> dict[str, Bill]:
    return {stage: bill(work_of(record, stage), clips, nodes, node, prices, workers) for stage in _STAGES}


def stages(
    record: Mapping[str, Any], clips: float, nodes: int, node: Instance, prices: ObjectStore, workers: int = WORKERS
) -> str:
    """Hours, gigabytes, files, requests and dollars of each stage."""
    lines = [
        {
            f"{_number(clips)} clips, {nodes} node{'s' if nodes > 1 else ''}": _STAGES[stage],
            "passes": record["work"][stage]["passes"],
            "hours": _figures(one.hours),
            "store, GB": _figures(one.stored_gb) if one.stored_gb else "",
            "shards": f"{one.files:,}" if one.files else "",
            "GET": _number(one.gets),
            "PUT": _number(one.puts) if one.puts else "",
            "dollars": _figures(one.dollars),
            "dollars a month kept": _figures(one.dollars_per_month) if one.dollars_per_month else "",
        }
        for stage, one in _bills(record, clips, nodes, node, prices, workers).items()
    ]
    return markdown(pd.DataFrame(lines))


def use(record: Mapping[str, Any], node: Instance, workers: int = WORKERS) -> str:
    """The share of each resource of a node that is in use, and which binds first."""
    return markdown(pd.DataFrame([_use(name, work_of(record, name), node, workers) for name in _STAGES]))


def _use(stage: str, work: Work, node: Instance, workers: int) -> dict[str, str]:
    rate = simulate(work, node, workers)
    return {
        "one node": _STAGES[stage],
        "clips/s": _figures(rate.clips_per_s),
        "GPU": f"{rate.gpu:.0%}",
        "decode CPU": f"{rate.cpu:.0%}",
        "network": f"{rate.network:.1%}",
        "local disk": f"{rate.disk:.1%}",
        "binds first": rate.binds,
    }


def remedies(record: Mapping[str, Any], node: Instance, prices: ObjectStore, workers: int = WORKERS) -> str:
    """CTD at the first of the sizes, as it is and with what helps where decoding binds."""
    plain, live = work_of(record, "ctd"), work_of(record, "ctd_live")
    small: dict[str, Any] = {"cpu_s": plain.cpu_s[:1], "video_bytes": plain.video_bytes[:1]}
    frames_bytes = float(_USUAL_FRAMES * 3 * SIDE**2)
    kept: dict[str, Any] = {"cpu_s": [0.0], "video_bytes": [0.0], "read_bytes": plain.read_bytes + frames_bytes}
    clips, nodes = SIZES[0]
    ways = {
        "from the store": (plain, 0.0),
        "teacher on the fly, one pass": (replace(live, passes=1), 0.0),
        "from the store, all videos like those of 480p": (replace(plain, **small), 0.0),
        "teacher on the fly, all videos like those of 480p": (replace(live, **small), 0.0),
        "from a store that keeps frames": (replace(plain, **kept), clips * frames_bytes / 1e9),
    }
    lines = []
    for name, (work, more_gb) in ways.items():
        one = bill(work, clips, nodes, node, prices, workers)
        lines.append(
            {
                f"CTD, {_number(clips)} clips, 1 node": name,
                "passes": work.passes,
                "hours": _figures(one.hours),
                "dollars": _figures(one.dollars),
                "more to keep, GB": _figures(more_gb) if more_gb else "",
                "GPU": f"{one.rate.gpu:.0%}",
                "binds first": one.rate.binds,
            }
        )
    return markdown(pd.DataFrame(lines))


def growth(record: Mapping[str, Any]) -> str:
    """What grows with the number of clips in each process: measured at one size, in proportion at others."""
    lists, store = record["lists"], record["store"]
    rows, samples = lists["rows"], store["samples"]
    each = {
        "reading the list, CPU seconds": lists["cpu_s"] / rows,
        "the list in memory, MB": max(lists["bytes"], 0) / rows / 1e6,
        "the list as a file, MB": lists["file_bytes"] / rows / 1e6,
        "finishing the store, CPU seconds": store["finish_cpu_s"] / samples,
        "opening the store, CPU seconds": store["open_cpu_s"] / samples,
        "its index in memory, MB": max(store["bytes"], 0) / samples / 1e6,
        "its index as files, MB": store["index_bytes"] / samples / 1e6,
    }
    lines = [
        {"of a run": name, **{f"{_number(clips)} clips": _figures(value * clips) for clips, _ in SIZES}}
        for name, value in each.items()
    ]
    return markdown(pd.DataFrame(lines))


def decoding(record: Mapping[str, Any]) -> str:
    """CPU seconds of a core to decode and scale a clip."""
    rows = pd.DataFrame(record["decode"])
    text = rows.assign(text=rows.cpu_s.map(lambda seconds: f"{median(seconds):.2f}"))
    wide = text.pivot(index="video", columns="frames", values="text").reindex(rows.video.unique())
    sizes = rows.groupby("video", sort=False).bytes.first().map(lambda size: f"{size / 1e6:.1f}")
    table = wide.rename(columns=lambda frames: f"{frames} frames").assign(MB=sizes).reset_index()
    where = measured_on(record["environment"])
    return f"{markdown(table.rename(columns={'video': 'CPU seconds a clip'}))}\n\nMeasured on {where}."


def assumptions(node: Instance, prices: ObjectStore) -> str:
    """What is assumed of machine and prices, in a paragraph."""
    return (
        f"Assumed, not measured: {node.name} at ${node.dollars_per_hour:g} an hour ({node.gpus} GPUs, {node.vcpus}"
        f" vCPUs, {node.network_gbit_s:g} Gbit/s, {node.disk_gb:,.0f} GB of local disks that write {node.disk_gb_s:g}"
        f" GB/s), {node.tflops:g} TFLOP/s a GPU on average, {node.stream_mb_s:g} MB/s and"
        f" {node.latency_s * 1000:g} ms to the first byte for each file from the object store; {prices.name} at"
        f" ${prices.dollars_per_gb_month:g} a GB and month, ${prices.dollars_per_1000_get:g} and"
        f" ${prices.dollars_per_1000_put:g} for 1000 reads of {prices.read_mib:g} MiB and writes of"
        f" {prices.write_mib:g} MiB. A vCPU counts as a core of the machine that decoding was measured on."
    )


def _number(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _figures(value: float) -> str:
    """Three figures, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
