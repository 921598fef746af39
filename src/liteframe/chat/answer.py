"""An answer, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGES = ("wait", "preprocess", "encode", "project", "prefill", "llm", "other")
"""One after the other; together all the time up to the first token, or of a batch all of it."""
BESIDE = ("decode", "transfer")
"""What other processes do, within `wait` or beside the other stages."""


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
        ms: stage -> milliseconds: `wait` for frames, `preprocess` (resize), `encode`, `project`, `prefill`
            up to the first token, and `other`, which add up to the time from the call to the first token; beside them
            `decode` and `transfer` of the frames, of which `wait` is what nothing hides, and `token`, the mean of each
            token that follows. Stages that a turn had no need of are missing; a batch has `llm`, all that the LLM did
            for all of its videos, in place of `prefill` and `token`.
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
        parts = [(stage, self.ms[stage]) for stage in STAGES if stage in self.ms]
        beside = ", ".join(f"{name} {self.ms[name]:.1f}" for name in BESIDE if name in self.ms)
        words = [f"{stage} {ms:.1f}" + (f" ({beside})" if stage == "wait" and beside else "") for stage, ms in parts]
        whole = "answer" if "llm" in self.ms else "first token"
        after = f"; then {self.ms['token']:.1f} ms a token" if "token" in self.ms else ""
        return f"{counts} | {whole} after {sum(ms for _, ms in parts):.1f} ms = {' + '.join(words)}{after}"
