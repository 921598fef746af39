"""LLaVA-OneVision: an MLP before the LLM, pooling behind it, and one embedding that ends a video."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionMultiModalProjector

from liteframe.errors import ConfigError
from liteframe.models.teachers import LlavaOnevisionTeacher
from liteframe.models.teachers.checkpoint import read_normalization
from liteframe.models.teachers.llava_onevision import feature_layer
from liteframe.models.video_llm.hosts.host import Groups, Host, Line, Wording

_POOLED = 0.5
"""Side of the grid that the base VLM makes of its own encoder's tokens, rounded up, to that of those tokens."""
_OPENS_ANSWER = "<|im_start|>assistant"


class LlavaOnevisionWording(Wording):
    """Videos as visual tokens alone, one after the other, and an `<image>` behind the last.

    At the latter the LLM is shown `image_newline`, with which the base VLM ends a video. transformers' processor writes
    one more `<video>` there, whose place only the number of frames tells.

    Published templates open an answer to come by `assistant` and a line break, and one in the history by a space
    between the two. Here both are opened as the former, so that what was said stands in the prompt as it was said.

    Args:
        processor: LLaVA-OneVision's, or one with the same attributes.
        where: for the error.

    Raises:
        ConfigError: it lacks a token that videos are written with.
    """

    separator = ""

    def __init__(self, processor: Any, where: str) -> None:
        for name in ("video_token", "image_token"):
            if not isinstance(token := getattr(processor, name, None), str) or not token:
                raise ConfigError(
                    f"{where}: {name} is {token!r}; copy the processor's files again, or use those of the base VLM"
                )
        self.video_token = self.visual_token = processor.video_token
        self.newline_token = self.end = processor.image_token
        self.structure = (self.newline_token,)

    def bare(self, text: str) -> str:
        return text.replace(f"{_OPENS_ANSWER} \n", f"{_OPENS_ANSWER}\n")

    def image_text(self, tokens: int) -> str:
        return self.visual_token * tokens

    def line(self, line: Line, groups: Groups | None) -> str:
        return self.image_text(line[1])

    def stand_in(self, count: int) -> Groups:
        return count


class LlavaOnevisionProjector(nn.Module):
    """The MLP on each token, and the embedding that ends a video.

    Args:
        mlp: the base VLM's `multi_modal_projector`.
        image_newline: (C_llm,).
    """

    def __init__(self, mlp: nn.Module, image_newline: nn.Parameter) -> None:
        super().__init__()
        self.mlp, self.image_newline = mlp, image_newline

    def forward(self, tokens_BTHWC: Tensor, pooled: bool) -> Tensor:
        """Tokens (B, T, H, W, C) to what the LLM sees, (B, T, N, C_llm).

        Args:
            tokens_BTHWC: of patches, or of what patches were pooled to.
            pooled: whether what comes out is pooled as the base VLM does it: bilinear, to half the rows and columns,
                rounded up.
        """
        seen_BTHWC = self.mlp(tokens_BTHWC)
        if not pooled:
            return seen_BTHWC.flatten(2, 3)
        B, T, H, W, _ = seen_BTHWC.shape
        seen_FCHW = seen_BTHWC.flatten(0, 1).permute(0, 3, 1, 2)
        halved_FCHW = functional.interpolate(seen_FCHW.contiguous(), size=(_half(H), _half(W)), mode="bilinear")
        return halved_FCHW.flatten(2).transpose(1, 2).unflatten(0, (B, T))


