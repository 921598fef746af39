"""A Video LLM = backbone + compressor + projector + LLM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, ProcessorMixin
from transformers.cache_utils import Cache, DynamicCache

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import Compressor, Dense, VisionTokens
from liteframe.models.clip_chunks import filled_up
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.hosts import INTERNVL, Groups, Host, count_of, host_of, seconds_of_groups
from liteframe.models.video_llm.prompts import IGNORE, PromptBuilder, Turn
from liteframe.ops.pooling import check_size


class LiteFrameBackbone(nn.Module):
    """The student as a backbone: its tokens are compressed already, and it has no class token.

    Args:
        encoder: the student.
        image_size: height and width in pixels that frames are best resized to; by default those of its config.

    Attributes:
        frames_per_group: frames that one of its tokens spans.
        clip_frames: frames that see each other.
        frame_wise: each frame is encoded on its own.
        patches: rows and columns of patches that one of its tokens stands for.
        size_multiple: pixels that height and width of a frame are multiples of.
    """

    def __init__(self, encoder: LiteFrameEncoder, image_size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.frames_per_group, self.clip_frames = encoder.config.stride[0], encoder.config.clip_frames
        self.frame_wise = self.clip_frames == 1
        side = encoder.config.image_size
        self.image_size: tuple[int, int] = image_size or (side, side)
        self.size_multiple = encoder.config.size_multiple
        self.patches: tuple[int, int] = encoder.config.stride[1:]

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        return VisionTokens(self.encoder(frames_BTCHW).last_hidden_state)


def scatter_visual(embeds_BLC: Tensor, positions_BL: Tensor, visual_MNC: Tensor, count: int | None = None) -> Tensor:
    """The embeddings with the visual tokens, in their order, where `positions_BL` is true.

    Where visual tokens have more channels than the LLM, the others have zeros in these.

    Args:
        embeds_BLC: of prompts.
        positions_BL: where visual tokens go.
        visual_MNC: the visual tokens.
        count: of the positions; None counts them, which forces a device sync.

    Raises:
        ConfigError: positions and visual tokens differ in number.
    """
    count, given = int(positions_BL.sum()) if count is None else count, visual_MNC.shape[0] * visual_MNC.shape[1]
    if count != given:
        raise ConfigError(f"the prompts have {count} positions for visual tokens, the videos give {given}")
    embeds_BLC = functional.pad(embeds_BLC, (0, visual_MNC.shape[-1] - embeds_BLC.shape[-1]))
    return embeds_BLC.masked_scatter(positions_BL[..., None], visual_MNC.to(embeds_BLC.dtype))


def show_newlines(embeds_BLC: Tensor, ids_BL: Tensor, newline_token_id: int | None, projector: Any) -> Tensor:
    """The embeddings with the projector's `image_newline` where its id stands; of families without one as they are."""
    if newline_token_id is None:
        return embeds_BLC
    newline_C = projector.image_newline.to(embeds_BLC)
    return torch.where((ids_BL == newline_token_id)[..., None], newline_C, embeds_BLC)


_CHANGE_GREEDY_ANSWERS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("repetition_penalty", "guidance_scale", "encoder_repetition_penalty", "num_beams"), (1,)),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens"), (0,)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias"), ([], {})),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "stop_strings"), ([],)),
}
"""Settings of a generation config, with the values at which they change nothing."""


