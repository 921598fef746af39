"""Settings of an exported Video LLM: those of its encoder, of its projector and of its LLM."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig, Qwen2Config

from liteframe.errors import ConfigError
from liteframe.models.folders.strict import StrictPretrainedConfig
from liteframe.models.student.encoder import LiteFrameConfig
from liteframe.models.video_llm.hosts import HOSTS, INTERNVL
from liteframe.ops.pooling import check_size


class LiteFrameVideoConfig(StrictPretrainedConfig):
    """Settings of `LiteFrameForConditionalGeneration`.

    `InternVLConfig` cannot hold them: on reload it makes an InternViT of any vision config.

    Args:
        encoder_config: a `LiteFrameConfig` or its fields; the paper's encoder by default.
        text_config: config of the LLM, or its fields with `model_type`.
        image_token_id: id that stands in a prompt where a visual token goes.
        downsample_ratio: tokens a side that the LLM sees, to those that the projector takes.
        projector_hidden_act: activation in the base VLM's projector.
        tie_word_embeddings: whether the LLM's head shares the weights of its embeddings.
        adapter: subfolder of a LoRA adapter that is put on the LLM when the model is loaded; None if there is none.
        base_vlm: family of the base VLM, by the `model_type` of its configs.
        deepstack_layers: first layers of the LLM that take features of their own of each visual token (Qwen3-VL).
        newline_token_id: id that stands in a prompt where the projector's `image_newline` goes (LLaVA-OneVision).

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
        base_vlm: str = INTERNVL.model_type,
        deepstack_layers: int = 0,
        newline_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(encoder_config, LiteFrameConfig):
            encoder_config = LiteFrameConfig.from_dict(encoder_config or {})
        if not isinstance(text_config, PretrainedConfig):
            text_config = AutoConfig.for_model(**text_config) if text_config else Qwen2Config()
        _check_id("image_token_id", image_token_id)
        if newline_token_id is not None:
            _check_id("newline_token_id", newline_token_id)
        _check(downsample_ratio, adapter)
        _check_family(base_vlm, deepstack_layers, encoder_config.output_size)
        if HOSTS[base_vlm].newline != (newline_token_id is not None):
            need = "needs an id" if HOSTS[base_vlm].newline else "has no such token"
            raise ConfigError(f"newline_token_id is {newline_token_id}, and a {HOSTS[base_vlm].name} {need}")
        self.encoder_config = encoder_config
        self.text_config = text_config
        self.image_token_id = image_token_id
        self.downsample_ratio = downsample_ratio
        self.projector_hidden_act = projector_hidden_act
        self.tie_word_embeddings = tie_word_embeddings
        self.adapter = adapter
        self.base_vlm, self.deepstack_layers = base_vlm, deepstack_layers
        self.newline_token_id = newline_token_id
        super().__init__(**kwargs)

    def tokens_per_clip(self, height: int, width: int) -> int:
        """Visual tokens that the LLM sees of a clip of that size in pixels (64 at 448 x 448 in the paper).

        Raises:
            GeometryError: the size does not fill the token grid and the pixel shuffle; it names the nearest legal ones.
        """
        encoder, host, ratio = self.encoder_config, HOSTS[self.base_vlm], self.downsample_ratio
        merge, (step_y, step_x) = host.merge(ratio), encoder.size_multiple
        check_size(height, width, (step_y * merge, step_x * merge))
        of_group = host.llm_tokens(height // step_y, width // step_x, ratio)
        return encoder.clip_frames // encoder.stride[0] * of_group


def _check_id(name: str, number: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ConfigError(f"{name} is {str(number)[:60]}; it must be the id of a token")


def _check(downsample_ratio: Any, adapter: Any) -> None:
    if not isinstance(downsample_ratio, int | float) or not 1 / 64 <= downsample_ratio <= 1:
        raise ConfigError(f"downsample_ratio is {str(downsample_ratio)[:60]}; it must be a number from 1/64 to 1")
    if adapter is not None and (not isinstance(adapter, str) or not adapter):
        raise ConfigError(f"adapter is {str(adapter)[:60]!r}; it must be the name of a folder beside config.json")


def _check_family(base_vlm: Any, deepstack_layers: Any, output_size: int) -> None:
    if base_vlm not in HOSTS:
        raise ConfigError(f"base_vlm is {str(base_vlm)[:60]!r}; it must be one of {', '.join(HOSTS)}")
    if type(deepstack_layers) is not int or not 0 <= deepstack_layers <= 64 or output_size % (deepstack_layers + 1):
        raise ConfigError(
            f"deepstack_layers is {str(deepstack_layers)[:60]}; it must be a number from 0 to 64, with features of as"
            f" many layers and one more in the encoder's width of {output_size}"
        )
