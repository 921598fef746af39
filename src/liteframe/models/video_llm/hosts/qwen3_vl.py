"""Qwen3-VL: mergers before the LLM and in its first layers (DeepStack), positions on grids (M-RoPE), and timestamps.

What the LLM sees of a token goes as one vector from `project` to `last_hidden`: C_llm channels for the embeddings, as
many for each layer that DeepStack adds to, and three numbers that say where the token is: its row and column in its
group of frames, and by how much the group moves the tokens behind it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.cache_utils import Cache
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchMerger

from liteframe.errors import ConfigError
from liteframe.models.teachers import Qwen3VLTeacher, pixel_shuffle
from liteframe.models.teachers.checkpoint import read_normalization
from liteframe.models.video_llm.hosts.host import Groups, Host, Line, Wording

_SECTIONS = [24, 20, 20]
"""`mrope_section` of a config that has none, as transformers has it."""
_PLACE = 3
"""Channels that say where a token is."""
_MOVED = "liteframe_moved_BL"
"""Attribute of a cache: positions that groups of frames have moved what follows by, after each token of each prompt, up
to the last call that had groups. Kept for each token, as caches are cropped."""
_LATE_S = 9999.9
"""Second of a stand-in for a group of frames: as many digits as a video of hours asks for."""


class Qwen3VLWording(Wording):
    """Videos as `<0.3 seconds><|vision_start|>...<|vision_end|>`, one for each group of frames.

    These take the place of the template's whole `<|vision_start|><|video_pad|><|vision_end|>`, as when the family was
    released (transformers 4.57) and in vLLM; from 5.10 on, transformers' processor leaves the outer marks around them.

    Args:
        processor: Qwen3-VL's, or one with the same attributes.
        where: for the error.

    Raises:
        ConfigError: it lacks a token that videos are written with.
    """

    separator = ""

    def __init__(self, processor: Any, where: str) -> None:
        for name in ("vision_start_token", "vision_end_token", "video_token"):
            if not isinstance(token := getattr(processor, name, None), str) or not token:
                raise ConfigError(
                    f"{where}: {name} is {token!r}; copy the processor's files again, or use those of the base VLM"
                )
        self.video_token = self.visual_token = processor.video_token
        self.structure = (processor.vision_start_token, processor.vision_end_token)

    def bare(self, text: str) -> str:
        return text.replace(self.image_text(1), self.video_token)

    def image_text(self, tokens: int) -> str:
        start, end = self.structure
        return f"{start}{self.visual_token * tokens}{end}"

    def line(self, line: Line, groups: Groups | None) -> str:
        number, tokens = line
        if not isinstance(groups, tuple):
            raise ConfigError(
                "prompts of a Qwen3-VL tell the second of each group of frames, and this way of asking knows none; ask"
                " by `liteframe chat`, `serve`, `evaluate` or `export`, or take an InternVL as base VLM"
            )
        return f"<{groups[number - 1]:.1f} seconds>{self.image_text(tokens)}"

    def stand_in(self, count: int) -> Groups:
        return (_LATE_S,) * count


class Qwen3VLProjector(nn.Module):
    """The mergers: of the last layer's tokens, and of those that DeepStack gives to layers of the LLM.

    Args:
        merger: of the last layer.
        deepstack_mergers: one for each DeepStack layer.
    """

    def __init__(self, merger: nn.Module, deepstack_mergers: nn.ModuleList) -> None:
        super().__init__()
        self.merger, self.deepstack_mergers = merger, deepstack_mergers

    def forward(self, tokens_BTHWC: Tensor, merge: int) -> Tensor:
        """Tokens (B, T, H, W, C) to what the LLM sees, (B, T, N, channels), see the module's docstring."""
        B, T, H, W, C = tokens_BTHWC.shape
        rows, columns = H // merge, W // merge
        parts = tokens_BTHWC.flatten(0, 1).split(C // (1 + len(self.deepstack_mergers)), dim=-1)
        seen = []
        for merger, part in zip([self.merger, *self.deepstack_mergers], parts, strict=True):
            blocks = pixel_shuffle(part, 1 / merge)  # tokens of a block beside each other, as mergers take them
            seen.append(merger(blocks.reshape(-1, part.shape[-1])).reshape(B, T, rows * columns, -1))
        places = _places(rows, columns).to(seen[0])
        return torch.cat([*seen, places.expand(B, T, -1, -1)], dim=-1)


def _places(rows: int, columns: int) -> Tensor:
    """Row and column of each token of a group, and what it moves the tokens behind it by beyond one position, (N, 3).

    A token of text moves them by one; all tokens of a group together by the longer side of its grid, and its last does.
    """
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    moved = torch.full((rows * columns,), -1)
    moved[-1] += max(rows, columns)
    return torch.stack([row.flatten(), column.flatten(), moved], dim=-1)


def grid_positions(number_BL: Tensor, places_BL3: Tensor, moved_B: Tensor) -> Tensor:
    """Positions of tokens in time, rows and columns, (3, B, L), as Qwen3-VL's `get_rope_index` has them.

    Args:
        number_BL: numbers of the tokens in their prompts.
        places_BL3: of each token, see `_places`; zeros for text.
        moved_B: positions that what comes before these tokens has moved them by.
    """
    moved_BL = places_BL3[..., 2]
    first_BL = number_BL + moved_B[:, None] + moved_BL.cumsum(dim=1) - moved_BL
    return torch.stack([first_BL, first_BL + places_BL3[..., 0], first_BL + places_BL3[..., 1]])


class Qwen3VLHost(Host):
    """Qwen3-VL in transformers' format, dense."""

    name = "Qwen3-VL"
    example = "Qwen/Qwen3-VL-4B-Instruct"
    model_type = "qwen3_vl"
    config_class = Qwen3VLConfig
    model_class = Qwen3VLForConditionalGeneration
    teacher = Qwen3VLTeacher
    visual_token_name = "video"
    timed = True
    tiles = pictures = numbered = False
    not_in_vllm = "whose prompts tell the second of each group of frames"

    def require_readable(self, config: Qwen3VLConfig, source: str) -> None:
        vision: Any = config.vision_config
        text: Any = config.text_config
        Qwen3VLTeacher.geometry_of(vision, source)
        if vision.out_hidden_size != text.hidden_size:
            raise ConfigError(
                f"{source}: out_hidden_size of the vision config is {vision.out_hidden_size}, hidden_size of the text"
                f" config {text.hidden_size}; they must be equal"
            )
        if len(vision.deepstack_visual_indexes) > text.num_hidden_layers:
            raise ConfigError(
                f"{source}: deepstack_visual_indexes of the vision config names"
                f" {len(vision.deepstack_visual_indexes)} layers, and the LLM has {text.num_hidden_layers} to add to"
            )
        rope = getattr(text, "rope_parameters", None) or {}
        if not rope.get("mrope_interleaved", True):
            raise ConfigError(
                f"{source}: mrope_interleaved of the text config is {rope['mrope_interleaved']}; only true can be read"
            )
        sections = rope.get("mrope_section", _SECTIONS)
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        if not isinstance(sections, list | tuple) or len(sections) != 3 or sum(sections) != width // 2:
            raise ConfigError(
                f"{source}: mrope_section of the text config is {str(sections)[:60]}; it must be three numbers"
                f" whose sum is {width // 2}, half of head_dim"
            )

    def downsample_ratio(self, config: Qwen3VLConfig) -> float:
        vision: Any = config.vision_config
        return 1 / float(vision.spatial_merge_size)

    def feature_width(self, config: Qwen3VLConfig) -> int:
        vision: Any = config.vision_config
        return int(vision.hidden_size) * (1 + len(vision.deepstack_visual_indexes))

    def own_encoder(self, base_vlm: Qwen3VLForConditionalGeneration) -> Qwen3VLTeacher:
        folder, usual = base_vlm.config.name_or_path, Qwen3VLTeacher.pixels
        mean, std = read_normalization(folder, *usual, Qwen3VLTeacher.processor) if folder else usual
        return Qwen3VLTeacher(base_vlm.model.visual, mean, std)

    def projector(self, base_vlm: Qwen3VLForConditionalGeneration) -> Qwen3VLProjector:
        return Qwen3VLProjector(base_vlm.model.visual.merger, base_vlm.model.visual.deepstack_merger_list)

    def new_projector(self, config: Any) -> Qwen3VLProjector:
        layers = config.deepstack_layers
        sizes: Any = SimpleNamespace(
            hidden_size=config.encoder_config.output_size // (1 + layers),
            spatial_merge_size=round(1 / config.downsample_ratio),
            out_hidden_size=config.text_config.hidden_size,
        )
        deep = [Qwen3VLVisionPatchMerger(sizes, use_postshuffle_norm=True) for _ in range(layers)]
        return Qwen3VLProjector(Qwen3VLVisionPatchMerger(sizes), nn.ModuleList(deep))

    def export_fields(self, config: Qwen3VLConfig) -> dict[str, Any]:
        vision: Any = config.vision_config
        return {"deepstack_layers": len(vision.deepstack_visual_indexes)}

    def project(self, projector: nn.Module, tokens_BTHWC: Tensor, downsample_ratio: float) -> Tensor:
        visual_BTNC: Tensor = projector(tokens_BTHWC, round(1 / downsample_ratio))
        return visual_BTNC

    def last_hidden(
        self,
        language_model: PreTrainedModel,
        embeds_BLC: Tensor,
        position_ids_BL: Tensor | None,
        cache: Cache | None,
        mask_BL: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        B, L = embeds_BLC.shape[:2]
        read = 0 if cache is None else int(cache.get_seq_length())
        if position_ids_BL is None:
            position_ids_BL = torch.arange(read, read + L, device=embeds_BLC.device)
        number_BL = position_ids_BL.expand(B, -1)
        before_BL = _moved(cache, read, B, embeds_BLC.device)
        moved_B = before_BL[:, -1] if before_BL.shape[1] else before_BL.new_zeros(B)
        embeddings: Any = language_model.get_input_embeddings()
        channels, width = embeds_BLC.shape[-1], embeddings.weight.shape[1]
        embeds_BLC, *deep, places_BL3 = _parts(embeds_BLC, width)
        position_ids = torch.cat([number_BL[None], grid_positions(number_BL, places_BL3, moved_B)])
        of_layers: dict[str, Any] = {}
        if deep:
            # Everywhere, as they are zeros where there is text.
            everywhere_BL = torch.ones(B, L, dtype=torch.bool, device=embeds_BLC.device)
            added = [each_BLC.flatten(0, 1) for each_BLC in deep]
            of_layers = {"visual_pos_masks": everywhere_BL, "deepstack_visual_embeds": added}
        outputs = language_model(
            inputs_embeds=embeds_BLC,
            attention_mask=mask_BL,
            position_ids=position_ids,
            past_key_values=cache,
            **{"use_cache": cache is not None, **of_layers, **kwargs},
        )
        if (filled := outputs.past_key_values) is not None:
            shown = channels > width
            setattr(filled, _MOVED, _extended(before_BL, read, moved_B, places_BL3[..., 2]) if shown else before_BL)
        return outputs

    def wording(self, processor: Any, where: str) -> Qwen3VLWording:
        return Qwen3VLWording(processor, where)

    def tokens_of(self, tokenizer: Any) -> dict[str, Any]:
        usual = {
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
        }
        return {name: getattr(tokenizer, name, token) for name, token in usual.items()}


def _parts(embeds_BLC: Tensor, width: int) -> tuple[Tensor, ...]:
    """Embeddings, what DeepStack adds to each of the first layers, and the places, (B, L, 3), of packed tokens."""
    if embeds_BLC.shape[-1] == width:
        return embeds_BLC, torch.zeros(*embeds_BLC.shape[:2], _PLACE, dtype=torch.long, device=embeds_BLC.device)
    layers = (embeds_BLC.shape[-1] - _PLACE) // width
    *parts, places = embeds_BLC.split([*[width] * layers, _PLACE], dim=-1)
    return *parts, places.detach().round().long()


def _moved(cache: Cache | None, read: int, batch: int, device: torch.device) -> Tensor:
    """What groups of frames have moved the tokens behind them by, after each token in a cache, (B, at most `read`).

    Tokens in the cache beyond those are of text, which moves nothing.

    Raises:
        ConfigError: the cache does not say, or for another number of prompts.
    """
    if cache is None or not read:
        return torch.zeros(batch, 0, dtype=torch.long, device=device)
    moved_BL: Tensor | None = getattr(cache, _MOVED, None)
    if moved_BL is None:
        raise ConfigError(
            f"past_key_values holds {read} tokens and does not say where groups of frames are among them; give the"
            " cache that this model returned (a copy by copy.deepcopy will do), or the whole prompt without a cache"
        )
    repeats, rest = divmod(batch, len(moved_BL))
    if rest:
        raise ConfigError(
            f"past_key_values was filled with {len(moved_BL)} prompts, and {batch} go on from it; give as many, or"
            " repeat each equally often by batch_repeat_interleave"
        )
    # Cut where the cache has been cropped.
    return moved_BL[:, :read].to(device).repeat_interleave(repeats, dim=0)


def _extended(before_BL: Tensor, read: int, moved_B: Tensor, moves_BL: Tensor) -> Tensor:
    """What is kept of a cache with some more tokens, of how far each moves what follows."""
    text_BL = moved_B[:, None].expand(-1, read - before_BL.shape[1])
    return torch.cat([before_BL, text_BL, moved_B[:, None] + moves_BL.cumsum(dim=1)], dim=1)
