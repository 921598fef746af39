"""Questions and answers of a manifest row, in whichever of the known forms it gives them."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np

from liteframe.data.sources.letter_answers import answer_in_words, require_shown_options
from liteframe.data.sources.messages import said, said_by_turns
from liteframe.data.sources.options import (
    borne_letters,
    how_to_answer,
    options_as_list,
    right_option,
    without_letters,
    without_stray_letters,
)
from liteframe.data.sources.placeholders import places_in, plain_question
from liteframe.data.sources.row_forms import require_one_form
from liteframe.data.sources.row_texts import TEXTS_FAULT
from liteframe.data.sources.unread_fields import named_times, require_meaning, require_to_be_learnt, unread_mark
from liteframe.errors import ManifestError
from liteframe.system.printable import printable

Turn = tuple[str, str]
Part = Literal["question", "answer"]
PARTS: tuple[Part, Part] = ("question", "answer")
"""What a turn consists of, in order."""
MOST_TYPE_BYTES = 64

_PLACES = re.compile(r"<IMG_CONTEXT>|</?img>|<\|im_(?:start|end)\|>|<\|video_pad\|>|<\|image_pad\|>")
"""What stands for visual tokens or ends of turns in the prompts of hosts: in a text it would count as such."""


class EmptyAnswer(ManifestError):
    """An answer of a row is empty, as those of test splits are."""


def has_questions(row: dict[str, Any]) -> bool:
    """Whether the row gives questions at all, readable or not."""
    single = row.get("question") is not None and row.get("answer") is not None
    return bool(row.get("conversations") or row.get("questions") or single or row.get(TEXTS_FAULT))


def placeholders_of_questions(row: dict[str, Any]) -> list[int]:
    """How often each question of the row's `conversations` says where the video goes."""
    return [places_in(text) for role, text in said(row, _where(row)) if role == "question"]


def turns_of(row: dict[str, Any], rng: np.random.Generator | None = None, most: int | None = None) -> list[Turn]:
    """Question-answer pairs of a row: from `conversations`, from `questions`, or from `question` and `answer`.

    Conversations are those of ShareGPT (`from`: human, gpt, system; `value`) or of chat messages (`role`: user,
    assistant, system; `content`, a text or a list of parts). What a system turn at their head, or the row's `system`,
    says comes before the first question, because not every base VLM's chat template has a place for it. An answer that
    is the letter of one of `options` which the question does not show is that option's text. Placeholders of the video
    (`<video>`, `<image>`), wherever they stand in questions, are left out: the prompt puts it at the head of the first.
    In answers they are text, which a stage refuses whose base VLM has tokens of these names.

    Args:
        row: a manifest row as a dict.
        rng: shuffles `questions`, which do not build on each other; `conversations` keep their order.
        most: at most this many of `questions`.

    Raises:
        ManifestError: the row has none of the three forms, one that cannot be read, one about pictures or sounds too,
            one whose answer is not to be learnt, or one whose texts hold what stands for visual tokens, other media,
            places in a picture, or the ends of turns.
    """
    where = _where(row)
    _require_texts(row, where)
    require_to_be_learnt(row, where)
    turns, times = _turns(row, where), named_times(row)
    for number, turn in enumerate(turns):
        for part, text in zip(PARTS, turn, strict=True):
            if mark := _mark(text, part, times):
                raise _not_plain(mark, where, *field_of_text(row, number, part))
        if not turn[1].strip():
            field, of = field_of_text(row, number, "answer")
            raise EmptyAnswer(
                f"{where}: field {field}: the text{of} is empty and would be learnt as the answer; write it, or drop it"
            )
    if row.get("conversations") or not row.get("questions"):
        return turns
    order = range(len(turns)) if rng is None else rng.permutation(len(turns)).tolist()
    return [turns[number] for number in order][:most]


def field_of_turns(row: dict[str, Any]) -> str:
    """Name of the field that `turns_of` reads."""
    return next((name for name in ("conversations", "questions") if row.get(name)), "question")


