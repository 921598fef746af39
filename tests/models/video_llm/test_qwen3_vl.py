"""Qwen3-VL as a base VLM: with its own encoder it is transformers' own; a student's pooled groups have their grid."""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLTextRotaryEmbedding

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
from liteframe.models.video_llm.hosts import HOSTS, host_of
from liteframe.models.video_llm.hosts.qwen3_vl import Qwen3VLHost, _parts, _places, grid_positions
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.prompts import Turn
from liteframe.models.video_llm.reading import VideoPrefix
from qwen3_world import FEATURES, own_inputs, qwen3_config, qwen3_folder, qwen3_host, qwen3_processor, video

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
RATE = 2.0
QUESTIONS = ["color of the star", "color of the ball"]


def types_of(types_BL: Tensor) -> dict[str, Tensor]:
    """What `get_rope_index` is told of the tokens' types, which the first versions of transformers 5 see themselves."""
    known = inspect.signature(Qwen3VLModel.get_rope_index).parameters
    return {"mm_token_type_ids": types_BL} if "mm_token_type_ids" in known else {}


@lru_cache
def host():  # type: ignore[no-untyped-def]
    model, processor = load_base_vlm(str(qwen3_folder()), "eager")
    return model.eval(), processor


def plain() -> VideoLLM:
    return VideoLLM(*host()).eval()


@lru_cache
def student() -> LiteFrameEncoder:
    config = LiteFrameConfig(
        image_size=112,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        output_size=FEATURES,
        downsample_after=[1, 2],
        initializer_range=0.3,
        attention="eager",
    )
    torch.manual_seed(0)
    return LiteFrameEncoder(config).eval()


def with_student() -> VideoLLM:
    return VideoLLM(*host(), LiteFrameBackbone(student())).eval()


def seen(model: VideoLLM, frames: Tensor) -> tuple[Tensor, Any]:
    groups = model.groups_of(len(frames), [index / RATE for index in range(len(frames))])
    return model.project(model.encode(frames[None])), groups


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


@pytest.mark.parametrize(("frames", "size"), [(1, (112, 112)), (2, (112, 112)), (5, (56, 168)), (8, (140, 84))])
def test_logits_are_those_of_transformers(frames: int, size: tuple[int, int]) -> None:
    model, pixels = plain(), video(frames, size)
    inputs = own_inputs([pixels], [rendered(asked(QUESTIONS[0]))], RATE)
    theirs = host()[0](**inputs).logits[:, -1]
    assert theirs.std() > 0.1, "logits of a random model are not all alike"
    visual, groups = seen(model, pixels)
    ids = model.prompt_ids(visual, QUESTIONS[0], groups)
    assert ids == inputs["input_ids"][0].tolist()
    torch.testing.assert_close(model.prefill(visual, ids), theirs, **CLOSE)
    (answers,) = model.before_answers(visual, [QUESTIONS], groups)
    torch.testing.assert_close(model.lm_head(answers[:1]), theirs, **CLOSE)
    for number, question in enumerate(QUESTIONS):
        alone = model.prefill(visual, model.prompt_ids(visual, question, groups))
        torch.testing.assert_close(model.lm_head(answers[number]), alone[0], **CLOSE)


def test_marks_of_groups_take_the_place_of_those_around_the_video() -> None:
    """As the family was released: transformers 4.57, and vLLM."""
    prompts, groups = plain().prompts, (0.25, 1.0)
    group = "<|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
    asks = "<|im_end|>\n<|im_start|>assistant\n"
    expected = f"<|im_start|>user\n<0.2 seconds>{group}<1.0 seconds>{group}red{asks}"
    before, after = prompts.question_ids("red", groups, 2)
    ids, _ = prompts.conversation([("red", "blue")], groups, 2)
    for found in (before + after, prompts.dialogue_ids(asked("red"), [(groups, 2)]), ids[: len(before + after)]):
        assert prompts.tokenizer.decode(found) == expected
    follow_up = prompts.tokenizer.decode(prompts.follow_up_ids(["red"], "blue"))
    assert follow_up == f"<|im_end|>\n<|im_start|>user\nblue{asks}"


