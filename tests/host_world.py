"""Hosts of the whole InternVL family in the real format, with small random weights.

Written by transformers' own classes. The tokenizer is a byte-level BPE of our own with the family's special tokens, and
the template a ChatML of our own with the published one's role headers: neither is a published file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor

from liteframe.tiny.models import internvl_processor, internvl_tokenizer
from tiny_world import home

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ '<video>\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENS = 16
WORDS = ("color of the star", "color of the ball", "color of the box", "red", "left", "blue")
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
TOWERS: dict[str, dict[str, Any]] = {
    "300M": {"attention_bias": True, "use_qk_norm": False, "norm_type": "layer_norm"},
    "6B": {"attention_bias": False, "use_qk_norm": True, "norm_type": "rms_norm", "hidden_size": 48},
}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "bos_token_id": None,
}
TEXTS: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {
        "head_dim": 16,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    },
    "llama": {},
}
FAMILY = [("qwen2", "300M"), ("qwen2", "6B"), ("qwen3", "300M"), ("qwen3_moe", "6B"), ("llama", "300M")]
"""Kinds of LLM and of tower that are checked together: each at least once."""


@lru_cache
def _bpe() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    words = [f"user\nFrame{n}: assistant\n{text}" for n in range(1, 12) for text in WORDS]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    backend.train_from_iterator(words, trainer)
    return backend.to_str()


def bpe_processor() -> InternVLProcessor:
    """Byte-level BPE with a few merges and ChatML's role headers, as the published hosts have them; one of its own."""
    return internvl_processor(internvl_tokenizer(Tokenizer.from_str(_bpe())), CHATML, TOKENS)


def family_config(text: str, tower: str, **more: Any) -> InternVLConfig:
    """A tiny host config; frames of 112 px become `TOKENS` tokens."""
    tokenizer = bpe_processor().tokenizer
    return InternVLConfig(
        vision_config={
            "model_type": "internvl_vision",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "image_size": [112, 112],
            "patch_size": [14, 14],
            **TOWERS[tower],
        },
        # More embeddings than tokens, as the published ones have.
        text_config={"model_type": text, "vocab_size": len(tokenizer) + 8, **_TEXT, **TEXTS[text]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS,
        tie_word_embeddings=False,
        **more,
    )


def family_host(text: str, tower: str) -> InternVLForConditionalGeneration:
    """Every weight is random, positions and norms included, so that nothing can be mixed up unseen."""
    generator = torch.Generator().manual_seed(3)
    host = InternVLForConditionalGeneration(family_config(text, tower)).eval()
    with torch.no_grad():
        for parameter in host.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return host


@lru_cache
def family_folder(text: str, tower: str) -> Path:
    """A host folder in several shards, with its processor."""
    folder = home() / f"host-{text}-{tower}"
    family_host(text, tower).save_pretrained(folder, max_shard_size="100KB")
    bpe_processor().save_pretrained(folder)
    return folder
