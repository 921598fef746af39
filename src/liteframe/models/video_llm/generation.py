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

from liteframe.errors import DataError
from liteframe.models.video_llm.hosts import Groups
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prefill import read_prompt
from liteframe.models.video_llm.prompt_cache import holds_all, prompt_cache
from liteframe.models.video_llm.reading import VideoPrefix
from liteframe.models.video_llm.token_choice import Choice, likeliest
from liteframe.system.cancellation import Cancellation


class Conversation:
    """Questions about one video, in turns; no token goes through the LLM twice.

    Args:
        model: the Video LLM.
        visual_BTNC: what its LLM sees of the video, (1, T, N, C_llm).
        dtype: of autocast; None is none.
        prefix: what its LLM has read of the video already.
        groups: of the video's frames, see `VideoLLM.groups_of`; None is their number, which not all base VLMs can do
            with.

    Attributes:
        ids: all that was said so far, prompts and answers; an answer's end is in the prompt that follows it.
    """

    def __init__(
        self,
        model: VideoLLM,
        visual_BTNC: Tensor,
        dtype: torch.dtype | None = None,
        prefix: VideoPrefix | None = None,
        groups: Groups | None = None,
    ) -> None:
        self._groups = groups
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

        Left early, or cut off at `max_tokens`, the answer counts as ended there in the turns that follow. A question
        whose reading failed or was cancelled counts as never asked.

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
            asked = prompt_ids(self.model, self.visual_BTNC, question, self._groups)
        require_room(self.model, len(self.ids) + len(asked), max_tokens)
        if self._cache is None or (not self._questions and asked[: len(self._prefix_ids)] != self._prefix_ids):
            self._cache = prompt_cache(self.model.language_model, len(self.ids) + len(asked), max_tokens)
        before = len(self.ids)
        self.ids += asked
        self._questions.append(question)
        try:
            logits_1V = self._next_logits(wanted)
        except BaseException:
            del self.ids[before:], self._questions[-1]
            raise
        for chosen in _tokens_in_turn(logits_1V, lambda *_: self._next_logits(wanted), ends, max_tokens):
            self.ids.append(chosen[0])
            yield chosen[0]

    def _next_logits(self, wanted: Cancellation | None = None) -> Tensor:
        """Logits (1, vocabulary) of the token after `ids`; what is not in the cache goes through the LLM."""
        assert self._cache is not None, "something was asked"
        cached = self.cached
        unseen, shown = self.ids[cached:], None if cached else self.visual_BTNC
        try:
            with torch.autocast(self.visual_BTNC.device.type, self.dtype, enabled=self.dtype is not None):
                return self.model.lm_head(read_prompt(self.model, unseen, shown, self._cache, wanted))
        except BaseException:
            self._cache = None  # the next question reads all anew
            raise


class SharedVideo:
    """Greedy answers to questions about one video, of which none hears of the others; the LLM reads the video once.

    With LLMs some of whose layers hold but a window, it reads the video for each question.

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
            try:
                if video_ids != self._read:
                    self._forget(len(video_ids) + len(asked_ids), max_tokens)
                    self._through(video_ids, self.visual_BTNC)
                    self._read = list(video_ids)
                hidden_1C = self._through(asked_ids)
                chosen = _tokens_in_turn(
                    self.model.lm_head(hidden_1C),
                    lambda tokens_B, _: self.model.lm_head(self._next(int(tokens_B))),
                    self.model.end_ids,
                    max_tokens,
                )
                answer = [tokens[0] for tokens in chosen]  # they are chosen as they are asked for
            except BaseException:  # which may have come between two layers, so that no length is that of all
                self._forget()
                raise
            if not holds_all(self._cache):
                self._forget()
            elif extra := self._cache.get_seq_length() - len(self._read):
                self._cache.crop(-extra)
            return hidden_1C[0], answer

    def _forget(self, prompt: int = 0, answer: int = 0) -> None:
        """Forgets what was read; there is room for a prompt and an answer of so many tokens then."""
        self._cache, self._read = prompt_cache(self.model.language_model, prompt, answer), []

    def _through(self, ids: list[int], visual_BTNC: Tensor | None = None) -> Tensor:
        """The last hidden state (1, C_llm), once these tokens have gone through the LLM."""
        return read_prompt(self.model, ids, visual_BTNC, self._cache)

    def _next(self, token: int) -> Tensor:
        """The last hidden state (1, C_llm), once one more token of the answer has gone through the LLM."""
        return self._through([token])


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
    groups: Sequence[Groups] | None = None,
) -> list[list[int]]:
    """Ids of a greedy answer to one question about each video, all videos at a time.

    Args:
        model: the Video LLM.
        visuals: what its LLM sees of each video, (1, T, N, C_llm); T may differ.
        questions: one for each video.
        max_tokens: of an answer.
        dtype: of autocast; None is none.
        groups: of each video's frames, see `Conversation`.

    Raises:
        DataError: as `Conversation.reply`.
    """
    device = visuals[0].device
    for question in questions:
        model.prompts.check_question(question)
    shown = [None] * len(visuals) if groups is None else groups
    prompts = [prompt_ids(model, *asked) for asked in zip(visuals, questions, shown, strict=True)]
    require_room(model, max(len(ids) for ids in prompts), max_tokens)
    lengths_B = torch.tensor([len(ids) for ids in prompts], device=device)
    cache = prompt_cache(model.language_model, max(len(ids) for ids in prompts), max_tokens)
    if not holds_all(cache):  # a window would hold the padding of the shorter in place of their tokens
        alone = zip(prompts, visuals, strict=True)
        return [list(answer_prompt(model, ids, [visual], max_tokens, dtype)) for ids, visual in alone]
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


def prompt_ids(model: VideoLLM, visual_BTNC: Tensor, question: str, groups: Groups | None = None) -> list[int]:
    """Ids of a first question about a video. Raises DataError where the tokenizer has no words for its lines."""
    count, tokens = visual_BTNC.shape[1:3]
    groups = count if groups is None else groups
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