def field_of_text(row: dict[str, Any], number: int, part: Part) -> tuple[str, str]:
    """The field that holds a text of `turns_of`, and where in it, as words behind "leave it out".

    Args:
        row: a manifest row as a dict.
        number: of the turn, from 0, without `rng`.
        part: of the turn.
    """
    if row.get("conversations"):
        has_system = said_by_turns(row["conversations"][:1], "")[0][0] == "system"
        return "conversations", f" of turn {2 * number + 1 + (part == 'answer') + has_system}"
    if row.get("questions"):
        return "questions", f" of the {part} of item {number + 1}"
    return part, ""


def with_options(row: dict[str, Any]) -> dict[str, Any] | None:
    """The row with those of its questions alone that have options to choose from; None where none has."""
    asked = row.get("questions")
    if not asked:
        return row if row.get("options") is not None and row.get("question") is not None else None
    chosen = [item for item in asked if isinstance(item, dict) and item.get("options") is not None]
    return {**row, "questions": chosen} if chosen else None


def _turns(row: dict[str, Any], where: str) -> list[Turn]:
    if row.get("conversations"):
        turns = _dialogue(said(row, where), where)
        require_shown_options(row, turns, where)
        return turns
    if row.get("questions"):
        for item in row["questions"]:
            if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("question", "answer")):
                raise ManifestError(
                    f"{where}: field questions: wanted objects with texts in 'question' and 'answer',"
                    f" got {reprlib.repr(item)}"
                )
        return [_turn(item, where, f" (item {number})") for number, item in enumerate(row["questions"], start=1)]
    if has_questions(row):
        return [_turn(row, where, "")]
    raise ManifestError(
        f"{where}: no conversations, no questions, no question with an answer; this stage needs one{_other_texts(row)}"
    )


def _other_texts(row: dict[str, Any]) -> str:
    """Names of the fields that may hold questions and answers under other names, to be said behind an error."""
    own = ("path", "id", "question", "answer", "error", "data_source")
    names = [name for name, value in row.items() if name not in own and value and isinstance(value, str | list)]
    told = ", ".join(map(repr, names[:6]))
    return f" (not read: {told}; call what is asked 'question', and what is answered 'answer')" if names else ""


def _turn(item: dict[str, Any], where: str, of: str) -> Turn:
    """A question with its answer, in the words of an option where the answer only points to one."""
    try:
        return plain_question(item["question"]), answer_in_words(item)
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}{of}") from error


def of_types(row: dict[str, Any], types: list[str] | None) -> dict[str, Any]:
    """The row with those of its `questions` alone whose `type` is one of `types`; all if None."""
    if types is None or not row.get("questions"):
        return row
    return {**row, "questions": [asked for asked in row["questions"] if asked.get("type") in types]}


