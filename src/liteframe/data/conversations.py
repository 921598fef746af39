"""Questions and answers of a manifest row, in whichever of the known forms it gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from liteframe.errors import ManifestError

Turn = tuple[str, str]


def turns_of(row: dict[str, Any], rng: np.random.Generator | None = None, most: int | None = None) -> list[Turn]:
    """Question-answer pairs of a row: from `conversations`, from `questions`, or from `question` and `answer`.

    Args:
        row: a manifest row as a dict.
        rng: shuffles `questions`, which do not build on each other; `conversations` keep their order.
        most: at most this many of `questions`.

    Raises:
        ManifestError: the row has none of the three forms, or one that cannot be read.
    """
    where = f"{row.get('path')} (id {row.get('id')})"
    if row.get("conversations"):
        turns = row["conversations"]
        said = [turn.get("value") for turn in turns]
        roles = [turn.get("from") for turn in turns]
        if roles != ["human", "gpt"] * (len(turns) // 2) or not all(isinstance(text, str) for text in said):
            raise ManifestError(
                f"{where}: field conversations: wanted turns of 'human' and 'gpt' by turns, each with a 'value', got"
                f" {roles}"
            )
        return [(_plain(asked), answer) for asked, answer in zip(said[::2], said[1::2], strict=True)]
    if row.get("questions"):
        asked = list(row["questions"])
        for item in asked:
            if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("question", "answer")):
                raise ManifestError(
                    f"{where}: field questions: wanted objects with a 'question' and an 'answer', got {item!r}"
                )
        if rng is not None:
            asked = [asked[i] for i in rng.permutation(len(asked))]
        return [(_plain(item["question"]), item["answer"]) for item in asked[:most]]
    if row.get("question") is not None and row.get("answer") is not None:
        return [(_plain(row["question"]), row["answer"])]
    raise ManifestError(f"{where}: no conversations, no questions, no question with an answer; this stage needs one")


def _plain(question: str) -> str:
    """A question without the placeholders of its video: where that goes is the prompt's to say."""
    return question.replace("<video>", "").replace("<image>", "").strip()
