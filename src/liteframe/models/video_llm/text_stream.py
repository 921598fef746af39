"""Text as its tokens come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TextStream:
    """Turns ids into text piece by piece; the pieces together are the text of all ids at once.

    A piece is held back while it ends within a character: byte-level tokenizers may need several tokens for one.

    Args:
        tokenizer: of the ids.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # The tokens shown last, for a piece is spaced by what stands before it, and those not shown yet.
        self._shown: list[int] = []
        self._waiting: list[int] = []

    def push(self, token: int) -> str:
        """What can be shown now that `token` has come; may be nothing."""
        self._waiting.append(token)
        piece = self._piece()
        if not piece or piece.endswith("\ufffd"):
            return ""
        self._shown, self._waiting = self._waiting, []
        return piece

    def finish(self) -> str:
        """What was held back and will not become whole."""
        piece = self._piece()
        self._shown, self._waiting = [], []
        return piece

    def _piece(self) -> str:
        before = decode(self._tokenizer, self._shown)
        return decode(self._tokenizer, [*self._shown, *self._waiting])[len(before) :]


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text of an answer, without special tokens, spaced as the tokenizer says."""
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
