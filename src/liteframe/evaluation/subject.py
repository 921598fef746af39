"""The model that is evaluated: from frames to what its LLM sees, and from a question to an answer and option logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration, ProcessorMixin

from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS, RunParts
from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.answering import option_ids, option_logits, whole_clips
from liteframe.evaluation.frames import SampledFrames
from liteframe.hf.engine import TORCH, compile_ahead, describe_engine
from liteframe.hf.loading import load_video_llm
from liteframe.models.backbone import WAP, VisionTokens, joined
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.teachers import weights_sha256
from liteframe.models.video_llm.adapted import is_adapted
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.generation import SharedVideo, require_room, room_for_answer
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.precision import dtype_named, on_device, set_precision
from liteframe.models.video_llm.prompts import Line, PromptBuilder
from liteframe.models.video_llm.text_stream import decode
from liteframe.models.video_llm.tiling import WHOLE, Grid, Tiling

Answering = VideoLLM | PostHocVideoLLM | PrunedVideoLLM
_METHODS = {**RUN_METHODS, **VARIANT_METHODS}
_OF_THE_TEACHER = "teacher+"


@dataclass(frozen=True)
class Shown:
    """What the LLM sees of a video.

    Attributes:
        visual: tokens of the LLM's width, in the order of the lines, (1, 1, M, C_llm).
        lines: number of each `Frame` line, and how many of the tokens stand in it.
        frames_per_line: frames of the video behind each number.
        frames: that were looked at.
        grid: of tiles that each was cut into.
    """

    visual: Tensor
    lines: tuple[Line, ...]
    frames_per_line: int
    frames: int
    grid: Grid = WHOLE

    @property
    def tokens(self) -> int:
        """Visual tokens."""
        return sum(count for _, count in self.lines)


@dataclass(frozen=True)
class Turn:
    """What is asked, ready for the model.

    Attributes:
        video: text that stands for the video in the prompt.
        question: the user's turn.
        options: texts of which each begins with its own token: letters, or the options themselves.
        system: turn before it.
        answer_start: what the answer begins with already.
    """

    video: str
    question: str
    options: tuple[str, ...]
    system: str = ""
    answer_start: str = ""


@dataclass(frozen=True)
class Said:
    """What the model made of a turn.

    Attributes:
        text: its words; None where they were not asked for.
        option_logits: one an option; None where two options begin alike.
        prompt_tokens: before the answer.
        cut_by_context: whether the answer ends where the LLM takes no more tokens.
    """

    text: str | None
    option_logits: tuple[float, ...] | None
    prompt_tokens: int
    cut_by_context: bool = False


class EvaluatedModel:
    """A Video LLM, with any compressor of the project.

    Args:
        model: in eval mode, on the CPU.
        device: "cpu", "cuda", ...; "auto" is a GPU where there is one.
        dtype: "float32", "bfloat16", "float16" or "auto", see `dtype_named`; None is the one of the LLM's weights.

    Attributes:
        steps: the model, by what any of its kind can do.
        weights: sha256 of all weights as they were loaded.
    """

    def __init__(self, model: Answering, device: str = "auto", dtype: str | None = None) -> None:
        self.weights = weights_sha256(model)
        self.model = on_device(model.eval(), device)
        weight: Any = model.language_model.get_input_embeddings().weight
        self.device: torch.device = weight.device
        self.dtype_name = dtype_named(dtype, self.device) or str(weight.dtype).removeprefix("torch.")
        self.dtype = set_precision(model, self.dtype_name)
        self.steps: AnsweringModel = self.model
        compile_ahead(self.inner, self.dtype)

    @property
    def writes(self) -> bool:
        """Whether it can be asked for words; pruning inside an LLM is defined for its first token alone."""
        return not isinstance(self.model, PrunedVideoLLM)

    @property
    def engine(self) -> dict[str, Any]:
        """What runs the encoder, for the record, as its `engine`; nothing where torch does."""
        described = describe_engine(self.inner.backbone)
        return {} if described is None else {"engine": described}

    @property
    def inner(self) -> VideoLLM:
        """The Video LLM itself."""
        return self.model if isinstance(self.model, VideoLLM) else self.model.inner

    @property
    def prompts(self) -> PromptBuilder:
        """Of the base VLM."""
        return self.inner.prompts

    @property
    def frames_per_line(self) -> int:
        """Frames behind each number of a `Frame` line."""
        return self.model.frames_per_line if isinstance(self.model, PostHocVideoLLM) else self.steps.frames_per_group

    def watch(self, frames: SampledFrames, tiling: Tiling | None = None) -> Watched:
        """Frames of a video, cut into tiles where they have a grid of them."""
        return Watched(self, frames, tiling)

    @torch.inference_mode()
    def token_counter(self, size: tuple[int, int]) -> Callable[[int], int]:
        """Gives the visual tokens of so many frames of `size` = (height, width), where none is cut."""
        compressed = self.model if isinstance(self.model, PostHocVideoLLM) else None
        steps: AnsweringModel = self.steps if compressed is None else compressed.inner
        group = steps.frames_per_group
        with self.autocast():
            encoded = steps.encode(torch.zeros(1, group, 3, *size, device=self.device))
            tokens = steps.token_counts(encoded, steps.project(encoded)).llm

        def count(frames: int) -> int:
            every = -(-frames // group) * tokens
            return every if compressed is None else compressed.asked(every)

        return count

    def talk(self, shown: Shown) -> Talk:
        """Questions about what was shown."""
        return Talk(self, shown)

    def autocast(self) -> torch.autocast:
        """To its dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)


