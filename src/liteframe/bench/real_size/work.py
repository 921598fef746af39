"""Operations of each stage, counted once and scaled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from liteframe.bench.floor import flops_of
from liteframe.bench.real_size.shapes import Shapes
from liteframe.bench.real_size.subjects import Subject
from liteframe.models.flop_count import cost_of

_SHORT = 64


class EncoderWork:
    """Operations of a method's encoder, by the frame, and of its projector, by the token.

    What a compressor does is left out: a ten thousandth of an encoder.

    Args:
        subject: its encoder runs once, on one frame or one clip, and once more for each length of a clip that is not
            whole; `flops_of` says how they are counted.
    """

    def __init__(self, subject: Subject) -> None:
        llm = subject.video_llm
        self._subject, self._short = subject, {0: 0.0}
        self._frames: int = getattr(llm.backbone, "clip_frames", 1)
        self._encode = self._counted(self._frames)
        projector: Any = llm.projector
        token_1C = projector.linear_1.weight.new_zeros(1, projector.linear_1.in_features)
        self._project = flops_of(lambda: projector(token_1C))
        self._tokens_together = round(1 / llm.downsample_ratio) ** 2

    @property
    def per_frame(self) -> float:
        """Of the encoder, mean over a whole clip."""
        return self._encode / self._frames

    def encode(self, frames: int) -> float:
        whole, short = divmod(frames, self._frames)
        if short not in self._short:
            self._short[short] = self._counted(short)
        return self._encode * whole + self._short[short]

    def project(self, tokens: int) -> float:
        """Of `tokens` tokens as they leave the encoder, before the pixel shuffle."""
        return self._project * tokens / self._tokens_together

    def _counted(self, frames: int) -> float:
        backbone, frames_BTCHW = self._subject.video_llm.backbone, self._subject.frames(frames)
        return flops_of(lambda: backbone(frames_BTCHW))


class LlmWork:
    """Operations of a prefill and its head for one token; causal attention counts whole, as everywhere here.

    Counted on `meta` at one length.

    Args:
        shapes: whose LLM.
    """

    def __init__(self, shapes: Shapes) -> None:
        text: Any = shapes.config.text_config
        with torch.device("meta"):
            model = AutoModel.from_config(text, attn_implementation=text._attn_implementation).eval()
            embeds_BLC = torch.empty(1, _SHORT, text.hidden_size, dtype=model.dtype)
            # With a cache transformers does not look into the positions, which `meta` does not have.
            cost = cost_of(lambda: model(inputs_embeds=embeds_BLC, use_cache=True))
        self._linear, self._quadratic = cost.linear / _SHORT, cost.attention / _SHORT**2
        self._head = 2.0 * text.hidden_size * text.vocab_size

    def prefill(self, tokens: int) -> float:
        return self._linear * tokens + self._quadratic * tokens**2 + self._head

    def prefill_least(self, tokens: int) -> float:
        """Without the half of the attention that a causal kernel may skip."""
        return self.prefill(tokens) - self._quadratic * tokens**2 / 2

    def parts(self, tokens: int) -> NDArray[np.float64]:
        """A prefill's operations in layers (and head), and in attention."""
        attention = self._quadratic * tokens**2
        return np.array([self.prefill(tokens) - attention, attention])

    def decode(self, tokens: int) -> float:
        """One step behind that many tokens."""
        return self._linear + self._quadratic * tokens + self._head
