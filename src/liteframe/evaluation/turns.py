"""A question as a model is asked it: prompt, subtitles by the rule of the prompt, and `Frame` lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.subtitles import (
    SeenFrames,
    Subtitle,
    as_lmms_eval,
    as_vlmevalkit,
    interleaved,
    interleaved_as_lmms_eval,
    overlapping,
    read_json,
    read_srt,
)
from liteframe.evaluation.frames import SampledFrames
from liteframe.evaluation.prompts.prompt import Prompt
from liteframe.evaluation.talk import Turn
from liteframe.evaluation.watching import Shown
from liteframe.models.video_llm.prompts import PromptBuilder

_AS_LOADER = "interleaved_as_lmms_eval"
INTERLEAVED = ("interleaved", _AS_LOADER)


class Turns:
    """Makes the turns of one evaluation.

    Args:
        prompt: how it asks.
        prompts: of the base VLM.
        root: folder that subtitles are named from.
        subtitles: whether they are shown.

    Raises:
        ConfigError: the prompt has no form with subtitles.
    """

    def __init__(self, prompt: Prompt, prompts: PromptBuilder, root: Path, subtitles: bool) -> None:
        if subtitles and prompt.subtitled is None:
            raise ConfigError(f"prompt {prompt.name} asks {prompt.benchmark} without subtitles; leave --subtitles out")
        self.prompt, self.prompts, self.root, self.subtitles = prompt, prompts, root, subtitles
        self._read = lru_cache(maxsize=4)(self._read_subtitles)

    def turn(self, question: Question, sampled: SampledFrames, count: int, shown: Shown) -> Turn:
        """The turn for one question.

        Args:
            question: to ask.
            sampled: frames of its video.
            count: that was asked for.
            shown: what the LLM sees of them.

        Raises:
            DataError: subtitles that cannot be read, or that hold what prompts are built of.
        """
        video = self.prompts.wording.lines_text(shown.lines, shown.groups)
        duration_s = question.duration_s or sampled.duration_s
        said = self._subtitles(question, duration_s) if self.subtitles else None
        if said is not None and self.prompt.rule in INTERLEAVED:
            asked = self.prompt.ask(question, [])
            video = self._interleaved(self._in_turn(said, sampled.seen(count), count, duration_s), shown)
            user = asked.user.removeprefix("\n")
        else:
            asked = self.prompt.ask(question, None if said is None else self._chosen(said, sampled, count))
            user = asked.user
        return Turn(video, user, self.prompt.answers(question), asked.system, asked.answer_start)

    def _chosen(self, said: Sequence[Subtitle], sampled: SampledFrames, count: int) -> list[str]:
        seen, rule = sampled.seen(count), self.prompt.rule
        if rule == "as_lmms_eval":
            assert self.prompt.rule_frames is not None
            return as_lmms_eval(said, seen, self.prompt.rule_frames)
        return as_vlmevalkit(said, seen) if rule == "as_vlmevalkit" else overlapping(said, seen)

    def _in_turn(
        self, said: Sequence[Subtitle], seen: SeenFrames, count: int, duration_s: float
    ) -> Iterator[int | str]:
        if self.prompt.rule == _AS_LOADER:
            return interleaved_as_lmms_eval(said, seen, count, duration_s)
        return interleaved(said, seen.times_s)

    def _interleaved(self, in_turn: Iterable[int | str], shown: Shown) -> str:
        """`Frame` lines with subtitles between them; the line of several frames stands where the first of them does.

        What ends a video stands right behind the last of its lines.
        """
        line_at = {(number - 1) * shown.frames_per_line: (number, tokens) for number, tokens in shown.lines}
        words: list[str] = []
        last = None
        for item in in_turn:
            if isinstance(item, str):
                if token := self.prompts.built_in(item):
                    raise DataError(f"a subtitle holds {token!r}, which prompts are built of; take it out of the file")
                words.append(item)
            elif item in line_at:
                last = len(words)
                words.append(self.prompts.wording.line(line_at[item], shown.groups))
        if last is not None:
            words[last] += self.prompts.wording.end
        return "\n".join(words)

    def _subtitles(self, question: Question, duration_s: float) -> list[Subtitle]:
        if question.subtitles is None:
            return []
        return self._read(question.subtitles, question.subtitles_start_s, duration_s)

    def _read_subtitles(self, name: str, start_s: float, duration_s: float) -> list[Subtitle]:
        path = self.root / name
        if path.suffix == ".json":
            return read_json(path, start_s, duration_s, as_loader=self.prompt.rule == _AS_LOADER)
        return read_srt(path)
