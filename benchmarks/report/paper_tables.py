"""The tables of PAPER.md, each from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import pandas as pd

from liteframe.bench.methods import STORY, label, of_groups
from liteframe.bench.paper.cells import (
    AGAIN,
    ALL_SEEDS,
    BUDGETS,
    CONTROL,
    CTD,
    FRAMES,
    LMA,
    LONGEST,
    RATIOS,
    TWO_SEEDS,
    frames_at,
)

from .accuracy_claims import AT_16X, REDUCING, WAP
from .evidence import Evidence, Point
from .records import ALL
from .time_claims import MIXER_NAMES, stages_ms
from .verdicts import MISSING
from .wording import each_seed, interval, milliseconds, signed, words

NO_TIME = "not timed"
BEYOND_16X = ("teacher", "teacher+dycoke", "teacher+fastv", "teacher+pyramiddrop")
"""Of Table 1, those whose LLM sees more than one token in 16: all, as many as the method leaves, or all at first."""


def table_1(evidence: Evidence) -> pd.DataFrame:
    """Reductions at 16x."""
    return reductions(evidence, of_groups(*AT_16X))


def other_budgets(evidence: Evidence) -> pd.DataFrame:
    """The methods of Table 1 whose LLM sees more."""
    return reductions(evidence, BEYOND_16X)


def other_base(evidence: Evidence) -> pd.DataFrame:
    """Table 1 on the base VLM that learnt other pooled tokens; empty where nothing was measured on it."""
    asked = [name for name in ("teacher", *of_groups(*REDUCING)) if evidence.frames_of(CONTROL + name)]
    return reductions(evidence, asked, CONTROL) if asked else pd.DataFrame()


def other_settings(evidence: Evidence) -> pd.DataFrame:
    """Rivals with other settings than those that they are compared with, beside these; FastVID's where measured."""
    scopes = ["teacher+tome", *(name for name in of_groups("setting") if name.startswith("teacher+tome"))]
    rest = [name for name in ("teacher+fastvid", "teacher+fastvid-apart") if evidence.frames_of(name)]
    return reductions(evidence, [*scopes, *rest])


def reductions(evidence: Evidence, names: Sequence[str], base: str = "") -> pd.DataFrame:
    """Accuracy by frames, WAP less each, and the tokens that it was asked for and gave."""
    rows = []
    for name in names:
        own = base + name
        wanted = evidence.wanted((own, count) for count in FRAMES) or ALL_SEEDS
        less = "" if name == WAP else interval(evidence.gain(base + WAP, own), signs=True, wanted=wanted)
        known = {f"{count} frames": interval(evidence.accuracy(own, count), wanted=wanted) for count in FRAMES}
        tokens = {f"tokens at {max(FRAMES)}: asked / given": _tokens(evidence, own)}
        rows.append({"reduction": label(name), **known, "WAP less this": less, **tokens})
    return pd.DataFrame(rows)


def _tokens(evidence: Evidence, name: str) -> str:
    tokens = evidence.tokens.get((name, max(FRAMES)))
    if tokens is None:
        return MISSING
    asked, mean = tokens["asked"], tokens["mean_over_layers"]
    given = f"{tokens['llm']:g}" if mean is None else f"{mean:.0f}, mean over the LLM's layers"
    return f"{'-' if asked is None else f'{asked:g}'} / {given}"


def by_frames(evidence: Evidence) -> pd.DataFrame:
    """Figure 3, left: accuracy by frames. The teacher has no 128."""
    counts, rows = (*FRAMES, LONGEST), []
    for name in STORY:
        known = {f"{n} frames": interval(evidence.accuracy(name, n), wanted=ALL_SEEDS) for n in counts}
        rows.append({"method": label(name), **known} | ({f"{LONGEST} frames": "-"} if name == "teacher" else {}))
    return pd.DataFrame(rows)


def by_ratio(evidence: Evidence) -> pd.DataFrame:
    """Figure 3, right: WAP by ratio at equal visual tokens."""
    rows = []
    for name, ratio in RATIOS.items():
        cells = {}
        for budget in BUDGETS:
            frames = frames_at(budget, ratio)
            text = interval(evidence.accuracy(name, frames), wanted=ALL_SEEDS) if frames else ""
            cells[f"{budget} tokens"] = f"{text} at {frames} frames" if frames else "-"
        rows.append({"ratio": "none" if ratio == 1 else f"{ratio}x", **cells})
    return pd.DataFrame(rows)


