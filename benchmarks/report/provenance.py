"""Which record a table was made from, and what that was measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liteframe.bench.methods import label

from .wording import listed


def measured_on(environment: Mapping[str, Any]) -> str:
    """Device, threads, dtype, attention, versions, commit and date, as far as the record has them."""
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
        str(environment.get("date") or ""),
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


def added_later(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each time that methods were added to a report, with what the teacher took then and now."""
    lines = []
    for name, report in reports.items():
        for note in (report.get("settings") or {}).get("added") or ():
            times = ", ".join(
                f"{ms['now']:.1f} and {ms['then']:.1f} ms at {frames} frames"
                for frames, ms in note["teacher_model_ms"].items()
            )
            methods = ", ".join(map(label, note["arms"]))
            lines.append(
                f"*Added to [{name}]({name}) later: {methods}; {measured_on(note['environment'])}. The teacher's model"
                f" time then and at the time of the report: {times}.*"
            )
    return lines


def made_by(records: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[str]:
    """Machines, versions and code of the cells' records, each said once.

    Args:
        records: cell and seed -> record.
    """
    machines: dict[str, int] = {}
    codes: dict[str, set[str]] = {}
    for record in records.values():
        text = _machine(record["environment"])
        machines[text] = machines.get(text, 0) + 1
        for stage in record["stages"]:
            codes.setdefault(str(stage.get("code"))[:10], set()).add(str(stage["name"]).split(" ")[0])
    lines = [f"{count} records: {text}" for text, count in sorted(machines.items())]
    lines += [
        f"of {cell}, seed {seed}, later: {', '.join(map(label, again['arms']))}: {_machine(again['environment'])}"
        for (cell, seed), record in sorted(records.items())
        for again in record.get("again", ())
    ]
    return lines + [f"code {code} trained or made: {', '.join(sorted(names))}" for code, names in sorted(codes.items())]


def _machine(where: Mapping[str, Any]) -> str:
    packages = where["packages"]
    return (
        f"{where['device']}, {where['threads']} threads, torch {packages['torch']}, transformers "
        f"{packages['transformers']}, {where['dtype']}, {commit(where)}"
    )
