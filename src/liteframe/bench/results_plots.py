"""The pictures of the results page, made from the records into one folder."""

from __future__ import annotations

from pathlib import Path

from liteframe.bench.arm_names import arm_name, real_arm_name
from liteframe.bench.encoder_bars import plot_encoders
from liteframe.bench.latency_record import LatencyRecord, LatencyRow
from liteframe.bench.plots import plot_frontier
from liteframe.bench.records import MODEL_STAGES
from liteframe.bench.results_records import Records
from liteframe.bench.rival_panels import plot_rivals
from liteframe.bench.scaling_plot import plot_latency_over_frames
from liteframe.bench.seed_means import mean_rows
from liteframe.bench.stage_bars import StageBar, plot_stage_bars

_SHOWN = {"tiny": ("teacher", "teacher+wap", "liteframe-lma"), "real": ("teacher", "teacher+wap", "student")}
_DEVICES = {"cpu": "CPU", "gpu": "GPU"}


def picture_names(records: Records) -> list[str]:
    """Names of the pictures that these records give, in the order of the page."""
    arms = {row.arm for row in mean_rows([report.rows for report in records.seeds])}
    names = ["frontier", *(["rivals"] if arms - {"teacher", "teacher+wap", "liteframe-ctd", "liteframe-lma"} else [])]
    names += ["tiny_stages"] if arms & set(_SHOWN["tiny"]) else []
    for device, (_, record) in records.latency.items():
        whole = any(row.model_ms and row.frames for row in record.suite("pipeline", batch=1))
        encoders = any(row.encoder_ms and row.frames for row in record.suite("encoder", batch=1))
        names += [f"frames_{device}"] if whole else []
        names += [f"stages_{device}"] if real_bars(record) else []
        names += [f"encoders_{device}"] if encoders else []
    return names


def draw(records: Records, folder: Path) -> None:
    """Draw every picture of ``picture_names`` as ``folder/<name>.png``."""
    rows = mean_rows([report.rows for report in records.seeds])
    seeds = len(records.seeds)
    of = f"mean of {seeds} seeds" if seeds > 1 else records.seeds[0].seed
    names = picture_names(records)
    plot_frontier(rows, folder / "frontier.png", f"Tiny world: accuracy against time to answer ({of}, 95 % intervals)")
    plot_rivals(rows, folder / "rivals.png", f"Tiny world: the other arms one by one ({of}, 95 % intervals)")
    if "tiny_stages" in names:
        bars = [
            StageBar(arm_name(arm), f"{row.frames} frames", row.stage_ms)
            for arm in _SHOWN["tiny"]
            for row in rows
            if row.arm == arm
        ]
        plot_stage_bars(bars, folder / "tiny_stages.png", f"Tiny world: where the time of a video goes ({of})")
    for device, (_, record) in records.latency.items():
        where = f"{record.environment.get('device') or _DEVICES[device]}, {record.settings.get('host', 'host')}"
        plot_latency_over_frames(record, folder / f"frames_{device}.png", f"Latency against frames ({where}, batch 1)")
        plot_encoders(record, folder / f"encoders_{device}.png", f"Encoders at real size ({where}, batch 1)")
        bars = real_bars(record)
        if bars:
            plot_stage_bars(bars, folder / f"stages_{device}.png", f"Where the model time of a video goes ({where})")


def _how(row: LatencyRow) -> str:
    """What of a row's model time was computed, in words; empty if nothing was."""
    computed = [row.stages[name].computed for name in MODEL_STAGES]
    return "computed" if all(computed) else "partly computed" if any(computed) else ""


def real_bars(record: LatencyRecord) -> list[StageBar]:
    """The bars of whole pipelines of the main arms."""
    return [
        StageBar(
            real_arm_name(arm),
            f"{row.frames} frames",
            {name: row.stages[name].ms for name in MODEL_STAGES},
            _how(row),
        )
        for arm in _SHOWN["real"]
        for row in record.suite("pipeline", arm, batch=1)
        if row.model_ms and row.frames
    ]
