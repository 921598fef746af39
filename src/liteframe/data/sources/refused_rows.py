"""Which rows of a table a run cannot use: asked once where its lists are long, by several processes."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

import liteframe
from liteframe.data.decoding.processes.in_parts import in_parts, processes_for
from liteframe.data.remote.file_locks import alone
from liteframe.data.sources.checksums import read_checked, write_checked
from liteframe.data.sources.row_checks import RowCheck, RowChecks
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import DataError
from liteframe.system.progress import Meter

REFUSED_FILES, REFUSED_LOCK = "refused-*.json", "refused.lock"
"""In the folder of a table that is kept: which rows each check refuses, and what a process has while it asks."""
_ROWS_OF_A_PART = 4096
_MOST_KEPT = 100_000
"""Rows that a check refuses. A list of which more are is not one to train on."""
_MOST_CHECKS = 16
_STARTED = time.time()


def refused_rows(rows: RowTable, check: RowCheck, first: bool) -> dict[int, str]:
    """Why `check` refuses rows that have no error, by their index in the table, in order.

    What liteframe's own checks say of a table that is kept on disk is kept beside it. Of several processes, the first
    one asks while the others wait.

    Args:
        rows: the table.
        check: raises DataError for a row that it refuses.
        first: stop after the first such row.

    Raises:
        DataError: the table itself cannot be read.
    """
    if rows.folder is None or not isinstance(check, RowChecks) or not check.are_own:
        return _asked(rows, check, first, by_others=False)
    kept, found = _kept_path(rows, check, first), None
    try:
        if (found := _read(kept)) is None:
            with alone(rows.folder / REFUSED_LOCK):
                if (found := _read(kept)) is None:
                    found = _asked(rows, check, first, by_others=True)
                    if kept is not None and kept == _kept_path(rows, check, first) and len(found) <= _MOST_KEPT:
                        _keep(found, kept)
    except OSError:  # of a folder that may only be read, or that has no locks
        pass
    return _asked(rows, check, first, by_others=False) if found is None else found


def refused_in(rows: RowTable, check: RowCheck, places: range, first: bool) -> dict[int, str]:
    """As `refused_rows`, of the rows at some places, by this process."""
    found = {}
    for index in places:
        row = rows[index]
        try:
            if not row.error:
                check(row.as_dict())
        except DataError as error:
            found[index] = f"{row.place}: {error}" if row.place else str(error)
            if first:
                break
    return found


def _asked(rows: RowTable, check: RowCheck, first: bool, by_others: bool) -> dict[int, str]:
    places = range(len(rows))
    parts = [places[start : start + _ROWS_OF_A_PART] for start in places[::_ROWS_OF_A_PART]]
    calls = ((_with_errors_of(rows, part), check, part, first) for part in parts)
    found: dict[int, str] = {}
    with (
        closing(in_parts("rows are checked", refused_in, calls, processes_for(len(parts)) if by_others else 1)) as made,
        Meter("checking rows", total=len(rows), unit="rows", enabled=by_others) as meter,
    ):
        for part, refused in made:
            found.update(refused_in(*part) if refused is None else refused)
            meter.update(len(part[2]))
            if first and found:
                break
    return found


def _with_errors_of(rows: RowTable, places: Iterable[int]) -> RowTable:
    """The table with the errors of those rows alone, as there may be many, and each process is handed them."""
    part = copy.copy(rows)
    part.errors = {index: rows.errors[index] for index in places if index in rows.errors}
    return part


def _read(path: Path | None) -> dict[int, str] | None:
    try:
        return None if path is None else dict(json.loads(read_checked(path)))
    except (OSError, ValueError):  # there is none, or a run that was killed left a part of one
        return None


def _keep(found: dict[int, str], path: Path) -> None:
    older = sorted(path.parent.glob(REFUSED_FILES), key=lambda file: file.stat().st_mtime)
    for file in older[: -_MOST_CHECKS + 1]:
        file.unlink(missing_ok=True)
    write_checked(path, json.dumps(list(found.items())))


def _kept_path(rows: RowTable, check: RowChecks, first: bool) -> Path | None:
    """Where the answer is kept, named by all that it follows from; None where the code is not known."""
    code = _code(Path(liteframe.__file__).parent)
    if code is None or rows.folder is None:
        return None
    versions = (liteframe.__version__, np.__version__, sys.version_info[:2])
    told = json.dumps([code, versions, rows.sha256, check.describe(), first])
    return rows.folder / REFUSED_FILES.replace("*", hashlib.sha256(told.encode()).hexdigest()[:20])


def _code(package: Path) -> str | None:
    """What stands for the code that this process runs; None where the files are not that, or are not there."""
    told = hashlib.sha256()
    files = sorted(file for file in package.rglob("*.py") if not file.name.startswith("."))
    with suppress(OSError):  # of one that an editor replaces just now
        for file in files:
            if file.stat().st_mtime >= _STARTED:
                return None
            told.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
        return told.hexdigest() if files else None
    return None
