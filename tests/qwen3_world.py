"""A Qwen3-VL in the real format with small random weights, written by transformers' own classes.

The tokenizer is a byte-level BPE of our own with the family's special tokens, and the template a ChatML of our own with
the published one's role headers and marks of videos: neither is a published file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from liteframe.models.teachers import Qwen3VL
from liteframe.stages.lma import LMAStage
from students_of_hosts import little_ctd, little_lma, lma_of
from tiny_world import home

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
OF_VIDEOS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PATCH, DEEPSTACK, WIDTH = 14, (0, 2), 32
FEATURES = WIDTH * (1 + len(DEEPSTACK))
"""Channels of a token of the teacher."""


@lru_cache
def byte_level_bpe(*special: str) -> str:
    """A tokenizer of bytes and a few merges, with `SPECIAL` and those tokens, as text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    words = ["user\n", "assistant\n", "seconds>", "color of the star", "color of the ball", "red", "left", "blue"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*SPECIAL, *special], initial_alphabet=alphabet)
    backend.train_from_iterator(words, trainer)
    return backend.to_str()


def qwen3_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a few merges; one of its own."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(byte_level_bpe(*OF_VIDEOS)),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


def qwen3_processor() -> Qwen3VLProcessor:
    """The family's own processor, of frames that it takes as they are."""
    pixels: dict[str, Any] = {"patch_size": PATCH, "temporal_patch_size": 2, "merge_size": 2, "do_resize": False}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=qwen3_tokenizer(),
        video_processor=Qwen3VLVideoProcessor(**pixels, do_sample_frames=False),
        chat_template=CHATML,
    )


def qwen3_config(**vision: Any) -> Qwen3VLConfig:
    """A tiny config; two frames of 112 px become 16 tokens."""
    tokenizer = qwen3_tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in zip(_IDS, OF_VIDEOS, strict=True)}
    return Qwen3VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 24,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": list(DEEPSTACK),
            **vision,
        },
        text_config={
            "vocab_size": len(tokenizer) + 8,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=False,
        **ids,
    )


_IDS = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")


def qwen3_host(**vision: Any) -> Qwen3VLForConditionalGeneration:
    """Every weight is random, positions and norms included, so that nothing can be mixed up unseen."""
    generator = torch.Generator().manual_seed(3)
    host = Qwen3VLForConditionalGeneration(qwen3_config(**vision)).eval()
    with torch.no_grad():
        for parameter in host.parameters():
            parameter.normal_(std=0.35, generator=generator)
    return host


@lru_cache
def qwen3_folder() -> Path:
    """A base VLM's folder, with its processor."""
    folder = home() / "host-qwen3-vl"
    qwen3_host().save_pretrained(folder, max_shard_size="100KB")
    qwen3_processor().save_pretrained(folder)
    return folder


@lru_cache
def qwen3_encoder_folder() -> Path:
    """What a little CTD leaves, with the base VLM's own encoder as teacher."""
    return little_ctd("qwen3-ctd", Qwen3VL(str(qwen3_folder())), image_size=112)


def qwen3_lma(**settings: Any) -> LMAStage:
    """LMA of the student with the base VLM."""
    return lma_of({"host": str(qwen3_folder()), "encoder": str(qwen3_encoder_folder()), **settings})


@lru_cache
def qwen3_lma_folder() -> Path:
    """The run folder of a little LMA."""
    return little_lma("qwen3-lma", qwen3_lma())


def video(frames: int, size: tuple[int, int] = (112, 112), seed: int = 0) -> Tensor:
    """Random frames, uint8 (T, 3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, *size), dtype=torch.uint8, generator=generator)


def own_inputs(videos: list[Tensor], texts: list[str], rate: float = 2.0) -> dict[str, Any]:
    """What transformers' own processor makes of videos of that many frames a second, and of rendered prompts.

    The videos' outer marks are taken off the prompts first: all versions of transformers put the same in the place of a
    bare token, and only those before 5.10 put it in the place of the marked one.
    """
    processor: Any = qwen3_processor()
    texts = [text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>") for text in texts]
    told = [
        {
            "fps": rate,
            "frames_indices": np.arange(len(each)),
            "total_num_frames": len(each),
            "duration": len(each) / rate,
        }
        for each in videos
    ]
    inputs = processor(
        text=texts, videos=videos, video_metadata=told, padding=True, padding_side="left", return_tensors="pt"
    )
    return dict(inputs)
