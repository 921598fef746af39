"""LLaVA-OneVision as a base VLM: with its own encoder it is transformers' own; what is pooled is not pooled again."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.backbone import Pool
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.generation import (
    Conversation,
    SharedVideo,
    answer_batch,
    answer_prompt,
    prompt_ids,
)
from liteframe.models.video_llm.hosts.llava_onevision import LlavaOnevisionHost
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.prompts import PromptBuilder, Turn
from liteframe.models.video_llm.reading import VideoPrefix
from liteframe.stages.conversation_check import tokens_per_group
from llava_world import (
    FILLED,
    IMAGE,
    SIDE,
    WIDTH,
    as_ours,
    llava_config,
    llava_folder,
    llava_host,
    llava_processor,
    llava_tokenizer,
    own_inputs,
)
from qwen3_world import video

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
QUESTIONS = ["color of the star", "color of the ball"]
OWN, POOLED = (SIDE, SIDE), (FILLED, FILLED)
OF_FRAME = 16
"""Tokens that the LLM sees of a frame."""


@lru_cache
def host():  # type: ignore[no-untyped-def]
    model, processor = load_base_vlm(str(llava_folder()), "eager")
    return model.eval(), processor


def plain() -> VideoLLM:
    return VideoLLM(*host()).eval()


@lru_cache
def student(merges: bool = True) -> LiteFrameEncoder:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    strides = {"downsample_after": [1, 2]} if merges else {"downsample_after": [], "downsample_strides": []}
    config = LiteFrameConfig(image_size=FILLED, output_size=WIDTH, attention="eager", **small, **strides)
    torch.manual_seed(0)
    return LiteFrameEncoder(config).eval()


def with_student() -> VideoLLM:
    return VideoLLM(*host(), LiteFrameBackbone(student())).eval()


def seen(model: VideoLLM, frames: Tensor) -> Tensor:
    return model.project(model.encode(frames[None]))


def asked(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]


def rendered(messages: list[dict[str, Any]]) -> str:
    text = host()[1].apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert isinstance(text, str)
    return text


@pytest.fixture(autouse=True)
def without_gradients():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(
    ("side", "fields"),
    [
        (SIDE, {}),
        (FILLED, {"vision": {"image_size": FILLED}, "vision_feature_layer": -2}),
        (SIDE, {"vision_feature_layer": 1, "text": {"tie_word_embeddings": True}, "projector_hidden_act": "relu"}),
        (SIDE, {"text": {"model_type": "llama"}, "vision": {"vision_use_head": True}}),
    ],
    ids=["odd grid", "even grid, last layer but one", "tied, first layer", "Llama"],
)
def test_logits_are_those_of_transformers(frames: int, side: int, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path if fields or side != SIDE else llava_folder()
    if folder is tmp_path:
        llava_host(**fields).save_pretrained(tmp_path)
        llava_processor(side=side).save_pretrained(tmp_path)
    theirs, processor = load_base_vlm(str(folder), "eager")
    model = VideoLLM(theirs.eval(), processor).eval()
    pixels = video(frames, (side, side))
    inputs = own_inputs([pixels], [rendered(asked(QUESTIONS[0]))], side)
    expected = theirs(**inputs).logits[:, -1]
    assert expected.std() > 0.1, "logits of a random model are not all alike"
    visual = seen(model, pixels)
    assert visual.shape[1:3] == (frames, OF_FRAME)
    ids = model.prompt_ids(visual, QUESTIONS[0])
    assert ids == as_ours(inputs["input_ids"][0].tolist(), [frames * OF_FRAME + 1])
    torch.testing.assert_close(model.prefill(visual, ids), expected, **CLOSE)
    for number, answer in enumerate(model.before_answers(visual, [QUESTIONS])[0]):
        alone = model.prefill(visual, model.prompt_ids(visual, QUESTIONS[number]))
        torch.testing.assert_close(model.lm_head(answer), alone[0], **CLOSE)


def test_in_bfloat16_it_rounds_as_transformers_does() -> None:
    theirs, processor = load_base_vlm(str(llava_folder()), "eager")
    theirs = theirs.eval().to(torch.bfloat16)
    model, pixels = VideoLLM(theirs, processor).eval(), video(3, OWN)
    inputs = own_inputs([pixels], [rendered(asked(QUESTIONS[0]))])
    expected = theirs(**inputs).logits[:, -1]
    visual = seen(model, pixels)
    assert visual.dtype == torch.bfloat16
    found = model.prefill(visual, model.prompt_ids(visual, QUESTIONS[0]))
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("template", ["published", "later"])
def test_prompts_are_those_of_the_template_turn_after_turn(template: str) -> None:
    processor: Any = llava_processor(template)
    prompts = PromptBuilder(processor, host=LlavaOnevisionHost())
    space, line, end = (" ", "\n", "") if template == "published" else ("\n", "", "\n")
    user, opens = f"<|im_start|>user{space}", f"<|im_end|>{end}<|im_start|>assistant\n"
    shown = "<video>" * 6 + IMAGE
    expected = f"{user}{shown}{line}red{opens}"
    if template == "later":
        assert expected == f"<|im_start|>user\n{shown}red<|im_end|>\n<|im_start|>assistant\n"
    before, after = prompts.question_ids("red", 3, 2)
    assert prompts.tokenizer.decode(before) == f"{user}{shown}" and prompts.tokenizer.decode(after).startswith(line)
    talk: list[Turn] = [("red", "blue"), ("left", "x")]
    ids, labels = prompts.conversation(talk, 3, 2)
    whole = f"{expected}blue<|im_end|>{end}{user}{line}left{opens}x<|im_end|>{end}"
    assert prompts.tokenizer.decode(ids) == whole
    learnt = prompts.tokenizer.decode([token for token in labels if token >= 0])
    assert learnt == "blue<|im_end|>x<|im_end|>"
    followed = prompts.tokenizer.decode(prompts.follow_up_ids(["red"], "left"))
    assert followed == f"<|im_end|>{end}{user}{line}left{opens}"
    history = [
        *asked("red"),
        {"role": "assistant", "content": [{"type": "text", "text": "blue"}]},
        {"role": "user", "content": [{"type": "text", "text": "left"}]},
    ]
    dialogue = prompts.dialogue_ids(history, [(3, 2)])
    assert prompts.tokenizer.decode(dialogue) == whole[: whole.index(f"x<|im_end|>{end}", len(expected))]
    # Alone, and in a conversation but for the space before the answers, as transformers renders it.
    for messages, found in ((asked("red"), expected), (history, prompts.tokenizer.decode(dialogue))):
        theirs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert theirs.replace("assistant \n", "assistant\n") == found.replace(shown, "<video>")
    assert prompts.video_text(0, 2) == "", "a video of no frames ends nowhere"
    assert prompts.built_in("a <image> b") == IMAGE and prompts.built_in("a <video> b") == "<video>"


def test_two_videos_in_a_prompt_are_as_transformers_reads_them() -> None:
    model, videos = plain(), [video(3, OWN, seed=1), video(3, OWN, seed=2)]
    content = [{"type": "video"}, {"type": "video"}, {"type": "text", "text": "red"}]
    messages = [{"role": "user", "content": content}]
    inputs = own_inputs(videos, [rendered(messages)])
    visuals = [seen(model, each) for each in videos]
    ids = model.prompts.dialogue_ids(messages, [(3, OF_FRAME)] * 2)
    assert ids == as_ours(inputs["input_ids"][0].tolist(), [3 * OF_FRAME + 1] * 2)
    expected = host()[0](**inputs).logits[:, -1]
    torch.testing.assert_close(model.prefill(torch.cat(visuals, dim=1), ids), expected, **CLOSE)
    never = model.language_model.config.vocab_size - 1
    model._end_ids = (never,)
    theirs = host()[0].generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)[0, len(ids) :]
    assert list(answer_prompt(model, ids, visuals, 6)) == theirs.tolist()


def test_answers_are_those_of_transformers_alone_and_in_a_batch() -> None:
    model, videos = plain(), [video(6, OWN, seed=1), video(2, OWN, seed=2)]
    theirs = []
    for pixels, question in zip(videos, QUESTIONS, strict=True):
        inputs = own_inputs([pixels], [rendered(asked(question))])
        generated = host()[0].generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
        theirs.append(generated[0, inputs["input_ids"].shape[1] :].tolist())
    model._end_ids = (model.language_model.config.vocab_size - 1,)
    visuals = [seen(model, each) for each in videos]
    assert answer_batch(model, visuals, QUESTIONS, 5) == theirs
    for visual, question, answer in zip(visuals, QUESTIONS, theirs, strict=True):
        assert list(Conversation(model, visual).reply(question, 5)) == answer
        ids = prompt_ids(model, visual, question)
        before = ids.index(llava_tokenizer().convert_tokens_to_ids(IMAGE)) + 1
        shared = SharedVideo(model, visual)
        for _ in range(2):  # the second time from the cache, cut back
            assert shared.answer(ids[:before], ids[before:], 5)[1] == answer


@pytest.mark.parametrize("own_encoder", [True, False])
def test_parts_of_a_prompt_are_the_whole(own_encoder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut within frames too, and read group by group; then a second turn."""
    model = plain() if own_encoder else with_student()
    visual = seen(model, video(7, OWN if own_encoder else POOLED))
    model._end_ids = (model.language_model.config.vocab_size - 1,)
    whole = model.prefill(visual, prompt_ids(model, visual, QUESTIONS[0])).argmax()
    monkeypatch.setattr("liteframe.models.video_llm.prefill._MASKED_PAIRS", 0)
    monkeypatch.setattr("liteframe.models.video_llm.prefill._FEW_TOKENS", 7)
    talk = Conversation(model, visual)
    first = list(talk.reply(QUESTIONS[0], 3))
    assert first[0] == whole
    prefix = VideoPrefix(model, visual.shape[1])
    for part in visual.split(1, dim=1):
        prefix.read(part)
    again = Conversation(model, visual, prefix=prefix)
    assert list(again.reply(QUESTIONS[0], 3)) == first
    second = list(talk.reply(QUESTIONS[1], 3))
    assert list(again.reply(QUESTIONS[1], 3)) == second
    history = [*talk.ids[: len(talk.ids) - len(second)]]
    assert model.prefill(visual, history).argmax() == second[0]


