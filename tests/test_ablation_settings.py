"""Each setting in the table of ablations in docs/stages.md is understood by its configs, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from built_stages import build_stage
from liteframe.stages.loss_terms import LossTerms

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "stages.md").read_text(encoding="utf-8")
SETTINGS = dict(re.findall(r"^\|.*\| `--model\.([a-z_.]+)=(\S+)` \|$", PAGE, re.MULTILINE))


def build(config: str, verb: str, *words: str) -> Any:
    return build_stage(verb, config, *words).model


def student(config: str, name: str, value: str | None = None) -> Any:
    """The encoder with one setting, that of the table unless it is given."""
    return build(config, "fit", f"--model.{name}={value or SETTINGS[name]}").encoder_config


@pytest.mark.parametrize("config", ["ctd.yaml", "tiny/ctd.yaml"])
def test_ctd(config: str) -> None:
    plain = build(config, "fit").encoder_config
    changed = student(config, "encoder.temporal_mixer")
    assert changed.temporal_mixer == SETTINGS["encoder.temporal_mixer"]
    assert {**changed.to_dict(), "temporal_mixer": plain.temporal_mixer} == plain.to_dict(), "and nothing else"
    assert (student(config, "block").stride, student(config, "block").clip_frames) == ((8, 2, 2), 8)
    placed = student(config, "encoder.downsample_after")
    assert (placed.downsample_after, placed.downsample_strides) == ([2, 3], [[2, 2, 2], [2, 1, 1]])
    longer = student(config, "encoder.clip_frames")
    assert (longer.clip_frames, longer.stride) == (8, (4, 2, 2))
    tubelets = student(config, "encoder.tubelet_frames")
    assert (tubelets.tubelet_frames, tubelets.stride, tubelets.clip_frames) == (2, (4, 2, 2), 4)
    assert student(config, "target").stride == (1, 1, 1)
    names = ("clip_sigma", "standardise", "timm_weights")  # which do not touch each other
    made = build(config, "fit", *(f"--model.{name}={SETTINGS[name]}" for name in names))
    assert made.clip_sigma is None and not made.target_statistics.is_standardising
    assert made.timm_weights == SETTINGS["timm_weights"]
    assert build(config, "fit", f"--model.terms.relation={SETTINGS['terms.relation']}").terms == LossTerms(relation=1.0)


def test_other_values_that_the_table_names() -> None:
    config = "tiny/ctd.yaml"
    plain = build(config, "fit").encoder_config
    for mixer in ("depthwise", "attention", "joint", "none"):
        assert student(config, "encoder.temporal_mixer", mixer).temporal_mixer == mixer
    for block in ((1, 2, 2), (2, 2, 2), (4, 2, 2)):
        made = student(config, "block", str(list(block)))
        assert (made.stride, made.clip_frames) == (block, 4)
    assert student(config, "encoder.downsample_after", "[1]").downsample_strides == [[4, 2, 2]]
    assert student(config, "target", "max").to_dict() == plain.to_dict()


@pytest.mark.parametrize("config", ["cache.yaml", "tiny/cache.yaml"])
def test_cache(config: str) -> None:
    assert build(config, "predict", f"--model.block={SETTINGS['block']}").compressor.block == (8, 2, 2)
    described = build(config, "predict", f"--model.target={SETTINGS['target']}").compressor.describe()
    assert described == {"compressor": "dense"}


def test_lma_and_that_the_table_was_read() -> None:
    for config in ("lma.yaml", "tiny/lma.yaml"):
        assert not build(config, "fit", f"--model.train_encoder={SETTINGS['train_encoder']}").train_encoder
    assert build(config, "fit", f"--model.mean_over={SETTINGS['mean_over']}").mean_over == "videos"
    assert len(SETTINGS) == 12
    (words,) = re.findall(r"`(--model\.encoder=null [^`]+)`", PAGE)
    for config in ("lma.yaml", "tiny/lma.yaml"):
        made = build(config, "fit", *words.split())
        made._check_own_encoder()
        assert made.encoder_source is None and made.compressor.block == (4, 2, 2)


def test_narrower_tokens() -> None:
    (words,) = re.findall(r"`(--model\.encoder\.early_hidden_sizes=[^`]+)`", PAGE)
    made = build("ctd.yaml", "fit", *words.split())
    assert made.encoder_config.stage_sizes == [192, 384, 768] and made.timm_weights is None


def test_the_vit_to_start_from_is_where_its_config_leaves_it() -> None:
    made = build_stage("fit", "ablations/pretrain_timm_vit.yaml")
    assert f"{made.settings.trainer.default_root_dir}/export" == SETTINGS["timm_weights"]
    student = build("tiny/ctd.yaml", "fit").encoder_config
    vit: Any = made.model.vit
    assert (vit.embed_dim, len(vit.blocks)) == (student.hidden_size, student.num_hidden_layers)
    assert vit.blocks[0].attn.num_heads == student.num_attention_heads
