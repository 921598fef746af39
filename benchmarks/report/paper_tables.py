"""The tables of PAPER.md, each from the evidence alone; the whole numbers are CSV beside the page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from liteframe.bench.methods import label, of_groups
from liteframe.bench.paper.cells import AGAIN, ALL_SEEDS, CONTROL, CTD, FRAMES, LMA, TWO_SEEDS

from .accuracy_claims import AT_16X, REDUCING, WAP
from .evidence import Evidence
from .records import ALL
from .time_claims import MIXER_NAMES, clip_time
from .verdicts import MISSING
from .wording import interval, milliseconds, words

FEW, MANY = min(FRAMES), max(FRAMES)
BEYOND_16X = ("teacher", *of_groups("own budget", "inside the LLM"))
"""Methods whose LLM sees more than one token in 16: all, as many as the method leaves, or all at first."""


def table_1(evidence: Evidence) -> pd.DataFrame:
    """Reductions at 16x."""
    return reductions(evidence, of_groups(*AT_16X))


def other_budgets(evidence: Evidence) -> pd.DataFrame:
    """The methods whose LLM sees more."""
    return reductions(evidence, BEYOND_16X)


def reductions(evidence: Evidence, names: Sequence[str]) -> pd.DataFrame:
    """Accuracy at the fewest and the most frames, WAP less each on both base VLMs, tokens asked for and given."""
    rows = []
    for name in names:
        known = {f"{n} frames": interval(evidence.accuracy(name, n), wanted=ALL_SEEDS) for n in (FEW, MANY)}
        less = {
            title: _wap_less(evidence, name, base)
            for base, title in (("", "WAP less this"), (CONTROL, "on the other base VLM"))
        }
        rows.append({"reduction": label(name), **known, **less, f"tokens at {MANY}": _tokens(evidence, name)})
    return pd.DataFrame(rows)


def _wap_less(evidence: Evidence, name: str, base: str) -> str:
    wanted = evidence.wanted([(base + name, FEW)])
    if name == WAP or not wanted:
        return "-"
    return interval(evidence.gain(base + WAP, base + name), signs=True, wanted=wanted)


def _tokens(evidence: Evidence, name: str) -> str:
    tokens = evidence.tokens.get((name, MANY))
    if tokens is None:
        return MISSING
    asked, mean = tokens["asked"], tokens["mean_over_layers"]
    given = f"{tokens['llm']:g}" if mean is None else f"{mean:.0f} a layer"
    return given if asked in (None, tokens["llm"]) else f"{given} for {asked:g} asked"


def table_2(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Latency and FLOPs of the mixers at the paper's shapes, by the name of the record."""
    tables = {}
    for key, record in evidence.records.latency.items():
        rows = []
        for mixer, text in words()["mixers"].items():
            found, about = clip_time(record, mixer), record.methods.get(MIXER_NAMES[mixer])
            sizes = [getattr(about, field, None) for field in ("gflops_per_frame", "parameters_m")]
            taken = MISSING if found is None else milliseconds(found[0]) + (" (computed)" if found[1] else "")
            rows.append([text, taken, *(MISSING if size is None else f"{size:.1f}" for size in sizes)])
        columns = ["mixer", "ms for a clip of 4 frames: encode + project", "GFLOP a frame", "M parameters"]
        tables[key] = pd.DataFrame(rows, columns=columns)
    return tables


def figure_6(evidence: Evidence) -> pd.DataFrame:
    """The student after CTD, the LLM frozen, against every reduction."""
    rows = []
    for name in of_groups(*REDUCING):
        times = []
        for count in (FEW, MANY):
            own, other = evidence.milliseconds(CTD, count), evidence.milliseconds(name, count)
            shared = sorted(own.keys() & other.keys())
            times.append(f"{fmean(other[s] / own[s] for s in shared):.1f}" if shared else "not timed")
        rows.append([label(name), interval(evidence.gain(CTD, name), signs=True, wanted=ALL_SEEDS), *times])
    columns = ["reduction", "student less this", f"times as long at {FEW} frames", f"at {MANY} frames"]
    return pd.DataFrame(rows, columns=columns)


