"""A Video LLM with the host's own parts is the host; sharing, batching and padding change no logit."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config

from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Pool
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.models.video_llm.prompts import IGNORE, Turn
from tiny_world import host_folder

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
QUESTIONS = ["color of the star", "color of the ball", "color of the first triangle"]
TALKS: list[list[Turn]] = [
    [("color of the star", "red"), ("color of the first triangle", "green")],
    [("color of the ball", "left")],
]


@lru_cache
def host():  # type: ignore[no-untyped-def]
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return model.eval(), processor


def video_llm(**parts: object) -> VideoLLM:
    model, processor = host()
    return VideoLLM(model, processor, **parts).eval()  # type: ignore[arg-type]


def frames(count: int = 4, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def without_gradients():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


def test_logits_are_those_of_transformers() -> None:
    model, _ = host()
    own = video_llm()
    pixels = frames(3, 1)
    visual = own.project(own.encode(pixels))
    for question in QUESTIONS:
        before, after = own.prompts.question_ids(question, 3, 16)
        ids = torch.tensor([before + after])
        theirs = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels[0]).logits[:, -1]
        torch.testing.assert_close(own.prefill(visual, before + after), theirs, **CLOSE)
        torch.testing.assert_close(own.first_answer_logits(visual, [[question]])[0], theirs, **CLOSE)
    assert theirs.std() > 0.1, "logits of a random model are not all alike"


@pytest.mark.parametrize("method", ["dense", "wap", "max"])
def test_questions_that_share_a_video_are_answered_as_one_by_one(method: str) -> None:
    compressor = {"dense": None, "wap": WAP((4, 2, 2), "cosine", 20.0), "max": Pool("max", (2, 2, 2))}[method]
    model = video_llm(compressor=compressor)
    visual = model.project(model.encode(frames(4)))
    asked = [QUESTIONS, QUESTIONS[::-1]]
    answers = model.first_answer_logits(visual, asked)
    assert [tuple(answer.shape) for answer in answers] == [(3, model.lm_head.out_features)] * 2
    for video, questions in enumerate(asked):
        for number, question in enumerate(questions):
            before, after = model.prompts.question_ids(question, *visual.shape[1:3])
            alone = model.prefill(visual[video : video + 1], before + after)[0]
            torch.testing.assert_close(answers[video][number], alone, **CLOSE)
    assert not torch.allclose(answers[0][0], answers[1][2], atol=1e-3), "two videos, two answers"


def test_prefill_of_two_is_two_prefills() -> None:
    model = video_llm()
    visual = model.project(model.encode(frames(2)))
    before, after = model.prompts.question_ids(QUESTIONS[0], 2, 16)
    both = model.prefill(visual, before + after)
    for video in range(2):
        torch.testing.assert_close(both[video], model.prefill(visual[video : video + 1], before + after)[0], **CLOSE)


@pytest.mark.parametrize("step", [1, 3])
def test_videos_of_unequal_lengths_in_a_batch_are_as_one_by_one(step: int) -> None:
    """The second video has 2 of 4 frames, and another conversation; what pads it shows nowhere."""
    model = video_llm()
    visual = model.project(model.encode(frames(4)))
    logits, labels, _ = model.answer_logits(TALKS, visual, [4, 2], step)
    one, one_labels, _ = model.answer_logits(TALKS[:1], visual[:1], [4], step)
    two, two_labels, _ = model.answer_logits(TALKS[1:], visual[1:, :2], [2], step)
    assert torch.equal(labels, torch.cat([one_labels, two_labels]))
    assert len(labels) == 6, "three answers, and the token that ends each"
    torch.testing.assert_close(logits, torch.cat([one, two]), **CLOSE)
    visual[1, 2:] = torch.nan
    again, _, _ = model.answer_logits(TALKS, visual, [4, 2], step)
    assert torch.equal(again, logits)
    nothing, no_labels, _ = model.answer_logits(TALKS, visual, [0, 0], step)
    assert len(nothing) == len(no_labels) == 0


def test_answer_logits_are_a_prefill_for_each_token() -> None:
    model = video_llm()
    visual = model.project(model.encode(frames(2, 1)))
    logits, labels, _ = model.answer_logits(TALKS[:1], visual, [2])
    ids, marks = model.prompts.conversation(TALKS[0], 2, 16)
    places = [i for i, mark in enumerate(marks) if mark >= 0]
    assert labels.tolist() == [ids[i] for i in places]
    for found, place in zip(logits, places, strict=True):
        torch.testing.assert_close(found, model.prefill(visual, ids[:place])[0], **CLOSE)


def test_positions_with_gaps_are_one_sequence() -> None:
    """Against a causal mask written out: without a mask of its own, transformers would cut at each gap."""
    model = video_llm()
    visual = model.project(model.encode(frames(3, 1)))
    prompts = model.prompts.batch(TALKS[:1], [3], visual.shape[2], step=4)
    embeds = model.embed(prompts.input_ids_BL, visual)
    length = embeds.shape[1]
    causal = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    hidden = model.language_model(
        inputs_embeds=embeds, attention_mask=causal, position_ids=prompts.positions_BL, use_cache=False
    ).last_hidden_state
    expected = model.lm_head(hidden[:, :-1][prompts.labels_BL[:, 1:] != IGNORE])
    torch.testing.assert_close(model.answer_logits(TALKS[:1], visual, [3], step=4).logits_MV, expected, **CLOSE)
    dense = model.hidden_states(embeds)
    assert not torch.allclose(dense, hidden, atol=1e-2), "positions matter"
    # With rotary positions a constant shift changes nothing; a gap between any two tokens does.
    torch.testing.assert_close(model.hidden_states(embeds, torch.arange(length)[None] + 7), dense, **CLOSE)


def test_places_and_tokens_must_agree() -> None:
    model = video_llm()
    visual = model.project(model.encode(frames(3, 1)))
    before, after = model.prompts.question_ids(QUESTIONS[0], 2, 16)
    with pytest.raises(ConfigError, match=r"32 positions for visual tokens, the videos give 48"):
        model.prefill(visual, before + after)
    with pytest.raises(ConfigError, match="positions"):
        model.embed(torch.tensor([before]), visual, [1])


def test_groups_are_rounded_up_to_whole_clips() -> None:
    assert video_llm().groups(torch.tensor([0, 1, 5])) == [0, 1, 5]
    assert video_llm(compressor=WAP()).groups(torch.tensor([0, 1, 4, 5, 8])) == [0, 1, 1, 2, 2]
    assert video_llm(frames_per_group=4).groups(torch.tensor([6])) == [2]


class TestLoadHost:
    def test_an_encoder_is_not_a_host(self, tmp_path: Path) -> None:
        host()[0].model.vision_tower.save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match=r"'internvl_vision' is not a base VLM"):
            load_base_vlm(str(tmp_path))
        Qwen2Config().save_pretrained(tmp_path / "other")
        with pytest.raises(ConfigError, match="'qwen2' is not a base VLM"):
            load_base_vlm(str(tmp_path / "other"))

    @pytest.mark.parametrize("kind", ["missing", "unexpected", "mismatched"])
    def test_weights_that_do_not_fit_are_named(self, kind: str, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(host_folder(), tmp_path / "host"))
        tensors = load_file(folder / "model.safetensors")
        name = next(name for name in tensors if "language_model" in name and name.endswith(".norm.weight"))
        if kind == "missing":
            del tensors[name]
        elif kind == "mismatched":
            tensors[name] = torch.zeros(7)
        else:
            name = name.replace("norm", "odd")
            tensors[name] = torch.zeros(7)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ConfigError, match=r"language_model\..*(norm|odd)\.weight"):
            load_base_vlm(str(folder))
