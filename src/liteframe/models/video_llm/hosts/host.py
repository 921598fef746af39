"""What differs between families of base VLMs: parts, wording of videos in prompts, and how the LLM takes its tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from liteframe.errors import ConfigError, DataError
from liteframe.models.teachers import TransformersTeacher

Groups = int | tuple[float, ...]
"""Groups of frames of a video: how many, or the seconds at which each is, which some base VLMs write into prompts."""
Line = tuple[int, int]
"""Number of a group of frames, from 1 on, and how many visual tokens stand for it."""


def count_of(groups: Groups) -> int:
    """How many groups these are."""
    return groups if isinstance(groups, int) else len(groups)


def seconds_of_groups(times_s: Sequence[float] | np.ndarray, frames_per_group: int) -> tuple[float, ...]:
    """When each group of frames is: the mean of its first and its last frame, as transformers has it of pairs.

    Args:
        times_s: of the frames, seconds from the first frame of the video; the last group may be short, and is filled up
            by its last frame.
        frames_per_group: frames of a group.

    Raises:
        DataError: a time that is no finite number.
    """
    if not np.isfinite(times_s).all():
        raise DataError("not every frame has a time; give when each is, in seconds from the first frame of the video")
    last = len(times_s) - 1
    starts = range(0, len(times_s), frames_per_group)
    return tuple(float(times_s[i] + times_s[min(i + frames_per_group - 1, last)]) / 2 for i in starts)


class Wording(ABC):
    """How a base VLM's prompts show a video.

    Attributes:
        video_token: stands for a whole video where the chat template has written a conversation.
        visual_token: stands in a prompt where a visual token goes.
        structure: more tokens that videos are written with.
    """

    video_token: str
    visual_token: str
    structure: tuple[str, ...]
    separator: ClassVar[str]
    """Between groups."""
    end: str = ""
    """Behind the last group of a video."""

    def bare(self, text: str) -> str:
        """A text that the chat template has written, with `video_token` alone where a video goes."""
        return text

    @abstractmethod
    def image_text(self, tokens: int) -> str:
        """What stands for an image of so many visual tokens."""

    @abstractmethod
    def line(self, line: Line, groups: Groups | None) -> str:
        """What stands for one group of frames.

        Args:
            line: of the group.
            groups: of the whole video; of None alone, base VLMs whose prompts have no times write a line.
        """

    @abstractmethod
    def stand_in(self, count: int) -> Groups:
        """So many groups of no video in particular."""

    def lines_text(self, lines: Iterable[Line], groups: Groups | None = None) -> str:
        """What stands for a video; see `line`."""
        shown = self.separator.join(self.line(line, groups) for line in lines)
        return f"{shown}{self.end}" if shown else ""

    def video_text(self, groups: Groups, tokens_per_group: int, step: int = 1) -> str:
        """What stands for a video of groups of equally many tokens, numbered 1, 1 + step, 1 + 2 step, ..."""
        return self.lines_text(((1 + i * step, tokens_per_group) for i in range(count_of(groups))), groups)


class Host(ABC):
    """A family of base VLMs. It holds no weights: methods take the parts that they work on."""

    name: ClassVar[str]
    """What errors call it."""
    example: ClassVar[str]
    """Hub id of one."""
    model_type: ClassVar[str]
    """Of its configs."""
    config_class: ClassVar[Any]
    model_class: ClassVar[Any]
    teacher: ClassVar[type[TransformersTeacher]]
    """Its own image encoder; students that stand in for it are distilled from this."""
    visual_token_name: ClassVar[str] = "image"
    """What configs call the token that stands where a visual token of a video goes."""
    timed: ClassVar[bool] = False
    """Whether prompts tell the second of each group of frames."""
    tiles: ClassVar[bool] = True
    """Whether a group of frames may be shown in tiles."""
    pictures: ClassVar[bool] = True
    """Whether exports take still pictures beside videos."""
    numbered: ClassVar[bool] = True
    """Whether groups of frames are numbered, so that some can be left out of a prompt (`step`)."""
    newline: ClassVar[bool] = False
    """Whether a video ends by an embedding of the base VLM's own, the projector's `image_newline`."""
    not_in_vllm: ClassVar[str | None] = None
    """Why the vLLM plugin cannot serve exports, as a relative clause; None where it can."""

    @abstractmethod
    def require_readable(self, config: Any, source: str) -> None:
        """Raises ConfigError, by the name of the field, where a config asks for what is done otherwise here."""

    def visual_token_id(self, config: Any) -> int:
        """Id that stands in a prompt where a visual token of a video goes."""
        return int(getattr(config, f"{self.visual_token_name}_token_id"))

    def newline_token_id(self, config: Any) -> int | None:
        """Id that stands in a prompt where the projector's `image_newline` goes; None for families without one."""
        return None

    def ids_by_token(self, config: Any, wording: Wording) -> dict[str, tuple[str, int]]:
        """What a config calls a token that prompts are built of -> the token, and its id by the config."""
        return {self.visual_token_name: (wording.visual_token, self.visual_token_id(config))}

    @abstractmethod
    def downsample_ratio(self, config: Any) -> float:
        """Tokens a side that the LLM sees, to those of the base VLM's own encoder that the projector takes."""

    def ratio_for(self, downsample_ratio: float, patches: tuple[int, int]) -> float:
        """`downsample_ratio` for tokens each of which stands for so many rows and columns of patches."""
        return downsample_ratio

    def merge(self, downsample_ratio: float) -> int:
        """Rows, and columns, of tokens are multiples of this, or the projector does not take them."""
        return round(1 / downsample_ratio)

    def llm_tokens(self, rows: int, columns: int, downsample_ratio: float) -> int:
        """Tokens that the LLM sees of one group of frames, whose rows and columns the projector takes."""
        merge = self.merge(downsample_ratio)
        return (rows // merge) * (columns // merge)

    @abstractmethod
    def feature_width(self, config: Any) -> int:
        """Channels of a token that the projector takes, which a student has to give."""

    @abstractmethod
    def own_encoder(self, base_vlm: Any) -> TransformersTeacher:
        """The image encoder of a base VLM; it shares its modules, and freezes them."""

    @abstractmethod
    def projector(self, base_vlm: Any) -> nn.Module:
        """What makes visual tokens of features; it shares the base VLM's modules."""

    @abstractmethod
    def new_projector(self, config: Any) -> nn.Module:
        """The same with fresh weights, by a `LiteFrameVideoConfig`."""

    @abstractmethod
    def export_fields(self, config: Any) -> dict[str, Any]:
        """Fields of `LiteFrameVideoConfig` that `new_projector` needs, of a base VLM's config."""

    @abstractmethod
    def project(self, projector: nn.Module, tokens_BTHWC: Tensor, downsample_ratio: float) -> Tensor:
        """What the LLM sees of a video, (B, T, N, C): C_llm channels, and more where `last_hidden` takes more."""

    def last_hidden(
        self,
        language_model: PreTrainedModel,
        embeds_BLC: Tensor,
        position_ids_BL: Tensor | None,
        cache: Cache | None,
        mask_BL: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        """The LLM's outputs.

        Args:
            language_model: the LLM.
            embeds_BLC: of prompts, as wide as the visual tokens in them, or C_llm where there are none.
            position_ids_BL: numbers of the tokens in their prompts; None counts on from the cache. Without cache and
                mask, numbers that do not go on by one begin another packed sequence, as in transformers.
            cache: takes keys and values.
            mask_BL: with a cache, it also counts the tokens in there.
            kwargs: for the LLM.
        """
        return language_model(
            inputs_embeds=embeds_BLC,
            attention_mask=mask_BL,
            position_ids=position_ids_BL,
            past_key_values=cache,
            **{"use_cache": cache is not None, **kwargs},
        )

    @abstractmethod
    def wording(self, processor: Any, where: str) -> Wording:
        """How videos are written, by the tokens of a processor. Raises ConfigError, with `where`, if it lacks one."""

    @abstractmethod
    def tokens_of(self, tokenizer: Any) -> dict[str, Any]:
        """Attributes that `wording` asks of a processor, as the tokenizer of a base VLM has them."""

    def require_in_vllm(self) -> None:
        """Raises ConfigError where the vLLM plugin cannot serve exports of this family."""
        if self.not_in_vllm is not None:
            raise ConfigError(
                f"Answers of vLLM cannot be had of a {self.name}, {self.not_in_vllm}; take an InternVL as base VLM, or"
                " ask by `liteframe serve`"
            )