@dataclass(frozen=True)
class BaseParts:
    """What a Video LLM needs of its base VLM.

    Attributes:
        projector, language_model, lm_head: the base VLM's modules.
        downsample_ratio: tokens a side that its LLM sees, to those of its own encoder that its projector takes.
        image_token_id: stands in a prompt where a visual token goes.
        end_ids: tokens of which each ends an answer, as its generation config says.
        not_applied: what its generation config asks for beside, and is not done here, see `not_applied`.
        own_encoder: makes a backbone of its own image encoder, if it has one.
        host: its family.
        newline_token_id: stands where the projector's `image_newline` goes; None for families without one.
    """

    projector: nn.Module
    language_model: PreTrainedModel
    lm_head: nn.Module
    downsample_ratio: float
    image_token_id: int
    end_ids: tuple[int, ...] = ()
    own_encoder: Callable[[], nn.Module] | None = None
    not_applied: tuple[str, ...] = ()
    host: Host = INTERNVL
    newline_token_id: int | None = None

    @classmethod
    def of(cls, base_vlm: Any) -> BaseParts:
        """The parts of a base VLM of transformers; it shares its modules. Raises ConfigError for another family."""
        config = base_vlm.config
        host = host_of(config, config.name_or_path or "the base VLM")
        return cls(
            host.projector(base_vlm),
            base_vlm.model.language_model,
            base_vlm.lm_head,
            host.downsample_ratio(config),
            host.visual_token_id(config),
            end_ids(base_vlm.generation_config),
            lambda: host.own_encoder(base_vlm),
            not_applied(base_vlm.generation_config),
            host,
            host.newline_token_id(config),
        )


def end_ids(generation: Any) -> tuple[int, ...]:
    """Tokens of which each ends an answer, as a generation config says: one id, several, or none.

    Raises:
        ConfigError: something that is no id.
    """
    given = getattr(generation, "eos_token_id", None)
    listed = given if isinstance(given, list | tuple) else [] if given is None else [given]
    if not all(type(number) is int and number >= 0 for number in listed):
        raise ConfigError(
            f"generation_config.json: eos_token_id is {str(given)[:60]}; it must be an id or a list of ids"
        )
    return tuple(dict.fromkeys(listed))


def not_applied(generation: Any) -> tuple[str, ...]:
    """Settings of a generation config that change greedy answers, and that answers here do not follow."""
    found = {name: getattr(generation, name, None) for name in _CHANGE_GREEDY_ANSWERS}
    return tuple(
        f"{name} {value}" for name, value in found.items() if value not in (None, *_CHANGE_GREEDY_ANSWERS[name])
    )


class AnswerLogits(NamedTuple):
    """Of the M answer tokens of a batch.

    Attributes:
        logits_MV: over the vocabulary.
        labels_M: the tokens themselves.
        video_M: whose answers they are, by its number in the batch.
    """

    logits_MV: Tensor
    labels_M: Tensor
    video_M: Tensor


