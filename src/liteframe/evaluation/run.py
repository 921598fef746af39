"""Asks a model the questions of a benchmark that have no answer yet, video by video."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from liteframe.errors import ConfigError, DataError, LiteFrameError, as_one_line
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.frames import FrameReader, SampledFrames, Stretch, Unread
from liteframe.evaluation.results import ANSWERED, SKIPPED, AnswerFile, Key, Part, fingerprint
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.talk import Talk
from liteframe.evaluation.turns import Turns
from liteframe.evaluation.watching import Shown, Watched
from liteframe.models.video_llm.tiling import Tiling
from liteframe.system.progress import Meter

_AHEAD, _AHEAD_IN_TILES = 2, 1
"""Videos that are decoded while the model is at work on another; frames in tiles take much memory."""
Group = tuple[Stretch, list[Question]]


def grouped(questions: Iterable[Question], part: Part) -> list[Group]:
    """The questions of a part, those about one stretch of video together."""
    groups: dict[Stretch, list[Question]] = {}
    for question in questions:
        groups.setdefault(Stretch.of(question), []).append(question)
    return list(groups.items())[part.number - 1 :: part.count]


class Run:
    """One process of an evaluation.

    Args:
        subject: is asked.
        turns: makes turns of questions.
        reader: of the videos; its frame counts are those that are asked with.
        max_tokens: of an answer; 0 asks for the logits of the options alone.
        tiling: how frames are cut; None cuts none.

    Raises:
        ConfigError: tiles for a base VLM that is not shown any.
    """

    def __init__(
        self,
        subject: EvaluatedModel,
        turns: Turns,
        reader: FrameReader,
        max_tokens: int,
        tiling: Tiling | None = None,
    ) -> None:
        if tiling is not None and not subject.inner.host.tiles:
            raise ConfigError(
                f"--tiles cannot be had of a {subject.inner.host.name}, which sees whole frames; leave it out"
            )
        self.subject, self.turns, self.reader = subject, turns, reader
        self.max_tokens, self.tiling = max_tokens, tiling

    def ask(self, groups: Sequence[Group], answered: set[Key], file: AnswerFile) -> None:
        """Asks what is not answered yet; whatever becomes of a question is a line of `file`.

        A video counts as a whole where some of its questions are answered: what the model sees of it does not depend on
        where an earlier process was killed.

        Args:
            groups: of questions.
            answered: those that are.
            file: to append to.
        """
        keys = {(question.id, count) for _, asked in groups for question in asked for count in self.reader.counts}
        left = [group for group in groups if self._missing(group[1], answered)]
        with Meter("evaluate", len(keys), "questions", initial=len(keys & answered)) as meter:
            for (_, asked), frames in zip(left, self._frames([stretch for stretch, _ in left]), strict=True):
                missing = self._missing(asked, answered)
                for line in self._lines(missing, frames):
                    file.append(line)
                    if line["status"] == SKIPPED and torch.cuda.is_available():
                        torch.cuda.empty_cache()  # the next question may not need what this one ran out of
                    meter.update()

    def _missing(self, asked: Sequence[Question], answered: set[Key]) -> dict[int, list[Question]]:
        missing = {count: [q for q in asked if (q.id, count) not in answered] for count in self.reader.counts}
        return {count: questions for count, questions in missing.items() if questions}

    def _frames(self, stretches: Sequence[Stretch]) -> Iterator[list[SampledFrames | Unread] | DataError]:
        """Those of each stretch, or why there are none; the next ones are decoded meanwhile."""
        ahead = _AHEAD if self.tiling is None else _AHEAD_IN_TILES
        with ThreadPoolExecutor(ahead) as threads:
            waiting: deque[Future[list[SampledFrames | Unread]]] = deque()
            left = iter(stretches)
            try:
                for _ in stretches:
                    while len(waiting) < ahead and (stretch := next(left, None)) is not None:
                        waiting.append(threads.submit(self.reader.read, stretch))
                    try:
                        yield waiting.popleft().result()
                    except DataError as error:
                        yield error
            finally:
                for future in waiting:
                    future.cancel()
                self.reader.close()  # so that nobody waits for what is still decoded

    def _lines(
        self, missing: dict[int, list[Question]], sampled: list[SampledFrames | Unread] | DataError
    ) -> Iterator[dict[str, Any]]:
        if isinstance(sampled, DataError):
            for count, questions in missing.items():
                yield from (_skipped(question, count, sampled) for question in questions)
            return
        for frames in sampled:
            if isinstance(frames, Unread):
                for count in (count for count in frames.counts if count in missing):
                    yield from (_skipped(question, count, frames.why) for question in missing[count])
                continue
            watched = Watched(self.subject, frames, self.tiling)
            for count in (count for count in frames.places if count in missing):
                why = ""
                try:
                    shown = watched.shown(count)
                    talk = Talk(self.subject, shown)
                except (LiteFrameError, torch.OutOfMemoryError) as error:
                    why = str(error)  # not the error itself, which holds on to the memory
                if why:
                    yield from (_skipped(question, count, why) for question in missing[count])
                else:
                    yield from (self._line(question, count, frames, shown, talk) for question in missing[count])

    def _line(self, question: Question, count: int, frames: SampledFrames, shown: Shown, talk: Talk) -> dict[str, Any]:
        try:
            said = talk.ask(self.turns.turn(question, frames, count, shown), self.max_tokens)
        except (LiteFrameError, torch.OutOfMemoryError) as error:
            return _skipped(question, count, error)
        if not all(math.isfinite(logit) for logit in said.option_logits or ()):
            return _skipped(question, count, "the model's logits are no numbers; take another --dtype")
        return {
            **_about(question, count, ANSWERED),
            **({} if said.text is None else {"answer": said.text}),
            "option_logits": said.option_logits and [round(logit, 6) for logit in said.option_logits],
            "shown": shown.frames,
            **({} if self.tiling is None else {"grid": list(shown.grid)}),
            "visual_tokens": shown.tokens,
            "prompt_tokens": said.prompt_tokens,
            **({"cut_by_context": True} if said.cut_by_context else {}),
        }


def _about(question: Question, count: int, status: str) -> dict[str, Any]:
    return {"question": question.id, "frames": count, "asked": fingerprint(question), "status": status}


def _skipped(question: Question, count: int, why: BaseException | str) -> dict[str, Any]:
    return {**_about(question, count, SKIPPED), "why": as_one_line(str(why))}
