"""What a model around a Video LLM shares with it."""

from __future__ import annotations

from typing import Any

from torch import nn

from liteframe.errors import ConfigError
from liteframe.models.video_llm.hosts import INTERNVL
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompts import PromptBuilder


class WrappedVideoLLM(nn.Module):
    """A Video LLM of which some steps are done otherwise; the rest is the inner one's.

    Args:
        inner: as it is without.

    Raises:
        ConfigError: its base VLM is no InternVL, which alone these are written for.
    """

    def __init__(self, inner: VideoLLM) -> None:
        super().__init__()
        if inner.host is not INTERNVL:
            raise ConfigError(f"{type(self).__name__} is for an InternVL, and this base VLM is a {inner.host.name}")
        self.inner = inner
        self.backbone: nn.Module = inner.backbone

    @property
    def frames_per_group(self) -> int:
        """Frames that one group of tokens spans."""
        return self.inner.frames_per_group

    @property
    def language_model(self) -> Any:
        """The base VLM's LLM."""
        return self.inner.language_model

    @property
    def prompts(self) -> PromptBuilder:
        """Of the base VLM."""
        return self.inner.prompts
