"""The tiny host: the library's own classes, the same weights from the same seed, and a word for every token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, InternVLForConditionalGeneration, InternVLProcessor

from liteframe.models.student.vit import sincos_positions
from liteframe.models.teachers import weights_sha256
from liteframe.tiny import synthetic
from liteframe.tiny.models import build_tiny_base_vlm, tiny_tokenizer
from liteframe.tiny.pretrain import VisionPretrainStage


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_chance_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first, _ = build_tiny_base_vlm(3)
    assert torch.equal(torch.rand(2), expected)
    again, other = build_tiny_base_vlm(3)[0], build_tiny_base_vlm(4)[0]
    assert weights_sha256(first) == weights_sha256(again) != weights_sha256(other)
    assert 2.2e6 < sum(p.numel() for p in first.parameters()) < 2.4e6
    assert first.lm_head.weight is first.model.language_model.embed_tokens.weight


def test_a_saved_host_is_read_back_by_the_auto_classes(tmp_path: Path) -> None:
    host, processor = build_tiny_base_vlm(0)
    host.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    back = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(back, InternVLForConditionalGeneration)
    assert weights_sha256(back) == weights_sha256(host)
    read = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(read, InternVLProcessor)
    assert (read.chat_template, read.image_seq_length) == (processor.chat_template, 16)
    assert read.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_every_phrase_of_the_world_is_known_word_by_word() -> None:
    tokenizer = tiny_tokenizer()
    for phrase in (*synthetic.QUESTIONS.values(), *synthetic.COLOR_NAMES, *synthetic.DIRECTIONS, "Frame1: Frame256:"):
        ids = tokenizer(phrase).input_ids
        assert tokenizer.unk_token_id not in ids
        assert len(ids) == len(phrase.split())
        assert tokenizer.decode(ids) == phrase
    answers = [tokenizer(word).input_ids[0] for word in (*synthetic.COLOR_NAMES, *synthetic.DIRECTIONS)]
    assert len(set(answers)) == len(answers), "each answer is told by its first token"
    assert tokenizer("nonsense").input_ids == [tokenizer.unk_token_id]
    assert tokenizer("<img><IMG_CONTEXT>").input_ids == [3, 5]


def test_positions_tell_rows_from_columns() -> None:
    waves = sincos_positions(3, 5, 100.0 ** (-torch.arange(4) / 4)).reshape(3, 5, 16)
    assert torch.equal(waves[:, :1, :8].expand(3, 5, 8), waves[..., :8])
    assert torch.equal(waves[:1, :, 8:].expand(3, 5, 8), waves[..., 8:])
    assert waves.reshape(15, 16).unique(dim=0).shape[0] == 15
    rows, columns = waves[:, 0, :8], waves[0, :, 8:]
    assert rows[1].tolist() == pytest.approx(columns[1].tolist())


def test_a_hard_encoder_has_no_final_norm_and_massive_channels() -> None:
    frames_FCHW = torch.randn(8, 3, synthetic.SIZE, synthetic.SIZE, generator=torch.Generator().manual_seed(0))
    means = {}
    for hard in (False, True):
        tower = build_tiny_base_vlm(3, hard=hard)[0].model.vision_tower
        assert isinstance(tower.layernorm, torch.nn.Identity) == hard
        with torch.no_grad():
            means[hard] = tower(pixel_values=frames_FCHW).last_hidden_state.flatten(0, 1).mean(dim=0)
    largest = means[True].abs().sort(descending=True).values
    assert (largest[:3] > 50).all() and largest[3] < 20
    assert means[True].abs().median() > 3 * means[False].abs().median()
    assert means[False].abs().max() < 5


def test_labels_are_read_from_hard_features_less_their_constant() -> None:
    stage = VisionPretrainStage(hard=True, seed=3)
    frames_FCHW = torch.randn(4, 3, synthetic.SIZE, synthetic.SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = stage.vision_tower(pixel_values=frames_FCHW).last_hidden_state
        read = stage.features(frames_FCHW)
    assert raw.abs().max() > 50 > 20 > read.abs().max()
    offset = (raw - read).flatten(0, 1)
    torch.testing.assert_close(offset, offset[:1].expand_as(offset), atol=1e-4, rtol=0)