class VideoLLM(nn.Module):
    """Answers questions about frames, with any backbone and compressor before the base VLM's projector and LLM.

    Args:
        base_vlm: gives projector and LLM (its own vision tower serves only if it is the backbone).
        processor: the base VLM's processor.
        backbone: ``frames_BTCHW`` to `VisionTokens`; None is the base VLM's own vision tower.
        compressor: `VisionTokens` to ``tokens_BTHWC``; None keeps every token.
        frames_per_group: frames behind one `Frame` line of the prompt; None is what a token of the backbone spans
            times what the compressor makes one of.
        trained: the frames that it was trained on, where that is known.
    """

    def __init__(
        self,
        base_vlm: PreTrainedModel | BaseParts,
        processor: ProcessorMixin,
        backbone: nn.Module | None = None,
        compressor: Compressor | None = None,
        frames_per_group: int | None = None,
        trained: FrameSpec | None = None,
    ) -> None:
        super().__init__()
        parts = base_vlm if isinstance(base_vlm, BaseParts) else BaseParts.of(base_vlm)
        if backbone is None:
            assert parts.own_encoder is not None, "a base VLM without an image encoder needs a backbone"
            backbone = parts.own_encoder()
        self.backbone = backbone
        self.compressor = compressor or Dense()
        self.host = parts.host
        self.projector = parts.projector
        self.language_model = parts.language_model
        self.lm_head = parts.lm_head
        self._merged: tuple[int, int] = getattr(self.compressor, "block", (1, 1, 1))[1:]
        rows, columns = getattr(backbone, "patches", (1, 1))
        patches = (rows * self._merged[0], columns * self._merged[1])
        self.downsample_ratio = self.host.ratio_for(parts.downsample_ratio, patches)
        self.image_token_id, self._newline_token_id = parts.image_token_id, parts.newline_token_id
        spanned = getattr(backbone, "frames_per_group", 1)
        self.frames_per_group = frames_per_group or spanned * self.compressor.frames_per_group
        self.prompts = PromptBuilder(processor, parts.end_ids, parts.host)
        self.trained = trained or FrameSpec()
        self.not_applied = parts.not_applied
        self._end_ids = parts.end_ids

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens of which each ends an answer: those of the base VLM's generation config, and the tokenizer's own.

        Raises:
            ConfigError: there is none.
        """
        own = self.prompts.tokenizer.eos_token_id
        return frozenset(self._end_ids if own is None else (*self._end_ids, own)) or frozenset([self.prompts.end_id])

    @property
    def frames(self) -> FrameSpec:
        """The frames that it was made for: those of its training where known, else those of its encoder."""
        size = self.trained.image_size or getattr(self.backbone, "image_size", None)
        if self._is_cropped(size) and self._merged != (1, 1):
            teacher: Any = self.backbone
            size = teacher.geometry.filled_size(size, (1, *self._merged))
        return replace(self.trained, image_size=size, clip_frames=self.clip_frames)

    def require_size(self, size: tuple[int, int], field: str) -> None:
        """Refuses frames of `size` = (height, width) that its tokens and the pixel shuffle do not fill.

        Raises:
            ConfigError: names the field and the nearest sizes that they do.
        """
        only = getattr(self.backbone, "only_size", size)
        if size != only:
            raise ConfigError(f"{field}: the encoder was exported for frames of {only[0]} x {only[1]} px alone")
        if self._is_cropped(size) and self._merged == (1, 1):
            return
        rows, columns = getattr(self.backbone, "size_multiple", (1, 1))
        block = self.host.merge(self.downsample_ratio)
        try:
            check_size(size[0], size[1], (rows * self._merged[0] * block, columns * self._merged[1] * block))
        except GeometryError as error:
            raise ConfigError(f"{field}: {error}") from error

    def _is_cropped(self, size: tuple[int, int] | None) -> bool:
        """Whether the encoder takes frames of this size as they are though patches need not fill them."""
        return size is not None and size == getattr(self.backbone, "cropped_size", None)

    def encode(self, frames_BTCHW: Tensor) -> Tensor:
        """Compressed tokens on the grid, (B, T', H', W', C); the last group is filled up by the last frame."""
        spanned = getattr(self.backbone, "frames_per_group", 1) * self.compressor.frames_per_group
        filled_BTCHW = filled_up(frames_BTCHW, -frames_BTCHW.shape[1] % spanned, axis=1)
        return self.compress(self.backbone(filled_BTCHW))

    def compress(self, vision: VisionTokens) -> Tensor:
        """What the compressor leaves of a backbone's tokens, (B, T', H', W', C)."""
        return self.compressor(vision)

    def project(self, tokens_BTHWC: Tensor) -> Tensor:
        """What the LLM sees of the video: (B, T', N, C_llm), with more channels for some base VLMs (`Host.project`)."""
        if not torch.is_autocast_enabled(tokens_BTHWC.device.type):
            # Encoders are kept in float32, base VLMs often in bfloat16.
            tokens_BTHWC = tokens_BTHWC.to(next(self.projector.parameters()).dtype)
        return self.host.project(self.projector, tokens_BTHWC, self.downsample_ratio)

    def token_counts(self, encoded_BTHWC: Tensor, visual_BTNC: Tensor) -> TokenCounts:
        """Tokens of a video, of what `encode` and `project` gave."""
        return TokenCounts(encoded_BTHWC.shape[1:4].numel(), visual_BTNC.shape[1:3].numel())

    def describe(self) -> dict[str, Any]:
        """How tokens become fewer, for a record."""
        return {**getattr(self.backbone, "reduction", {}), **self.compressor.describe()}

    @property
    def clip_frames(self) -> int:
        """The smallest chunk, in frames, that can be encoded independently of later frames; any multiple of it can,
        too."""
        return lcm(self.frames_per_group, getattr(self.backbone, "clip_frames", 1))

    def groups(self, valid_frames_B: Tensor, times_s: Sequence[Sequence[float] | None] | None = None) -> list[Groups]:
        """Groups of frames of videos; the last group of each may be filled up.

        Args:
            valid_frames_B: frames of each video.
            times_s: when those of each video are, in seconds from the first frame of the file, None where that is not
                known; not all base VLMs need it.

        Raises:
            ConfigError: as `groups_of`.
        """
        valid = valid_frames_B.tolist()
        given = [None] * len(valid) if times_s is None else times_s
        return [self.groups_of(frames, times) for frames, times in zip(valid, given, strict=True)]

    def groups_of(self, frames: int, times_s: Sequence[float] | None = None) -> Groups:
        """The same of one video.

        Raises:
            ConfigError: the base VLM's prompts tell the seconds of frames, and there are none, or of other frames.
        """
        if not self.host.timed:
            return -(-frames // self.frames_per_group)
        if times_s is None or not all(math.isfinite(time) for time in times_s):
            raise ConfigError(
                f"prompts of a {self.host.name} tell the second of each group of frames, and nothing says when these"
                " frames are: read them with a decoder that tells (data.decoder)"
            )
        if len(times_s) != frames:
            raise ConfigError(f"{frames} frames with {len(times_s)} times; give the second of each frame")
        return seconds_of_groups(times_s, self.frames_per_group)

    def embed(
        self,
        input_ids_BL: Tensor,
        visual_BTNC: Tensor | None,
        groups_B: Sequence[Groups] | None = None,
        visual_count: int | None = None,
    ) -> Tensor:
        """Embeddings of prompts, with the visual tokens in their positions: (B, L, C_llm).

        Args:
            input_ids_BL: prompts.
            visual_BTNC: what the LLM sees of the videos.
            groups_B: those of the T groups of each video that its prompt has positions for; all if None.
            visual_count: positions of visual tokens in all prompts; None counts them, which forces a device sync.

        Raises:
            ConfigError: positions and visual tokens differ in number.
        """
        embeds_BLC = self.language_model.get_input_embeddings()(input_ids_BL)
        embeds_BLC = show_newlines(embeds_BLC, input_ids_BL, self._newline_token_id, self.projector)
        if visual_BTNC is None:
            return embeds_BLC
        mask_BL = input_ids_BL == self.image_token_id
        visual = visual_BTNC.flatten(0, 1)
        if groups_B is not None:
            T = visual_BTNC.shape[1]
            kept = torch.arange(T)[None] < torch.tensor([count_of(groups) for groups in groups_B])[:, None]
            visual = visual[kept.flatten().to(visual.device)]
        return scatter_visual(embeds_BLC, mask_BL, visual, visual_count)

    def hidden_states(
        self,
        embeds_BLC: Tensor,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        mask_BL: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states of the LLM, (B, L, C_llm). With a cache, `mask_BL` also counts the tokens in there."""
        outputs = self.host.last_hidden(self.language_model, embeds_BLC, position_ids, cache, mask_BL)
        hidden_BLC: Tensor = outputs.last_hidden_state
        return hidden_BLC

    def answer_logits(
        self,
        conversations: Sequence[Sequence[Turn]],
        visual_BTNC: Tensor,
        groups_B: Sequence[Groups],
        step: int = 1,
    ) -> AnswerLogits:
        """What the LLM predicts of the answers of a batch; the head is run on their tokens alone.

        Args:
            conversations: question-answer pairs of each video.
            visual_BTNC: what the LLM sees of the videos.
            groups_B: groups that count, for each video.
            step: between the numbers of `Frame` lines; positions have gaps to match, as if the lines between had been
                left out of the prompt of a longer video.
        """
        prompts = self.prompts.batch(conversations, groups_B, visual_BTNC.shape[2], step).to(visual_BTNC.device)
        embeds_BLC = self.embed(prompts.input_ids_BL, visual_BTNC, groups_B)
        positions_BL = mask_BL = None
        if step != 1:
            # With a mask, as without one transformers reads each gap as the start of another packed sequence.
            positions_BL, mask_BL = prompts.positions_BL, torch.ones_like(prompts.input_ids_BL)
        hidden_BLC = self.hidden_states(embeds_BLC, positions_BL, mask_BL=mask_BL)
        targets_BL = prompts.labels_BL[:, 1:]
        picked_BL = targets_BL != IGNORE
        return AnswerLogits(
            self.lm_head(hidden_BLC[:, :-1][picked_BL]), targets_BL[picked_BL], picked_BL.nonzero()[:, 0]
        )

    def prompt_ids(self, visual_BTNC: Tensor, question: str, groups: Groups | None = None) -> list[int]:
        """Ids of a prompt that asks a question about such a video, up to where the answer begins."""
        T, N = visual_BTNC.shape[1:3]
        before, after = self.prompts.question_ids(question, T if groups is None else groups, N)
        return [*before, *after]

    def prefill(self, visual_BTNC: Tensor, ids_L: list[int]) -> Tensor:
        """Logits (B, vocabulary) of the first answer token after a whole prompt."""
        B = visual_BTNC.shape[0]
        ids_BL = torch.tensor([ids_L], device=visual_BTNC.device).expand(B, -1)
        embeds_BLC = self.embed(ids_BL, visual_BTNC, visual_count=B * ids_L.count(self.image_token_id))
        return self.lm_head(self.hidden_states(embeds_BLC)[:, -1])

    @torch.no_grad()
    def first_answer_logits(self, visual_BTNC: Tensor, questions_B: Sequence[Sequence[str]]) -> list[Tensor]:
        """Logits (questions, vocabulary) of the first answer token, for each video of a batch of equal lengths."""
        return [self.lm_head(hidden_QC) for hidden_QC in self.before_answers(visual_BTNC, questions_B)]

    @torch.no_grad()
    def before_answers(
        self, visual_BTNC: Tensor, questions_B: Sequence[Sequence[str]], groups: Groups | None = None
    ) -> list[Tensor]:
        """Last hidden states (questions, C_llm) from which the first answer token is predicted, for each video.

        The videos of the batch have the same groups of frames, and equally many questions. The prefix of a video is
        encoded once; its questions share the keys and values.
        """
        T, N = visual_BTNC.shape[1:3]
        shown = T if groups is None else groups
        prompts = [[self.prompts.question_ids(question, shown, N) for question in asked] for asked in questions_B]
        return self.hidden_after(visual_BTNC, prompts[0][0][0], [[ids for _, ids in asked] for asked in prompts])

    @torch.no_grad()
    def hidden_after(
        self, visual_BTNC: Tensor, prefix_L: list[int], rests_B: Sequence[Sequence[list[int]]]
    ) -> list[Tensor]:
        """Hidden states (questions, C_llm) at the end of prompts that begin alike, for each video of a batch.

        Args:
            visual_BTNC: what the LLM sees of the videos.
            prefix_L: ids up to and with the video, the same for all videos.
            rests_B: ids of each question behind it; as many for each video.
        """
        device = visual_BTNC.device
        cache = DynamicCache(config=self.language_model.config)
        prefix_BL = torch.tensor([prefix_L], device=device).expand(visual_BTNC.shape[0], -1)
        self.hidden_states(self.embed(prefix_BL, visual_BTNC), cache=cache)
        each = len(rests_B[0])
        cache.batch_repeat_interleave(each)
        rest = [ids for rests in rests_B for ids in rests]
        longest = max(len(ids) for ids in rest)
        padded = [ids + [self.prompts.pad_id] * (longest - len(ids)) for ids in rest]
        hidden = self.hidden_states(self.embed(torch.tensor(padded, device=device), None), cache=cache)
        last = torch.tensor([len(ids) - 1 for ids in rest], device=device)
        return list(hidden[torch.arange(len(rest), device=device), last].split(each))