def test_two_videos_in_a_prompt_are_as_transformers_reads_them() -> None:
    model, videos = plain(), [video(3, seed=1), video(4, seed=2)]
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "video"},
                {"type": "text", "text": "red"},
                {"type": "video"},
                {"type": "text", "text": "x"},
            ],
        }
    ]
    inputs = own_inputs(videos, [rendered(messages)], RATE)
    shown = [seen(model, each) for each in videos]
    ids = model.prompts.dialogue_ids(messages, [(groups, visual.shape[2]) for visual, groups in shown])
    assert ids == inputs["input_ids"][0].tolist()
    both = torch.cat([visual for visual, _ in shown], dim=1)
    torch.testing.assert_close(model.prefill(both, ids), host()[0](**inputs).logits[:, -1], **CLOSE)
    theirs = host()[0].generate(**inputs, max_new_tokens=6, do_sample=False)[0, len(ids) :].tolist()
    assert list(answer_prompt(model, ids, [visual for visual, _ in shown], 6)) == theirs


def test_a_padded_batch_answers_as_transformers_generates() -> None:
    model, videos = plain(), [video(7, seed=1), video(2, seed=2)]
    inputs = own_inputs(videos, [rendered(asked(question)) for question in QUESTIONS], RATE)
    theirs = host()[0].generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    shown = [seen(model, each) for each in videos]
    visuals, groups = [visual for visual, _ in shown], [groups for _, groups in shown]
    model._end_ids = (model.language_model.config.vocab_size - 1,)
    ours = answer_batch(model, visuals, QUESTIONS, 5, groups=groups)
    assert ours == theirs[:, inputs["input_ids"].shape[1] :].tolist()
    for visual, shown_groups, question, answer in zip(visuals, groups, QUESTIONS, ours, strict=True):
        talk = Conversation(model, visual, groups=shown_groups)
        assert list(talk.reply(question, 5)) == answer
        ids = prompt_ids(model, visual, question, shown_groups)
        shared, before = SharedVideo(model, visual), len(ids) - ids[::-1].index(model.image_token_id)
        for _ in range(2):  # the second time from the cache, cut back
            assert shared.answer(ids[:before], ids[before:], 5)[1] == answer


