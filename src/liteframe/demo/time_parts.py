"""What an answer's milliseconds are made of, as the page's bar shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from liteframe.chat.answer import BESIDE, STAGES, Answer

REST = "rest"
"""The tokens after the first, of which `Answer.ms` has the mean."""
_WORDS = {
    "wait": "wait for frames",
    "preprocess": "resize",
    "encode": "encode the frames",
    "project": "project",
    "prefill": "prefill, first token",
    "other": "all else",
    REST: "rest of the answer",
    "decode": "decode the video",
    "transfer": "hand frames over",
}


@dataclass(frozen=True)
class Part:
    """Milliseconds of one stage.

    Attributes:
        stage: as `Answer.ms` calls it, or `REST`.
        ms: of it.
    """

    stage: str
    ms: float

    @property
    def words(self) -> str:
        """What the page calls it."""
        return _WORDS.get(self.stage, self.stage)


def time_parts(answer: Answer, max_tokens: int) -> list[Part]:
    """The stages of an answer one after the other; together they are the time that it took.

    Args:
        answer: with its `ms`.
        max_tokens: that it was allowed; at fewer, the token that ends it was computed too.
    """
    parts = [Part(stage, answer.ms[stage]) for stage in STAGES if stage in answer.ms]
    if "token" in answer.ms:
        steps = answer.answer_tokens - (answer.answer_tokens == max_tokens)
        parts.append(Part(REST, answer.ms["token"] * steps))
    return parts


def first_token_ms(parts: Sequence[Part]) -> float:
    """Milliseconds up to the first token, of an answer's parts."""
    return sum(part.ms for part in parts if part.stage != REST)


def beside_parts(answer: Answer) -> list[Part]:
    """What other processes did meanwhile, of which `wait` is all that delayed the answer."""
    return [Part(stage, answer.ms[stage]) for stage in BESIDE if stage in answer.ms]