class Watched:
    """What a model sees of a video, for each frame count.

    Args:
        subject: the model.
        frames: of the video.
        tiling: how they are cut, where they are.
    """

    def __init__(self, subject: EvaluatedModel, frames: SampledFrames, tiling: Tiling | None) -> None:
        self.subject, self.frames, self.tiling = subject, frames, tiling
        self._vision: VisionTokens | None = None

    @torch.inference_mode()
    def shown(self, count: int) -> Shown:
        """What the LLM sees at a frame count.

        A frame that several counts take is encoded once, where the encoder reads frames one by one and none is cut.

        Raises:
            DataError: a compressor has left more tokens than it was asked for, and than may be.
        """
        places = self.frames.places[count]
        filled_T = torch.from_numpy(whole_clips(places, self.subject.model.frames_per_group))
        if self.tiling is None or self.frames.grid == WHOLE:
            tokens_MC, lines = self._encode(self.frames.frames_TCHW, filled_T, shared=True)
        else:
            views = self.tiling.views(self.frames.frames_TCHW, self.frames.grid)
            tokens_MC, lines = self.tiling.in_order([self._encode(view, filled_T) for view in views])
        if self.tiling and self.tiling.budget is not None and len(tokens_MC) > self.tiling.budget:
            raise DataError(
                f"the compressor leaves {len(tokens_MC)} visual tokens, more than --token_budget {self.tiling.budget};"
                " give fewer --tiles, or a higher --ratio"
            )
        spanned = self.subject.frames_per_line
        return Shown(tokens_MC[None, None], tuple(lines), spanned, len(places), self.frames.grid)

    def _encode(self, frames_TCHW: Tensor, places_T: Tensor, shared: bool = False) -> tuple[Tensor, Sequence[Line]]:
        """Tokens of the LLM's width (M, C) of some frames, and their `Frame` lines."""
        model = self.subject.steps
        if getattr(model.backbone, "frame_wise", False):
            vision = self._frame_wise(frames_TCHW, places_T, shared)
            with self.subject.autocast():
                return _tokens_and_lines(model.project(model.compress(vision)))
        with self.subject.autocast():
            visual = encode_chunks(
                lambda part: model.project(model.encode(part.to(self.subject.device))),
                frames_TCHW[None, places_T],
                self.subject.inner.clip_frames,
                CLIPS_AT_ONCE,
            )
        return _tokens_and_lines(visual)

    def _frame_wise(self, frames_TCHW: Tensor, places_T: Tensor, shared: bool) -> VisionTokens:
        if not shared:
            return self._backbone(frames_TCHW[places_T])
        if self._vision is None:
            try:
                self._vision = self._backbone(frames_TCHW)
            except torch.OutOfMemoryError:  # of the greatest count, which is not to cost the others
                return self._backbone(frames_TCHW[places_T])
        return self._vision.at(places_T.to(self.subject.device))

    def _backbone(self, frames_TCHW: Tensor) -> VisionTokens:
        parts = []
        for part in frames_TCHW.split(CLIPS_AT_ONCE):
            with self.subject.autocast():
                parts.append(self.subject.steps.backbone(part.to(self.subject.device)[None]))
        return joined(parts)


