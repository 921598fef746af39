"""Settings of an exported Video LLM: those of its encoder, of its projector and of its LLM."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig, Qwen2Config

from liteframe.errors import ConfigError
from liteframe.models.folders.strict import StrictPretrainedConfig
from liteframe.models.student.encoder import LiteFrameConfig
from liteframe.ops.pooling import check_size


class LiteFrameVideoConfig(StrictPretrainedConfig):
    """Settings of `LiteFrameForConditionalGeneration`.

    `InternVLConfig` cannot hold them: on reload it makes an InternViT of any vision config.

    Args:
        encoder_config: a `LiteFrameConfig` or its fields; the paper's encoder by default.
        text_config: config of the LLM, or its fields with `model_type`.
        image_token_id: id that stands in a prompt where a visual token goes.
        downsample_ratio: of the base VLM's pixel shuffle.
        projector_hidden_act: activation in the base VLM's projector.
        tie_word_embeddings: whether the LLM's head shares the weights of its embeddings.
        adapter: subfolder of a LoRA adapter that is put on the LLM when the model is loaded; None if there is none.

    Raises:
        ConfigError: a field that is of another kind or size.
    """

    model_type = "liteframe"
    sub_configs: ClassVar[dict[str, Any]] = {"encoder_config": LiteFrameConfig, "text_config": AutoConfig}

    def __init__(
        self,
        encoder_config: LiteFrameConfig | dict[str, Any] | None = None,
        text_config: PretrainedConfig | dict[str, Any] | None = None,
        image_token_id: int = 151667,
        downsample_ratio: float = 0.5,
        projector_hidden_act: str = "gelu",
        tie_word_embeddings: bool = True,
        adapter: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(encoder_config, LiteFrameConfig):
            encoder_config = LiteFrameConfig.from_dict(encoder_config or {})
        if not isinstance(text_config, PretrainedConfig):
            text_config = AutoConfig.for_model(**text_config) if text_config else Qwen2Config()
        _check(image_token_id, downsample_ratio, adapter)
        self.encoder_config = encoder_config
        self.text_config = text_config
        self.image_token_id = image_token_id
        self.downsample_ratio = downsample_ratio
        self.projector_hidden_act = projector_hidden_act
        self.tie_word_embeddings = tie_word_embeddings
        self.adapter = adapter
        super().__init__(**kwargs)

    def tokens_per_clip(self, height: int, width: int) -> int:
        """Visual tokens that the LLM sees of a clip of that size in pixels (64 at 448 x 448 in the paper).

        Raises:
            GeometryError: the size does not fill the token grid and the pixel shuffle; it names the nearest legal ones.
        """
        encoder, block = self.encoder_config, round(1 / self.downsample_ratio)
        rows, columns = (step * block for step in encoder.size_multiple)
        check_size(height, width, (rows, columns))
        return encoder.clip_frames // encoder.stride[0] * (height // rows) * (width // columns)


def _check(image_token_id: Any, downsample_ratio: Any, adapter: Any) -> None:
    if isinstance(image_token_id, bool) or not isinstance(image_token_id, int) or image_token_id < 0:
        raise ConfigError(f"image_token_id is {str(image_token_id)[:60]}; it must be the id of a token")
    if not isinstance(downsample_ratio, int | float) or not 1 / 64 <= downsample_ratio <= 1:
        raise ConfigError(f"downsample_ratio is {str(downsample_ratio)[:60]}; it must be a number from 1/64 to 1")
    if adapter is not None and (not isinstance(adapter, str) or not adapter):
        raise ConfigError(f"adapter is {str(adapter)[:60]!r}; it must be the name of a folder beside config.json")
