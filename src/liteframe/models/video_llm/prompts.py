"""Token ids of a video and a conversation, through the base VLM's own chat template.

How a video itself is written is the affair of the base VLM's family, see `hosts`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin

from liteframe.errors import ConfigError, DataError
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.video_llm.chat_template import render_all, template_of
from liteframe.models.video_llm.hosts import HOSTS, INTERNVL, Groups, Host, Line

IGNORE = -100
_STAND_IN = "answer"
_FEW_WORDS = 100
_TURNS_AT_ONCE = 8
"""Of a conversation, rendered together; of long ones, only the first may fit."""
_FRAME_NUMBER = re.compile(r"Frame\d+:")
Turn = tuple[str, str]
"""A question and its answer."""
Message = dict[str, Any]
"""A role and its contents, as chat templates take them."""


@dataclass
class PromptBatch:
    """Right-padded token ids; `labels_BL` is `IGNORE` everywhere but on the answers (and the token that ends them).

    `positions_BL` counts tokens from 0, with gaps where `Frame` lines are left out.
    """

    input_ids_BL: Tensor
    labels_BL: Tensor
    positions_BL: Tensor

    def to(self, device: torch.device) -> PromptBatch:
        return PromptBatch(self.input_ids_BL.to(device), self.labels_BL.to(device), self.positions_BL.to(device))


class PromptBuilder:
    """Builds prompts for a base VLM from its processor.

    Args:
        processor: the base VLM folder's processor (the family's, or one with the same attributes).
        end_ids: tokens that end an answer, beside the tokenizer's own.
        host: family of the base VLM.

    Attributes:
        max_length: tokens of a conversation in a `batch`, with its video; turns that go beyond are left out.
        wording: how videos are written.

    Raises:
        ConfigError: the processor has no chat template, or its tokenizer lacks the image tokens.
    """

    def __init__(self, processor: ProcessorMixin, end_ids: Collection[int] = (), host: Host = INTERNVL) -> None:
        self.processor: Any = processor
        self._end_ids, self.host = end_ids, host
        self.max_length: int | None = None
        self.tokenizer = processor.tokenizer
        self.wording = host.wording(processor, "the base VLM's processor")
        self._where = self.tokenizer.name_or_path or "the base VLM"
        self._chat_template = template_of(processor, "the base VLM's processor")
        self.pad_id = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        self._video_ids = lru_cache(maxsize=256)(self._tokenise_video)
        self._around_video = lru_cache(maxsize=4096)(self._tokenise_question)
        self.first_token = lru_cache(maxsize=4096)(self._first_token)

    def __reduce__(self) -> Any:
        return _restored, (self.processor, self._end_ids, self.host.model_type, self.max_length)

    def video_text(self, groups: Groups, tokens_per_group: int, step: int = 1) -> str:
        """The text that stands for a video, see `Wording.video_text`."""
        return self.wording.video_text(groups, tokens_per_group, step)

    def _tokenise(self, text: str) -> list[int]:
        with named_errors(f"{self._where}: the tokenizer fails on a text", "copy that of the published base VLM again"):
            return self.tokenizer(text, add_special_tokens=False).input_ids

    def _tokenise_video(self, groups: Groups, tokens_per_group: int, step: int) -> tuple[int, ...]:
        return tuple(self._tokenise(self.video_text(groups, tokens_per_group, step)))

    def _template(self, turns: Sequence[Turn], question: str | None, has_video: bool = True, system: str = "") -> str:
        return self._render(self._messages(turns, question, has_video, system), question is not None)

    def _messages(
        self, turns: Sequence[Turn], question: str | None, has_video: bool = True, system: str = ""
    ) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if system:
            messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
        for index, (asked, answer) in enumerate([*turns, (question, None)] if question is not None else turns):
            content = [{"type": "text", "text": asked}]
            if index == 0 and has_video:
                content.insert(0, {"type": "video"})
            messages.append({"role": "user", "content": content})
            if answer is not None:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return messages

    def question_ids(
        self, question: str, groups: Groups, tokens_per_group: int, step: int = 1
    ) -> tuple[list[int], list[int]]:
        """Ids up to and with the video, and ids from the question to where the answer begins."""
        before, after = self._around_video(question)
        return [*before, *self._video_ids(groups, tokens_per_group, step)], list(after)

    def video_prefix_ids(self, groups: Groups, tokens_per_group: int) -> list[int]:
        """The ids up to and with the video that all prompts about it begin with, if its template is as others."""
        return self.question_ids(_STAND_IN, groups, tokens_per_group)[0]

    def question_ids_of_lines(self, question: str, lines: Sequence[Line]) -> tuple[list[int], list[int]]:
        """As `question_ids`, where lines differ in their tokens."""
        before, after = self._around_video(question)
        return [*before, *self._tokenise(self.wording.lines_text(lines))], list(after)

    def asked_ids(
        self, video: str, question: str, system: str = "", answer_start: str = ""
    ) -> tuple[list[int], list[int]]:
        """As `question_ids`, with a turn of the system, and with an answer that goes on behind `answer_start`.

        Args:
            video: the text that stands for it, see `Wording.lines_text`.
            question: the user's turn.
            system: turn before it; none where empty.
            answer_start: what the answer begins with already.

        Raises:
            DataError: a text, or what is said within the video's, has words that the model does not know.
        """
        for text in (video, question, system, answer_start):
            self.require_known(text)
        before, after = self._around_video(question, system, answer_start)
        return [*before, *self._tokenise(video)], list(after)

    def _tokenise_question(
        self, question: str, system: str = "", answer_start: str = ""
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids before and behind the video of a prompt that asks `question`."""
        parts = self._template([], question, system=system).split(self.wording.video_token)
        if len(parts) != 2:
            raise ConfigError(
                f"{self._where}: the chat template writes {self.wording.video_token!r} {len(parts) - 1} times into a"
                " prompt of one video; copy tokenizer and processor from the published base VLM again"
            )
        return tuple(self._tokenise(parts[0])), tuple(self._tokenise(parts[1] + answer_start))

    def follow_up_ids(self, questions: Sequence[str], question: str) -> list[int]:
        """Ids between an answer and the next: what ends the answer to the last of `questions`, then `question`."""
        # The answers are known as tokens; where they stand in the text, a stand-in tells.
        turns = [(asked, _STAND_IN) for asked in questions]
        before, answered = self._template(turns[:-1], questions[-1]), self._template(turns, None)
        asked = self._template(turns, question)
        if not answered.startswith(before + _STAND_IN) or not asked.startswith(answered):
            raise ConfigError(
                f"{self._where}: the chat template does not extend a conversation by the next question; ask it alone"
            )
        return self._tokenise(answered[len(before) + len(_STAND_IN) :]) + self._tokenise(asked[len(answered) :])

    def dialogue_ids(self, messages: Sequence[Message], videos: Sequence[tuple[Groups, int]]) -> list[int]:
        """Ids of a conversation about any number of videos, up to where the next answer begins.

        Tokenised in the same parts as chat does it, so that the same conversation has the same ids.

        Args:
            messages: the last of them the user's. Each has a role, and contents: {"type": "text", "text": ...} or
                {"type": "video"}; those of an assistant are one text.
            videos: groups of frames and tokens in a group of each video, in the order of the messages.

        Raises:
            DataError: a text has words or special tokens that it may not have.
            ConfigError: the chat template does not extend a conversation by its next message.
        """
        for text in (part["text"] for message in messages for part in message["content"] if part["type"] == "text"):
            self.check_text(text)
        shown = [
            {**message, "content": [{"type": "text", "text": _STAND_IN}]} if message["role"] == "assistant" else message
            for message in messages
        ]
        pieces: list[str | list[int]] = []
        done = ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, answered = self._render(shown[:index], True), self._render(shown[: index + 1], False)
            self._require_extends(before, done)
            self._require_extends(answered, before + _STAND_IN)
            answer = "".join(part["text"] for part in message["content"])
            pieces += [before[len(done) :], self._tokenise(answer), answered[len(before) + len(_STAND_IN) :]]
            done = answered
        whole = self._render(shown, True)
        self._require_extends(whole, done)
        return self._with_videos([*pieces, whole[len(done) :]], videos)

    def _with_videos(self, pieces: Sequence[str | list[int]], videos: Sequence[tuple[Groups, int]]) -> list[int]:
        """The ids of pieces of a prompt, those of a video where its token stands."""
        token, left, ids = self.wording.video_token, list(videos), []
        written = sum(piece.count(token) for piece in pieces if isinstance(piece, str))
        if written != len(videos):
            raise ConfigError(
                f"{self._where}: the chat template writes {token!r} {written} times into a prompt of {len(videos)}"
                " videos; copy tokenizer and processor from the published base VLM again"
            )
        for piece in pieces:
            if isinstance(piece, list):
                ids += piece
                continue
            first, *others = piece.split(token)
            ids += self._tokenise(first)
            for text in others:
                groups, tokens = left.pop(0)
                video_ids = self._video_ids(groups, tokens, 1)
                if self.tokenizer.unk_token_id in video_ids:
                    self.require_known(self.video_text(groups, tokens))
                ids += [*video_ids, *self._tokenise(text)]
        return ids

    def _render(self, messages: Sequence[Message], asks: bool) -> str:
        return self._render_all([(messages, asks)])[0]

    def _render_all(self, conversations: Sequence[tuple[Sequence[Message], bool]]) -> list[str]:
        """Texts of conversations, and whether each ends where an answer begins."""
        # Not the processor's own rendering, which knows no end.
        special = self.tokenizer.special_tokens_map
        asked = [(messages, {**special, "add_generation_prompt": asks}) for messages, asks in conversations]
        return [self.wording.bare(text) for text in render_all(self._chat_template, asked, self._where)[0]]

    def _require_extends(self, longer: str, shorter: str) -> None:
        if not longer.startswith(shorter):
            raise ConfigError(
                f"{self._where}: the chat template does not extend a conversation by the next question; ask it alone"
            )

    @property
    def end_id(self) -> int:
        """The token that ends an answer. Raises ConfigError where the tokenizer has none."""
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(f"{self._where}: the tokenizer has no eos_token, so no answer would end; set one")
        return self.tokenizer.eos_token_id

    def check_question(self, question: str) -> None:
        """Raises DataError where a question is empty, or has words or special tokens that it may not have."""
        if not question.strip():
            raise DataError("the question is empty")
        self.check_text(question, "question")

    def check_text(self, text: str, name: str = "text") -> None:
        """Raises DataError, with what it is called, where a text has words or special tokens that it may not have."""
        ids = set(self._tokenise(text)) - {self.tokenizer.unk_token_id}
        special = {number: str(token) for number, token in self._special_tokens().items() if number in ids}
        if special:
            raise DataError(f"the {name} holds {min(special.values())!r}, which a {name} may not; leave it out")
        self.require_known(text)

    def require_known(self, text: str) -> None:
        """Raises DataError where a text has words, or numbers of frames, that the model has no token for."""
        unknown_id = self.tokenizer.unk_token_id
        if unknown_id is None:
            return
        unknown = [word for word in dict.fromkeys(text.split()) if unknown_id in self._tokenise(word)]
        if any(_FRAME_NUMBER.fullmatch(word) for word in unknown):
            raise DataError(
                f"the model's vocabulary has no number for each of {len(_FRAME_NUMBER.findall(text))} groups of frames;"
                " look at fewer frames"
            )
        if unknown:
            raise DataError(
                f"the model does not know the words {', '.join(map(repr, unknown))}; it knows {self._known_words()}"
            )

    def built_in(self, text: str) -> str | None:
        """A token in a text that prompts or batches are built of, which would count as such; None for none."""
        found = self._structure.keys() & set(self._tokenise(text))
        return self._structure[min(found)] if found else None

    @cached_property
    def _structure(self) -> dict[int, str]:
        """The tokens, by id, that stand for videos, around turns and at the end of answers, or that fill batches."""
        tokenizer = self.tokenizer
        added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        # By their roles, as a base VLM may have more special tokens, which its answers are made of: "<ref>", "<box>".
        roles = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
        used = {getattr(tokenizer, role, None) for role in roles} | {*self._end_ids}
        used |= {*self.conversation([(_STAND_IN, _STAND_IN)] * 2, self.wording.stand_in(1), 1)[0]}
        used.add(tokenizer.convert_tokens_to_ids(self.wording.video_token))
        own = [*self.wording.structure, self.wording.visual_token]
        named = {tokenizer.convert_tokens_to_ids(token): token for token in own}
        found = {number: token for number, token in added.items() if number in used} | named
        return {number: token for number, token in found.items() if number != tokenizer.unk_token_id}

    def prepare(self) -> None:
        """Does now what `built_in` and `template_tokens` do once."""
        _ = self._structure, self.template_tokens

    def text_tokens(self, turns: Sequence[Turn]) -> int:
        """Tokens of the texts of turns alone."""
        return sum(len(self._tokenise(text)) for turn in turns for text in turn)

    def video_tokens(self, count: int, tokens_per_group: int) -> int:
        """Tokens of the text of a video of so many groups; where that tells their seconds, of a long one."""
        return len(self._video_ids(self.wording.stand_in(count), tokens_per_group, 1))

    @cached_property
    def template_tokens(self) -> tuple[int, int]:
        """Tokens of the template around one turn about a video, and of each further turn, without their texts."""
        turn = (_STAND_IN, _STAND_IN)
        nothing = self.wording.stand_in(0)
        one, two = (len(self.conversation([turn] * count, nothing, 0)[0]) for count in (1, 2))
        each = self.text_tokens([turn])
        return one - each, two - one - each

    def _special_tokens(self) -> dict[int, Any]:
        return {number: token for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}

    def _known_words(self) -> str:
        special = self._special_tokens()
        words = (word for word, number in self.tokenizer.get_vocab().items() if number not in special)
        known = sorted(word for word in words if not _FRAME_NUMBER.fullmatch(word))
        return ", ".join(known) if len(known) <= _FEW_WORDS else f"{len(known)} others"

    def _first_token(self, text: str) -> int:
        """Raises DataError where the text is no token at all, or begins with a word that the model does not know."""
        ids = self._tokenise(text)
        if not ids:
            raise DataError(f"the option {text!r} has no token for this model; write it otherwise")
        if ids[0] == self.tokenizer.unk_token_id:
            raise DataError(
                f"the option {text!r} begins with a word that the model does not know; it knows {self._known_words()}"
            )
        return ids[0]

    def conversation(
        self, turns: Sequence[Turn], groups: Groups, tokens_per_group: int, step: int = 1, most: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Ids of a whole conversation and their labels; loss falls on the answers only.

        Turns from the one on that ends behind `most` tokens are left out, but never the first.
        """
        prefix, _ = self.question_ids(turns[0][0], groups, tokens_per_group, step)
        ids, labels = list(prefix), [IGNORE] * len(prefix)
        done = 0
        for index, (asked, answered) in enumerate(self._prompts_and_answers(turns)):
            if not answered.startswith(asked):
                raise ConfigError(
                    f"{self._where}: the chat template does not extend a prompt by its answer; take another"
                )
            if not index:
                done = asked.index(self.wording.video_token) + len(self.wording.video_token)
            question_ids, answer_ids = self._tokenise(asked[done:]), self._tokenise(answered[len(asked) :])
            if index and most is not None and len(ids) + len(question_ids) + len(answer_ids) > most:
                break
            ids += question_ids + answer_ids
            labels += [IGNORE] * len(question_ids) + self._answer_labels(answer_ids)
            done = len(answered)
        return ids, labels

    def _prompts_and_answers(self, turns: Sequence[Turn]) -> Iterator[tuple[str, str]]:
        """The conversation up to where the answer of each turn begins, and up to its end."""
        for start in range(0, len(turns), _TURNS_AT_ONCE):
            block = range(start, min(start + _TURNS_AT_ONCE, len(turns)))
            prompts = [(self._messages(turns[:index], turns[index][0]), True) for index in block]
            answers = [(self._messages(turns[: index + 1], None), False) for index in block]
            texts = self._render_all([*prompts, *answers])
            yield from zip(texts[: len(block)], texts[len(block) :], strict=True)

    def _answer_labels(self, answer_ids: list[int]) -> list[int]:
        """The ids up to the token that ends the answer; the line break that ChatML puts after it is not learnt."""
        end = self.tokenizer.eos_token_id
        after = answer_ids[::-1].index(end) if end in answer_ids else 0
        return [*answer_ids[: len(answer_ids) - after], *[IGNORE] * after]

    def batch(
        self,
        conversations: Sequence[Sequence[Turn]],
        groups_B: Sequence[Groups],
        tokens_per_group: int,
        step: int = 1,
    ) -> PromptBatch:
        """Conversations about videos, padded on the right; one about a video of no groups has no labels.

        Raises:
            ConfigError: `step` is not 1 for a base VLM whose prompts number no groups.
        """
        if step != 1 and not self.host.numbered:
            raise ConfigError(f"step is {step}, and the prompts of a {self.host.name} number no frames to be left out")
        pairs = []
        for turns, groups in zip(conversations, groups_B, strict=True):
            ids, labels = self.conversation(turns, groups, tokens_per_group, step, self.max_length)
            pairs.append((ids, labels if groups else [IGNORE] * len(labels)))
        longest = max(len(ids) for ids, _ in pairs)
        input_ids_BL = torch.tensor([ids + [self.pad_id] * (longest - len(ids)) for ids, _ in pairs])
        return PromptBatch(
            input_ids_BL,
            torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in pairs]),
            self._positions(input_ids_BL, tokens_per_group, step),
        )

    def _positions(self, input_ids_BL: Tensor, tokens_per_group: int, step: int) -> Tensor:
        """Each line leaves a gap of `step` - 1 lines behind it."""
        if step == 1:
            return torch.arange(input_ids_BL.shape[1]).expand(input_ids_BL.shape)
        line = len(self._video_ids(2, tokens_per_group, 1)) - len(self._video_ids(1, tokens_per_group, 1))
        ends_BL = (input_ids_BL == self.tokenizer.convert_tokens_to_ids(self.wording.structure[-1])).long()
        lines_before_BL = ends_BL.cumsum(dim=1) - ends_BL
        return torch.arange(input_ids_BL.shape[1]) + (step - 1) * line * lines_before_BL


def _restored(
    processor: ProcessorMixin, end_ids: Collection[int], model_type: str, max_length: int | None
) -> PromptBuilder:
    """A copy in another process, with caches of its own."""
    prompts = PromptBuilder(processor, end_ids, HOSTS[model_type])
    prompts.max_length = max_length
    return prompts