def read_by_the_llm(visual_MC: Tensor, question: str) -> Tensor:
    """Logits of the base VLM's LLM for these tokens and `image_newline` in the prompt of transformers' processor."""
    base, processor = host()
    text = rendered(asked(question)).replace("<video>", "<video>" * (len(visual_MC) + 1))
    ids = processor.tokenizer(text, return_tensors="pt").input_ids
    embeds = base.get_input_embeddings()(ids)
    places = ids[0] == base.config.video_token_id
    embeds[0, places] = torch.cat([visual_MC, base.model.image_newline[None]])
    return base.lm_head(base.model.language_model(inputs_embeds=embeds).last_hidden_state[:, -1])


@pytest.mark.parametrize("frames", [8, 5])
def test_a_students_tokens_reach_the_llm_through_the_mlp_alone(frames: int) -> None:
    model, pixels = with_student(), video(frames, POOLED)
    assert model.downsample_ratio == 1 and model.frames.image_size == POOLED
    visual = seen(model, pixels)
    assert visual.shape[1:3] == (2, OF_FRAME) and tokens_per_group(model, POOLED) == OF_FRAME
    tokens = student()(pixels[None]).last_hidden_state[0]
    assert tokens.shape[:3] == (2, 4, 4)
    mlp = host()[0].model.multi_modal_projector
    expected = torch.stack([mlp(tokens[t, y, x]) for t in range(2) for y in range(4) for x in range(4)])
    torch.testing.assert_close(visual[0].flatten(0, 1), expected, **CLOSE)
    found = model.prefill(visual, model.prompt_ids(visual, QUESTIONS[0]))
    torch.testing.assert_close(found, read_by_the_llm(expected, QUESTIONS[0]), **CLOSE)


