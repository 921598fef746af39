"""What a list of videos lacks for training, from its rows alone; what is wrong with the files is `probe`'s."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liteframe.data.checking.rows import CheckRow
from liteframe.data.decoding.containers.cut_short import CUT
from liteframe.data.decoding.video_file import looked_for_in
from liteframe.data.remote.file import is_url
from liteframe.data.sampling.frame_times import outside_of
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
    "outside_part": "whose part is not in its file",
}
"""What a row may lack, by the names in `--output`, and how the summary says it."""
_NONE: dict[str, int] = {}
STOPS = ("unreadable_row", "bad_conversation", "empty_answer", "bad_choices", "outside_part")
"""Those at which a stage stops that asks questions or takes parts; the rest it can live with, or it skips the row."""
Part = tuple[float | None, float | None]
"""Start and end of what a row takes of its file, in seconds; None for those of the file."""
_WHOLE: Part = (None, None)


@dataclass
class SourceCheck:
    """What the rows of one source lack.

    Attributes:
        rows: number of rows.
        rows_of: number of rows of each path, in the order of the list.
        parts_of: of each path of which a row takes a part: how many rows take which, and the place of the first.
        lacks_of: for each path, and part of it, how many of its rows lack what, by the kinds of `LACKS`.
        unreadable: place of each row that cannot be read, and why.
        first: for each kind that there is, the first row of it.
        left_out: of a folder, how many files of which ending are taken for no videos.
    """

    rows: int = 0
    rows_of: dict[str, int] = field(default_factory=dict)
    parts_of: dict[str, dict[Part, tuple[int, str]]] = field(default_factory=dict)
    lacks_of: dict[tuple[str, Part], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unreadable: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, row: VideoRow, where: str) -> None:
        """Counts a row of the list under its path and part."""
        before, part = self.rows_of.get(row.path, 0), (row.start, row.end)
        self.rows_of[row.path] = before + 1
        parts = self.parts_of.get(row.path)
        if parts is None and part != _WHOLE:
            parts = self.parts_of[row.path] = {_WHOLE: (before, "")} if before else {}
        if parts is not None:
            count, first = parts.get(part, (0, where))
            parts[part] = count + 1, first

    def complete(self, row: CheckRow) -> CheckRow:
        """The row of a file with what the list says about it, once its length is known."""
        parts = self.parts_of.get(row.path, {_WHOLE: (0, "")})
        for part, (count, first) in parts.items() if row.ok and not row.reason.startswith(CUT) else ():
            why = outside_of(*part, row.duration, row.frames)
            if why and (not row.lasts or outside_of(*part, row.lasts, row.frames)):
                self.lacks_of[row.path, part]["outside_part"] = count
                self.first.setdefault("outside_part", f"{first}: {row.path} {why}")
        lacks = sum((self.lacks_of.get((row.path, part), Counter()) for part in parts), Counter[str]())
        return replace(row, rows=self.rows_of[row.path], lacks=dict(lacks) if lacks else _NONE)

    def by_part(self, row: CheckRow) -> list[CheckRow]:
        """The complete row of a file, for each part of it that the list takes."""
        parts = self.parts_of.get(row.path)
        if parts is None:
            return [row]
        return [
            replace(row, start=part[0], end=part[1], rows=count, lacks=dict(self.lacks_of.get((row.path, part), _NONE)))
            for part, (count, _) in parts.items()
        ]

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
        result.add(row, where)
        lacks_of = (row.path, (row.start, row.end))
        for kind, detail in _lacks(row):
            result.lacks_of[lacks_of][kind] += 1
            result.first.setdefault(kind, f"{where}: {detail}" if detail else where)
        if parsed.gives_id and row.id in ids:
            result.lacks_of[lacks_of]["duplicate_id"] += 1
            result.first.setdefault("duplicate_id", f"{where} ({row.id})")
        ids.add(row.id)
    if (folder := Path(without_file_url(source))).is_dir():
        result.left_out = left_out(folder)
    return result


def _lacks(row: VideoRow) -> Iterable[tuple[str, str]]:
    """Kinds of what one row lacks, with more than its place where there is more to say."""
    if not is_url(row.path) and not os.path.isfile(row.path):
        yield "no_file", f"{row.path} (id {row.id}){looked_for_in(row.path, row.extra)}"
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
