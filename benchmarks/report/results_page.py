"""RESULTS.md, its tables and its pictures, made from the records and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.methods import STORY, label, of_groups
from liteframe.bench.paper.cells import ALL_SEEDS
from liteframe.bench.report import CHANCE, WIDE
from liteframe.errors import DataError

from . import plots, real_shapes, tiny_world
from .provenance import added_later, source
from .records import Records, read_records
from .render import Output, render
from .wording import listed, milliseconds

RELATIVES_AT = 16
"""Frames at which the accuracy of a tiny relative is shown beside an encoder's real latency."""
DEVICES = {"cpu": ("On a CPU", "`make bench`"), "gpu": ("On a GPU", "`make bench-gpu`, then `make results`")}


def write_results(folder: Path, check: bool = False) -> list[Path]:
    """Writes the page into the folder of `records`; returns what is stale where it only checks.

    Raises:
        DataError: a record cannot be read, or there is no report of a seed that is averaged.
    """
    records, output = read_records(folder / "records"), Output(folder, check)
    if not records.mean_of:
        where, seeds = folder / "records", listed(ALL_SEEDS)
        raise DataError(f"{where}: no tiny-seed*/report.json of seed {seeds}; run `make bench`")
    output.text("RESULTS.md", page(records))
    output.tables(tables(records))
    _draw(records, output)
    return output.stale


def tables(records: Records) -> dict[str, pd.DataFrame]:
    """The long tables, which are CSV beside the page, by name."""
    rows = tiny_world.sweep_rows(records)
    devices = {f"real_shapes_{key}": real_shapes.everything(record) for key, record in _devices(records).items()}
    return {
        "tiny_world": tiny_world.everything(tiny_world.mean_rows(rows)),
        "equal_time": tiny_world.equal_time(rows),
        **devices,
    }


def page(records: Records) -> str:
    """The whole of RESULTS.md."""
    rows, means = tiny_world.sweep_rows(records), _means(records)
    reports = {f"records/{name}": records.sweeps[name] for name in dict.fromkeys(rows.record)}
    return render(
        "results.md.j2",
        seeds=records.mean_of,
        chance=CHANCE,
        source=source({name: report.get("environment") or {} for name, report in reports.items()}),
        added=added_later(reports),
        questions=means.questions.min(),
        left_out=tiny_world.left_out(rows),
        accuracy=tiny_world.accuracy_table(means),
        noisy=tiny_world.noisy_cells(rows),
        cells=rows.groupby("seed").size().min(),
        wide=WIDE,
        equal_time=tiny_world.equal_time_table(tiny_world.equal_time(rows), STORY[1:]),
        times=tiny_world.time_table(means),
        not_in_rows=_not_in_rows({*rows.method}),
        devices=[_device(key, records, means) for key in DEVICES],
        relatives_at=RELATIVES_AT,
    )


def _means(records: Records) -> pd.DataFrame:
    """Of the methods that are compared; other settings of them stand in the CSV alone."""
    means = tiny_world.mean_rows(tiny_world.sweep_rows(records))
    return means[~means.index.get_level_values("method").isin(of_groups("setting"))]


def _not_in_rows(measured: set[str]) -> list[str]:
    """What the papers of the measured methods do besides, and no row has."""
    from liteframe.models.rivals.earlytom import EarlyTomVideoLLM
    from liteframe.ops.compressors.registry import METHODS

    absent = {f"teacher+{name}": made.absent for name, made in METHODS.items() if made.absent}
    absent["teacher+earlytom"] = EarlyTomVideoLLM.absent
    halves = {name: what for name, what in absent.items() if name in measured and f"{name}-llm" not in measured}
    return [f"{label(name)}'s {what}" for name, what in halves.items()]


def _devices(records: Records) -> dict[str, LatencyRecord]:
    return {key: records.latency[f"latency_{key}"] for key in DEVICES if f"latency_{key}" in records.latency}


def _device(key: str, records: Records, means: pd.DataFrame) -> dict[str, Any]:
    title, command = DEVICES[key]
    record = _devices(records).get(key)
    if record is None:
        return {"title": title, "command": command, "record": None}
    counts = sorted({row.frames for row in record.suite("pipeline", batch=1) if row.frames})
    accuracy = means.accuracy.xs(RELATIVES_AT, level="frames").to_dict()
    headline = real_shapes.headline(record, counts, list(dict.fromkeys(row.arm for row in record.suite("pipeline"))))
    ups, encoders = real_shapes.speed_ups(record, plots.REAL_STORY), real_shapes.encoders(record, accuracy)
    return {
        "title": title, "key": key, "record": record, "settings": record.settings,
        "source": source({f"records/latency_{key}.json": record.environment}),
        "headline": headline, "speed_ups": ups, "encoders": encoders,
        "legend": real_shapes.legend(headline, ups, encoders),
        "kernels": ", ".join(
            f"{milliseconds(ms)} ms by {name}" for name, ms in record.settings.get("attention_kernels_ms", {}).items()
        ),
        "executions": real_shapes.executions(record), "first_tokens": real_shapes.first_tokens(record),
        "descriptions": real_shapes.descriptions(record),
        "limits": record.limits, "floors_beaten": real_shapes.floors_beaten(record),
        "not_run": real_shapes.not_run(record),
    }  # fmt: skip


def _draw(records: Records, output: Output) -> None:
    of = f"mean of {len(records.mean_of)} seeds" if len(records.mean_of) > 1 else f"seed {records.mean_of[0]}"
    means = _means(records)
    for path in output.pictures(["frontier"]):
        plots.frontier(means, path, f"Tiny world: accuracy against time to answer ({of}, 95 % intervals)")
    for path in output.pictures(["rivals"] if set(means.index.get_level_values("method")) - set(STORY) else []):
        plots.rivals(means, path, f"Tiny world: the other methods one by one ({of}, 95 % intervals)")
    for path in output.pictures(["tiny_stages"]):
        table = plots.stages_of_means(means, ("teacher", "teacher+wap", "liteframe-lma"))
        plots.stage_bars(table, path, f"Tiny world: where the time of a video goes ({of})")
    for key, record in _devices(records).items():
        where = f"{record.environment.get('device')}, base VLM {record.settings.get('host')}, batch 1"
        for path in output.pictures([f"stages_{key}"]):
            plots.stage_bars(plots.stages_of_record(record), path, f"Where the model time of a video goes ({where})")