def choices_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The multiple-choice questions of a row: its `questions`, or the one in its own fields.

    Placeholders of the video are left out, as in `turns_of`, and so are letters that the options bring along (``A.``,
    ``(B)``), if each brings its own and a text.

    Raises:
        ManifestError: there is none, or one lacks a `question`, two `options` or more, or an `answer` that is one of
            them or its letter; or a text is empty, or a `type` longer than `MOST_TYPE_BYTES`.
    """
    where = _where(row)
    _require_texts(row, where)
    asked = row.get("questions") or ([row] if row.get("question") is not None else [])
    if not asked:
        raise ManifestError(f"{where}: no questions, and no question; evaluation needs one of these fields")
    return [
        _choice(item, where, f" (item {number} of questions)" if row.get("questions") else "")
        for number, item in enumerate(asked, start=1)
    ]


def type_of(question: dict[str, Any]) -> str:
    """The name that a question is counted under; "all" where it has none."""
    kind = question.get("type")
    return "all" if kind is None else str(kind)


def _choice(item: Any, where: str, of: str) -> dict[str, Any]:
    """One question as `choices_of` gives it; `of` says which one, behind a message."""
    if isinstance(item, dict):
        item = {**item, "options": options_as_list(item.get("options"))}
    question = _require_choice(item, where, of)
    choice = _unlettered({**item, "question": question})
    if not choice["question"]:
        raise ManifestError(f"{where}: field question: the question is empty{of}; write what is asked, or leave it out")
    if len(type_of(choice).encode(errors="surrogatepass")) > MOST_TYPE_BYTES:
        raise ManifestError(
            f"{where}: field type: {reprlib.repr(type_of(choice))} is longer than {MOST_TYPE_BYTES} bytes{of}; use a"
            " shorter name"
        )
    if right_option(choice) is None:
        raise ManifestError(
            f"{where}: field answer: {reprlib.repr(choice['answer'])} is none of the options"
            f" {reprlib.repr(choice['options'])}, nor the letter of one, or it may be two of them{of};"
            f" {how_to_answer(choice['options'], choice['answer'])}"
        )
    return choice


def _require_choice(item: Any, where: str, of: str) -> str:
    """The plain question of one that has all that is asked of it."""
    if not isinstance(item, dict):
        raise ManifestError(f"{where}: field questions: wanted objects with a 'question', got {reprlib.repr(item)}{of}")
    options = item.get("options")
    if not (isinstance(options, list) and len(options) > 1 and all(isinstance(option, str) for option in options)):
        raise ManifestError(
            f"{where}: field options: wanted two texts or more to choose from, got {reprlib.repr(options)}{of}"
        )
    if not all(option.strip() for option in options):
        raise ManifestError(f"{where}: field options: one of {reprlib.repr(options)} is empty{of}; write it out")
    if not all(isinstance(item.get(part), str) for part in PARTS):
        raise ManifestError(
            f"{where}: wanted texts in 'question' and 'answer' (a number may count from 0 or 1), got"
            f" {reprlib.repr(item)}{of}"
        )
    try:
        question = plain_question(item["question"])
    except ManifestError as error:
        raise ManifestError(f"{where}: field question: {error}{of}") from error
    for field, text in (("question", question), *(("options", option) for option in options)):
        if mark := _mark(text, "question" if field == "question" else "answer"):
            raise _not_plain(mark, where, field, of)
    return question


def _unlettered(item: dict[str, Any]) -> dict[str, Any]:
    options, answer = item["options"], item["answer"]
    plain = without_letters(options)
    if plain is None and (plain := without_stray_letters(options, answer)) is not None:
        place = right_option(item)
        return item if place is None else {**item, "options": plain, "answer": ascii_uppercase[place]}
    if plain is None or not all(map(str.strip, plain)):
        return item
    answer = ascii_uppercase[options.index(answer)] if answer in options else answer
    place = right_option({"options": plain, "answer": answer}, by_place=True)
    if place is not None and borne_letters(plain) is not None:  # texts begin like letters: "A. D. Beckham"
        answer = plain[place]
    return {**item, "options": plain, "answer": answer}


def _require_texts(row: dict[str, Any], where: str) -> None:
    """Raises ManifestError where the texts of the row cannot be read, or are not all that it means."""
    if fault := row.get(TEXTS_FAULT):
        raise ManifestError(f"{where}: {fault}")
    require_meaning(row, where)
    require_one_form(row, where)


def _plain_of(question: str, where: str) -> str:
    try:
        return plain_question(question)
    except ManifestError as error:
        raise ManifestError(f"{where}: field conversations: {error}") from error


def _mark(text: str, part: Part, times: Sequence[str] = ()) -> str | None:
    """What in a text stands for something else than its words."""
    match = _PLACES.search(text)
    return match[0] if match else unread_mark(text, part, times)


def _where(row: dict[str, Any]) -> str:
    return printable(f"{row.get('path')} (id {row.get('id')})")


def _not_plain(found: str, where: str, field: str, of: str = "") -> ManifestError:
    return ManifestError(
        f"{where}: field {field}: holds {found!r}, which stands for something else in a prompt; leave it out{of} (the"
        " place of a video is written <video>)"
    )


def _dialogue(said: list[tuple[str, str]], where: str) -> list[Turn]:
    system = _plain_of(said[0][1], where) if said[0][0] == "system" else ""
    spoken = said[1:] if said[0][0] == "system" else said
    roles = [role for role, _ in spoken]
    if not roles or roles != ["question", "answer"] * (len(roles) // 2):
        raise ManifestError(
            f"{where}: field conversations: wanted questions and answers by turns, at most one system turn before them,"
            f" got {reprlib.repr([role for role, _ in said])}"
        )
    pairs = zip(spoken[::2], spoken[1::2], strict=True)
    turns = [(_plain_of(asked, where), answer) for (_, asked), (_, answer) in pairs]
    if system:
        turns[0] = (f"{system}\n\n{turns[0][0]}", turns[0][1])
    return turns
