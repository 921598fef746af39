"""The tiny base VLM: an InternVL of 2.3 M parameters that trains on two CPU cores.

Same classes, processor and kind of chat template as the published InternVL; only the sizes, the word-level vocabulary
and the initial values differ. The library's defaults start class token and positions at zero and scale residual
branches by 0.1, from which a ViT this small does not learn within minutes, hence `_initialise`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from liteframe.models.student.vit import sincos_positions
from liteframe.tiny import synthetic

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ '<video>\n' }}{% elif part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '<|im_end|>\n' }}{% else %}{{ ' ' }}{% endif %}{% endfor %}"
)
"""A question is followed by its answer at once. Role headers in between, as larger base VLMs have them, ask of a
3-layer LLM to carry the question over to the header first, which it learns more slowly."""
_SPECIAL = ("<unk>", "<pad>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_MAX_FRAMES = 256
_INITIAL_STD = 0.06
MASSIVE = (60.0, -60.0, 60.0)
"""What the features of a hard tiny encoder are offset by in a few channels, as those of large ViTs are."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word for every token: the tiny world's phrases, `Frame1:` to `Frame256:`, and the family's special tokens."""
    phrases = [*synthetic.QUESTIONS.values(), *synthetic.COLOR_NAMES, *synthetic.DIRECTIONS]
    words = sorted({word for phrase in phrases for word in phrase.split()})
    frames = [f"Frame{i + 1}:" for i in range(_MAX_FRAMES)]
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *words, *frames])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(list(_SPECIAL))
    return internvl_tokenizer(backend, unk_token="<unk>")


def internvl_tokenizer(backend: Tokenizer, **more: str) -> PreTrainedTokenizerFast:
    """The roles that InternVL's processor looks for, given to tokens of `backend`; `more` are roles beside them."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        **more,
    )


def tiny_processor(tokens_per_frame: int = 16) -> InternVLProcessor:
    """InternVL's processor with the tiny tokenizer and 112 px frames."""
    return internvl_processor(tiny_tokenizer(), CHAT_TEMPLATE, tokens_per_frame)


def internvl_processor(
    tokenizer: PreTrainedTokenizerFast, chat_template: str, tokens_per_frame: int
) -> InternVLProcessor:
    """InternVL's processor for 112 px frames with another tokenizer, of `internvl_tokenizer`, and template."""
    size = {"height": synthetic.SIZE, "width": synthetic.SIZE}
    pixels: dict[str, Any] = {"size": size, "image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(**pixels),
        video_processor=InternVLVideoProcessor(**pixels),
        tokenizer=tokenizer,
        image_seq_length=tokens_per_frame,
        chat_template=chat_template,
    )


def tiny_config(tokenizer: PreTrainedTokenizerFast, final_norm: bool = True) -> InternVLConfig:
    """ViT of 4 layers, width 128; Qwen2 of 3 layers, width 192; pixel shuffle 0.5, so 16 tokens a frame.

    Args:
        tokenizer: of `tiny_tokenizer`.
        final_norm: whether the ViT ends in a LayerNorm; the published InternVLs do not.
    """
    return InternVLConfig(
        vision_config={
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "attention_bias": True,
            "image_size": [synthetic.SIZE, synthetic.SIZE],
            "patch_size": [synthetic.PATCH, synthetic.PATCH],
            "layer_scale_init_value": 1.0,
            "initializer_range": _INITIAL_STD,
            "use_mean_pooling": not final_norm,  # of transformers: without pooling there is a norm
        },
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=192,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=6,
            intermediate_size=480,
            tie_word_embeddings=True,
            max_position_embeddings=8192,
            initializer_range=_INITIAL_STD,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),  # type: ignore[arg-type]
        image_seq_length=16,
        tie_word_embeddings=True,
    )


@torch.no_grad()
def _initialise(model: InternVLForConditionalGeneration) -> None:
    embeddings = model.model.vision_tower.embeddings
    rows, columns = embeddings.patch_embeddings.patch_shape
    _initialise_tokens(embeddings.cls_token, embeddings.position_embeddings, (rows, columns))


def _initialise_tokens(cls_token: Tensor, position_1NC: Tensor, grid: tuple[int, int]) -> None:
    waves = cls_token.shape[-1] // 4
    # Slower waves than the usual 10000 would be constant on a grid this small.
    rates_F = torch.exp(-math.log(100.0) * torch.arange(waves) / waves)
    position_1NC[:, 1:] = 0.5 * sincos_positions(*grid, rates_F)
    cls_token.normal_(std=0.5)


@torch.no_grad()
def _offset_features(model: InternVLForConditionalGeneration) -> None:
    """Lets the last layer of the ViT add a constant to each channel: Laplace-distributed, and massive in a few."""
    offset_C = model.model.vision_tower.encoder.layer[-1].mlp.fc2.bias
    width = len(offset_C)
    offset_C.copy_(torch.distributions.Laplace(0.0, 1.0).sample((width,)))
    offset_C[torch.randperm(width)[: len(MASSIVE)]] = torch.tensor(MASSIVE)


def build_tiny_base_vlm(
    seed: int = 0, attention: str = "sdpa", hard: bool = False
) -> tuple[InternVLForConditionalGeneration, InternVLProcessor]:
    """A freshly initialised tiny base VLM and its processor; the same seed gives the same weights.

    Args:
        seed: of the weights.
        attention: attention implementation of ViT and LLM.
        hard: give the ViT what makes features of the published ones hard to learn: no final norm, a mean of its own in
            each channel, and a few channels whose mean is many times all else (`MASSIVE`).
    """
    processor = tiny_processor()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = tiny_config(processor.tokenizer, final_norm=not hard)
        config._attn_implementation = attention
        model = InternVLForConditionalGeneration(config)
        _initialise(model)
        if hard:
            _offset_features(model)
    return model, processor


def tiny_timm_vit(width: int, depth: int, heads: int, seed: int = 0) -> Any:
    """A freshly initialised timm ViT for frames of the tiny world, with a class token; its values are the base VLM's
    kind.

    A student of that width, depth and heads can start from its weights.
    """
    import timm  # here, because it takes a second that no base VLM needs

    sizes: dict[str, Any] = {"img_size": synthetic.SIZE, "patch_size": synthetic.PATCH, "num_classes": 0}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        vit: Any = timm.create_model("vit_tiny_patch16_224", embed_dim=width, depth=depth, num_heads=heads, **sizes)
        for module in vit.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(std=_INITIAL_STD)
        rows, columns = vit.patch_embed.grid_size
        _initialise_tokens(vit.cls_token, vit.pos_embed, (rows, columns))
    return vit
