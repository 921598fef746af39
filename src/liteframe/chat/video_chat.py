"""A conversation about one video that was watched before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from liteframe.chat.answer import Answer
from liteframe.models.video_llm.generation import Conversation
from liteframe.models.video_llm.hosts import Groups
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.reading import VideoPrefix
from liteframe.models.video_llm.text_stream import TextStream
from liteframe.system.cancellation import Cancellation


@dataclass
class Seen:
    """What the LLM sees of a video: (1, T, N, C_llm), the frames behind it, and the time that it took.

    `prefix` is what the LLM has read of it meanwhile, if anything; `groups` are those of its frames, see
    `VideoLLM.groups_of`.
    """

    visual_BTNC: Tensor
    frames: int
    ms: dict[str, float]
    prefix: VideoPrefix | None = None
    groups: Groups | None = None

    @property
    def tokens(self) -> int:
        return self.visual_BTNC.shape[1] * self.visual_BTNC.shape[2]


class VideoChat:
    """Questions about one video in turns; the keys and values of the video and of all that was said are kept.

    Args:
        model: answers.
        seen: the video.
        dtype: of autocast; None is none.

    Attributes:
        last: the last answer, with what it took; None before the first.
    """

    def __init__(self, model: VideoLLM, seen: Seen, dtype: torch.dtype | None = None) -> None:
        self._seen = seen
        self._tokenizer = model.prompts.tokenizer
        self._conversation = Conversation(model, seen.visual_BTNC, dtype, seen.prefix, seen.groups)
        self.last: Answer | None = None

    def ask(self, question: str, max_tokens: int = 256, cancellation: Cancellation | None = None) -> Answer:
        """The whole answer to the next question. Raises as `stream`."""
        for _ in self.stream(question, max_tokens, cancellation):
            pass
        assert self.last is not None
        return self.last

    def stream(self, question: str, max_tokens: int = 256, cancellation: Cancellation | None = None) -> Iterator[str]:
        """Pieces of the answer to the next question as they come; `last` is the whole of it afterwards.

        Args:
            question: in words that the model knows.
            max_tokens: of the answer.
            cancellation: ends it from another thread.

        Raises:
            DataError: as `Conversation.reply`.
            Cancelled: by `cancellation`.
        """
        talk, pieces = self._conversation, TextStream(self._tokenizer)
        cached, ms = talk.cached, {} if self.last else dict(self._seen.ms)
        tokens, text, times = talk.reply(question, max_tokens, cancellation), "", []
        count = 0
        while True:
            began = time.perf_counter()
            token = next(tokens, None)
            times.append(1e3 * (time.perf_counter() - began))
            piece = pieces.finish() if token is None else pieces.push(token)
            if piece:
                text += piece
                yield piece
            if token is None:
                break
            count += 1
        if count == max_tokens:
            times.pop()  # the end was not asked of the LLM
        if times:
            ms["prefill"] = ms.get("prefill", 0.0) + times[0]
        if times[1:]:
            ms["token"] = sum(times[1:]) / len(times[1:])
        prompt = len(talk.ids) - count - cached
        self.last = Answer(text, self._seen.frames, self._seen.tokens, prompt, cached, count, ms)
