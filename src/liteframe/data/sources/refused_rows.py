"""Which rows of a table a run cannot use: asked by several processes where its lists are long, and then once."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path

import liteframe
from liteframe.data.decoding.processes.in_parts import in_parts, processes_for
from liteframe.data.remote.file_locks import alone
from liteframe.data.sources.checksums import read_checked, write_checked
from liteframe.data.sources.row_checks import RowCheck, RowChecks
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import DataError
from liteframe.system.progress import Meter

REFUSED_FILE = "refused.json"
"""In the folder of a table that is kept: which rows which checks refuse."""
_MOST_CHECKS = 16
_ROWS_OF_A_PART = 4096


def refused_rows(rows: RowTable, check: RowCheck, first: bool) -> dict[int, str]:
    """Why `check` refuses rows that have no error, by their index in the table, in order.

    What liteframe's own checks say of a table that is kept on disk is kept beside it. Of several processes, the first
    one asks while the others wait.

    Args:
        rows: the table.
        check: raises DataError for a row that it refuses.
        first: stop behind the first such row.

    Raises:
        DataError: the table itself cannot be read.
    """
    if rows.folder is None or not isinstance(check, RowChecks) or not check.are_own:
        return _asked(rows, check, first, most_processes=1)
    path, told = rows.folder / REFUSED_FILE, _told(check, first)
    with ExitStack() as stack:
        with suppress(OSError):  # a folder that may only be read
            stack.enter_context(alone(path.parent.parent / f".{path.parent.name}.lock"))
        kept = _kept(path)
        if told not in kept:
            found = _asked(rows, check, first, most_processes=None)
            kept = dict([*kept.items(), (told, list(found.items()))][-_MOST_CHECKS:])
            with suppress(OSError):
                write_checked(path, json.dumps(kept))
        return dict(kept[told])


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


def _asked(rows: RowTable, check: RowCheck, first: bool, most_processes: int | None) -> dict[int, str]:
    places = range(len(rows))
    parts = [places[start : start + _ROWS_OF_A_PART] for start in places[::_ROWS_OF_A_PART]]
    name = str(rows.folder or "a list")
    calls = ((_with_errors_of(rows, part), check, part, first) for part in parts)
    processes = most_processes or processes_for(len(parts))
    found: dict[int, str] = {}
    with (
        closing(in_parts(name, refused_in, calls, processes)) as answers,
        Meter("checking rows", total=len(rows), unit="rows", enabled=rows.folder is not None) as meter,
    ):
        for part, refused in zip(parts, answers, strict=True):
            found.update(refused)
            meter.update(len(part))
            if first and found:
                break
    return found


def _with_errors_of(rows: RowTable, places: Iterable[int]) -> RowTable:
    """The table with the errors of those rows alone, as there may be many, and each process is handed them."""
    part = copy.copy(rows)
    part.errors = {index: rows.errors[index] for index in places if index in rows.errors}
    return part


def _kept(path: Path) -> dict[str, list[tuple[int, str]]]:
    try:
        kept: dict[str, list[tuple[int, str]]] = json.loads(read_checked(path))
    except (OSError, ValueError):  # there are none, or a run that was killed left a part of them
        return {}
    return kept


def _told(check: RowChecks, first: bool) -> str:
    """What stands for a check, and for the code that it is made of."""
    return hashlib.sha256(pickle.dumps((check, first)) + _code()).hexdigest()[:20]


@cache
def _code() -> bytes:
    package = Path(liteframe.__file__).parent
    texts = [(str(file.relative_to(package)), file.read_bytes()) for file in sorted(package.rglob("*.py"))]
    return hashlib.sha256(pickle.dumps(texts)).digest()
