"""Prompts by name, as `prompts.toml` says them: a question becomes the turns that a model is given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from liteframe.errors import ConfigError
from liteframe.evaluation.benchmarks.question import Question

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Asked:
    """What a model is given beside the video: the system's turn, the user's, and what its answer begins with."""

    system: str
    user: str
    answer_start: str


@dataclass(frozen=True)
class Prompt:
    """How a benchmark's questions are asked; `prompts.toml` says what the fields mean."""

    name: str
    benchmark: str
    source: str
    version: str
    option: str
    user: str
    max_new_tokens: int
    commit: str = ""
    file: str = ""
    system: str = ""
    subtitled: str | None = None
    no_subtitles: str | None = None
    answer_start: str = ""
    rule: str | None = None
    rule_frames: int | None = None

    @property
    def by_letter(self) -> bool:
        """Whether it shows the options, so that a letter answers it; else the option itself does."""
        return any(field in self.user for field in ("{options}", "{published}"))

    def answers(self, question: Question) -> tuple[str, ...]:
        """What answers the question with each of its options."""
        return tuple(question.letters) if self.by_letter else question.options

    def ask(self, question: Question, subtitles: Sequence[str] | None = None) -> Asked:
        """The turns for one question.

        Args:
            question: of the benchmark.
            subtitles: lines of them, chosen by `rule`; none for a video without any. None asks without subtitles.

        Raises:
            ConfigError: with subtitles, and the prompt has no such form for this benchmark.
        """
        form, words = self.user, ""
        if subtitles is not None:
            if self.subtitled is None:
                raise ConfigError(f"prompt {self.name} asks {self.benchmark} without subtitles; leave them out")
            said = "\n".join(subtitles) if question.subtitles is not None else self.no_subtitles
            if said or self.no_subtitles is not None:
                form, words = self.subtitled, said or ""
        options = self._options(question) if self.by_letter else ""
        published = question.published if question.published is not None else f"{question.text}\n{options}"
        fields = {"question": question.text, "options": options, "published": published, "subtitles": words}
        return Asked(self.system, form.format(**fields), self.answer_start)

    def _options(self, question: Question) -> str:
        lettered = zip(question.letters, question.options, strict=True)
        lines = [self.option.format(letter=letter, text=text) for letter, text in lettered]
        return ("" if self.option.endswith("\n") else "\n").join(lines)


def prompt(name: str, benchmark: str, split: str) -> Prompt:
    """The prompt of that name for a benchmark. Raises ConfigError with the names that there are for it."""
    tables = _tables()
    for_it = [other for other in tables if _own(tables[other], benchmark, split) is not None]
    if name not in for_it:
        raise ConfigError(f"no prompt {name!r} for {benchmark} ({split}); choose one of {', '.join(for_it)}")
    shared = {key: value for key, value in tables[name].items() if key != "benchmarks"}
    return Prompt(**{"name": name, "benchmark": benchmark, **shared, **(_own(tables[name], benchmark, split) or {})})


def prompt_names(benchmark: str, split: str) -> list[str]:
    """The prompts that there are for a benchmark, liteframe's own first."""
    return [name for name, table in _tables().items() if _own(table, benchmark, split) is not None]


def _own(table: dict[str, Any], benchmark: str, split: str) -> dict[str, Any] | None:
    own: dict[str, Any] | None = table["benchmarks"].get(f"{benchmark} {split}", table["benchmarks"].get(benchmark))
    return own


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "prompts.toml").read_text(encoding="utf-8"))