def test_tokens_of_patches_are_pooled_as_the_base_vlm_does() -> None:
    """Of a student that merges no patches, and behind a compressor that merges frames alone."""
    base, pixels = host()[0], video(4, POOLED)
    dense = VideoLLM(*host(), LiteFrameBackbone(student(merges=False))).eval()
    visual = seen(dense, pixels)
    assert visual.shape[1:3] == (4, OF_FRAME) and tokens_per_group(dense, POOLED) == OF_FRAME
    features = student(merges=False)(pixels[None]).last_hidden_state[0]
    assert features.shape[:3] == (4, 8, 8)
    projected = base.model.multi_modal_projector(features)
    # At an even side, bilinear at half the size is the mean of 2 x 2.
    expected = projected.unflatten(1, (4, 2)).unflatten(3, (4, 2)).mean(dim=(2, 4)).flatten(1, 2)
    torch.testing.assert_close(visual[0], expected, **CLOSE)
    in_time = VideoLLM(*host(), compressor=Pool("average", (4, 1, 1))).eval()
    assert in_time.frames.image_size == OWN and in_time.frames_per_group == 4
    own = plain()
    tokens = own.encode(video(4, OWN)[None])
    assert tokens.shape[2:4] == (7, 7)
    torch.testing.assert_close(seen(in_time, video(4, OWN)), own.project(tokens.mean(dim=1, keepdim=True)), **CLOSE)


