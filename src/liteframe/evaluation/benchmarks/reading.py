"""Rows of a benchmark's lists made into questions; one that cannot be is left out and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from liteframe.data.sources.row_fields import RowFields, require_short, require_text
from liteframe.errors import ManifestError
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable, unusable

Parse = Callable[[RowFields], Question | None]
"""A row as a question, or None where it is none of this benchmark's multiple choice; raises ManifestError."""


def questions_in(
    data: DataFolder,
    lists: Iterable[Path],
    parse: Parse,
    id_field: str | None,
    of_list: Mapping[str, Any] | None = None,
) -> Iterator[Question | Unusable]:
    """What `parse` makes of each row of some lists of `data`; else as `questions_from`."""
    return questions_from((row for path in lists for row in data.rows(path)), parse, id_field, of_list)


def questions_from(
    rows: Iterable[tuple[str, Any]], parse: Parse, id_field: str | None, of_list: Mapping[str, Any] | None = None
) -> Iterator[Question | Unusable]:
    """What `parse` makes of each row.

    Args:
        rows: each with its position, as `DataFolder.rows` gives them.
        parse: of one row.
        id_field: name of the field that tells rows apart, for the list of those left out; None where there is none.
        of_list: what is published of all of these rows at once, as fields of `Question.row`.
    """
    for where, fields in rows:
        published = {**(fields if isinstance(fields, dict) else {}), **(of_list or {})}
        name = published.get(id_field) if id_field else None
        try:
            if isinstance(fields, ManifestError):
                raise fields
            if not isinstance(fields, dict):
                raise ManifestError(f"{where}: a row is an object with a question, not {type(fields).__name__}")
            require_text(fields, where)
            require_short(fields, where)
            question = parse(RowFields(fields, where))
        except ManifestError as error:
            yield unusable(name, where, error, published)
        else:
            if question is not None:
                yield replace(question, row=published)


def named_apart(rows: Iterable[Question | Unusable]) -> list[Question | Unusable]:
    """The rows with ids that differ: one that comes again gets ``@2``, ``@3``, ..."""
    uses: dict[str, int] = {}
    named: list[Question | Unusable] = []
    for row in rows:
        name = row.id
        while name in uses:
            uses[row.id] += 1
            name = f"{row.id}@{uses[row.id]}"
        uses[name] = 1
        named.append(row if name == row.id else replace(row, id=name))
    return named