def _tokens_and_lines(visual: Any) -> tuple[Tensor, Sequence[Line]]:
    """Of what `project` gives of one video."""
    if isinstance(visual, list):
        (video,) = visual
        return video.compressed.tokens_MC, video.lines
    (groups_TNC,) = visual
    return groups_TNC.flatten(0, 1), [(1 + group, groups_TNC.shape[1]) for group in range(len(groups_TNC))]


class Talk:
    """Questions about one video, of which none hears of the others.

    Args:
        subject: that is asked.
        shown: what its LLM sees.
    """

    def __init__(self, subject: EvaluatedModel, shown: Shown) -> None:
        self.subject, self.shown = subject, shown
        self._shared = SharedVideo(subject.inner, shown.visual, subject.dtype)

    @torch.inference_mode()
    def ask(self, turn: Turn, max_tokens: int) -> Said:
        """What the model says.

        Args:
            turn: to ask.
            max_tokens: of a greedy answer, which may be cut where the context ends; 0 for the logits of the options
                alone.

        Raises:
            DataError: words or tokens that the model does not take, or a prompt that is too long; without an answer,
                options that begin alike.
        """
        model, prompts = self.subject.model, self.subject.prompts
        prompts.check_question(turn.question)
        options = self._option_ids(turn.options, required=not max_tokens)
        video_ids, asked_ids = prompts.asked_ids(turn.video, turn.question, turn.system, turn.answer_start)
        tokens = len(video_ids) + len(asked_ids)
        if isinstance(model, PrunedVideoLLM):
            require_room(self.subject.inner, tokens, 1)
            with self.subject.autocast():
                logits_V = model.prefill(self.shown.visual, [*video_ids, *asked_ids])[0]
            return Said(None, tuple(logits_V[options].float().tolist()), tokens)
        room = room_for_answer(self.subject.inner, tokens, max_tokens)
        hidden_C, ids = self._shared.answer(video_ids, asked_ids, room)
        text, cut = decode(prompts.tokenizer, ids) if max_tokens else None, len(ids) == room < max_tokens
        if options is None:
            return Said(text, None, tokens, cut)
        return Said(text, tuple(option_logits(self.subject.inner, hidden_C, options)), tokens, cut)

    def _option_ids(self, options: Sequence[str], required: bool) -> list[int] | None:
        """First token of each; None, if they are not required, where two are the same."""
        try:
            return option_ids(self.subject.model, options)
        except DataError:
            if required:
                raise
            return None


class _BaseVLM(RunParts):
    """A base VLM that no run of ours has to do with, for the methods that need nothing else."""

    def __init__(self, source: str) -> None:
        super().__init__(Path(source))
        self.source = source

    @cached_property
    def base_vlm(self) -> tuple[InternVLForConditionalGeneration, ProcessorMixin]:
        return load_base_vlm(self.source)

    @cached_property
    def wap(self) -> WAP:
        return WAP()


def compressors() -> list[str]:
    """The names that `load_subject` takes."""
    return [name.removeprefix(_OF_THE_TEACHER) for name in _METHODS if name.startswith(_OF_THE_TEACHER)]


def load_subject(source: str, compressor: str | None = None, ratio: float = 16.0, engine: str = TORCH) -> Answering:
    """A model to evaluate.

    Args:
        source: export folder of an LMA run, its run folder or a pipeline's, what `liteframe export` made of it, or an
            InternVL's folder or hub id.
        compressor: a method of the project between an InternVL and its LLM; None leaves every token.
        ratio: how many times fewer tokens it leaves.
        engine: that runs the encoder, see `load_video_llm`.

    Raises:
        ConfigError: nothing there that is a Video LLM, an unknown compressor, or one for a model that has its own; an
            engine that cannot run it.
    """
    inside = [Path(source, name) for name in ("", "export", "lma/export") if is_adapted(Path(source, name))]
    source = str(inside[0]) if inside else source
    if compressor is None:
        return load_video_llm(source, engine=engine)
    if engine != TORCH:
        raise ConfigError(f"--engine {engine} is for models as they are, --compressor changes one; leave one out")
    if compressor not in compressors():
        raise ConfigError(f"--compressor {compressor!r} is unknown; choose one of {', '.join(compressors())}")
    if is_adapted(Path(source)):
        raise ConfigError(f"{source}: compresses by itself; --compressor is for an InternVL with its own encoder")
    made: Answering = _METHODS[_OF_THE_TEACHER + compressor](_BaseVLM(source), ratio)
    return made.eval()