def test_what_a_compressor_has_pooled_is_not_pooled_again() -> None:
    model, pixels = VideoLLM(*host(), compressor=Pool("average", (4, 2, 2))).eval(), video(8, POOLED)
    assert model.frames.image_size == POOLED, "blocks of 2 x 2 do not fill the base VLM's own frames"
    visual = seen(model, pixels)
    assert visual.shape[1:3] == (2, OF_FRAME) and tokens_per_group(model, POOLED) == OF_FRAME
    tokens = plain().encode(pixels[None])[0]
    mlp = host()[0].model.multi_modal_projector
    expected = torch.stack(
        [
            mlp(tokens[t : t + 4, y : y + 2, x : x + 2].mean(dim=(0, 1, 2)))
            for t in (0, 4)
            for y in range(0, 8, 2)
            for x in range(0, 8, 2)
        ]
    )
    torch.testing.assert_close(visual[0].flatten(0, 1), expected, **CLOSE)
    with pytest.raises(ConfigError, match=r"data.image_size: .*104.*nearest legal: 84 or 112"):
        model.require_size(OWN, "data.image_size")


def test_sizes_of_the_own_encoder() -> None:
    model = plain()
    assert model.frames.image_size == OWN and tokens_per_group(model, OWN) == OF_FRAME
    model.require_size(OWN, "data.image_size")
    model.require_size((98, 112), "data.image_size")
    with pytest.raises(ConfigError, match=r"data.image_size: .*104 x 112.*nearest legal: 98 or 112"):
        model.require_size((104, 112), "data.image_size")
    visual = seen(model, video(2, (98, 112)))
    assert visual.shape[1:3] == (2, 16) and tokens_per_group(model, (98, 112)) == 16
    assert seen(model, video(2, (70, 112))).shape[2] == tokens_per_group(model, (70, 112)) == 12


TALKS: list[list[Turn]] = [[("color of the star", "red"), ("color of the ball", "left")], [("red", "blue")]]


def test_videos_of_unequal_lengths_in_a_batch_are_as_one_by_one() -> None:
    model = with_student()
    frames = torch.stack([video(12, POOLED, seed=1), video(12, POOLED, seed=2)])
    groups = model.groups(torch.tensor([12, 5]))
    assert groups == [3, 2]
    visual = model.project(model.encode(frames))
    logits, labels, _ = model.answer_logits(TALKS, visual, groups)
    one, one_labels, _ = model.answer_logits(TALKS[:1], visual[:1], groups[:1])
    two, two_labels, _ = model.answer_logits(TALKS[1:], visual[1:, :2], groups[1:])
    assert torch.equal(labels, torch.cat([one_labels, two_labels]))
    torch.testing.assert_close(logits, torch.cat([one, two]), rtol=1e-4, atol=1e-4)
    ids, marks = model.prompts.conversation(TALKS[0], groups[0], visual.shape[2])
    places = [index for index, mark in enumerate(marks) if mark >= 0]
    for found, place in zip(one, places, strict=True):
        torch.testing.assert_close(found, model.prefill(visual[:1], ids[:place])[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="step is 2, and the prompts of a LLaVA-OneVision number no frames"):
        model.answer_logits(TALKS, visual, groups, step=2)


def test_the_embedding_that_ends_a_video_is_learnt_with_the_projector() -> None:
    model = with_student()
    visual = seen(model, video(4, POOLED))
    with torch.enable_grad():
        model.projector.requires_grad_(True)
        logits = model.answer_logits(TALKS[1:], visual, [1]).logits_MV
        (gradient,) = torch.autograd.grad(logits.square().sum(), model.projector.image_newline)
    model.projector.requires_grad_(False)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_feature_layer": [-1, -2]}, r"vision_feature_layer .* is \[-1, -2\]; only one layer .* from -3 to 2"),
        ({"vision_feature_layer": -4}, "vision_feature_layer .* is -4; only one layer"),
        ({"vision_feature_select_strategy": "default"}, "vision_feature_select_strategy .* 'default'; only 'full'"),
        ({"multimodal_projector_bias": False}, "multimodal_projector_bias .* is false; only true"),
        ({"image_token_index": 4, "video_token_index": 4}, "image_token_index and video_token_index .* are both 4"),
        (
            {"vision": {"model_type": "clip_vision_model"}},
            ".* 'clip_vision_model'; of the LLaVA-OneVision family, only",
        ),
    ],
)
def test_configs_that_are_read_otherwise_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"somewhere: {message}"):
        LlavaOnevisionHost().require_readable(llava_config(**fields), "somewhere")


def test_vllm_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="vLLM cannot be had of a LLaVA-OneVision, whose videos end by .*; take an"):
        LlavaOnevisionHost().require_in_vllm()


def test_a_tokenizer_with_another_id_for_the_end_of_videos_is_refused(tmp_path: Path) -> None:
    llava_host(image_token_index=llava_tokenizer().convert_tokens_to_ids(IMAGE) + 2).save_pretrained(tmp_path)
    llava_processor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="id of the image token '<image>' is .* image_token_id of config.json is"):
        load_base_vlm(str(tmp_path))
