"""Which record a table was made from, and what that was measured on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from liteframe.bench.methods import label
from liteframe.bench.paper.records import CellRecord

from .wording import listed


def measured_on(environment: Mapping[str, Any]) -> str:
    """Device, threads, dtype, attention, versions and commit, as far as the record has them."""
    packages, on_gpu = environment.get("packages") or {}, environment.get("device_type") == "cuda"
    attention = environment.get("attention_kernel")
    parts = [
        str(environment.get("device") or "device not recorded"),
        f"driver {environment['driver']}" if environment.get("driver") else "",
        _threads([environment["threads"]]) if environment.get("threads") and not on_gpu else "",
        str(environment.get("dtype") or ""),
        f"attention {str(attention).translate(str.maketrans('', '', '{}' + chr(39) + chr(34))).replace(': ', ' ')}"
        if attention
        else "",
        *(f"{name} {packages[name]}" for name in ("torch", "transformers") if packages.get(name)),
        commit(environment),
    ]
    return ", ".join(filter(None, parts))


def commit(environment: Mapping[str, Any]) -> str:
    """The code that measured."""
    if not environment.get("commit"):
        return "no commit known"
    return f"commit {str(environment['commit'])[:12]}{' with changes' if environment.get('dirty') else ''}"


def source(environments: Mapping[str, Mapping[str, Any]]) -> str:
    """Links to records, and what they were measured on; said for each where that differs.

    Args:
        environments: the record's path beside the page -> its environment.
    """
    lines = {f"[{name}]({name})": measured_on(environment) for name, environment in environments.items()}
    if len(set(lines.values())) == 1:
        return f"{listed(list(lines), ' and ')}: {next(iter(lines.values()))}"
    return "; ".join(f"{link}: {line}" for link, line in lines.items())


def added_later(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The methods that were added to reports, with the least and the most that the teacher's model time was of before.

    None where nothing was added.
    """
    notes = [note for report in reports.values() for note in (report.get("settings") or {}).get("added") or ()]
    names = dict.fromkeys(label(name) for note in notes for name in note["arms"])
    ratios = [ms["now"] / ms["then"] for note in notes for ms in note["teacher_model_ms"].values()]
    return {"methods": list(names), "low": min(ratios), "high": max(ratios)} if notes else None


def in_short(records: Iterable[CellRecord]) -> str:
    """Machines, versions and commits of all records, each once."""
    made = [where["environment"] for record in records for where in (vars(record), *record.again)]
    if not made:
        return "no record yet"
    found = pd.json_normalize(made)
    parts = [
        _all(found.device),
        _threads(found.threads),
        _all(found.dtype),
        f"torch {_all(found['packages.torch'])}",
        f"transformers {_all(found['packages.transformers'])}",
        f"commits {_all(found.commit.astype(str).str[:12])}",
    ]
    return ", ".join(parts)


def _all(values: Iterable[object]) -> str:
    return listed(list(dict.fromkeys(values)), " and ")


def _threads(counts: Iterable[int]) -> str:
    return "1 thread" if {*counts} == {1} else f"{_all(counts)} threads"
