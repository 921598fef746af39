"""Answers: a conversation about one video that computes no token twice, a batch of videos, or a prompt of any messages.

Exported models answer by transformers' own `generate` as well, which follows their generation config; it keeps no keys
and values from turn to turn and gives no tokens one by one, as chat does here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.cache_utils import Cache
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from liteframe.errors import ConfigError, DataError
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompt_cache import prompt_cache
from liteframe.models.video_llm.reading import VideoPrefix
from liteframe.system.cancellation import Cancellation

_PREFILL_TOKENS = 512
"""Of a prompt that go through the LLM at a time, so that activations of a long one take no more memory."""
_MASKED_PAIRS, _FEW_TOKENS = 2**20, 64
"""On a CPU, pairs of those and of all tokens, of which attention's mask has a number each: where there would be more,
fewer go at a time, though never fewer than so many."""

Choice = Callable[[Tensor], Tensor]
"""Takes the next tokens (B) by their logits (B, vocabulary)."""


def likeliest(logits_BV: Tensor) -> Tensor:
    """The token of the highest logit, which makes an answer greedy."""
    return logits_BV.argmax(dim=-1)


class Sampled:
    """Draws tokens by their probability, in the order of transformers: temperature, then top-k, then top-p.

    Args:
        temperature: that the logits are divided by, above 0.
        top_k: draws from so many likeliest tokens; None from all.
        top_p: draws from the fewest tokens that have this much of the probability.
        seed: the same one draws the same tokens; None is of chance.
    """

    def __init__(
        self, temperature: float, top_k: int | None = None, top_p: float | None = None, seed: int | None = None
    ) -> None:
        self._warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
        self._warpers += [] if top_k is None else [TopKLogitsWarper(top_k)]
        self._warpers += [] if top_p is None else [TopPLogitsWarper(top_p)]
        # On the CPU, so that a seed means the same on every device.
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Tokens (B). Raises DataError where the logits are no numbers."""
        scores_BV = logits_BV.float().cpu()
        if not scores_BV.amax(dim=-1).isfinite().all():
            raise DataError("the model's logits are no numbers; take another dtype")
        for warp in self._warpers:
            scores_BV = warp(None, scores_BV)
        drawn_B1 = torch.multinomial(scores_BV.softmax(dim=-1), 1, generator=self._generator)
        return drawn_B1[:, 0].to(logits_BV.device)


class Conversation:
    """Questions about one video, in turns; no token goes through the LLM twice.

    Args:
        model: the Video LLM.
        visual_BTNC: what its LLM sees of the video, (1, T, N, C_llm).
        dtype: of autocast; None is none.
        prefix: what its LLM has read of the video already.

    Attributes:
        ids: all that was said so far, prompts and answers; an answer's end is in the prompt that follows it.
    """

    def __init__(
        self,
        model: VideoLLM,
        visual_BTNC: Tensor,
        dtype: torch.dtype | None = None,
        prefix: VideoPrefix | None = None,
    ) -> None:
        self.model, self.visual_BTNC, self.dtype = model, visual_BTNC, dtype
        self.ids: list[int] = []
        self._questions: list[str] = []
        self._cache = None if prefix is None else prefix.cache
        self._prefix_ids = [] if prefix is None else prefix.ids

    @property
    def cached(self) -> int:
        """Tokens whose keys and values are there."""
        return 0 if self._cache is None or not self.ids else self._cache.get_seq_length()

    @torch.inference_mode()
    def reply(self, question: str, max_tokens: int, cancellation: Cancellation | None = None) -> Iterator[int]:
        """Ids of the answer one by one, without the token that ends it.

        Left early, or cut off at `max_tokens`, the answer counts as ended there in the turns that follow.

        Args:
            question: in words that the model knows.
            max_tokens: of the answer.
            cancellation: ends it from another thread, after the part of the prompt or the token that is computed.

        Raises:
            DataError: the question has words or tokens that the model does not take, or the LLM's context is full.
            Cancelled: by `cancellation`.
        """
        wanted = cancellation or Cancellation()
        prompts, ends = self.model.prompts, self.model.end_ids
        prompts.check_question(question)
        if self._questions:
            asked = prompts.follow_up_ids(self._questions, question)
        else:
            asked = prompt_ids(self.model, self.visual_BTNC, question)
        require_room(self.model, len(self.ids) + len(asked), max_tokens)
        if self._cache is None or (not self._questions and asked[: len(self._prefix_ids)] != self._prefix_ids):
            self._cache = prompt_cache(self.model.language_model, len(asked), max_tokens)
        self.ids += asked
        self._questions.append(question)
        steps = _tokens_in_turn(self._next_logits(wanted), lambda *_: self._next_logits(wanted), ends, max_tokens)
        for chosen in steps:
            self.ids.append(chosen[0])
            yield chosen[0]

    def _next_logits(self, wanted: Cancellation | None = None) -> Tensor:
        """Logits (1, vocabulary) of the token after `ids`; what is not in the cache goes through the LLM."""
        assert self._cache is not None, "something was asked"
        cached = self.cached
        with torch.autocast(self.visual_BTNC.device.type, self.dtype, enabled=self.dtype is not None):
            unseen, shown = self.ids[cached:], None if cached else self.visual_BTNC
            hidden_1C = read_prompt(self.model, unseen, shown, self._cache, wanted or Cancellation())
            return self.model.lm_head(hidden_1C)


