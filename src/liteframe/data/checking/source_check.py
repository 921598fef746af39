"""What a list of videos lacks for training, from its rows alone; what is wrong with the files is `probe`'s."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liteframe.data.checking.rows import CheckRow
from liteframe.data.remote.file import is_url
from liteframe.data.sources.conversations import (
    EmptyAnswer,
    choices_of,
    has_questions,
    placeholders_of_questions,
    turns_of,
    with_options,
)
from liteframe.data.sources.folder import left_out
from liteframe.data.sources.list_rows import each_row
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError
from liteframe.system.file_url import without_file_url
from liteframe.system.printable import printable

LACKS = {
    "unreadable_row": "that cannot be read",
    "no_file": "whose file is not there",
    "no_questions": "without questions or conversations",
    "bad_conversation": "whose questions or answers cannot be read",
    "bad_choices": "whose options, or the answer among them, cannot be read",
    "no_placeholder": "whose conversation has no <video> or <image>",
    "several_placeholders": "with several <video> or <image> in a question, of which one is shown",
    "empty_question": "with an empty question",
    "empty_answer": "with an empty answer",
    "equal_options": "with two options that are equal",
    "duplicate_id": "with the id of an earlier row",
}
"""What a row may lack, by the names in `--output`, and how the summary says it."""
_NONE: dict[str, int] = {}
STOPS = ("unreadable_row", "bad_conversation", "empty_answer", "bad_choices")
"""Those at which a stage that asks questions stops; what else there is it can live with, or it skips the row."""


@dataclass
class SourceCheck:
    """What the rows of one source lack.

    Attributes:
        rows: number of rows.
        rows_of: number of rows of each path, in the order of the list.
        lacks_of: for each path how many of its rows lack what, by the kinds of `LACKS`.
        unreadable: place of each row that cannot be read, and why.
        first: for each kind that there is, the first row of it.
        left_out: of a folder, how many files of which ending are taken for no videos.
    """

    rows: int = 0
    rows_of: dict[str, int] = field(default_factory=dict)
    lacks_of: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unreadable: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def complete(self, row: CheckRow) -> CheckRow:
        """The row of a file with what the list says about it."""
        lacks = self.lacks_of.get(row.path)
        return replace(row, rows=self.rows_of[row.path], lacks=_NONE if lacks is None else dict(lacks))

    def counts(self) -> dict[str, int]:
        """Rows of each kind, those kinds only that there are."""
        found = sum(self.lacks_of.values(), Counter({"unreadable_row": len(self.unreadable)}))
        return {kind: found[kind] for kind in LACKS if found[kind]}

    def text(self) -> str:
        """A line for the number of rows, and one for each kind of lack with its first row."""
        lines = [f"{self.rows} row{'s' * (self.rows != 1)}" + ("" if self.counts() else ", nothing is missing")]
        lines += [
            f"  {count} {LACKS[kind]}; the first: {printable(self.first[kind])}"
            for kind, count in self.counts().items()
        ]
        if self.left_out:
            kinds = ", ".join(
                f"{count} {printable(end) or 'without one'}" for end, count in self.left_out.most_common(9)
            )
            more = len(self.left_out) - 9
            lines.append(
                f"{self.left_out.total()} other files, whose endings are not those of videos: {kinds}"
                + (f" and {more} more endings" if more > 0 else "")
            )
        return "\n".join(lines)


def check_source(source: str, root: str | None = None) -> SourceCheck:
    """Reads every row of a list or folder; arguments, and errors about the list as a whole, as of `read_manifest`."""
    result = SourceCheck()
    ids: set[str] = set()
    for where, parsed in each_row(source, root):
        result.rows += 1
        if isinstance(parsed, ManifestError):
            result.unreadable[where] = str(parsed)
            result.first.setdefault("unreadable_row", str(parsed))
            continue
        row = parsed.row
        result.rows_of[row.path] = result.rows_of.get(row.path, 0) + 1
        for kind, detail in _lacks(row):
            result.lacks_of[row.path][kind] += 1
            result.first.setdefault(kind, f"{where}: {detail}" if detail else where)
        if parsed.gives_id and row.id in ids:
            result.lacks_of[row.path]["duplicate_id"] += 1
            result.first.setdefault("duplicate_id", f"{where} ({row.id})")
        ids.add(row.id)
    if (folder := Path(without_file_url(source))).is_dir():
        result.left_out = left_out(folder)
    return result


def _lacks(row: VideoRow) -> Iterable[tuple[str, str]]:
    """Kinds of what one row lacks, with more than its place where there is more to say."""
    if not is_url(row.path) and not os.path.isfile(row.path):
        yield "no_file", f"{row.path} (id {row.id})"
    fields = row.as_dict()
    if not has_questions(fields):
        if row.place:  # nobody expects any of the videos of a folder
            yield "no_questions", ""
        return
    try:
        turns = turns_of(fields)
    except ManifestError as error:
        yield "empty_answer" if isinstance(error, EmptyAnswer) else "bad_conversation", str(error)
        return
    try:
        if (asked := with_options(fields)) is not None and any(map(_has_equal, choices_of(asked))):
            yield "equal_options", ""
    except ManifestError as error:
        yield "bad_choices", str(error)
    if row.conversations:
        placeholders = placeholders_of_questions(fields)
        if not any(placeholders):
            yield "no_placeholder", ""
        if any(count > 1 for count in placeholders):
            yield "several_placeholders", ""
    if not all(question.strip() for question, _ in turns):
        yield "empty_question", ""


def _has_equal(question: dict[str, Any]) -> bool:
    return len({" ".join(option.split()) for option in question["options"]}) < len(question["options"])
