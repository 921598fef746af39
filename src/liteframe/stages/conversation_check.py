"""What a stage that learns answers asks of a sample when it is loaded: plain texts, and room in the LLM's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.data.sources.conversations import PARTS, field_of_text, field_of_turns, turns_of
from liteframe.errors import DataError
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompts import PromptBuilder, Turn
from liteframe.system.printable import printable

_LONGEST_TOKENIZER = 10**9
_SLACK = 4
"""Tokens that a turn may have more where it stands than the template and its texts have alone."""


@dataclass
class ConversationCheck:
    """A `SampleCheck` of rows with questions and answers.

    Args:
        prompts: of the base VLM.
        frames_per_group: frames behind one `Frame` line.
        tokens_per_group: visual tokens in one.
        limit: tokens of a whole conversation with its video; None for any number.
        questions: of a row's `questions`, how many are asked at a time; None is all.
        truncate: pairs of a question and an answer that do not fit are left out, so that only one has to fit.
    """

    prompts: PromptBuilder
    frames_per_group: int
    tokens_per_group: int
    limit: int | None
    questions: int | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        # Here, so that loader processes need not render the template, which takes another process each.
        self.prompts.prepare()

    def __call__(self, row: dict[str, Any], frames: int) -> None:
        """Raises DataError, naming row and field, where a text or the length of the conversation is not fit."""
        turns = turns_of(row)
        for number, turn in enumerate(turns):
            for part, text in zip(PARTS, turn, strict=True):
                if token := self.prompts.built_in(text):
                    field, of = field_of_text(row, number, part)
                    what = f"holds {token!r}, which prompts of this base VLM are built of; leave it out{of}"
                    raise _refused(row, what, field)
        groups = -(-frames // self.frames_per_group)
        asked = self._longest(row, turns)
        tokens = self._tokens(asked, groups)
        if self.limit is not None and tokens > self.limit:
            video = groups * self.tokens_per_group
            advice = "" if self.truncate else ", or leave out its last questions (model.truncate of LMA)"
            raise _refused(
                row,
                f"the conversation has {tokens:,} tokens, {video:,} of them visual (frames: {frames}, questions:"
                f" {len(asked)}), more than the {self.limit:,} that it may have; look at fewer frames, shorten"
                f" it{advice}",
            )

    def _longest(self, row: dict[str, Any], turns: Sequence[Turn]) -> Sequence[Turn]:
        """Those turns that are shown together, of which any may come: the longest."""
        if row.get("conversations"):
            return turns[:1] if self.truncate else turns
        most = 1 if self.truncate else self.questions
        if most is None or most >= len(turns):
            return turns
        return sorted(turns, key=lambda turn: self.prompts.text_tokens([turn]), reverse=True)[:most]

    def _tokens(self, turns: Sequence[Turn], groups: int) -> int:
        """Tokens of a conversation. Only where the limit is near, the template is rendered, which takes its time."""
        texts = self.prompts.text_tokens(turns)
        around, between = self.prompts.template_tokens
        about = texts + around + (len(turns) - 1) * between + self.prompts.video_tokens(groups, self.tokens_per_group)
        slack = _SLACK * len(turns)
        if self.limit is None or not about - slack <= self.limit < about + slack:
            return about
        return len(self.prompts.conversation(turns, groups, self.tokens_per_group)[0])


def tokens_per_group(model: VideoLLM, image_size: tuple[int, int]) -> int:
    """Visual tokens in one `Frame` line.

    Args:
        model: whose compressor and pixel shuffle make fewer of them.
        image_size: height and width of the frames in pixels.
    """
    steps: tuple[int, int] = model.backbone.size_multiple  # type: ignore[assignment]
    _, *merged = getattr(model.compressor, "block", (1, 1, 1))
    rows, columns = (size // (step * by) for size, step, by in zip(image_size, steps, merged, strict=True))
    return model.host.llm_tokens(rows, columns, model.downsample_ratio)


def context_length(model: VideoLLM) -> int | None:
    """Tokens that the LLM takes, or where its config does not say, its tokenizer; None where neither does."""
    config: Any = model.language_model.config
    of_tokenizer = getattr(model.prompts.tokenizer, "model_max_length", None) or _LONGEST_TOKENIZER
    fallback = of_tokenizer if of_tokenizer < _LONGEST_TOKENIZER else None
    return getattr(config, "max_position_embeddings", None) or fallback


def _refused(row: dict[str, Any], what: str, field: str | None = None) -> DataError:
    where = printable(f"{row.get('path')} (id {row.get('id')})")
    return DataError(f"{where}: field {field or field_of_turns(row)}: {what}")
