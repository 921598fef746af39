"""The tiny world's half of RESULTS.md: means over the seeds, gains at equal time, and what has to be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from liteframe.bench.frontier import weights_at
from liteframe.bench.methods import STORY, in_order, label
from liteframe.bench.records import RowRecord
from liteframe.bench.report import WIDE
from liteframe.errors import DataError

from .records import ALL, TIMES, Records
from .wording import milliseconds

TEACHER = STORY[0]
FLOORS = ("encode", "prefill")
LEAST = "◁"
"""Behind an accuracy that is of a method's slowest row: at that later time it may be higher."""
_SHORT = {"bfloat16": "bf16", "float32": "fp32"}
_MEANS = ("accuracy", "tokens_encoder", "tokens", "tokens_asked", "tokens_mean_over_layers", *TIMES)


def sweep_rows(records: Records, seeds: Sequence[int] | None = None) -> pd.DataFrame:
    """The sweeps' rows about all questions, of the seeds that are averaged unless told otherwise."""
    table, wanted = records.table, records.mean_of if seeds is None else seeds
    return table[(table.kind == "sweep") & (table.type == ALL) & table.seed.isin(wanted)]


def dtypes(rows: pd.DataFrame) -> list[str]:
    """What the rows were timed in, in short; those of before that was recorded were timed in bfloat16."""
    return sorted({_SHORT[row.dtype or "bfloat16"] for row in rows["row"]})


def mean_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method and frame count that all seeds have: means, and the interval of the mean accuracy.

    The distances to the ends of the seeds' intervals add up as independent errors do, so the interval is the
    uncertainty of these worlds and models from the videos that were asked about.

    Raises:
        DataError: no row is in all of them.
    """
    rows = rows.join(pd.DataFrame([_floors(row) for row in rows["row"]], index=rows.index))
    floors = [name for name in rows if str(name).endswith("floor_ms")]
    groups = rows.assign(down=(rows.accuracy - rows.low) ** 2, up=(rows.high - rows.accuracy) ** 2).groupby(
        ["method", "frames"]
    )
    # A mean over fewer seeds than all would be of other worlds.
    means = groups[[*_MEANS, *floors]].agg(lambda values: values.mean(skipna=False))
    means[["down", "up"]] = np.sqrt(groups[["down", "up"]].sum()).div(groups.size(), axis=0)
    means["low"], means["high"] = (means.accuracy - means.down).clip(lower=0), (means.accuracy + means.up).clip(upper=1)
    means["questions"] = groups.questions.sum()
    means = means[groups.size() == rows.seed.nunique()]
    if means.empty:
        raise DataError("the reports have no method and frame count in common; they are of different sweeps")
    for name in FLOORS:
        if f"{name}_floor_ms" in means:
            means[f"{name}_over_floor"] = means[f"{name}_ms"] / means[f"{name}_floor_ms"]
    order = {name: place for place, name in enumerate(in_order(means.index.get_level_values("method")))}
    return means.sort_index(key=lambda level: level.map(order) if level.name == "method" else level)


def _floors(row: RowRecord) -> dict[str, float]:
    return {f"{name}_floor_ms": row.floor[name]["floor_ms"] for name in FLOORS if name in row.floor}


def by_frames(texts: pd.Series) -> pd.DataFrame:
    """Texts by method and frames; a dash where a method was not asked."""
    wide = texts.unstack("frames").reindex(in_order(texts.index.get_level_values("method"))).fillna("-")
    return wide.rename(index=label).rename_axis("method").reset_index().rename(columns=str)


def accuracy_table(means: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by method and frames, with the half of its interval."""
    half = np.maximum(means.accuracy - means.low, means.high - means.accuracy)
    return by_frames(means.accuracy.map("{:.3f}".format) + " ± " + half.map("{:.3f}".format))


def time_table(means: pd.DataFrame) -> pd.DataFrame:
    """Model time by method and frames."""
    return by_frames(means.model_ms.map(milliseconds))


def equal_time(rows: pd.DataFrame) -> pd.DataFrame:
    """What every method reaches at the time of each of the teacher's rows, mean of the seeds' own comparisons.

    ``accuracy`` and ``gain`` are missing where it has no row as fast in some seed; ``at_least`` where its slowest row,
    which may be faster, stands in. Empty without a teacher.
    """
    found = []
    seeds = {seed: own.set_index(["method", "frames"]) for seed, own in rows.groupby("seed")}
    shared = [name for name in in_order(rows.method) if all(name in own.index for own in seeds.values())]
    if TEACHER not in shared:
        return pd.DataFrame(columns=["method", "by", "teacher_frames", "accuracy", "gain", "lowest", "at_least"])
    counts = sorted(set.intersection(*(set(own.loc[TEACHER].index) for own in seeds.values())))
    for name in shared[1:]:
        for by, field in (("model", "model_ms"), ("end to end", "total_ms")):
            for count in counts:
                each = [_at_time(own, name, field, count) for own in seeds.values()]
                accuracy, gain, least = zip(*each, strict=True)
                known: dict[str, Any] = {"accuracy": np.mean(accuracy), "gain": np.mean(gain), "lowest": np.min(gain)}
                found.append({"method": name, "by": by, "teacher_frames": count, **known, "at_least": any(least)})
    return pd.DataFrame(found)


def _at_time(rows: pd.DataFrame, name: str, field: str, frames: int) -> tuple[float, float, bool]:
    """Accuracy at the teacher's time, the gain (neither a number where no row is as fast), and if they are at least."""
    own, teacher = rows.loc[name], rows.loc[(TEACHER, frames)]
    weights, where = weights_at(own[field].to_dict(), teacher[field])
    if not weights:
        return np.nan, np.nan, False
    accuracy = sum(weight * own.accuracy[count] for count, weight in weights.items())
    return accuracy, accuracy - teacher.accuracy, where == "slowest row"


def equal_time_table(equal: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The same in words, of some methods."""
    own = equal[equal.method.isin(methods)].copy()
    own["text"] = [
        "-" if np.isnan(row.gain) else f"{row.accuracy:.3f} ({row.gain:+.3f}){' ' + LEAST if row.at_least else ''}"
        for row in own.itertuples()
    ]
    wide = own.pivot(index=["method", "by"], columns="teacher_frames", values="text")
    wide = wide.reindex([(name, by) for name in methods for by in ("model", "end to end")]).dropna(how="all")
    wide = wide.rename(columns=lambda count: f"at the teacher's {count}").reset_index()
    return wide.assign(method=wide.method.map(label)).rename_axis(columns=None)


def everything(means: pd.DataFrame) -> pd.DataFrame:
    """All numbers of the tiny world, a row a method and frame count, for the CSV."""
    whole = means.drop(columns=["down", "up"])
    whole.insert(0, "label", whole.index.get_level_values("method").map(label))
    return whole.reset_index()


def noisy_cells(rows: pd.DataFrame) -> list[int]:
    """In how many cells of each seed the model time's 90th percentile is more than `WIDE` times the 10th."""
    models = [row.spread.get("model", {"p10": 1.0, "p90": 1.0}) for row in rows["row"]]
    noisy = pd.Series([model["p90"] > WIDE * model["p10"] for model in models], index=rows.index)
    return noisy.groupby(rows.seed).sum().to_list()


def left_out(rows: pd.DataFrame) -> list[str]:
    """Methods at frame counts that only some seeds have."""
    sizes = rows.groupby(["method", "frames"]).size()
    return [f"{label(name)} at {frames}" for name, frames in sizes[sizes < rows.seed.nunique()].index]
