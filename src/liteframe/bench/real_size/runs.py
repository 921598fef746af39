"""Single runs of a method that mark their stages, for a `StageTimer` or a `StageMemory`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.real_size.subjects import LINE_TOKENS, QUESTION_TOKENS, Llm, Subject
from liteframe.models.backbone import Dense, VisionTokens
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.video_llm.answering_model import TokenCounts

Run = Callable[[Any], None]
"""One run, called with what times it or watches its memory."""
WAP_METHOD = "teacher+wap"
"""The method that shares the teacher's runs, see `EncoderRun`."""
_FIRST_TEXT_ID, _LAST_TEXT_ID = 1, 200
"""Ids of random text, none of them the image token of any shape."""


class EncoderRun:
    """Frames to what the LLM sees: stages encode and project; ``counts`` of one video are known after a run.

    Args:
        subject: the method.
        frames_BTCHW: its frames.
        with_wap: also compress what was encoded and project that, as stages wap and wap_project: the method with WAP
            behind the same encoder needs no second pass through it.
    """

    def __init__(self, subject: Subject, frames_BTCHW: Tensor, with_wap: bool = False) -> None:
        self.subject, self.frames_BTCHW, self.with_wap = subject, frames_BTCHW, with_wap
        self.counts = self.wap_counts = TokenCounts(0, 0)

    def __call__(self, timer: Any) -> None:
        model = self.subject.model
        vision: VisionTokens | None = None
        with timer.stage("encode"):
            if self.with_wap:
                vision = model.backbone(self.frames_BTCHW)
                encoded = Dense()(vision)
            else:
                encoded = model.encode(self.frames_BTCHW)
        with timer.stage("project"):
            visual = model.project(encoded)
        self.counts = count(encoded, visual)
        if vision is not None:
            del visual
            with timer.stage("wap"):
                fewer_BTHWC = ENCODERS[WAP_METHOD].compressor(vision)
            with timer.stage("wap_project"):
                visual = model.project(fewer_BTHWC)
            self.wap_counts = count(fewer_BTHWC, visual)


class PipelineRun:
    """Frames to the first answer token: stages host_to_device, encode, project, prefill and first_token.

    Args:
        subject: the method.
        pixels_BTCHW: its frames, uint8 on the CPU.
    """

    def __init__(self, subject: Subject, pixels_BTCHW: Tensor) -> None:
        self.subject, self.pixels_BTCHW = subject, pixels_BTCHW
        self.counts, self.prompt_tokens = TokenCounts(0, 0), 0
        self._ids_BL: Tensor | None = None
        self._visual_L: Tensor | None = None

    def __call__(self, timer: Any) -> None:
        model = self.subject.model
        weight = next(self.subject.video_llm.backbone.parameters())
        with timer.stage("host_to_device"):
            frames_BTCHW = self.pixels_BTCHW.to(weight.device, non_blocking=True)
        with timer.stage("encode"):
            encoded = model.encode(frames_BTCHW)
        with timer.stage("project"):
            projected = model.project(encoded)
        visual_BTNC, lines = seen_by_llm(projected)
        if self._ids_BL is None:
            self.counts = count(encoded, projected)
            if isinstance(model, PrunedVideoLLM):
                mean = model.token_counts(encoded, visual_BTNC).mean_over_layers
                self.counts = replace(self.counts, mean_over_layers=mean)
            self._prepare_prompt(visual_BTNC, lines)
        with timer.stage("prefill"):
            logits_BV = self.prefill(visual_BTNC)
        with timer.stage("first_token"):
            logits_BV.argmax(dim=-1)

    def prefill(self, visual_BTNC: Tensor) -> Tensor:
        """Logits (B, vocabulary) of the first answer token, for the prompt of the first run.

        A pruned LLM goes layer by layer, video by video, and keeps no cache of keys and values.
        """
        model, llm = self.subject.model, self.subject.video_llm
        assert self._ids_BL is not None and self._visual_L is not None, "the first run makes the prompt"
        embeds_BLC = llm.embed(self._ids_BL, visual_BTNC, visual_count=visual_BTNC.shape[:3].numel())
        if isinstance(model, PrunedVideoLLM):
            tokens = visual_BTNC.shape[1:3].numel()
            states = [model.last_state(embeds_1LC, self._visual_L, tokens) for embeds_1LC in embeds_BLC.split(1)]
            return llm.lm_head(torch.cat(states))
        cache = DynamicCache(config=llm.language_model.config)
        return llm.lm_head(llm.hidden_states(embeds_BLC, cache=cache)[:, -1])

    def _prepare_prompt(self, visual_BTNC: Tensor, lines: int) -> None:
        image_token_id = self.subject.video_llm.image_token_id
        ids_L = prompt_ids(image_token_id, lines, self.counts.llm)
        self.prompt_tokens = len(ids_L)
        self._ids_BL = torch.tensor([ids_L], device=visual_BTNC.device).expand(visual_BTNC.shape[0], -1)
        self._visual_L = self._ids_BL[0] == image_token_id