def _half(side: int) -> int:
    return -(-side // 2)


class LlavaOnevisionHost(Host):
    """LLaVA-OneVision in transformers' format, with a SigLIP, whatever its LLM.

    Tokens of its own encoder are pooled behind the projector. Those that stand for more than a patch, as a student's or
    a compressor's do, are pooled already: the LLM sees each of them.
    """

    name = "LLaVA-OneVision"
    example = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    model_type = "llava_onevision"
    config_class = LlavaOnevisionConfig
    model_class = LlavaOnevisionForConditionalGeneration
    teacher = LlavaOnevisionTeacher
    visual_token_name = "video"
    tiles = pictures = numbered = False
    newline = True
    not_in_vllm = "whose videos end by an embedding of its own"

    def require_readable(self, config: LlavaOnevisionConfig, source: str) -> None:
        LlavaOnevisionTeacher.require_readable(config, source)
        if not config.multimodal_projector_bias:
            raise ConfigError(f"{source}: multimodal_projector_bias of config.json is false; only true can be read")
        if config.image_token_id == config.video_token_id:
            raise ConfigError(
                f"{source}: image_token_index and video_token_index of config.json are both {config.video_token_id};"
                " they must differ"
            )

    def newline_token_id(self, config: LlavaOnevisionConfig) -> int:
        return int(config.image_token_id)

    def ids_by_token(self, config: LlavaOnevisionConfig, wording: Wording) -> dict[str, tuple[str, int]]:
        assert isinstance(wording, LlavaOnevisionWording)
        newline = {"image": (wording.newline_token, self.newline_token_id(config))}
        return {**super().ids_by_token(config, wording), **newline}

    def downsample_ratio(self, config: LlavaOnevisionConfig) -> float:
        return _POOLED

    def ratio_for(self, downsample_ratio: float, patches: tuple[int, int]) -> float:
        return downsample_ratio if patches == (1, 1) else 1.0

    def merge(self, downsample_ratio: float) -> int:
        return 1

    def llm_tokens(self, rows: int, columns: int, downsample_ratio: float) -> int:
        return rows * columns if downsample_ratio == 1 else _half(rows) * _half(columns)

    def feature_width(self, config: LlavaOnevisionConfig) -> int:
        vision: Any = config.vision_config
        return int(vision.hidden_size)

    def own_encoder(self, base_vlm: LlavaOnevisionForConditionalGeneration) -> LlavaOnevisionTeacher:
        folder, usual = base_vlm.config.name_or_path, LlavaOnevisionTeacher.pixels
        mean, std = read_normalization(folder, *usual, LlavaOnevisionTeacher.processor) if folder else usual
        layer = feature_layer(base_vlm.config, folder or "the base VLM")
        return LlavaOnevisionTeacher(base_vlm.model.vision_tower, mean, std, layer)

    def projector(self, base_vlm: LlavaOnevisionForConditionalGeneration) -> LlavaOnevisionProjector:
        return LlavaOnevisionProjector(base_vlm.model.multi_modal_projector, base_vlm.model.image_newline)

    def new_projector(self, config: Any) -> LlavaOnevisionProjector:
        sizes: Any = SimpleNamespace(
            vision_config=SimpleNamespace(hidden_size=config.encoder_config.output_size),
            text_config=config.text_config,
            vision_feature_layer=-1,
            multimodal_projector_bias=True,
            projector_hidden_act=config.projector_hidden_act,
        )
        newline_C = torch.zeros(config.text_config.hidden_size)
        return LlavaOnevisionProjector(LlavaOnevisionMultiModalProjector(sizes), nn.Parameter(newline_C))

    def export_fields(self, config: LlavaOnevisionConfig) -> dict[str, Any]:
        return {
            "projector_hidden_act": config.projector_hidden_act,
            "newline_token_id": self.newline_token_id(config),
        }

    def project(self, projector: nn.Module, tokens_BTHWC: Tensor, downsample_ratio: float) -> Tensor:
        visual_BTNC: Tensor = projector(tokens_BTHWC, pooled=downsample_ratio != 1)
        return visual_BTNC

    def wording(self, processor: Any, where: str) -> LlavaOnevisionWording:
        return LlavaOnevisionWording(processor, where)

    def tokens_of(self, tokenizer: Any) -> dict[str, Any]:
        usual = {"image_token": "<image>", "video_token": "<video>"}
        return {name: getattr(tokenizer, name, token) for name, token in usual.items()}
