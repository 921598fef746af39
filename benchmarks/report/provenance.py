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
        f"{environment['threads']} threads" if environment.get("threads") and not on_gpu else "",
        str(environment.get("dtype") or ""),
        f"attention {str(attention).translate(str.maketrans('', '', '{}' + chr(39) + chr(34))).replace(': ', ' ')}"
        if attention
        else "",
        "torch.compile" if environment.get("compiled") else "",
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


def added_later(reports: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Methods that were added to a report, on what, and the teacher's model time then and at the time of the report."""
    rows = [
        {"report": name, "methods": listed([label(method) for method in note["arms"]]), "frames": int(frames)}
        | {"teacher ms, report": ms["then"], "teacher ms, when added": ms["now"]}
        | {"measured on": measured_on(note["environment"])}
        for name, report in reports.items()
        for note in (report.get("settings") or {}).get("added") or ()
        for frames, ms in note["teacher_model_ms"].items()
    ]
    return pd.DataFrame(rows)


def made_by(records: Iterable[CellRecord]) -> pd.DataFrame:
    """What each cell was measured on, methods that were measured anew on lines of their own, and the code of stages."""
    rows = []
    for record in records:
        codes = "; ".join(f"{stage['name']} {str(stage.get('code'))[:10]}" for stage in record.stages)
        made: list[tuple[str, Mapping[str, Any]]] = [("all", record.environment)]
        made += [(listed([label(method) for method in again["arms"]]), again["environment"]) for again in record.again]
        for what, where in made:
            versions = {name: where["packages"][name] for name in ("torch", "transformers")}
            about = {"cell": record.cell, "seed": record.seed, "methods": what, "device": where["device"]}
            about |= {"threads": where["threads"], **versions, "dtype": where["dtype"]}
            about |= {"commit": str(where.get("commit"))[:12], "uncommitted changes": bool(where.get("dirty"))}
            rows.append({**about, "code of stages": codes})
    return pd.DataFrame(rows)


def in_short(made: pd.DataFrame) -> str:
    """Machines and versions of all records, each once."""
    if made.empty:
        return "no record yet"
    names = {
        "device": "{}",
        "threads": "{} threads",
        "dtype": "{}",
        "torch": "torch {}",
        "transformers": "transformers {}",
    }
    names["commit"] = "commits {}"
    return ", ".join(text.format(listed(list(made[name].unique()), " and ")) for name, text in names.items())