class SharedVideo:
    """Greedy answers to questions about one video, of which none hears of the others; the LLM reads the video once.

    Args:
        model: the Video LLM.
        visual_BTNC: what its LLM sees of the video, (1, T, N, C_llm).
        dtype: of autocast; None is none.
    """

    def __init__(self, model: VideoLLM, visual_BTNC: Tensor, dtype: torch.dtype | None = None) -> None:
        self.model, self.visual_BTNC, self.dtype = model, visual_BTNC, dtype
        self._read: list[int] = []
        self._cache = prompt_cache(model.language_model, 0)

    @torch.inference_mode()
    def answer(self, video_ids: list[int], asked_ids: list[int], max_tokens: int) -> tuple[Tensor, list[int]]:
        """The last hidden state (C_llm) before the answer, and the answer's ids without the token that ends it.

        Args:
            video_ids: of the prompt, up to and with the video.
            asked_ids: of the question behind it.
            max_tokens: of the answer; 0 asks for the hidden state alone.

        Raises:
            DataError: the LLM's context is too short.
        """
        require_room(self.model, len(video_ids) + len(asked_ids), max(max_tokens, 1))
        with torch.autocast(self.visual_BTNC.device.type, self.dtype, enabled=self.dtype is not None):
            if video_ids != self._read:
                prompt = len(video_ids) + len(asked_ids)
                self._cache, self._read = prompt_cache(self.model.language_model, prompt, max_tokens), []
                self._through(video_ids, self.visual_BTNC)
                self._read = list(video_ids)
            try:
                hidden_1C = self._through(asked_ids)
                chosen = _tokens_in_turn(
                    self.model.lm_head(hidden_1C),
                    lambda tokens_B, _: self.model.lm_head(self._through(tokens_B.tolist())),
                    self.model.end_ids,
                    max_tokens,
                )
                answer = [tokens[0] for tokens in chosen]  # they are chosen as they are asked for
            except BaseException:  # which may have come between two layers, so that no length is that of all
                self._cache, self._read = prompt_cache(self.model.language_model, 0), []
                raise
            if extra := self._cache.get_seq_length() - len(self._read):
                self._cache.crop(-extra)
            return hidden_1C[0], answer

    def _through(self, ids: list[int], visual_BTNC: Tensor | None = None) -> Tensor:
        """The last hidden state (1, C_llm), once these tokens have gone through the LLM."""
        ids_BL = torch.tensor([ids], device=self.visual_BTNC.device)
        return self.model.hidden_states(self.model.embed(ids_BL, visual_BTNC), cache=self._cache)[:, -1]