class LlmRun:
    """A prompt of text through the LLM: stages prefill, and first_token and decode where more than one is asked for.

    Args:
        llm: the LLM.
        tokens: of the prompt.
        output_length: answer tokens; the stage decode is the steps for all but the first.
    """

    def __init__(self, llm: Llm, tokens: int, output_length: int = 1) -> None:
        self.llm, self.output_length = llm, output_length
        weight = next(llm.model.parameters())
        self.ids_BL = torch.randint(_FIRST_TEXT_ID, _LAST_TEXT_ID, (1, tokens), device=weight.device)

    def __call__(self, timer: Any) -> None:
        cache = DynamicCache(config=self.llm.model.config)
        with timer.stage("prefill"):
            logits_BV = self._logits(self.ids_BL, cache)
        with timer.stage("first_token"):
            next_BL = logits_BV.argmax(dim=-1, keepdim=True)
        if self.output_length > 1:
            with timer.stage("decode"):
                for _ in range(self.output_length - 1):
                    next_BL = self._logits(next_BL, cache).argmax(dim=-1, keepdim=True)

    def _logits(self, ids_BL: Tensor, cache: DynamicCache) -> Tensor:
        hidden_BLC = self.llm.model(input_ids=ids_BL, past_key_values=cache, use_cache=True).last_hidden_state
        return self.llm.head(hidden_BLC[:, -1])


def prompt_ids(image_token_id: int, lines: int, visual_tokens: int) -> list[int]:
    """Ids of a prompt with that many `Frame` lines and visual tokens.

    The text of all lines stands together: which tokens of a prompt are text does not change its time.
    """
    text = [_FIRST_TEXT_ID + number % (_LAST_TEXT_ID - 1) for number in range(QUESTION_TOKENS + LINE_TOKENS * lines)]
    return [*text[:-1], *[image_token_id] * visual_tokens, text[-1]]


def seen_by_llm(projected: Any) -> tuple[Tensor, int]:
    """Visual tokens, (B, T, N, C), and the `Frame` lines they stand in.

    A post-hoc method gives a list of compressed videos, with unequal numbers of tokens in a line; of those, the first.
    """
    if isinstance(projected, Tensor):
        return projected, projected.shape[1]
    video = projected[0]
    return video.compressed.tokens_MC[None, None], len(video.lines)


def count(encoded: Any, projected: Any) -> TokenCounts:
    """Tokens of the first video of what `encode` and `project` gave."""
    tokens_BTHWC: Tensor = encoded.tokens_BTHWC if isinstance(encoded, VisionTokens) else encoded
    visual_BTNC, _ = seen_by_llm(projected)
    return TokenCounts(tokens_BTHWC.shape[1:4].numel(), visual_BTNC.shape[1:3].numel())
