"""PAPER.md, its tables and its picture: the paper's claims, judged by the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from liteframe.bench.methods import Method, methods
from liteframe.bench.paper.cells import ALL_SEEDS, CELLS, DENSE_TOKENS, FURTHER_CELLS, LONGEST, TWO_SEEDS, PaperCell
from liteframe.ops.compressors.official import Official

from . import paper_tables as tables
from . import plots, provenance, students, verdicts
from .accuracy_claims import WAP
from .claims import Judged, claims_table, judged_claims, parts_table
from .evidence import SAMPLES, Evidence
from .records import read_beyond, read_records
from .render import Output, render
from .time_claims import machine
from .wording import words

TABLES = ("table_1", "other_budgets", "table_2", "figure_6", "table_5", "ablations")
"""Of `paper_tables`, as the template calls them."""
NOTES = "notes.md"
"""Beside the records: what was tried to find out why a claim does not hold; it becomes a section of the page."""


def write_paper(records: Path, check: bool = False) -> list[Path]:
    """Writes the page two folders above the cells' records; returns what is stale where it only checks.

    Raises:
        DataError: a record cannot be read, or contradicts another.
    """
    evidence, output = Evidence(read_records(records.parent)), Output(records.parent.parent, check)
    beyond = Evidence(read_beyond(records.parent), FURTHER_CELLS)
    judged, notes = judged_claims(evidence, beyond), records / NOTES
    found_out = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    costs, measured = students.costs_of_shapes(records.parent), students.made_by(records.parent)
    output.text("PAPER.md", page(evidence, beyond, judged, found_out, costs=costs, costs_made_by=measured))
    output.tables({"claims": parts_table(judged)})
    for name, found in (("paper_accuracy", evidence), ("beyond_accuracy", beyond)):
        if found.right:
            output.tables({name: tables.accuracies(found)})
    if evidence.right:
        for path in output.pictures(["ratios"]):
            plots.ratios(evidence, path)
    if beyond.right and not costs.empty:
        for path in output.pictures(["students"]):
            plots.students(beyond, costs, path)
    return output.stale


def page(
    evidence: Evidence,
    beyond: Evidence,
    judged: Judged,
    notes: str = "",
    cells: Sequence[PaperCell] = CELLS,
    costs: pd.DataFrame | None = None,
    costs_made_by: str = "",
) -> str:
    """The whole page.

    Args:
        evidence: of the paper's own tables.
        beyond: of what goes past the paper.
        judged: claims of the paper.
        notes: what people found out about the numbers.
        cells: of the paper's tables.
        costs: of students of other shapes.
        costs_made_by: where these were measured.
    """
    noise = {own: evidence.training_noise(own) for own in students.ADAPTED}
    latency, about = evidence.records.latency, {cell.name: cell.about for cell in cells}
    return render(
        "paper.md.j2",
        **{name: getattr(tables, name)(evidence) for name in TABLES},
        beyond=tables.beyond(beyond),
        students=None if costs is None or costs.empty else students.table(beyond, costs, noise),
        costs_made_by=costs_made_by,
        beyond_made_by=provenance.in_short(beyond.records.cells.values()),
        videos=_videos(evidence),
        samples=SAMPLES,
        verdicts=[verdict.verdict for _, verdict in judged],
        claims=claims_table(judged),
        wap=_wap(evidence),
        machines={name: machine(record) for name, record in latency.items()},
        complete={name: record.complete for name, record in latency.items()},
        rivals=rivals(),
        found_out=notes.strip(),
        open_cells=[(name, about[name], seeds) for name, seeds in evidence.records.open_cells.items()],
        open_beyond=_by_seeds(beyond.records.open_cells),
        made_by=provenance.in_short(evidence.records.cells.values()),
        notes=words()["notes"],
        V=verdicts,
        longest=LONGEST,
        dense=DENSE_TOKENS,
        seeds=ALL_SEEDS,
        two=TWO_SEEDS,
    )


def _by_seeds(open_cells: Mapping[str, list[int]]) -> dict[tuple[int, ...], list[str]]:
    """Seeds -> the cells that lack just these."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name, seeds in open_cells.items():
        found.setdefault(tuple(seeds), []).append(name)
    return found


def _videos(evidence: Evidence) -> str:
    if not evidence.records.videos:
        return f"held-out videos of {LONGEST} frames"
    (videos, questions), *_ = sorted({(len(set(v.tolist())), v.size) for v in evidence.records.videos.values()})
    return f"{videos:,} held-out videos of {LONGEST} frames a seed, {questions / videos:g} questions each"


def _wap(evidence: Evidence) -> str:
    """Similarity and scale of WAP, as the records say."""
    for record in evidence.records.cells.values():
        for row in record.rows:
            if row.arm == WAP and row.how and row.how.get("similarity"):
                return f"the {row.how['similarity']} with scale {row.how['scale']:g}"
    return "the cosine with a scale"


def rivals() -> list[tuple[Method, Official]]:
    """Each rival that has official code, and what the registries say of that."""
    from liteframe.models.rivals.dymu_llm import DyMUVideoLLM
    from liteframe.models.rivals.earlytom import EarlyTomVideoLLM
    from liteframe.models.rivals.longvu import LongVUVideoLLM
    from liteframe.models.rivals.pruners import PRUNERS
    from liteframe.models.rivals.tome_vit import ToMeTeacher
    from liteframe.ops.compressors.registry import METHODS

    built = {f"teacher+{name}": made.official for name, made in METHODS.items()}
    built |= {(name if "+" in name else f"teacher+{name}"): made.official for name, made in PRUNERS.items()}
    built |= {"tome-teacher+wap": ToMeTeacher.official, "teacher+earlytom": EarlyTomVideoLLM.official}
    built |= {"teacher+dymu": DyMUVideoLLM.official, "teacher+longvu": LongVUVideoLLM.official}
    known = methods()
    return [(known[name], official) for name, official in built.items() if official and name in known]