@torch.inference_mode()
def answer_prompt(
    model: VideoLLM,
    ids: Sequence[int],
    visuals: Sequence[Tensor],
    max_tokens: int,
    dtype: torch.dtype | None = None,
    choose: Choice = likeliest,
    cancellation: Cancellation | None = None,
) -> Iterator[int]:
    """Ids of the answer to a whole prompt one by one, without the token that ends it.

    Args:
        model: the Video LLM.
        ids: of the prompt, as `PromptBuilder.dialogue_ids` writes it.
        visuals: what the LLM sees of the prompt's videos, in their order, (1, T, N, C_llm) each; none of a text.
        max_tokens: of the answer.
        dtype: of autocast; None is none.
        choose: takes the next token by its logits, see `likeliest` and `Sampled`.
        cancellation: ends it from another thread, after the part of the prompt or the token that is computed.

    Raises:
        DataError: the LLM's context is too short.
        Cancelled: by `cancellation`.
    """
    wanted = cancellation or Cancellation()
    require_room(model, len(ids), max_tokens)
    weight: Any = model.language_model.get_input_embeddings().weight
    device: torch.device = weight.device
    cache = prompt_cache(model.language_model, len(ids), max_tokens)

    def through(unseen: Sequence[int], visual_BTNC: Tensor | None = None) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return model.lm_head(read_prompt(model, unseen, visual_BTNC, cache, wanted))

    logits_BV = through(list(ids), torch.cat(list(visuals), dim=1) if visuals else None)
    steps = _tokens_in_turn(
        logits_BV, lambda tokens_B, _: through(tokens_B.tolist()), model.end_ids, max_tokens, choose
    )
    for chosen in steps:
        yield chosen[0]


@torch.inference_mode()
def answer_batch(
    model: VideoLLM,
    visuals: Sequence[Tensor],
    questions: Sequence[str],
    max_tokens: int,
    dtype: torch.dtype | None = None,
) -> list[list[int]]:
    """Ids of a greedy answer to one question about each video, all videos at a time.

    Args:
        model: the Video LLM.
        visuals: what its LLM sees of each video, (1, T, N, C_llm); T may differ.
        questions: one for each video.
        max_tokens: of an answer.
        dtype: of autocast; None is none.

    Raises:
        DataError: as `Conversation.reply`.
    """
    device = visuals[0].device
    for question in questions:
        model.prompts.check_question(question)
    prompts = [prompt_ids(model, visual, asked) for visual, asked in zip(visuals, questions, strict=True)]
    require_room(model, max(len(ids) for ids in prompts), max_tokens)
    lengths_B = torch.tensor([len(ids) for ids in prompts], device=device)
    cache = prompt_cache(model.language_model, max(len(ids) for ids in prompts), max_tokens)
    answers: list[list[int]] = [[] for _ in prompts]
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        embeds = [
            model.embed(torch.tensor([ids], device=device), visual)[0]
            for ids, visual in zip(prompts, visuals, strict=True)
        ]
        # Padded on the right, where no real token looks; only what follows has to be told to leave the padding out.
        hidden_BLC = model.hidden_states(pad_sequence(embeds, batch_first=True), cache=cache)
        mask_BL = (torch.arange(hidden_BLC.shape[1], device=device)[None] < lengths_B[:, None]).long()
        logits_BV = model.lm_head(hidden_BLC[torch.arange(len(prompts), device=device), lengths_B - 1])

        def next_logits(tokens_B: Tensor, step: int) -> Tensor:
            seen_BL = torch.nn.functional.pad(mask_BL, (0, step + 1), value=1)
            embeds_BLC = model.embed(tokens_B[:, None], None)
            return model.lm_head(model.hidden_states(embeds_BLC, (lengths_B + step)[:, None], cache, seen_BL)[:, -1])

        for chosen in _tokens_in_turn(logits_BV, next_logits, model.end_ids, max_tokens):
            for index, token in chosen.items():
                answers[index].append(token)
    return answers


