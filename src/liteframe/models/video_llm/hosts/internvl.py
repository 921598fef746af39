"""The InternVL family: a pixel shuffle and an MLP before the LLM, and videos as numbered `Frame` lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from liteframe.errors import ConfigError
from liteframe.models.teachers import InternVLTeacher, feature_layer, pixel_colours, project_tokens, require_readable
from liteframe.models.video_llm.hosts.host import Groups, Host, Line, Wording


class InternVLWording(Wording):
    """Videos as `Frame1: <img>...</img>` lines, one a frame.

    A compressed clip of several frames takes the place of one frame, so that a frozen LLM meets no wording that it does
    not know: `Frame1:` is then the first clip.

    Args:
        processor: InternVL's, or one with the same attributes.
        where: for the error.

    Raises:
        ConfigError: it lacks a token that images and videos are written with.
    """

    separator = "\n"

    def __init__(self, processor: Any, where: str) -> None:
        for name in ("start_image_token", "end_image_token", "image_token", "video_token"):
            if not isinstance(token := getattr(processor, name, None), str) or not token:
                raise ConfigError(
                    f"{where}: {name} is {token!r}; copy the processor's files again, or use those of the base VLM"
                )
        self.video_token, self.visual_token = processor.video_token, processor.image_token
        self.structure = (processor.start_image_token, processor.end_image_token)

    def image_text(self, tokens: int) -> str:
        start, end = self.structure
        return f"{start}{self.visual_token * tokens}{end}"

    def line(self, line: Line, groups: Groups | None) -> str:
        number, tokens = line
        return f"Frame{number}: {self.image_text(tokens)}"

    def stand_in(self, count: int) -> Groups:
        return count


class InternVLHost(Host):
    """InternVL3 and InternVL3.5 in transformers' format, whatever their LLM."""

    name = "InternVL"
    example = "OpenGVLab/InternVL3-8B-hf"
    model_type = "internvl"
    config_class = InternVLConfig
    model_class = InternVLForConditionalGeneration
    teacher = InternVLTeacher

    def require_readable(self, config: InternVLConfig, source: str) -> None:
        require_readable(config, source)

    def downsample_ratio(self, config: InternVLConfig) -> float:
        return config.downsample_ratio

    def feature_width(self, config: InternVLConfig) -> int:
        vision: Any = config.vision_config
        return int(vision.hidden_size)

    def own_encoder(self, base_vlm: InternVLForConditionalGeneration) -> InternVLTeacher:
        config = base_vlm.config
        # Without the projector, which the teacher would freeze along with itself.
        return InternVLTeacher(
            base_vlm.model.vision_tower,
            None,
            config.downsample_ratio,
            feature_layer(config, config.name_or_path or "the base VLM"),
            *pixel_colours(config.name_or_path),
        )

    def projector(self, base_vlm: InternVLForConditionalGeneration) -> nn.Module:
        return base_vlm.model.multi_modal_projector

    def new_projector(self, config: Any) -> InternVLMultiModalProjector:
        sizes: Any = SimpleNamespace(
            vision_config=SimpleNamespace(hidden_size=config.encoder_config.output_size),
            text_config=config.text_config,
            downsample_ratio=config.downsample_ratio,
            projector_hidden_act=config.projector_hidden_act,
        )
        return InternVLMultiModalProjector(sizes)

    def export_fields(self, config: InternVLConfig) -> dict[str, Any]:
        return {"projector_hidden_act": config.projector_hidden_act}

    def project(self, projector: nn.Module, tokens_BTHWC: Tensor, downsample_ratio: float) -> Tensor:
        return project_tokens(projector, tokens_BTHWC, downsample_ratio)

    def wording(self, processor: Any, where: str) -> InternVLWording:
        return InternVLWording(processor, where)

    def tokens_of(self, tokenizer: Any) -> dict[str, Any]:
        return {
            "start_image_token": tokenizer.start_image_token,
            "end_image_token": tokenizer.end_image_token,
            "image_token": tokenizer.context_image_token,
            "video_token": tokenizer.video_token,
        }
