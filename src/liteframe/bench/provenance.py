"""Which record a table was made from, and what that was measured on: a line for tables of the same records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from liteframe.bench.arm_names import arm_name


def measured_on(environment: Mapping[str, Any]) -> str:
    """Device, threads, dtype, kernel, versions, commit and date, as far as the record has them."""
    commit, packages = environment.get("commit"), environment.get("packages") or {}
    on_gpu = environment.get("device_type") == "cuda"
    parts = [
        str(environment.get("device") or "device not recorded"),
        f"driver {environment['driver']}" if environment.get("driver") else "",
        f"{environment['threads']} threads" if environment.get("threads") and not on_gpu else "",
        str(environment.get("dtype") or ""),
        f"attention {_kernel(environment['attention_kernel'])}" if environment.get("attention_kernel") else "",
        "torch.compile" if environment.get("compiled") else "",
        *(f"{name} {packages[name]}" for name in ("torch", "transformers") if packages.get(name)),
        _commit(commit, environment.get("dirty")),
        str(environment.get("date") or ""),
    ]
    return ", ".join(part for part in parts if part)


def provenance(environments: Mapping[str, Mapping[str, Any]]) -> str:
    """A line that links the records, and says what they were measured on; a line for each where that differs.

    Args:
        environments: the record's path beside the page -> its environment.
    """
    lines = {name: measured_on(environment) for name, environment in environments.items()}
    if len(set(lines.values())) == 1:
        return f"*Made from {_listed([_link(name) for name in lines])}: {next(iter(lines.values()))}.*"
    return "\n".join(f"*Made from {_link(name)}: {line}.*  " for name, line in lines.items()).rstrip()


def added_later(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each time that arms were added to a report, with what the teacher took then and now.

    Args:
        reports: path beside the page -> the report.
    """
    notes = [(name, note) for name, report in reports.items() for note in _added(report)]
    return "\n".join(
        f"*Added to {_link(name)} later: {', '.join(arm_name(arm) for arm in note['arms'])}; "
        f"{measured_on(note['environment'])}. The teacher's model time then and at the time of the report: "
        f"{_times(note['teacher_model_ms'])}.*  "
        for name, note in notes
    ).rstrip()


def _added(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (report.get("settings") or {}).get("added") or ()


def _times(teacher_model_ms: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{ms['now']:.1f} and {ms['then']:.1f} ms at {n} frames" for n, ms in teacher_model_ms.items())


def _link(name: str) -> str:
    return f"[{name}]({name})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _kernel(kernel: Any) -> str:
    if isinstance(kernel, Mapping):
        return ", ".join(f"{part} {name}" for part, name in kernel.items())
    return str(kernel).translate(str.maketrans("", "", "{}'\"")).replace(": ", " ")


def _commit(commit: Any, dirty: Any) -> str:
    if not commit:
        return "no commit known"
    return f"commit {str(commit)[:12]}{' with changes that are not committed' if dirty else ''}"