def read_prompt(
    model: VideoLLM, ids: Sequence[int], visual_BTNC: Tensor | None, cache: Cache, wanted: Cancellation
) -> Tensor:
    """The last hidden state (1, C_llm) of a prompt that has gone through the LLM, a part after the other.

    Nothing of a part outlives it but its keys and values.

    Args:
        model: the Video LLM.
        ids: of the prompt, behind those in the cache.
        visual_BTNC: what the LLM sees of its videos, (1, T, N, C_llm); None of a text.
        cache: takes keys and values.
        wanted: looked at before each part.

    Raises:
        Cancelled: nobody wants the answer any more.
        ConfigError: other visual tokens than the prompt has places for.
    """
    weight: Any = model.language_model.get_input_embeddings().weight
    device: torch.device = weight.device
    step = _tokens_at_once(cache.get_seq_length() + len(ids), device)
    visual_MC = None if visual_BTNC is None else visual_BTNC.flatten(0, 2)
    shown = 0
    for start in range(0, len(ids), step):
        wanted.check()
        part = list(ids[start : start + step])
        count = part.count(model.image_token_id) if visual_MC is not None else 0
        seen = visual_MC[None, None, shown : shown + count] if visual_MC is not None and count else None
        shown += count
        embeds_BLC = model.embed(torch.tensor([part], device=device), seen, visual_count=count)
        hidden_BLC = model.hidden_states(embeds_BLC, cache=cache)
    if visual_MC is not None and shown != len(visual_MC):
        raise ConfigError(f"the prompt has {shown} positions for visual tokens, the videos give {len(visual_MC)}")
    return hidden_BLC[:, -1]


def _tokens_at_once(length: int, device: torch.device) -> int:
    """Tokens of a part, of a prompt of that many."""
    if device.type != "cpu":
        return _PREFILL_TOKENS
    return min(_PREFILL_TOKENS, max(_FEW_TOKENS, _MASKED_PAIRS // length))


def _tokens_in_turn(
    logits_BV: Tensor,
    next_logits: Callable[[Tensor, int], Tensor],
    ends: Collection[int],
    max_tokens: int,
    choose: Choice = likeliest,
) -> Iterator[dict[int, int]]:
    """The next token of each answer that has not ended, by the answer's index, step after step.

    Args:
        logits_BV: of the first tokens.
        next_logits: tokens (B) and the number of their step to the logits after them; called only when those are due.
        ends: tokens of which each ends an answer.
        max_tokens: of an answer.
        choose: takes tokens (B) by their logits (B, vocabulary).

    Raises:
        DataError: the logits are no numbers, of which the likeliest would be the first token of the vocabulary.
    """
    going = list(range(len(logits_BV)))
    for step in range(max_tokens):
        tokens_B = choose(logits_BV)
        are_numbers_B = logits_BV.gather(-1, tokens_B[:, None])[:, 0].isfinite()
        tokens = torch.where(are_numbers_B, tokens_B, -1).tolist()
        if -1 in tokens:
            raise DataError("the model's logits are no numbers; take another dtype")
        if not (going := [index for index in going if tokens[index] not in ends]):
            return
        yield {index: tokens[index] for index in going}
        if step + 1 < max_tokens:
            logits_BV = next_logits(tokens_B, step)


def prompt_ids(model: VideoLLM, visual_BTNC: Tensor, question: str) -> list[int]:
    """Ids of a first question about a video. Raises DataError where the tokenizer has no words for its lines."""
    groups, tokens = visual_BTNC.shape[1:3]
    video, asked = model.prompts.question_ids(question, groups, tokens)
    if model.prompts.tokenizer.unk_token_id in video:
        model.prompts.require_known(model.prompts.video_text(groups, tokens))
    return [*video, *asked]


def require_room(model: VideoLLM, prompt: int, answer: int) -> None:
    """Raises DataError where a prompt of that many tokens and its answer are more than the LLM's context takes."""
    if answer < 1:
        raise DataError(f"max_tokens is {answer}; give 1 or more")
    limit = _context(model)
    if limit is not None and prompt + answer > limit:
        raise DataError(
            f"the prompt has {prompt} tokens and the answer may have {answer}, the LLM takes {limit} in all; look at"
            " fewer frames, allow fewer tokens, or start a new conversation"
        )


def room_for_answer(model: VideoLLM, prompt: int, most: int) -> int:
    """Tokens, `most` or fewer, that the LLM's context leaves for an answer to a prompt of that many.

    Raises:
        DataError: it leaves none.
    """
    require_room(model, prompt, 1)
    limit = _context(model)
    return most if limit is None else min(most, limit - prompt)


def _context(model: VideoLLM) -> int | None:
    """Tokens that the LLM takes; None where its config does not say."""
    return getattr(model.language_model.config, "max_position_embeddings", None)
