"""What every method of a comparison can do, whatever it does to the visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from liteframe.models.backbone import VisionTokens
from liteframe.models.video_llm.prompts import PromptBuilder


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of a video at two points of its way.

    Attributes:
        encoder: that leave the encoder (and its compressor, where that works on the encoder's grid).
        llm: that the LLM sees.
        asked: that a compressor was asked for; None where it was not asked.
        mean_over_layers: of visual tokens, over the LLM's layers, where it loses some on its way; None elsewhere.
    """

    encoder: int
    llm: int
    asked: int | None = None
    mean_over_layers: float | None = None


class AnsweringModel(Protocol):
    """Frames to answers, in the steps that are timed apart: `encode`, `project`, `prefill`.

    What `encode` and `project` give is the model's own affair; it goes from one to the next.

    Attributes:
        backbone: ``frames_BTCHW`` to `VisionTokens`.
        frames_per_group: frames that one group of its tokens spans.
        language_model: the LLM.
        prompts: of the base VLM.
    """

    @property
    def backbone(self) -> nn.Module: ...

    @property
    def frames_per_group(self) -> int: ...

    @property
    def language_model(self) -> Any: ...

    @property
    def prompts(self) -> PromptBuilder: ...

    def encode(self, frames_BTCHW: Tensor) -> Any:
        """The backbone, and what is compressed on its grid."""

    def compress(self, vision: VisionTokens) -> Any:
        """The part of `encode` behind the backbone."""

    def project(self, encoded: Any) -> Any:
        """What the LLM sees."""

    def token_counts(self, encoded: Any, visual: Any) -> TokenCounts:
        """Tokens of the first video."""

    def prompt_ids(self, visual: Any, question: str) -> list[int]:
        """Ids of a prompt about the first video."""

    def prefill(self, visual: Any, ids_L: list[int]) -> Tensor:
        """Logits (B, vocabulary) of the first answer token after a whole prompt."""

    def first_answer_logits(self, visual: Any, questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video."""

    def describe(self) -> dict[str, Any]:
        """How tokens become fewer, for a record."""
