"""RESULTS.md, its tables and its pictures, made from the records and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from liteframe.bench.latency_record import LatencyRecord
from liteframe.bench.methods import STORY, label
from liteframe.errors import DataError

from . import plots, real_shapes, tiny_world
from .provenance import added_later, source
from .records import Records, read_records
from .render import Output, render

CHANCE = 0.25
RELATIVES_AT = 16
"""Frames at which the accuracy of a tiny relative is shown beside an encoder's real latency."""
DEVICES = {"cpu": ("On a CPU", "`make bench`"), "gpu": ("On a GPU", "`make bench-gpu`, then `make results`")}


def write_results(folder: Path, check: bool = False) -> list[Path]:
    """Writes the page into the folder of `records`; returns what is stale where it only checks.

    Raises:
        DataError: a record cannot be read, or there is no summary of seeds.
    """
    records, output = read_records(folder / "records"), Output(folder, check)
    if not records.mean_of:
        raise DataError(f"{folder / 'records' / 'tiny-seeds.json'}: is missing; write it with `liteframe seeds`")
    rows = tiny_world.sweep_rows(records)
    means = tiny_world.mean_rows(rows)
    output.text("RESULTS.md", page(records, rows, means))
    output.tables(tables(records, rows, means))
    _draw(records, means, output)
    return output.stale


def tables(records: Records, rows: pd.DataFrame, means: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The long tables, which are CSV beside the page, by name."""
    made = {"real_shapes": real_shapes.everything, "speed_ups": real_shapes.speed_ups}
    return {
        "tiny_world": tiny_world.everything(means),
        "equal_time": tiny_world.equal_time(rows),
        **{f"{name}_{key}": make(record) for key, record in _devices(records).items() for name, make in made.items()},
    }


def page(records: Records, rows: pd.DataFrame, means: pd.DataFrame) -> str:
    """The whole of RESULTS.md; `rows` are those of the seeds, `means` their means."""
    return render(
        "results.md.j2",
        seeds=records.mean_of,
        chance=CHANCE,
        tiny=_tiny(records, rows, means),
        absent=_absent(),
        others=_others(records),
        devices=[_device(key, records, means) for key in DEVICES],
        relatives_at=RELATIVES_AT,
    )


def _tiny(records: Records, rows: pd.DataFrame, means: pd.DataFrame) -> dict[str, Any]:
    reports = {f"records/{name}": records.sweeps[name] for name in dict.fromkeys(rows.record)}
    return {
        "source": source({name: report.get("environment") or {} for name, report in reports.items()}),
        "added": added_later(reports),
        "questions": means.questions.min(),
        "left_out": tiny_world.left_out(rows),
        "accuracy": tiny_world.accuracy_table(means),
        "against_wap": tiny_world.against_wap(means),
        "cautions": tiny_world.cautions(means, rows, CHANCE),
        "equal_time": tiny_world.equal_time_table(tiny_world.equal_time(rows), STORY[1:]),
        "times": tiny_world.time_table(means),
        "limits": tiny_world.limits(records),
        "memory": tiny_world.memory(rows),
    }


def _absent() -> pd.DataFrame:
    """What of a compressor's paper is not built here, as its line in the registry says."""
    from liteframe.ops.compressors.registry import METHODS

    rows = [[label(f"teacher+{name}"), made.absent] for name, made in METHODS.items() if made.absent]
    return pd.DataFrame(rows, columns=["method", "what it does besides, not built here"])


def _others(records: Records) -> list[dict[str, Any]]:
    """Runs that were kept and are in no mean."""
    found = []
    for seed in sorted(set(tiny_world.sweep_rows(records, records.table.seed.unique()).seed) - set(records.mean_of)):
        rows = tiny_world.sweep_rows(records, [seed])
        means, (name, *_) = tiny_world.mean_rows(rows), rows.record
        about = source({f"records/{name}": records.sweeps[name].get("environment") or {}})
        tables = {"accuracy": tiny_world.accuracy_table(means), "times": tiny_world.time_table(means)}
        found.append({"name": f"seed {seed}", "source": about, **tables})
    return found


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
        "title": title, "key": key, "record": record,
        "source": source({f"records/latency_{key}.json": record.environment}),
        "settings": _settings(record.settings),
        "headline": headline, "speed_ups": ups, "encoders": encoders,
        "legend": real_shapes.legend(headline, ups, encoders),
        "descriptions": real_shapes.descriptions(record),
        "limits": real_shapes.limits(record),
        "memory": real_shapes.memory(record),
        "shared": str(record.settings.get("memory", "")).startswith("resident set"),
        "not_run": real_shapes.not_run(record),
    }  # fmt: skip


def _settings(settings: Mapping[str, Any]) -> str:
    shown = {
        "host": "base VLM {}", "image_size": "{} px", "question_tokens": "question of {} tokens",
        "line_tokens": "{} tokens of text a frame line", "decode_tokens": "{} decoded",
    }  # fmt: skip
    text = ", ".join(words.format(settings[name]) for name, words in shown.items() if settings.get(name))
    return f"Settings: {text}." if text else ""


def _draw(records: Records, means: pd.DataFrame, output: Output) -> None:
    of = f"mean of {len(records.mean_of)} seeds" if len(records.mean_of) > 1 else f"seed {records.mean_of[0]}"
    for path in output.pictures(["frontier"]):
        plots.frontier(means, path, f"Tiny world: accuracy against time to answer ({of}, 95 % intervals)")
    for path in output.pictures(["rivals"] if set(means.index.get_level_values("method")) - set(STORY) else []):
        plots.rivals(means, path, f"Tiny world: the other methods one by one ({of}, 95 % intervals)")
    for path in output.pictures(["tiny_stages"]):
        bars = plots.bars_of_means(means, ("teacher", "teacher+wap", "liteframe-lma"))
        plots.stage_bars(bars, path, f"Tiny world: where the time of a video goes ({of})")
    for key, record in _devices(records).items():
        where = f"{record.environment.get('device')}, base VLM {record.settings.get('host')}, batch 1"
        for path in output.pictures([f"frames_{key}"]):
            plots.latency_over_frames(record, path, f"Latency against frames ({where})")
        for path in output.pictures([f"stages_{key}"]):
            plots.stage_bars(plots.bars_of_record(record), path, f"Where the model time of a video goes ({where})")