def _mixers(stage: str, own: str) -> dict[str, str]:
    mixers = words()["mixers"]
    students = {own if mixer == "depthwise" else f"{stage}-{mixer}": text for mixer, text in mixers.items()}
    return {**students, AGAIN[own]: f"{mixers['depthwise']}, trained again"}


def table_5(evidence: Evidence) -> pd.DataFrame:
    """The mixers' accuracy after CTD and after LMA, each less the paper's."""
    halves = []
    for stage, own, title in (("ctd", CTD, "after CTD"), ("lma", LMA, "after LMA")):
        table = compared(evidence, _mixers(stage, own), "mixer").drop(columns=f"{FEW} frames").set_index("mixer")
        halves.append(table.set_axis([f"{title}, {MANY} frames", f"{title}, less depth-wise"], axis=1))
    return pd.concat(halves, axis=1).reset_index()


def ablations(evidence: Evidence) -> pd.DataFrame:
    """All the other settings on two seeds, each less the first of its kind."""
    return _by_kind(evidence, words()["ablations"], TWO_SEEDS)


def beyond(evidence: Evidence) -> pd.DataFrame:
    """What goes past the paper on three seeds, likewise: students of other shapes, and what training buys."""
    measured = {
        title: students
        for title, students in words()["beyond"].items()
        if any(evidence.accuracy(name, MANY) for name in list(students)[1:])
    }
    table = _by_kind(evidence, measured, ALL_SEEDS)
    names = [name for students in measured.values() for name in students]
    return table.assign(**{f"tokens at {MANY}": [_tokens(evidence, name) for name in names]})


def _by_kind(evidence: Evidence, kinds: dict[str, dict[str, str]], seeds: Sequence[int]) -> pd.DataFrame:
    tables = [
        compared(evidence, students, "setting", seeds).assign(ablation=[title, *[""] * (len(students) - 1)])
        for title, students in kinds.items()
    ]
    whole = pd.concat(tables) if tables else pd.DataFrame(columns=["ablation"])
    return whole[["ablation", *whole.columns.drop("ablation")]]


def compared(evidence: Evidence, students: dict[str, str], what: str, seeds: Sequence[int] = TWO_SEEDS) -> pd.DataFrame:
    """Students on these seeds, each less the first of them."""
    first, rows = next(iter(students)), []
    for name, text in students.items():
        known = {f"{n} frames": interval(evidence.accuracy(name, n, seeds), wanted=seeds) for n in (FEW, MANY)}
        gain = interval(evidence.gain(name, first, seeds), signs=True, wanted=seeds) if name != first else ""
        rows.append({what: text, **known, "less the first": gain})
    return pd.DataFrame(rows)


def accuracies(evidence: Evidence) -> pd.DataFrame:
    """Accuracy of every method, frame count and question type, over its seeds and at each, for the CSV."""
    answers = evidence.records.table
    answers = answers[(answers.kind == "answers") & (answers.type != ALL)]
    types = answers.pivot_table(index=["base", "method", "frames"], columns="type", values="accuracy")
    rows = []
    for name, frames in sorted(evidence.right, key=lambda point: (point[0].startswith(CONTROL), *point)):
        found, base, method = evidence.accuracy(name, frames), *name.rpartition(CONTROL)[1:]
        assert found is not None
        means = types.loc[base, method, frames].to_dict() if (base, method, frames) in types.index else {}
        by_seed = {f"seed {seed}": found.by_seed.get(seed) for seed in ALL_SEEDS}
        tokens = {f"tokens {what}": value for what, value in evidence.tokens[name, frames].items()}
        about = {"base VLM": "average" if base else "WAP", "method": method, "frames": frames}
        rows.append({**about, "accuracy": found.mean, "low": found.low, "high": found.high} | by_seed | means | tokens)
    return pd.DataFrame(rows)
