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
        subject: its encoder runs once, on one frame or one clip; `flops_of` says how they are counted.
    """

    def __init__(self, subject: Subject) -> None:
        llm = subject.video_llm
        backbone: Any = llm.backbone
        self._frames = getattr(backbone, "clip_frames", 1)
        frames_BTCHW = subject.frames(self._frames)
        self._encode = flops_of(lambda: backbone(frames_BTCHW))
        projector: Any = llm.projector
        token_1C = projector.linear_1.weight.new_zeros(1, projector.linear_1.in_features)
        self._project = flops_of(lambda: projector(token_1C))
        self._tokens_together = round(1 / llm.downsample_ratio) ** 2

    def encode(self, frames: int) -> float:
        return self._encode * frames / self._frames

    def project(self, tokens: int) -> float:
        """Of `tokens` tokens as they leave the encoder, before the pixel shuffle."""
        return self._project * tokens / self._tokens_together


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
