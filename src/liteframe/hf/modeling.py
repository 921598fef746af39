"""The exported Video LLM: LiteFrame's encoder before a base VLM's projector and LLM, as one Hugging Face model."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from liteframe.errors import ConfigError
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks
from liteframe.models.folders.model_folder import model_subfolder
from liteframe.models.folders.strict import StrictPreTrainedModel, open_folder
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import merge_adapter
from liteframe.models.video_llm.hosts import HOSTS, INTERNVL, Host, host_of
from liteframe.models.video_llm.model import scatter_visual, show_newlines

_LOSS_KWARGS = ("num_items_in_batch", "shift_labels", "ignore_index")
"""What transformers' causal-LM loss takes beside logits and labels."""


class LiteFrameForConditionalGeneration(StrictPreTrainedModel, GenerationMixin):
    """Answers questions about videos and images; `LiteFrameProcessor` makes its inputs."""

    config_class = LiteFrameVideoConfig
    config: LiteFrameVideoConfig
    main_input_name = "input_ids"
    input_modalities = ["video", "image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = ["Block"]  # noqa: RUF012 (the base class declares it so)
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _tied_weights_keys = {"lm_head.weight": "language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: LiteFrameVideoConfig) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.encoder = LiteFrameEncoder(config.encoder_config)
        self.projector = self.host.new_projector(config)
        self.language_model = AutoModel.from_config(text, trust_remote_code=False)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    @property
    def host(self) -> Host:
        """Family of its base VLM."""
        return HOSTS[self.config.base_vlm]

    @classmethod
    def from_host(cls, host: PreTrainedModel, encoder: LiteFrameEncoder) -> LiteFrameForConditionalGeneration:
        """The base VLM with `encoder` in place of its vision tower; it shares their modules.

        Raises:
            ConfigError: the encoder's features are not of the width that the base VLM's projector takes.
        """
        theirs, base_vlm = host.config, cast(Any, host)
        family = host_of(theirs, theirs.name_or_path or "the base VLM")
        width = family.feature_width(theirs)
        if encoder.config.output_size != width:
            raise ConfigError(
                f"the encoder gives features of width {encoder.config.output_size}, the base VLM takes {width};"
                " distil an encoder from this base VLM's own vision tower"
            )
        config = LiteFrameVideoConfig(
            encoder_config=encoder.config.to_diff_dict(),
            text_config=theirs.text_config.to_diff_dict(),
            image_token_id=family.visual_token_id(theirs),
            downsample_ratio=family.ratio_for(family.downsample_ratio(theirs), encoder.config.stride[1:]),
            base_vlm=family.model_type,
            **family.export_fields(theirs),
            tie_word_embeddings=theirs.tie_word_embeddings,
        )
        with torch.device("meta"):
            model = cls(config)
        model.encoder, model.projector = encoder, family.projector(base_vlm)
        model.language_model, model.lm_head = base_vlm.model.language_model, base_vlm.lm_head
        model.generation_config = base_vlm.generation_config
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As `StrictPreTrainedModel.from_pretrained`; an adapter that was kept apart is merged into the LLM.

        Raises:
            ConfigError: no such folder, or a weight (of the adapter too) that is missing, unexpected or of another
                shape, by name.
        """
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.config.adapter is not None:
            whole = open_folder(pretrained_model_name_or_path, kwargs, weights=True) / kwargs.get("subfolder", "")
            folder = model_subfolder(whole, model.config.adapter)
            model.language_model = merge_adapter(model.language_model, folder)
            model.config.adapter = None
        return loaded

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings

    def project_clips(self, pixel_values_videos: Tensor, clip_groups: Tensor | None = None) -> Tensor:
        """As the function `project_clips`, with the model's own encoder and projector."""
        ratio = self.config.downsample_ratio
        return project_clips(self.encoder, self.projector, ratio, pixel_values_videos, clip_groups, self.host)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        clip_groups: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, vocabulary) after prompts; a loss too if there are labels.

        Args:
            input_ids: (B, L).
            pixel_values_videos: clips of all videos and images of the batch, in the order of their positions in the
                prompts, (clips, clip_frames, C, H, W).
            attention_mask: (B, L), 0 at padding.
            position_ids: (B, L), numbers of the tokens in their prompts, whatever the base VLM makes of them.
            past_key_values: keys and values of what came before.
            inputs_embeds: (B, L, C) in place of `input_ids`, the visual tokens in it, see `Host.project`.
            labels: (B, L), -100 where there is no loss.
            use_cache: give keys and values back.
            logits_to_keep: of the last so many tokens alone; 0 is all. Or the positions to keep.
            clip_groups: see `project_clips`.
            kwargs: of the LLM, and of transformers' causal-LM loss. Of these `num_items_in_batch` divides the sum over
                the labels in place of their number, as its `Trainer` asks for where it accumulates gradients.

        Raises:
            ConfigError: the prompts have more or fewer positions than the clips have tokens.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ConfigError("give input_ids or inputs_embeds")
            inputs_embeds = self.get_input_embeddings()(input_ids)
            inputs_embeds = show_newlines(inputs_embeds, input_ids, self.config.newline_token_id, self.projector)
            if pixel_values_videos is not None:
                positions_BL = input_ids == self.config.image_token_id
                visual = self.project_clips(pixel_values_videos, clip_groups)
                inputs_embeds = scatter_visual(inputs_embeds, positions_BL, visual)
        kwargs.pop("return_dict", None)
        of_loss = {name: kwargs.pop(name) for name in _LOSS_KWARGS if name in kwargs}
        outputs = self.host.last_hidden(
            self.language_model,
            inputs_embeds,
            position_ids,
            past_key_values,
            attention_mask,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_BLC = outputs.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and logits_to_keep else logits_to_keep
        logits = self.lm_head(hidden_BLC if isinstance(kept, int) else hidden_BLC[:, kept])
        loss = None
        if labels is not None:
            text: Any = self.config.text_config
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=text.vocab_size, **of_loss)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: Any,
        pixel_values_videos: Tensor | None = None,
        is_first_iteration: bool | None = False,
        clip_groups: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Pixels go along once: afterwards their keys and values are in the cache."""
        parent: Any = super()
        inputs = parent.prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["pixel_values_videos"] = pixel_values_videos
            inputs["clip_groups"] = clip_groups
        return inputs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **model_kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Repeats each prompt's clips together, where transformers would repeat clip after clip."""
        clips, groups = model_kwargs.pop("pixel_values_videos", None), model_kwargs.pop("clip_groups", None)
        if clips is not None and expand_size > 1:
            places_B = (input_ids == self.config.image_token_id).sum(dim=1)
            counted = torch.ones(len(clips), dtype=torch.long) if groups is None else groups.cpu()
            last_B = (places_B.cumsum(0) * counted.sum() // places_B.sum().clamp(min=1)).cpu()
            ends = (counted.cumsum(0) <= last_B[:, None]).sum(dim=1).tolist()
            spans = [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
            order = torch.tensor([clip for span in spans for _ in range(expand_size) for clip in span])
            clips = clips[order.to(clips.device)]
            groups = None if groups is None else groups[order.to(groups.device)]
        parent: Any = super()
        ids, others = parent._expand_inputs_for_generation(expand_size, is_encoder_decoder, input_ids, **model_kwargs)
        return ids, {**others, "pixel_values_videos": clips, **({} if groups is None else {"clip_groups": groups})}


def project_clips(
    encoder: LiteFrameEncoder,
    projector: nn.Module,
    downsample_ratio: float,
    pixel_values_videos: Tensor,
    clip_groups: Tensor | None = None,
    host: Host = INTERNVL,
) -> Tensor:
    """What the LLM sees of clips: (groups, N, C), one group for each of the `stride[0]` frames of a token.

    Args:
        encoder: takes the clips, a few at a time.
        projector: the base VLM's.
        downsample_ratio: of the base VLM's pixel shuffle.
        pixel_values_videos: normalised pixels (clips, clip_frames, C, H, W).
        clip_groups: how many groups of each clip count, (clips,); None is all.
        host: family of the base VLM.
    """
    pixels = pixel_values_videos.to(encoder.head.weight.dtype)
    features = encode_chunks(lambda part: encoder(part).last_hidden_state, pixels, encoder.clip_frames, CLIPS_AT_ONCE)
    visual = host.project(projector, features, downsample_ratio)
    if clip_groups is None:
        return visual.flatten(0, 1)
    return visual[torch.arange(visual.shape[1], device=visual.device) < clip_groups.to(visual.device)[:, None]]
