"""A Video LLM with a post-hoc compressor that breaks the grid: what it leaves of a frame differs from frame to frame.

Such a method runs on what the LLM would see, after pixel shuffle and projector; keys and class attention are brought
onto the same grid. What is left stands in `Frame` lines that hold unequal numbers of tokens.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.attention_probe import AttentionProbe
from liteframe.models.rivals.uneven import CompressedVideo, UnevenVideoLLM, shuffled
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.features import Features
from liteframe.ops.compressors.registry import method as method_named

_OF_THE_LAST_LAYER = {"keys_THWK", "cls_attention_THW"}


class PostHocVideoLLM(UnevenVideoLLM):
    """A Video LLM whose visual tokens are compressed by a method of `ops.compressors`.

    Args:
        inner: the Video LLM as it is without; its backbone must be an InternVL's, and nothing compressed before.
        method: name in the registry.
        ratio: how many times fewer tokens are asked for.
        frames_per_line: frames of a `Frame` line; with 4 of them prompts are as short as those of WAP at 16x, but a
            frozen LLM answers worse.
        settings: of the method; its own defaults where not given, but that what is compared is averaged over heads
            where the method can: VisionZip's keys over the encoder's, ToMe's tokens over the LLM's.

    Raises:
        ConfigError: an unknown method, a ratio below 1, a backbone of another kind, or a compressor in `inner`.
    """

    def __init__(
        self,
        inner: VideoLLM,
        method: str,
        ratio: float = 16.0,
        frames_per_line: int = 1,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(inner, method, ratio, frames_per_line)
        self.method = method
        self._method = method_named(method)
        if method == "wap":
            raise ConfigError("WAP compares tokens with class tokens, before the projector: VideoLLM(compressor=WAP())")
        needs = self._method.needs_with(settings or {})
        if _OF_THE_LAST_LAYER & needs:
            if isinstance(inner.backbone, InternVLTeacher):
                self.backbone = AttentionProbe(inner.backbone)
            elif not isinstance(inner.backbone, AttentionProbe):
                raise ConfigError(f"{method} needs an InternVL's encoder, not {type(inner.backbone).__name__}")
        takes = signature(self._method.function).parameters
        heads = {"heads": self._heads("keys_THWK" in needs)} if "heads" in takes else {}
        self._defaults = {name: each.default for name, each in takes.items() if each.default is not each.empty}
        self.settings = {**heads, **(settings or {})}

    def project(self, vision: VisionTokens) -> list[CompressedVideo]:
        """Projects every token, then compresses each video."""
        visual_BTNC = self.inner.project(vision.tokens_BTHWC)
        return [self._compress_video(features) for features in self._features(vision, visual_BTNC)]

    def describe(self) -> dict[str, Any]:
        """For a record: all settings, those that were not given too."""
        return {
            "compressor": self.method,
            "ratio": self.ratio,
            "on": "projected tokens",
            "frames_per_line": self.frames_per_line,
            **({"absent": self._method.absent} if self._method.absent else {}),
            **self._defaults,
            **self.settings,
        }

    def _heads(self, of_keys: bool) -> int:
        """Heads that keys of the encoder, or tokens of the LLM's width, are cut into."""
        if of_keys:
            assert isinstance(self.backbone, AttentionProbe)
            return self.backbone.heads
        config = self.language_model.config
        return config.num_attention_heads if config.hidden_size % config.num_attention_heads == 0 else 1

    def _compress_video(self, features: Features) -> CompressedVideo:
        result = self._method.function(features, self.asked(features.count), **self.settings)
        return self._in_lines(result, features.grid[1] * features.grid[2])

    def _features(self, vision: VisionTokens, visual_BTNC: Tensor) -> list[Features]:
        """Of each video, on the grid of projected tokens."""
        B, T, H, W = vision.tokens_BTHWC.shape[:4]
        ratio = self.inner.downsample_ratio
        grid = (T, round(H * ratio), round(W * ratio))
        keys_BTHWK = vision.keys_BTHWK
        attention_BTHW = vision.cls_attention_BTHW
        shuffled_keys = None if keys_BTHWK is None else shuffled(keys_BTHWK, ratio)
        # A projected token is as salient as its patches together; it matches another as their mean keys do.
        keys = None if shuffled_keys is None else shuffled_keys.mean(dim=-2)
        salience = None if attention_BTHW is None else shuffled(attention_BTHW[..., None], ratio).sum(dim=(-2, -1))
        return [
            Features(
                visual_BTNC[video].reshape(*grid, -1),
                None if vision.cls_BTC is None else vision.cls_BTC[video],
                None if keys is None else keys[video],
                None if salience is None else salience[video],
            )
            for video in range(B)
        ]
