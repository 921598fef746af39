"""An answer, and what it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

STAGES = ("decode", "preprocess", "encode", "project", "prefill", "token", "llm")


@dataclass
class Answer:
    """An answer to a question about a video; `print` shows its text.

    Attributes:
        text: the answer.
        frames: of the video that were looked at.
        visual_tokens: that the LLM sees of them.
        prompt_tokens: that went through the LLM before the answer, visual ones included.
        cached_tokens: whose keys and values were there from earlier turns.
        answer_tokens: of the answer, without the one that ends it.
        ms: stage -> milliseconds: `decode` and `preprocess` (resize, normalise), `encode`, `project`, `prefill` up to
            the first token, and `token`, the mean of each that follows. Stages that a turn had no need of are missing;
            a batch has `llm`, all that the LLM did for all of its videos, in place of the last two.
    """

    text: str
    frames: int
    visual_tokens: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    ms: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    def summary(self) -> str:
        """Frames, tokens and milliseconds in one line."""
        cached = f" + {self.cached_tokens} cached" if self.cached_tokens else ""
        counts = (
            f"{self.frames} frames | {self.visual_tokens} visual tokens, prompt {self.prompt_tokens}{cached},"
            f" answer {self.answer_tokens}"
        )
        times = [f"{stage} {self.ms[stage]:.1f}" for stage in STAGES if stage in self.ms]
        return f"{counts} | {', '.join(times)} ms"


class Stopwatch:
    """Milliseconds of stages one after the other, each with the device's work done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what passes inside to a stage."""
        began = self._now()
        yield
        self.add(name, 1e3 * (self._now() - began))

    def _now(self) -> float:
        """Seconds, once the device has done what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def add(self, name: str, ms: float) -> None:
        self.ms[name] = self.ms.get(name, 0.0) + ms
