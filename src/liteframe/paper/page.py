"""`benchmarks/PAPER.md`: the paper's tables, figures and claims, made from the records and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liteframe.atomic import atomic_write_text
from liteframe.bench.rivals import rivals_table
from liteframe.paper import tables, texts
from liteframe.paper.cells import CELLS, PaperCell
from liteframe.paper.claim_tables import claims_table, counts, judged_claims, parts_list
from liteframe.paper.evidence import Evidence, read_evidence
from liteframe.paper.names import CTD, LMA, OFF_GRID, REDUCTIONS, name_of
from liteframe.paper.verdicts import MISSING, RULE

PAGE, PLOTS = "PAPER.md", "plots"
NOTES = "notes.md"
"""Beside the records: what was tried to find out why a claim does not hold; it becomes a section of the page."""
_FIGURES = {
    "fig2": "accuracy against model time",
    "fig3": "accuracy by frames, and by ratio at equal tokens",
    "fig6": "the student after CTD against post-hoc reductions",
}


def page(evidence: Evidence, cells: Sequence[PaperCell] = CELLS, notes: str | None = None) -> str:
    """The whole page; `notes` are what people found out about the numbers."""
    figures = {
        name: f"![{text}]({PLOTS}/{name}.png)" if evidence.right else f"{text}: {MISSING}"
        for name, text in _FIGURES.items()
    }
    judged, control = judged_claims(evidence), tables.control(evidence)
    sections = [
        texts.introduction(evidence),
        "## Claims",
        counts(judged),
        claims_table(judged),
        "*Decided by*: the part that is nearest to another verdict; all parts, with each seed's own number, are in the "
        "list *How each was judged*.",
        "## Table 1: reductions at 16x",
        texts.table_1(evidence),
        tables.table_1(evidence),
        texts.OTHER_BUDGETS,
        tables.other_budgets(evidence),
        texts.CONTROL,
        control or f"{MISSING}.",
        texts.VARIANTS,
        tables.variants(evidence),
        "## How the rivals are built",
        texts.RIVALS,
        rivals_table(OFF_GRID),
        "## Figure 3: frames, and ratio at equal tokens",
        figures["fig3"],
        tables.figure_3_left(evidence),
        texts.FIGURE_3,
        tables.figure_3_right(evidence),
        "## Table 2: latency and operations of the mixers, at the paper's shapes",
        tables.table_2(evidence),
        "## Table 3 and Figure 2: the frontier",
        figures["fig2"],
        texts.table_3(evidence),
        tables.table_3(evidence),
        _untimed(evidence, "teacher", "teacher+wap", CTD, LMA),
        texts.LMA_LEARNS_MORE,
        "## Figure 6: the student alone, the LLM frozen",
        figures["fig6"],
        texts.FIGURE_6,
        tables.figure_6(evidence),
        _untimed(evidence, CTD, *REDUCTIONS),
        "## Table 5: accuracy of the mixers",
        texts.TABLE_5,
        tables.table_5(evidence),
        "## Ablations",
        texts.ABLATIONS,
        tables.ablations(evidence),
        "## How each was judged",
        RULE,
        parts_list(judged),
        *(["## Notes", notes.strip()] if notes else []),
        "## What has not been measured yet",
        _open(evidence, cells),
        "## Who made it",
        _made_by(evidence),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _untimed(evidence: Evidence, *arms: str) -> str:
    """How to time what the sweep has not; empty where it has all."""
    found = [name_of(arm) for arm in arms if evidence.how_to_time(arm)]
    return f"{'; '.join(found)} {evidence.how_to_time(*arms)}." if found else ""


def _open(evidence: Evidence, cells: Sequence[PaperCell]) -> str:
    about = {cell.name: cell.about for cell in cells}
    lines = [
        f"- {name} ({about[name]}): seed {', '.join(map(str, seeds))}" for name, seeds in evidence.open_cells.items()
    ]
    return "\n".join(lines) or "Nothing: every cell has its record."


def _made_by(evidence: Evidence) -> str:
    """Machines, versions and code of the records, each said once."""
    if not evidence.made:
        return "No record yet."
    machines: dict[str, int] = {}
    codes: dict[str, set[str]] = {}
    for record in evidence.made.values():
        text = _machine(record["environment"])
        machines[text] = machines.get(text, 0) + 1
        for stage in record["stages"]:
            codes.setdefault(str(stage.get("code"))[:10], set()).add(str(stage["name"]).split(" ")[0])
    lines = [f"- {count} records: {text}" for text, count in sorted(machines.items())]
    lines += [
        f"- of {cell}, seed {seed}, later: {', '.join(map(name_of, again['arms']))}: {_machine(again['environment'])}"
        for (cell, seed), record in sorted(evidence.made.items())
        for again in record.get("again", ())
    ]
    lines += [f"- code {code} trained or made: {', '.join(sorted(names))}" for code, names in sorted(codes.items())]
    return "\n".join(lines)


def _machine(where: Mapping[str, Any]) -> str:
    packages = where["packages"]
    dirty = ", with changes" if where.get("dirty") else ""
    return (
        f"{where['device']}, {where['threads']} threads, torch {packages['torch']}, transformers "
        f"{packages['transformers']}, {where['dtype']}, commit {str(where.get('commit'))[:10]}{dirty}"
    )


def page_path(records: Path) -> Path:
    """The page lies beside the folder of all records."""
    return records.parent.parent / PAGE


def write_page(records: Path) -> Path:
    """Writes the page and its plots; returns the page's path.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    from liteframe.paper.plots import write_plots

    evidence = read_evidence(records)
    target = page_path(records)
    target.parent.mkdir(parents=True, exist_ok=True)
    if evidence.right:
        write_plots(evidence, target.parent / PLOTS)
    atomic_write_text(target, page(evidence, notes=_notes(records)))
    return target


def _notes(records: Path) -> str | None:
    path = records / NOTES
    return path.read_text(encoding="utf-8") if path.is_file() else None


def check_page(records: Path) -> bool:
    """Whether the page says what the records do and has its plots; says so where not."""
    target, evidence = page_path(records), read_evidence(records)
    if not target.is_file() or target.read_text(encoding="utf-8") != page(evidence, notes=_notes(records)):
        print(f"{target} says something else than {records}: run `liteframe paper --page`")
        return False
    plots = [target.parent / PLOTS / f"{name}.png" for name in _FIGURES] if evidence.right else []
    if absent := [path for path in plots if not path.is_file()]:
        print(f"{absent[0]} is missing, which {target} shows: run `liteframe paper --page`")
        return False
    return True
