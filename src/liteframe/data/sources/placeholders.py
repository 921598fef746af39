"""What stands for the video in the text of a question."""

from __future__ import annotations

import re

from liteframe.errors import ManifestError

_PLACEHOLDER = re.compile(r"<video>\n?|(?:\b(?i:frame)[ _-]?\d+ ?[:\uff1a]\s*)?<image>\n?")
"""With the number of a frame, as InternVL's prompts have it: ``Frame1: <image>``."""
_VIDEO, _IMAGE = re.compile("<video>"), re.compile(r"(?:\b(?i:frame)[ _-]?\d+ ?[:\uff1a]\s*)?<image>")

_MOST_ROUNDS = 16


def plain_question(question: str) -> str:
    """A question without the placeholders of its video: where that goes is the prompt's to say.

    Raises:
        ManifestError: it speaks of several videos, or of several pictures one by one.
    """
    if len(_VIDEO.findall(question)) > 1 or re.search(r"\w", "".join(_IMAGE.split(question)[1:-1])):
        raise ManifestError(
            "the question has several places of a video (<video> or <image>), and it is read about one; drop the row,"
            " or leave the others out"
        )
    for _ in range(_MOST_ROUNDS):
        plain = _PLACEHOLDER.sub("", question)
        if plain == question:
            return question.strip()
        question = plain  # taking one out can make another one of what stood around it
    raise ManifestError("the question has placeholders inside of placeholders (<video> or <image>); leave them out")


def places_in(question: str) -> int:
    """How often a question says where its video goes; frames with numbers are one video."""
    found = [match[0] for match in _PLACEHOLDER.finditer(question)]
    numbered = [text for text in found if not text.startswith("<")]
    return len(found) - max(0, len(numbered) - 1)
