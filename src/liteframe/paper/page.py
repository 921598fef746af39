"""`benchmarks/PAPER.md`: the paper's tables, figures and claims, made from the records and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from liteframe.atomic import atomic_write_text
from liteframe.paper import tables
from liteframe.paper.cells import CELLS, PaperCell
from liteframe.paper.evidence import REPORTS, Evidence, read_evidence
from liteframe.paper.verdicts import RULE

PAGE, PLOTS = "PAPER.md", "plots"
NOTES = "notes.md"
"""Beside the records: what was tried to find out why a claim does not hold; it becomes a section of the page."""
_INTRODUCTION = """\
# The paper's claims, measured on the tiny world

[LiteFrame](https://arxiv.org/abs/2605.17260) was measured on InternVL3-8B and four benchmarks of real videos. Here its
comparisons are made on a ground that anybody can make again on two CPU cores: the tiny world (`liteframe pipeline
tiny`), 380 held-out videos of 128 frames with 4 questions each, a host of 2.3 M parameters whose image encoder (the
teacher) has 0.9 M, and a student of 0.4 M. What is right at this size need not be at the paper's, and the other way
round. Chance is 0.25.

`make paper` measures what is missing; `liteframe paper --page` makes this page from `benchmarks/records/paper/`, where
each cell has a record with the answer to every single question. Seeds 4, 5 and 6 are three worlds, each with a teacher
and a student of its own; mixers and ablations have seeds 4 and 5. In brackets stands a 95 % interval: videos are drawn
anew 2,000 times, those of each seed on their own; how far another training of the same world would fall is not in it.
Where seeds stand in square brackets, the others have not run yet."""
_TABLE_1 = """\
All reduce what the LLM sees 16 times and answer the same questions at the same frames. *WAP less this* is the paired
difference, mean of the four frame counts. The grid ones (average, max, subsampling, WAP) work on blocks of (4, 2, 2)
patches before the projector; the others on what the LLM would see. The last column says what was asked of a method and
what it gave: one that stops short of 16x is not at the same budget, and neither are those inside the LLM, whose first
layers see every token."""
_FIGURE_3 = """\
The tiny LLM has learnt to read 16 and 4 tokens a frame, so 4x is a density that it knows, 8x and 16x are not."""
_TABLE_3 = "Milliseconds are of batch 1 on two CPU cores, means of the seeds, from the sweep's reports: {sources}."
_FIGURE_6 = "Model time is encode + project + prefill. What the sweep has not timed is not in the picture."
_TABLE_5 = "Seeds 4 and 5. *less the first* is the paired difference, mean of the four frame counts."
_ABLATIONS = """\
Seeds 4 and 5; the student after CTD before the frozen LLM, in the last table after LMA. *less the first* is the paired
difference, mean of the four frame counts. The first line of each table is the run's own student, trained once; all
others were trained once too. The ViT of timm was taught labels of single frames of the same videos, which CTD never
sees."""


def page(evidence: Evidence, cells: Sequence[PaperCell] = CELLS, notes: str | None = None) -> str:
    """The whole page; `notes` are what people found out about the numbers."""
    sources = ", ".join(f"`records/{REPORTS.format(seed=seed)}`" for seed in sorted(evidence.times)) or "none yet"
    figures = {
        name: f"![{text}]({PLOTS}/{name}.png)" if evidence.right else f"{text}: {tables.MISSING}"
        for name, text in (
            ("fig2", "accuracy against model time"),
            ("fig3", "accuracy by frames, and by ratio at equal tokens"),
            ("fig6", "the student after CTD against post-hoc reductions"),
        )
    }
    sections = [
        _INTRODUCTION,
        "## Claims",
        RULE,
        tables.claims(evidence),
        "## Table 1: reductions at 16x",
        _TABLE_1,
        tables.table_1(evidence),
        "## Figure 3: frames, and ratio at equal tokens",
        figures["fig3"],
        tables.figure_3_left(evidence),
        _FIGURE_3,
        tables.figure_3_right(evidence),
        "## Table 2: latency and operations of the mixers, at the paper's shapes",
        tables.table_2(evidence),
        "## Table 3 and Figure 2: the frontier",
        figures["fig2"],
        _TABLE_3.format(sources=sources),
        tables.table_3(evidence),
        "## Figure 6: the student alone, the LLM frozen",
        figures["fig6"],
        _FIGURE_6,
        tables.figure_6(evidence),
        "## Table 5: accuracy of the mixers",
        _TABLE_5,
        tables.table_5(evidence),
        "## Ablations",
        _ABLATIONS,
        tables.ablations(evidence),
        *(["## Notes", notes.strip()] if notes else []),
        "## What has not run yet",
        _open(evidence, cells),
        "## Who made it",
        _made_by(evidence),
    ]
    return "\n\n".join(sections) + "\n"


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
        where = record["environment"]
        packages = where["packages"]
        dirty = ", with changes" if where.get("dirty") else ""
        text = (
            f"{where['device']}, {where['threads']} threads, torch {packages['torch']}, transformers "
            f"{packages['transformers']}, {where['dtype']}, commit {str(where.get('commit'))[:10]}{dirty}"
        )
        machines[text] = machines.get(text, 0) + 1
        for stage in record["stages"]:
            codes.setdefault(str(stage.get("code"))[:10], set()).add(str(stage["name"]).split(" ")[0])
    lines = [f"- {count} records: {text}" for text, count in sorted(machines.items())]
    lines += [f"- code {code} trained or made: {', '.join(sorted(names))}" for code, names in sorted(codes.items())]
    return "\n".join(lines)


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
    """Whether the page says what the records do; says so where it does not."""
    target = page_path(records)
    if target.is_file() and target.read_text(encoding="utf-8") == page(read_evidence(records), notes=_notes(records)):
        return True
    print(f"{target} says something else than {records}: run `liteframe paper --page`")
    return False