def table_2(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Latency and FLOPs of the mixers at the paper's shapes, by the name of the record."""
    tables = {}
    for key, record in evidence.records.latency.items():
        rows = []
        for mixer, text in words()["mixers"].items():
            found, about = stages_ms(record, "mixer", MIXER_NAMES[mixer], None), record.arms.get(MIXER_NAMES[mixer])
            sizes = [getattr(about, field, None) for field in ("gflops_per_frame", "parameters_m")]
            taken = MISSING if found is None else milliseconds(found[0]) + (" (computed)" if found[1] else "")
            rows.append([text, taken, *(MISSING if size is None else f"{size:.1f}" for size in sizes)])
        columns = ["mixer", "ms for a clip of 4 frames: encode + project", "GFLOP a frame", "M parameters"]
        tables[key] = pd.DataFrame(rows, columns=columns)
    return tables


def table_3(evidence: Evidence) -> pd.DataFrame:
    """Accuracy beside latency, for the methods of the story."""
    fields = {"encode ms": "encode_ms", "prefill ms": "prefill_ms", "model ms": "model_ms", "end to end ms": "total_ms"}
    rows = []
    for name in STORY:
        for count in (*FRAMES, LONGEST):
            if count not in evidence.frames_of(name) or (name, count) == (WAP, LONGEST):
                continue
            times = {title: evidence.milliseconds(name, count, field) for title, field in fields.items()}
            shown = {title: milliseconds(fmean(ms.values())) if ms else NO_TIME for title, ms in times.items()}
            accuracy = interval(evidence.accuracy(name, count), wanted=ALL_SEEDS)
            rows.append({"method": label(name), "frames": count, "accuracy": accuracy, **shown})
    return pd.DataFrame(rows)


def figure_6(evidence: Evidence) -> pd.DataFrame:
    """The student after CTD, the LLM frozen, against every reduction."""
    rows = []
    for name in of_groups(*REDUCING):
        times = []
        for count in (min(FRAMES), max(FRAMES)):
            own, other = evidence.milliseconds(CTD, count), evidence.milliseconds(name, count)
            shared = sorted(own.keys() & other.keys())
            times.append(f"{fmean(other[s] / own[s] for s in shared):.1f}" if shared else NO_TIME)
        rows.append([label(name), interval(evidence.gain(CTD, name), signs=True, wanted=ALL_SEEDS), *times])
    columns = ["reduction", "student less this, mean of 8 to 64 frames", "times slower at 8 frames", "at 64 frames"]
    return pd.DataFrame(rows, columns=columns)


def untimed(evidence: Evidence, names: Sequence[str]) -> dict[str, object]:
    """The methods that some sweep has not timed, and the seeds; empty where all are."""
    lacking = [label(name) for name in names if evidence.untimed_seeds(name)]
    return {"names": lacking, "seeds": evidence.untimed_seeds(*names)} if lacking else {}


def table_5(evidence: Evidence) -> list[dict[str, object]]:
    """The mixers' accuracy after CTD and after LMA, and what two trainings of the same differ by."""
    parts = []
    for stage, own, title in (("ctd", CTD, "After CTD, the LLM frozen"), ("lma", LMA, "After LMA")):
        mixers = words()["mixers"]
        students = {own if mixer == "depthwise" else f"{stage}-{mixer}": text for mixer, text in mixers.items()}
        students[AGAIN[own]] = f"{mixers['depthwise']}, trained again"
        found, largest = evidence.gain(AGAIN[own], own), evidence.training_noise(own)
        noise = (
            f"{MISSING}."
            if found is None or largest is None
            else f"{signed(found)}, {each_seed(found)}; the largest, {largest:.3f}, is what a difference must exceed at"
            " each seed."
        )
        table = compared(evidence, students, "mixer", "less depth-wise")
        parts.append({"title": title, "table": table, "noise": noise})
    return parts


def ablations(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """All the other settings, by title."""
    return {
        title: compared(evidence, students, "setting", tokens=title == "Compression")
        for title, students in words()["ablations"].items()
    }


def compared(
    evidence: Evidence, students: Mapping[str, str], what: str, less: str = "less the first", tokens: bool = False
) -> pd.DataFrame:
    """Students on two seeds, each less the first of them; with ``tokens`` what the LLM sees at the most frames."""
    first, rows = next(iter(students)), []
    for name, text in students.items():
        llm = evidence.tokens.get((name, max(FRAMES)), {}).get("llm")
        given = {f"tokens to the LLM at {max(FRAMES)} frames": MISSING if llm is None else f"{llm:g}"}
        known = {f"{n} frames": interval(evidence.accuracy(name, n, TWO_SEEDS), wanted=TWO_SEEDS) for n in FRAMES}
        gain = interval(evidence.gain(name, first, TWO_SEEDS), signs=True, wanted=TWO_SEEDS) if name != first else ""
        rows.append({what: text, **(given if tokens else {}), **known, less: gain})
    return pd.DataFrame(rows)


def everything(evidence: Evidence) -> pd.DataFrame:
    """Accuracy of every method, frame count and question type, over its seeds and at each, for the CSV."""
    answers = evidence.records.table
    answers = answers[(answers.kind == "answers") & (answers.type != ALL)]
    types = answers.pivot_table(index=["base", "method", "frames"], columns="type", values="accuracy")
    rows = []
    for name, frames in sorted(evidence.right, key=_order):
        found = evidence.accuracy(name, frames)
        assert found is not None
        base, method = ("average", name.removeprefix(CONTROL)) if name.startswith(CONTROL) else ("", name)
        key = (CONTROL if base else "", method, frames)
        means = types.loc[key].to_dict() if key in types.index else {}
        seeds = {f"seed {seed}": value for seed, value in sorted(found.by_seed.items())}
        interval_ = {"accuracy": found.mean, "low": found.low, "high": found.high}
        rows.append({"base VLM": base or "WAP", "method": method, "frames": frames, **interval_, **seeds, **means})
    columns = ["base VLM", "method", "frames", "accuracy", "low", "high", *(f"seed {seed}" for seed in ALL_SEEDS)]
    return pd.DataFrame(rows, columns=[*columns, *types.columns])


def _order(point: Point) -> tuple[bool, str, int]:
    return point[0].startswith(CONTROL), point[0], point[1]
