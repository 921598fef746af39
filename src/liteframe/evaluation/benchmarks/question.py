"""One multiple-choice question about a video, whichever benchmark it is from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from liteframe.data.remote.file import is_url
from liteframe.data.sources.conversations import choices_of, type_of
from liteframe.data.sources.options import bare_text, borne_letters, place_of_letter, right_option, without_letters
from liteframe.data.sources.row_fields import RowFields
from liteframe.errors import DataError, ManifestError
from liteframe.system.whole_number import whole_number


@dataclass(frozen=True)
class Question:
    """A question with options, as it is asked and scored.

    Attributes:
        id: unique in its benchmark.
        video: path from the data folder, links followed: equal for all questions about one file. A folder of pictures
            where `pictures_fps` is given.
        text: the question without its options.
        options: their texts without letters.
        answer: index of the right option; None where it is not published.
        groups: what results are broken down by, such as ``{"duration": "short"}``.
        where: position in its list, for messages.
        published: question and options in one text, letter for letter, where the benchmark gives options with letters.
        subtitles: path of their file from the data folder; None where there is none.
        subtitles_start_s: on the clock of the subtitles, where the video begins.
        duration_s: of the video, where the list says so.
        start_s, end_s: the part of the video that the question is about; None for its start and its end.
        ends_in_video: the end has to lie in the video, as in lists of one's own; those published may end behind it.
        pictures_fps: rate of a video that is kept as a folder of pictures; None for a file.
        row: fields of its row as they are published; a benchmark of several lists adds which one.
    """

    id: str
    video: str
    text: str
    options: tuple[str, ...]
    answer: int | None
    groups: Mapping[str, str]
    where: str
    published: str | None = None
    subtitles: str | None = None
    subtitles_start_s: float = 0.0
    duration_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    ends_in_video: bool = False
    pictures_fps: float | None = None
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def letters(self) -> str:
        """A letter for each option."""
        return ascii_uppercase[: len(self.options)]

    def is_right(self, chosen: int) -> bool:
        """Whether an option is the answer, or reads like it."""
        return self.answer is not None and self.options[chosen] == self.options[self.answer]


@dataclass(frozen=True)
class Unusable:
    """A row that no question can be made of: it is left out, listed and counted.

    Attributes:
        id: of the row, or its position in the list where it has none.
        where: position in its list.
        why: in one line, with what to do.
        row: as of `Question`; where it could not be read at all, without fields of its own.
    """

    id: str
    where: str
    why: str
    row: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def questions_of(row: Mapping[str, Any], where: str = "", video: str | None = None) -> list[Question]:
    """The multiple-choice questions of a manifest row, numbered from 0 behind its id.

    Args:
        row: as a dict.
        where: it stands, for messages.
        video: as of `Question`; by default `video_key`.

    Raises:
        ManifestError: as of `choices_of`.
    """
    video = video_key(row) if video is None else video
    return [
        Question(
            id=f"{row['id']} {number}",
            video=video,
            text=asked["question"],
            options=tuple(asked["options"]),
            answer=right_option(asked),
            groups={"type": type_of(asked)},
            where=where,
            start_s=row.get("start"),
            end_s=row.get("end"),
            ends_in_video=True,
        )
        for number, asked in enumerate(choices_of(dict(row)))
    ]


def video_key(row: Mapping[str, Any]) -> str:
    """The name of a row's video file, the same for all rows about it: its path behind links, or its URL."""
    path = str(row["path"])
    return path if is_url(path) else os.path.realpath(path)


def required_text(row: RowFields, name: str) -> str:
    """A text that is there and not blank. Raises ManifestError."""
    text = row.text(name)
    if text is None or not text.strip():
        raise row.fault(name, "missing or empty, and the question cannot be asked without it; repair the row")
    return text


def group_of(row: RowFields, name: str) -> str:
    """What a field, a text or a whole number, counts a question under: "unknown" where it is empty.

    Raises ManifestError.
    """
    value = row.rest.get(name)
    return "unknown" if isinstance(value, str) and not value.strip() else row.name(name) or "unknown"


