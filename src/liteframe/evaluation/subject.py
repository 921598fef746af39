"""The model that is evaluated, whatever makes its visual tokens fewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from liteframe.hf.engine import compile_ahead, describe_engine
from liteframe.models.rivals.dycoke_decoding import DyCokeVideoLLM
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.uneven import UnevenVideoLLM
from liteframe.models.teachers import weights_sha256
from liteframe.models.video_llm.answering_model import AnsweringModel
from liteframe.models.video_llm.generation import SharedVideo
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.precision import dtype_named, on_device, set_precision
from liteframe.models.video_llm.prompts import PromptBuilder

Answering = VideoLLM | UnevenVideoLLM | PrunedVideoLLM


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
        return self.steps.frames_per_group if self._uneven is None else self._uneven.frames_per_line

    @property
    def _uneven(self) -> UnevenVideoLLM | None:
        """What compresses before the LLM, where frames keep unequal numbers of tokens."""
        model = self.model.before if isinstance(self.model, PrunedVideoLLM) else self.model
        return model if isinstance(model, UnevenVideoLLM) else None

    @torch.inference_mode()
    def token_counter(self, size: tuple[int, int]) -> Callable[[int], int]:
        """Gives the visual tokens of so many frames of `size` = (height, width), where none is cut."""
        compressed = self._uneven
        steps: AnsweringModel = self.steps if compressed is None else compressed.inner
        group = steps.frames_per_group
        with self.autocast():
            encoded = steps.encode(torch.zeros(1, group, 3, *size, device=self.device))
            tokens = steps.token_counts(encoded, steps.project(encoded)).llm

        def count(frames: int) -> int:
            every = -(-frames // group) * tokens
            return every if compressed is None else compressed.asked(every)

        return count

    def shared_video(self, visual_BTNC: Tensor) -> SharedVideo:
        """Greedy answers to questions about a video of which the LLM sees this."""
        if isinstance(self.model, DyCokeVideoLLM):
            return self.model.shared_video(visual_BTNC, self.dtype)
        return SharedVideo(self.inner, visual_BTNC, self.dtype)

    def autocast(self) -> torch.autocast:
        """To its dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
