"""A LLaVA-OneVision in the real format with small random weights, written by transformers' own classes.

As in the published ones patches do not fill a frame, and the grid that they leave is odd. The template is our own: it
marks turns as the published one does, the space before an answer in the history included.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
)

from liteframe.models.teachers import LlavaOnevision
from liteframe.stages.lma import LMAStage
from qwen3_world import byte_level_bpe
from students_of_hosts import little_ctd, little_lma, lma_of
from tiny_world import home

VIDEO, IMAGE = "<video>", "<image>"
PATCH, SIDE, FILLED, WIDTH = 14, 104, 112, 32
"""Patch and frame in pixels; the size that blocks of 2 x 2 patches fill; channels of a token of the teacher."""
PIXELS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
TURNS = (
    "{{% for message in messages %}}{{{{ '<|im_start|>' + message['role'] + '{behind_role}' }}}}"
    "{{% for part in message['content'] if part['type'] == 'image' %}}{{{{ '<image>' }}}}{{% endfor %}}"
    "{{% for part in message['content'] if part['type'] == 'video' %}}{{{{ '<video>' }}}}{{% endfor %}}"
    "{{% for part in message['content'] if part['type'] == 'text' %}}"
    "{{% generation %}}{{{{ '{before_text}' + part['text'] }}}}{{% endgeneration %}}{{% endfor %}}"
    "{{{{ '<|im_end|>{behind_turn}' }}}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}{{{{ '<|im_start|>assistant\n' }}}}{{% endif %}}"
)
TEMPLATES = {
    "published": TURNS.format(behind_role=" ", before_text="\n", behind_turn=""),
    "later": TURNS.format(behind_role="\n", before_text="", behind_turn="\n"),
}


def llava_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a few merges; one of its own."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(byte_level_bpe(IMAGE, VIDEO)),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


def llava_processor(template: str = "published", side: int = SIDE) -> LlavaOnevisionProcessor:
    """The family's own processor, of frames that it takes as they are."""
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size={"height": side, "width": side}),
        tokenizer=llava_tokenizer(),
        video_processor=LlavaOnevisionVideoProcessor(size={"height": side, "width": side}, do_resize=False, **PIXELS),
        num_image_tokens=(side // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATES[template],
    )


def llava_config(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **fields: Any
) -> LlavaOnevisionConfig:
    """A tiny config; a frame becomes 4 x 4 tokens."""
    tokenizer = llava_tokenizer()
    return LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
            "vision_use_head": False,
            **(vision or {}),
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer) + 8,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            **(text or {}),
        },
        **{
            "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
            "video_token_index": tokenizer.convert_tokens_to_ids(VIDEO),
            **fields,
        },
    )


def llava_host(**fields: Any) -> LlavaOnevisionForConditionalGeneration:
    """Every weight is random, positions and norms included, so that nothing can be mixed up unseen.

    Norms are near one and biases small, so that what it says depends on the video and the question.
    """
    generator = torch.Generator().manual_seed(3)
    host = LlavaOnevisionForConditionalGeneration(llava_config(**fields)).eval()
    with torch.no_grad():
        for name, parameter in host.named_parameters():
            parameter.normal_(std=0.35 if parameter.ndim > 1 else 0.2, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return host


@lru_cache
def llava_folder() -> Path:
    """A base VLM's folder, with its processor."""
    folder = home() / "host-llava-onevision"
    llava_host().save_pretrained(folder, max_shard_size="100KB")
    llava_processor().save_pretrained(folder)
    return folder


@lru_cache
def llava_encoder_folder() -> Path:
    """What a little CTD leaves, with the base VLM's own encoder as teacher."""
    return little_ctd("llava-ctd", LlavaOnevision(str(llava_folder())))


def llava_lma(**settings: Any) -> LMAStage:
    """LMA of the student with the base VLM."""
    return lma_of({"host": str(llava_folder()), "encoder": str(llava_encoder_folder()), **settings})


@lru_cache
def llava_lma_folder() -> Path:
    """The run folder of a little LMA."""
    return little_lma("llava-lma", llava_lma())


def own_inputs(videos: list[Tensor], texts: list[str], side: int = SIDE) -> dict[str, Any]:
    """What transformers' own processor makes of videos, all of one length, and of rendered prompts."""
    processor: Any = llava_processor(side=side)
    return dict(processor(text=texts, videos=videos, padding=True, padding_side="left", return_tensors="pt"))


def as_ours(ids: list[int], lengths: list[int]) -> list[int]:
    """The ids of a prompt of transformers' processor, with the last of each video's places as ours.

    Args:
        ids: of the prompt.
        lengths: places of each video, the last of them included.
    """
    tokenizer, ours = llava_tokenizer(), list(ids)
    video, image = (tokenizer.convert_tokens_to_ids(token) for token in (VIDEO, IMAGE))
    places = [place for place, token in enumerate(ids) if token == video]
    assert len(places) == sum(lengths)
    for end in torch.tensor(lengths).cumsum(0).tolist():
        ours[places[end - 1]] = image
    return ours