def required_options(row: RowFields, name: str, most: int) -> tuple[str, ...]:
    """Two options or more, at most `most`, none of them blank. Raises ManifestError."""
    options = row.items(name, str, "texts") or []
    return checked_options(row, name, tuple(options), most)


def checked_options(row: RowFields, name: str, options: Sequence[str], most: int) -> tuple[str, ...]:
    """`options`, if there are 2 to `most` and none is blank. Raises ManifestError."""
    if not 2 <= len(options) <= most or not all(option.strip() for option in options):
        raise row.fault(name, f"2 to {most} options with a text are needed, not {list(options)!r:.200}; repair the row")
    return tuple(options)


def listed_options(row: RowFields, name: str, text: str, most: int) -> tuple[tuple[str, ...], str | None]:
    """Options that may bring their letters along, without them; and, if they do, `text` and options as published.

    Raises ManifestError, also where letters are not A, B, ... in turn: they would be asked under others.
    """
    listed = required_options(row, name, most)
    if borne_letters(listed) is not None:
        told = f"the letters of {list(listed)!r:.200} are not A, B, ... in turn; repair the row"
        raise row.fault(name, told)
    texts = without_letters(listed)
    if texts is None:
        return listed, None
    plain = [option.replace("\n", " ").strip() for option in texts]
    return checked_options(row, name, plain, most), "\n".join([text, *listed])


def of_letter(row: RowFields, name: str, options: Sequence[str]) -> int | None:
    """Index of the option whose letter the field gives (``C``, ``(C)``, ``C.``); None where the field is empty.

    A letter is that of a place: `options` bear none of their own, even if they begin like one (``D. Beckham``).
    Some copies give the option's text instead, or both, which is taken where it is no letter. Raises ManifestError.
    """
    answer = row.text(name)
    if answer is None or not answer.strip():
        return None
    letter = answer.strip().strip("().: ").upper()
    is_letter = len(letter) == 1 and letter in ascii_uppercase
    index = place_of_letter(options, letter, by_place=True) if is_letter else None
    if index is None:
        index = right_option({"options": list(options), "answer": answer}, by_place=True)
    if index is None:
        raise _no_option(row, name, answer, options)
    return index


def of_text(row: RowFields, name: str, options: Sequence[str]) -> int | None:
    """Index of the option that the field repeats; None where the field is empty. Raises ManifestError.

    Never read as a letter: options may be letters themselves.
    """
    answer = row.text(name)
    if answer is None or not answer.strip():
        return None
    for same in (str, bare_text):
        alike = [index for index, option in enumerate(options) if same(option) == same(answer)]
        if len(alike) == 1:
            return alike[0]
        if alike:
            break
    raise _no_option(row, name, answer, options)


def of_number(row: RowFields, name: str, options: Sequence[str]) -> int | None:
    """The field itself, an index from 0, as a number or in quotes; None where it is empty. Raises ManifestError."""
    value = row.rest.pop(name, None)
    if value is None or value == "":
        return None
    number = whole_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(options):
        raise row.fault(name, f"an index from 0 to {len(options) - 1} is needed, not {value!r:.80}; repair the row")
    return number


def _no_option(row: RowFields, name: str, answer: str, options: Sequence[str]) -> ManifestError:
    return row.fault(name, f"{answer!r:.80} is not exactly one of the options {list(options)!r:.200}; repair the row")


def unusable(name: object, where: str, error: ManifestError, row: Mapping[str, Any] | None = None) -> Unusable:
    """What stands for a row that raised `error`; `name` is its id, if it is one."""
    why = str(error) if str(error).startswith(where) else f"{where}: {error}"
    return Unusable(str(name) if isinstance(name, str | int) and name != "" else where, where, why, row or {})


def require_letters(row: Mapping[str, Any]) -> None:
    """Raises DataError if a row has no questions that can be asked as those with letters for their options."""
    most = max(len(question.options) for question in questions_of(row))
    if most > len(ascii_uppercase):
        raise DataError(
            f"{row['path']} (id {row['id']}): field options: {most} of them, more than there are letters; leave some"
            " out, or set model.choices to words"
        )