@pytest.mark.parametrize("own_encoder", [True, False])
def test_parts_of_a_prompt_are_the_whole(own_encoder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut within groups too, and read group by group; then a second turn."""
    model = plain() if own_encoder else with_student()
    visual, groups = seen(model, video(12))
    ids = prompt_ids(model, visual, QUESTIONS[0], groups)
    whole = model.prefill(visual, ids).argmax()
    monkeypatch.setattr("liteframe.models.video_llm.prefill._MASKED_PAIRS", 0)
    monkeypatch.setattr("liteframe.models.video_llm.prefill._FEW_TOKENS", 7)
    talk = Conversation(model, visual, groups=groups)
    first = list(talk.reply(QUESTIONS[0], 3))
    assert first[0] == whole
    prefix = VideoPrefix(model, groups)
    for part in visual.split(1, dim=1):
        prefix.read(part)
    again = Conversation(model, visual, prefix=prefix, groups=groups)
    assert list(again.reply(QUESTIONS[0], 3)) == first
    second = list(talk.reply(QUESTIONS[1], 3))
    assert list(again.reply(QUESTIONS[1], 3)) == second
    history = [*talk.ids[: len(talk.ids) - len(second)]]
    assert model.prefill(visual, history).argmax() == second[0]


def slow_positions(ids: list[int], visual_id: int, rows: int, columns: int) -> list[list[int]]:
    """Time, row and column of each token, in a loop."""
    positions, position, index = [], 0, 0
    while index < len(ids):
        if ids[index] != visual_id:
            positions.append([position] * 3)
            position, index = position + 1, index + 1
            continue
        for row in range(rows):
            for column in range(columns):
                positions.append([position, position + row, position + column])
        position, index = position + max(rows, columns), index + rows * columns
    return [list(axis) for axis in zip(*positions, strict=True)]


@pytest.mark.parametrize(("size", "grid"), [((112, 112), (2, 2)), ((56, 168), (1, 3)), ((224, 56), (4, 1))])
def test_positions_of_pooled_groups_are_those_of_their_grid(
    size: tuple[int, int], grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = with_student(), {}
    visual, groups = seen(model, video(11, size))
    assert groups == (0.75, 2.75, 4.5), "means of the first and the last frame of four"
    ids = model.prompt_ids(visual, QUESTIONS[0], groups)
    forward = type(model.language_model).forward

    def spy(self: Any, **inputs: Any) -> Any:
        given.update(inputs)
        return forward(self, **inputs)

    monkeypatch.setattr(type(model.language_model), "forward", spy)
    model.prefill(visual, ids)
    expected = slow_positions(ids, model.image_token_id, *grid)
    assert given["position_ids"][:, 0].tolist() == [list(range(len(ids))), *expected]
    types = torch.tensor([[2 if token == model.image_token_id else 0 for token in ids]])
    theirs, _ = host()[0].model.get_rope_index(
        torch.tensor([ids]), **types_of(types), video_grid_thw=torch.tensor([[3, 2 * grid[0], 2 * grid[1]]])
    )
    assert theirs[:, 0].tolist() == expected


def test_grid_positions_go_on_from_what_came_before() -> None:
    places = torch.tensor([[[0, 0, 0], [0, 0, -1], [0, 1, -1], [0, 2, 2], [0, 0, 0]]])
    numbers = torch.arange(10, 15)[None]
    found = grid_positions(numbers, places, torch.tensor([-4]))
    assert found[:, 0].tolist() == [[6, 7, 7, 7, 10], [6, 7, 7, 7, 10], [6, 7, 8, 9, 10]]


def test_deepstack_and_order_within_a_group_matter() -> None:
    model = with_student()
    visual, groups = seen(model, video(8))
    ids = model.prompt_ids(visual, QUESTIONS[0], groups)
    usual, width = model.prefill(visual, ids), model.language_model.config.hidden_size
    for channels in (slice(0, width), slice(width, 2 * width), slice(2 * width, 3 * width)):
        changed = visual.clone()
        changed[..., channels] = visual[..., channels].flip(2)
        assert (model.prefill(changed, ids) - usual).abs().max() > 1e-3, channels
    tokens = model.encode(video(8)[None])
    for layer in range(3):
        changed = tokens.clone()
        changed[..., layer * 32 : (layer + 1) * 32] = tokens[..., layer * 32 : (layer + 1) * 32].flip(3)
        assert (model.prefill(model.project(changed), ids) - usual).abs().max() > 1e-3, layer
    assert (model.prefill(model.project(tokens.flip(2)), ids) - usual).abs().max() > 1e-3


TALKS: list[list[Turn]] = [[("color of the star", "red"), ("color of the ball", "left")], [("red", "blue")]]


def test_videos_of_unequal_lengths_in_a_batch_are_as_one_by_one() -> None:
    model = with_student()
    frames = torch.stack([video(12, seed=1), video(12, seed=2)])
    times = [tuple(index / RATE for index in range(count)) for count in (12, 5)]
    groups = model.groups(torch.tensor([12, 5]), times)
    assert groups == [(0.75, 2.75, 4.75), (0.75, 2.0)]
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


def test_a_compressor_between_encoder_and_merger_keeps_a_grid() -> None:
    """As if the encoder had given the pooled tokens: by slow loops, and by transformers' positions of that grid."""
    model, own = VideoLLM(*host(), compressor=Pool("average", (2, 2, 2))).eval(), plain()
    pixels = video(8, (112, 168))
    visual, groups = seen(model, pixels)
    assert visual.shape[:3] == (1, 2, 6) and groups == (0.75, 2.75)
    tokens = own.encode(pixels[None])  # (1, 4, 8, 12, C)
    pooled = torch.stack(
        [
            torch.stack(
                [tokens[:, t : t + 2, y : y + 2, x : x + 2].mean(dim=(1, 2, 3)) for x in range(0, 12, 2)], dim=1
            )
            for t in (0, 2)
            for y in range(0, 8, 2)
        ],
        dim=1,
    ).unflatten(1, (2, 4))
    torch.testing.assert_close(visual, own.project(pooled), **CLOSE)
    ids = model.prompt_ids(visual, QUESTIONS[0], groups)
    width = model.language_model.config.hidden_size
    types = torch.tensor([[2 if token == model.image_token_id else 0 for token in ids]])
    positions, _ = host()[0].model.get_rope_index(
        torch.tensor([ids]), **types_of(types), video_grid_thw=torch.tensor([[2, 4, 6]])
    )
    embeds = host()[0].get_input_embeddings()(torch.tensor([ids]))
    places = types[0].bool()
    embeds[0, places] = visual[0].flatten(0, 1)[:, :width]
    deep = [visual[0].flatten(0, 1)[:, layer * width : (layer + 1) * width] for layer in (1, 2)]
    outputs = host()[0].model.language_model(
        inputs_embeds=embeds, position_ids=positions, visual_pos_masks=types.bool(), deepstack_visual_embeds=deep
    )
    theirs = host()[0].lm_head(outputs.last_hidden_state[:, -1])
    torch.testing.assert_close(model.prefill(visual, ids), theirs, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_places_of_a_token_outlive_low_precision(dtype: torch.dtype) -> None:
    """On grids of up to 256 tokens a side."""
    width = 24
    for rows, columns in ((16, 256), (256, 3)):
        places = _places(rows, columns)
        packed = torch.cat([torch.zeros(rows * columns, width), places], dim=1).to(dtype)[None]
        assert torch.equal(_parts(packed, width)[-1][0], places)


def test_what_cannot_be_done_is_refused_by_name() -> None:
    model = plain()
    visual, groups = seen(model, video(4))
    with pytest.raises(ConfigError, match="tell the second of each group of frames, and nothing says when"):
        model.groups_of(4)
    with pytest.raises(ConfigError, match="nothing says when"):
        model.groups(torch.tensor([2, 1]), [(0.0, 1.0), None])
    for times in ([0.0, 0.5], [0.0] * 9):
        with pytest.raises(ConfigError, match=f"8 frames with {len(times)} times"):
            model.groups_of(8, times)
    assert model.groups(torch.tensor([0]), [()]) == [()]
    with pytest.raises(ConfigError, match="this way of asking knows none"):
        model.first_answer_logits(visual, [QUESTIONS])
    with pytest.raises(ConfigError, match="step is 2, and the prompts of a Qwen3-VL number no frames"):
        model.answer_logits(TALKS[1:], visual, [groups], step=2)
    with pytest.raises(ConfigError, match="data.image_size: .*98"):
        model.require_size((98, 112), "data.image_size")
    model.require_size((56, 112), "data.image_size")


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"deepstack_visual_indexes": [2, 0]}, r"deepstack_visual_indexes .* is \[2, 0\]; .* from 0 to 2 in ascending"),
        ({"deepstack_visual_indexes": [3]}, r"deepstack_visual_indexes .* is \[3\]"),
        ({"num_position_embeddings": 60}, "num_position_embeddings .* is 60, no square"),
        ({"patch_size": [14, 16]}, r"patch_size of the vision config is .*14, 16.*; it must be one number"),
        ({"out_hidden_size": 16}, "out_hidden_size .* is 16, hidden_size of the text config 24"),
    ],
)
def test_configs_that_are_read_otherwise_are_refused(vision: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"somewhere: {message}"):
        Qwen3VLHost().require_readable(qwen3_config(**vision), "somewhere")


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"mrope_section": [4, 2, 1]}, r"mrope_section .* is \[4, 2, 1\]; .* whose sum is 8"),
        ({"mrope_section": None}, r"mrope_section .* is None; .* whose sum is 8"),
        ({}, r"mrope_section .* is \[24, 20, 20\]; .* whose sum is 8"),
        ({"mrope_section": [4, 2, 2], "mrope_interleaved": False}, "mrope_interleaved .* is False; only true"),
    ],
)
def test_positions_that_are_read_otherwise_are_refused(rope: dict[str, Any], message: str) -> None:
    config = qwen3_config()
    usual = {name: value for name, value in config.text_config.rope_parameters.items() if "mrope" not in name}
    config.text_config.rope_parameters = {**usual, **rope}
    with pytest.raises(ConfigError, match=message):
        Qwen3VLHost().require_readable(config, "somewhere")
    config.text_config.rope_parameters = {**usual, "mrope_section": [4, 2, 2]}
    Qwen3VLHost().require_readable(config, "somewhere")


def test_sections_that_a_config_does_not_name_are_those_of_transformers() -> None:
    config = qwen3_config()
    del config.text_config.rope_parameters["mrope_section"]
    config.text_config.head_dim = 128
    Qwen3VLHost().require_readable(config, "somewhere")
    assert Qwen3VLTextRotaryEmbedding(config.text_config).mrope_section == [24, 20, 20]


def test_mixtures_of_experts_are_named() -> None:
    with pytest.raises(
        ConfigError, match=r"give .* Qwen/Qwen3-VL-4B-Instruct.*\. Qwen3-VLs with mixtures of experts are not"
    ):
        host_of(SimpleNamespace(model_type="qwen3_vl_moe"), "somewhere")


def test_other_families_are_told_which_there_are(tmp_path: Any) -> None:
    qwen3_host().model.language_model.save_pretrained(tmp_path)
    qwen3_processor().save_pretrained(tmp_path)
    names = rf"InternVL, Qwen3-VL and LLaVA-OneVision \({', '.join(HOSTS)}\)"
    with pytest.raises(
        ConfigError,
        match=f"model_type 'qwen3_vl_text' is not a base VLM .*{names}",
    ):
        load_base_vlm(str(tmp_path))
