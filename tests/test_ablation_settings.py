"""Each setting in the table of ablations in docs/stages.md is understood by its configs, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from built_stages import build_stage

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "stages.md").read_text(encoding="utf-8")
SETTINGS = dict(re.findall(r"^\|.*\| `--model\.([a-z_.]+)=(\S+)` \|$", PAGE, re.MULTILINE))


def build(config: str, verb: str, *words: str) -> Any:
    return build_stage(verb, config, *words).model


@pytest.mark.parametrize("config", ["ctd.yaml", "tiny/ctd.yaml"])
def test_ctd(config: str) -> None:
    def student(name: str, value: str | None = None) -> Any:
        return build(config, "fit", f"--model.{name}={value or SETTINGS[name]}").encoder_config

    plain = build(config, "fit").encoder_config
    for mixer in ("depthwise", "full", "attention", "joint", "none"):
        changed = student("encoder.temporal_mixer", mixer)
        assert changed.temporal_mixer == mixer
        assert {**changed.to_dict(), "temporal_mixer": plain.temporal_mixer} == plain.to_dict(), "and nothing else"
    for block in ((1, 2, 2), (2, 2, 2), (4, 2, 2), (8, 2, 2)):
        assert student("block", str(list(block))).stride == block
    assert student("block").clip_frames == 8 and student("block", "[2,2,2]").clip_frames == 4
    placed = student("encoder.downsample_after")
    assert (placed.downsample_after, placed.downsample_strides) == ([2, 3], [[2, 2, 2], [2, 1, 1]])
    assert student("encoder.downsample_after", "[1]").downsample_strides == [[4, 2, 2]]
    assert student("encoder.clip_frames").clip_frames == 8 and student("encoder.clip_frames").stride == (4, 2, 2)
    assert student("target").stride == (1, 1, 1) and student("target", "max").to_dict() == plain.to_dict()
    assert build(config, "fit", f"--model.clip_sigma={SETTINGS['clip_sigma']}").clip_sigma is None
    raw = build(config, "fit", f"--model.standardise={SETTINGS['standardise']}")
    assert not raw.target_statistics.is_standardising
    started = build(config, "fit", f"--model.timm_weights={SETTINGS['timm_weights']}")
    assert started.timm_weights == SETTINGS["timm_weights"]


@pytest.mark.parametrize("config", ["cache.yaml", "tiny/cache.yaml"])
def test_cache(config: str) -> None:
    assert build(config, "predict", f"--model.block={SETTINGS['block']}").compressor.block == (8, 2, 2)
    described = build(config, "predict", f"--model.target={SETTINGS['target']}").compressor.describe()
    assert described == {"compressor": "dense"}


def test_lma_and_that_the_table_was_read() -> None:
    for config in ("lma.yaml", "tiny/lma.yaml"):
        assert not build(config, "fit", f"--model.train_encoder={SETTINGS['train_encoder']}").train_encoder
    assert build(config, "fit", f"--model.mean_over={SETTINGS['mean_over']}").mean_over == "videos"
    assert len(SETTINGS) == 10


def test_the_vit_to_start_from_is_where_its_config_leaves_it() -> None:
    made = build_stage("fit", "ablations/pretrain_timm_vit.yaml")
    assert f"{made.settings.trainer.default_root_dir}/export" == SETTINGS["timm_weights"]
    student = build("tiny/ctd.yaml", "fit").encoder_config
    vit: Any = made.model.vit
    assert (vit.embed_dim, len(vit.blocks)) == (student.hidden_size, student.num_hidden_layers)
    assert vit.blocks[0].attn.num_heads == student.num_attention_heads
