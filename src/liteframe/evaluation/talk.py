"""From a question to what a model says: words, and logits of the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from liteframe.errors import DataError
from liteframe.evaluation.answering import option_ids, option_logits
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.watching import Shown
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.video_llm.generation import require_room, room_for_answer
from liteframe.models.video_llm.text_stream import decode


@dataclass(frozen=True)
class Turn:
    """What is asked, ready for the model.

    Attributes:
        video: text that stands for the video in the prompt.
        question: the user's turn.
        options: texts of which each begins with its own token: letters, or the options themselves.
        system: turn before it.
        answer_start: what the answer begins with already.
    """

    video: str
    question: str
    options: tuple[str, ...]
    system: str = ""
    answer_start: str = ""


@dataclass(frozen=True)
class Said:
    """What the model made of a turn.

    Attributes:
        text: its words; None where they were not asked for.
        option_logits: one an option; None where two options begin alike.
        prompt_tokens: before the answer.
        cut_by_context: whether the answer ends where the LLM takes no more tokens.
    """

    text: str | None
    option_logits: tuple[float, ...] | None
    prompt_tokens: int
    cut_by_context: bool = False


class Talk:
    """Questions about one video, of which none hears of the others.

    Args:
        subject: that is asked.
        shown: what its LLM sees.
    """

    def __init__(self, subject: EvaluatedModel, shown: Shown) -> None:
        self.subject, self.shown = subject, shown
        self._shared = subject.shared_video(shown.visual)

    @torch.inference_mode()
    def ask(self, turn: Turn, max_tokens: int) -> Said:
        """What the model says.

        Args:
            turn: to ask.
            max_tokens: of a greedy answer, which may be cut where the context ends; 0 for the logits of the options
                alone.

        Raises:
            DataError: words or tokens that the model does not take, or a prompt that is too long; without an answer,
                options that begin alike.
        """
        model, prompts = self.subject.model, self.subject.prompts
        prompts.check_question(turn.question)
        options = self._option_ids(turn.options, required=not max_tokens)
        video_ids, asked_ids = prompts.asked_ids(turn.video, turn.question, turn.system, turn.answer_start)
        tokens = len(video_ids) + len(asked_ids)
        if isinstance(model, PrunedVideoLLM):
            require_room(self.subject.inner, tokens, 1)
            with self.subject.autocast():
                logits_V = model.prefill(self.shown.visual, [*video_ids, *asked_ids])[0]
            return Said(None, tuple(logits_V[options].float().tolist()), tokens)
        room = room_for_answer(self.subject.inner, tokens, max_tokens)
        hidden_C, ids = self._shared.answer(video_ids, asked_ids, room)
        text, cut = decode(prompts.tokenizer, ids) if max_tokens else None, len(ids) == room < max_tokens
        if options is None:
            return Said(text, None, tokens, cut)
        return Said(text, tuple(option_logits(self.subject.inner, hidden_C, options)), tokens, cut)

    def _option_ids(self, options: Sequence[str], required: bool) -> list[int] | None:
        """First token of each; None, if they are not required, where two are the same."""
        try:
            return option_ids(self.subject.model, options)
        except DataError:
            if required:
                raise
            return None
