"""The fields of one row of a list, taken out one by one and checked; what is left is the row's own."""

from __future__ import annotations

import json
import re
import reprlib
from typing import Any

from liteframe.data.sources.moments import is_blank
from liteframe.errors import ManifestError

DECODER_CHOICES = ("auto", "decord", "pyav", "torchcodec")
MAX_TEXT = 1_000_000
"""Characters of a question, an answer or what else a row says; a few times what any LLM reads at once."""
MAX_NAME = 8192
"""Characters of a path, a URL or an id."""
_NUMBER = re.compile(r"\s*\d{1,12}(?:\.\d*)?\s*", re.ASCII)


class RowFields:
    """Takes known fields out of a row.

    Args:
        fields: of the row; they are copied.
        where: place of the row, for messages.

    Attributes:
        rest: the fields that were not taken yet.

    Raises:
        ManifestError: by every method, if the field is of another kind; names place and field.
    """

    def __init__(self, fields: dict[str, Any], where: str) -> None:
        self.rest, self.where = dict(fields), where

    def fault(self, name: str, what: str) -> ManifestError:
        """The error about a field."""
        return ManifestError(f"{self.where}: field '{name}': {what}")

    def text(self, name: str, most: int = MAX_TEXT) -> str | None:
        """A string of at most `most` characters."""
        value = self.rest.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.fault(name, f"a string is needed, not {reprlib.repr(value)}; put it in quotes")
        if len(value) > most:
            raise self.fault(name, f"has {len(value):,} characters, more than {most:,}; shorten it, or drop the row")
        return value

    def name(self, name: str) -> str | None:
        """A string that names something, or a whole number in its place."""
        value = self.rest.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            self.rest[name] = str(value)
        value = self.text(name, MAX_NAME)
        if value == "":
            raise self.fault(name, "empty; give a name, or leave the field out")
        return value

    def seconds(self, name: str) -> float | None:
        """A number from 0 on, or one in quotes, as columns of a table in text become; None of what is empty."""
        value = self.rest.pop(name, None)
        if is_blank(value):
            return None
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            return float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
            return float(value)
        raise self.fault(name, f"seconds from 0 on are needed, not {reprlib.repr(value)}; give a number")

    def items(self, name: str, kind: type, what: str) -> list[Any] | None:
        """A list of one kind of values; None of an empty text, as columns that not all rows fill may hold."""
        value = self.rest.pop(name, None)
        if value is None or value == "":
            return None
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.fault(name, f"a list of {what} is needed, not {reprlib.repr(value)}")
        return value

    def choose_decoder(self, foreign: bool) -> None:
        """Sees to it that a `decoder` which is left in the row is one of `DECODER_CHOICES`: data name no code.

        A list of a foreign form may have a column of that name for purposes of its own: numbers, sentences and so
        forth are dropped. A single word is taken for a choice, and has to be one.
        """
        value = self.rest.get("decoder")
        if isinstance(value, str) and value in DECODER_CHOICES:
            return
        unrelated = foreign and (not isinstance(value, str) or len(value.split()) > 1)
        if value is None or value == "" or unrelated:
            self.rest.pop("decoder", None)
            return
        choices = ", ".join(DECODER_CHOICES)
        raise self.fault(
            "decoder", f"{reprlib.repr(value)} is none of {choices}; choose one, or drop or rename the field"
        )


def require_short(fields: dict[str, Any], where: str) -> None:
    """Raises ManifestError, naming the field, if what a row says in turns or questions is longer than `MAX_TEXT`.

    Only for rows that are long altogether: it looks at every value.
    """
    for name in ("conversations", "messages", "questions", "options"):
        if _characters(fields.get(name)) > MAX_TEXT:
            raise ManifestError(
                f"{where}: field '{name}': has more than {MAX_TEXT:,} characters; shorten it, or drop the row"
            )


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0


def require_text(fields: dict[str, Any], where: str) -> None:
    """Raises ManifestError, naming the field, if a string in a row holds half a character.

    Such halves (a surrogate without its other, from an emoji cut in two, or from bytes that are no UTF-8) can neither
    be written nor printed nor tokenised.
    """
    for name, value in fields.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ManifestError(
                f"{where}: field {name!a}: holds half a character (a lone surrogate, or bytes that are no UTF-8);"
                " repair its text"
            ) from None
