"""Evidence of made-up records, and of none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from liteframe.bench.paper.cells import CELLS, PaperCell
from report.evidence import Evidence
from report.records import COLUMNS, Records, read_records


def read_evidence(records: Path, cells: Sequence[PaperCell] = CELLS) -> Evidence:
    return Evidence(read_records(records.parent, cells), cells)


def no_evidence() -> Evidence:
    return Evidence(Records(pd.DataFrame(columns=list(COLUMNS))))
