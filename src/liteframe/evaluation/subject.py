"""The model that is evaluated: from frames to what its LLM sees, and from a question to an answer and option logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration, ProcessorMixin

from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS, RunParts
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.answering import option_ids, option_logits, whole_clips
from liteframe.hf.loading import load_video_llm
from liteframe.models.backbone import WAP, VisionTokens, joined
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.teachers import weights_sha256
from liteframe.models.video_llm.adapted import is_adapted
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.generation import SharedVideo, require_room
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.precision import on_device, set_precision
from liteframe.models.video_llm.prompts import Line, PromptBuilder
from liteframe.models.video_llm.text_stream import decode

Answering = VideoLLM | PostHocVideoLLM | PrunedVideoLLM
_METHODS = {**RUN_METHODS, **VARIANT_METHODS}
_OF_THE_TEACHER = "teacher+"


@dataclass(frozen=True)
class Shown:
    """What the LLM sees of a video.

    Attributes:
        visual: tokens of the LLM's width, in the order of the lines, (1, T, N, C_llm) or (1, 1, M, C_llm).
        lines: number of each `Frame` line, and how many of the tokens stand in it.
        frames_per_line: frames of the video behind each number.
        frames: that were looked at.
    """

    visual: Tensor
    lines: tuple[Line, ...]
    frames_per_line: int
    frames: int

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
    """

    text: str | None
    option_logits: tuple[float, ...] | None
    prompt_tokens: int


class EvaluatedModel:
    """A Video LLM, with any compressor of the project.

    Args:
        model: in eval mode, on the CPU.
        device: "cpu", "cuda", ...; "auto" is a GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; None is the one of the LLM's weights.

    Attributes:
        weights: sha256 of all weights as they were loaded.
    """

    def __init__(self, model: Answering, device: str = "auto", dtype: str | None = None) -> None:
        self.weights = weights_sha256(model)
        self.model = on_device(model.eval(), device)
        weight: Any = model.language_model.get_input_embeddings().weight
        self.device: torch.device = weight.device
        self.dtype_name = dtype or str(weight.dtype).removeprefix("torch.")
        self.dtype = set_precision(model, self.dtype_name)
        self._steps: AnsweringModel = self.model

    @property
    def writes(self) -> bool:
        """Whether it can be asked for words; pruning inside an LLM is defined for its first token alone."""
        return not isinstance(self.model, PrunedVideoLLM)

    @property
    def inner(self) -> VideoLLM:
        """The Video LLM itself."""
        return self.model if isinstance(self.model, VideoLLM) else self.model.inner

    @property
    def prompts(self) -> PromptBuilder:
        """Of the base VLM."""
        return self.inner.prompts

    @torch.inference_mode()
    def show(self, frames_TCHW: Tensor, places: Mapping[int, np.ndarray]) -> Iterator[tuple[int, Shown]]:
        """What the LLM sees of some frames of a video, for each frame count.

        A frame that several counts take is encoded once, where the encoder reads frames one by one.

        Args:
            frames_TCHW: uint8.
            places: frame count -> the frames that it takes.
        """
        filled = {count: torch.from_numpy(whole_clips(at, self.model.frames_per_group)) for count, at in places.items()}
        vision = self._frame_wise(frames_TCHW) if getattr(self.model.backbone, "frame_wise", False) else None
        for count, at in filled.items():
            with self._autocast():
                if vision is not None:
                    visual = self._steps.project(self._steps.compress(vision.at(at.to(self.device))))
                else:
                    visual = encode_chunks(
                        lambda part: self._steps.project(self._steps.encode(normalize(part.to(self.device)))),
                        frames_TCHW[None, at],
                        self.inner.clip_frames,
                        CLIPS_AT_ONCE,
                    )
            yield count, self._shown(visual, len(places[count]))

    def _frame_wise(self, frames_TCHW: Tensor) -> VisionTokens:
        parts = []
        for part in frames_TCHW.split(CLIPS_AT_ONCE):
            with self._autocast():
                parts.append(self.model.backbone(normalize(part.to(self.device))[None]))
        return joined(parts)

    def _shown(self, visual: Any, frames: int) -> Shown:
        if isinstance(self.model, PostHocVideoLLM):
            (video,) = visual
            return Shown(video.compressed.tokens_MC[None, None], tuple(video.lines), self.model.frames_per_line, frames)
        groups, tokens = visual.shape[1:3]
        lines = tuple((1 + group, tokens) for group in range(groups))
        return Shown(visual, lines, self.model.frames_per_group, frames)

    def talk(self, shown: Shown) -> Talk:
        """Questions about what was shown."""
        return Talk(self, shown)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)


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
            max_tokens: of a greedy answer; 0 for the logits of the options alone.

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
            with self.subject._autocast():
                logits_V = model.prefill(self.shown.visual, [*video_ids, *asked_ids])[0]
            return Said(None, tuple(logits_V[options].float().tolist()), tokens)
        hidden_C, ids = self._shared.answer(video_ids, asked_ids, max_tokens)
        text = decode(prompts.tokenizer, ids) if max_tokens else None
        if options is None:
            return Said(text, None, tokens)
        return Said(text, tuple(option_logits(self.subject.inner, hidden_C, options)), tokens)

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


def load_subject(source: str, compressor: str | None = None, ratio: float = 16.0) -> Answering:
    """A model to evaluate.

    Args:
        source: export folder of an LMA run, its run folder or a pipeline's, what `liteframe export` made of it, or an
            InternVL's folder or hub id.
        compressor: a method of the project between an InternVL and its LLM; None leaves every token.
        ratio: how many times fewer tokens it leaves.

    Raises:
        ConfigError: nothing there that is a Video LLM, an unknown compressor, or one for a model that has its own.
    """
    inside = [Path(source, name) for name in ("", "export", "lma/export") if is_adapted(Path(source, name))]
    source = str(inside[0]) if inside else source
    if compressor is None:
        return load_video_llm(source)
    if compressor not in compressors():
        raise ConfigError(f"--compressor {compressor!r} is unknown; choose one of {', '.join(compressors())}")
    if is_adapted(Path(source)):
        raise ConfigError(f"{source}: compresses by itself; --compressor is for an InternVL with its own encoder")
    made: Answering = _METHODS[_OF_THE_TEACHER + compressor](_BaseVLM(source), ratio)
    return made.eval()
