"""What an evaluation asks of which model, and how: all that its answers depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from liteframe.bench.environment import package_versions
from liteframe.data.sampling import FrameSampler
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.evaluation.frames import parse_counts, parse_sampler
from liteframe.evaluation.prompts.prompt import Prompt
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.turns import INTERLEAVED
from liteframe.models.video_llm.tiling import WHOLE, Grid, Tiling

_USUAL_FRAMES = 64
_OF_A_PROMPT = ("name", "source", "version", "commit", "file", "rule", "rule_frames")
_PACKAGES = ("liteframe", "torch", "transformers", "av")


@dataclass(frozen=True)
class FrameChoice:
    """Which frames a model is shown, and how large.

    Attributes:
        counts: frames to look at, each apart.
        sampler: chooses them.
        image_size: height and width in pixels.
        made_for: what the model was made for.
        tiling: how they are cut; None cuts none.
        uncut_tokens: visual tokens of so many frames, where none is cut; None without tiles.
    """

    counts: tuple[int, ...]
    sampler: FrameSampler
    image_size: tuple[int, int]
    made_for: FrameSpec
    tiling: Tiling | None
    uncut_tokens: Callable[[int], int] | None

    @classmethod
    def of(
        cls,
        subject: EvaluatedModel,
        counts: str | None,
        sampler: str | None,
        image_size: int | None,
        tiling: Tiling | None = None,
    ) -> FrameChoice:
        """Those that were asked for, and where nothing was, those that the model was made for.

        Raises:
            ConfigError: counts or a sampler that there cannot be, a size that the model cannot take, or a budget that
                frames go beyond even where they are not cut.
        """
        made_for = subject.inner.frames
        size = made_for.image_size if image_size is None else (image_size, image_size)
        assert size is not None, "every encoder of a Video LLM has a size"
        subject.inner.require_size(size, "--image_size")
        choice = cls(
            (made_for.most_frames or _USUAL_FRAMES,) if counts is None else parse_counts(counts),
            parse_sampler(sampler) if sampler else made_for.sampler or parse_sampler("UniformMidpoints"),
            size,
            made_for,
            tiling,
            None if tiling is None else subject.token_counter(size),
        )
        if tiling is not None and tiling.budget is not None and choice.uncut_tokens is not None:
            for count in choice.counts:
                if (tokens := choice.uncut_tokens(count)) > tiling.budget:
                    raise ConfigError(
                        f"--token_budget {tiling.budget}: {count} frames are {tokens} visual tokens even where none is"
                        " cut; give more, or fewer --frames"
                    )
        return choice

    def grid(self, size: tuple[int, int], frames: int) -> Grid:
        """Of the tiles of a video's frames, whose height and width are `size` pixels."""
        if self.tiling is None or self.uncut_tokens is None:
            return WHOLE
        return self.tiling.grid(size, self.image_size, self.uncut_tokens(frames))


@dataclass(frozen=True)
class EvaluationSettings:
    """See `evaluate_command` for the fields.

    Attributes:
        compressor: how a compressor that was asked for describes itself.
    """

    benchmark: str
    split: str
    limit: int | None
    prompt: Prompt
    subtitles: bool
    answer: Literal["generate", "likelihood"]
    frames: FrameChoice
    subject: EvaluatedModel
    compressor: dict[str, Any] | None

    def __post_init__(self) -> None:
        if self.answer == "generate" and not self.subject.writes:
            raise ConfigError("a model that drops tokens while its LLM reads writes nothing; give --answer likelihood")
        apart = self.frames.tiling is not None and self.frames.tiling.order == "position"
        if apart and self.subtitles and self.prompt.rule in INTERLEAVED:
            raise ConfigError("subtitles stand between the frames that they are spoken at; give --tile_order frame")

    @property
    def max_tokens(self) -> int:
        """Of an answer; 0 where the model does not write."""
        return self.prompt.max_new_tokens if self.answer == "generate" else 0

    def as_dict(self) -> dict[str, Any]:
        """For the record; two evaluations with equal ones can go on from each other."""
        packages = package_versions()
        return {
            "benchmark": self.benchmark,
            "split": self.split,
            "limit": self.limit,
            "prompt": {name: getattr(self.prompt, name) for name in _OF_A_PROMPT},
            "subtitles": self.subtitles,
            "answer": self.answer,
            "max_new_tokens": self.max_tokens,
            "frames": list(self.frames.counts),
            "sampler": self.frames.sampler.describe(),
            "image_size": list(self.frames.image_size),
            "image_size_made_for": list(self.frames.made_for.image_size or self.frames.image_size),
            **({} if self.frames.tiling is None else {"tiles": asdict(self.frames.tiling)}),
            "weights_sha256": self.subject.weights,
            "compressor": self.compressor,
            "dtype": self.subject.dtype_name,
            "device": self.subject.device.type,
            "versions": {name: packages[name] for name in _PACKAGES},
            **self.subject.engine,
        }
