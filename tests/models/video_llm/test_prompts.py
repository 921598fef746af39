"""Prompts are those of the host's own processor, token for token, and loss falls on the answers alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import InternVLProcessor

from host_world import TOKENS, bpe_processor
from liteframe.errors import ConfigError
from liteframe.models.video_llm.prompts import IGNORE, PromptBuilder, Turn
from liteframe.tiny.models import tiny_processor

TURNS: list[Turn] = [("color of the star", "red"), ("color of the ball", "left"), ("color of the box", "blue")]


@pytest.fixture(params=["tiny", "bpe"])
def processor(request: pytest.FixtureRequest) -> InternVLProcessor:
    return tiny_processor(TOKENS) if request.param == "tiny" else bpe_processor()


def messages(turns: list[Turn], question: str | None = None) -> list[dict[str, object]]:
    """A conversation as transformers wants it."""
    said: list[tuple[str, str]] = [text for turn in turns for text in zip(("user", "assistant"), turn, strict=True)]
    said += [("user", question)] if question is not None else []
    out: list[dict[str, object]] = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said]
    out[0]["content"] = [{"type": "video"}, *out[0]["content"]]  # type: ignore[misc]
    return out


def theirs(processor: InternVLProcessor, frames: int, turns: list[Turn], question: str | None = None) -> list[int]:
    """Ids from the processor's own call on a real video."""
    video = torch.randint(0, 255, (frames, 3, 112, 112), dtype=torch.uint8)
    text = processor.apply_chat_template(
        messages(turns, question), tokenize=False, add_generation_prompt=question is not None
    )
    made = processor(text=[text], videos=[video], do_sample_frames=False, return_tensors="pt")
    assert made.pixel_values.shape[0] == frames
    return made.input_ids[0].tolist()


@pytest.mark.parametrize("frames", [1, 2, 11])
def test_questions_are_those_of_the_processor(processor: InternVLProcessor, frames: int) -> None:
    builder = PromptBuilder(processor)
    before, after = builder.question_ids(TURNS[0][0], frames, TOKENS)
    assert before + after == theirs(processor, frames, [], TURNS[0][0])
    assert before.count(processor.image_token_id) == frames * TOKENS and processor.image_token_id not in after
    again, _ = builder.question_ids(TURNS[1][0], frames, TOKENS)
    assert again == before, "the questions about a video share its ids"


@pytest.mark.parametrize("turns", [TURNS[:1], TURNS, TURNS * 6], ids=["one", "three", "many"])
def test_conversations_are_those_of_the_processor(processor: InternVLProcessor, turns: list[Turn]) -> None:
    ids, labels = PromptBuilder(processor).conversation(turns, 3, TOKENS)
    assert ids == theirs(processor, 3, turns)
    assert len(labels) == len(ids)
    assert all(label in (IGNORE, token) for label, token in zip(labels, ids, strict=True))
    kept = [label for label in labels if label != IGNORE]
    said = processor.tokenizer.decode(kept).replace(" ", "")
    assert said == "".join(f"{answer}<|im_end|>" for _, answer in turns), "answers and the token that ends each"


@pytest.mark.parametrize("kept", [1, 8, 9, 17])
def test_turns_that_go_beyond_the_length_are_left_out(processor: InternVLProcessor, kept: int) -> None:
    builder, turns = PromptBuilder(processor), TURNS * 6
    whole = builder.conversation(turns[:kept], 3, TOKENS)
    assert builder.conversation(turns, 3, TOKENS, most=len(whole[0])) == whole


def test_a_question_and_its_answer_continue_the_prompt(processor: InternVLProcessor) -> None:
    builder = PromptBuilder(processor)
    before, after = builder.question_ids(TURNS[0][0], 2, TOKENS)
    ids, labels = builder.conversation(TURNS[:1], 2, TOKENS)
    asked = before + after
    assert ids[: len(asked)] == asked
    assert set(labels[: len(asked)]) == {IGNORE} and labels[len(asked)] == ids[len(asked)] != IGNORE


def test_batches_are_padded_on_the_right(processor: InternVLProcessor) -> None:
    builder = PromptBuilder(processor)
    batch = builder.batch([TURNS, TURNS[:1], TURNS[:2]], [1, 3, 0], TOKENS)
    longest = 0
    for row, (turns, groups) in enumerate(((TURNS, 1), (TURNS[:1], 3), (TURNS[:2], 0))):
        ids, labels = builder.conversation(turns, groups, TOKENS)
        longest = max(longest, len(ids))
        padding = batch.input_ids_BL.shape[1] - len(ids)
        assert batch.input_ids_BL[row].tolist() == ids + [processor.tokenizer.pad_token_id] * padding
        expected = labels if groups else [IGNORE] * len(labels)
        assert batch.labels_BL[row].tolist() == expected + [IGNORE] * padding
    assert batch.input_ids_BL.shape == batch.labels_BL.shape == (3, longest)


def test_clips_and_steps_change_the_numbers_alone() -> None:
    processor = tiny_processor(TOKENS)
    builder = PromptBuilder(processor)
    place = processor.image_token
    assert builder.video_text(2, 3) == f"Frame1: <img>{place * 3}</img>\nFrame2: <img>{place * 3}</img>"
    assert builder.video_text(3, 1, step=4) == "\n".join(f"Frame{n}: <img>{place}</img>" for n in (1, 5, 9))
    plain, stepped = (builder.question_ids("color of the box", 3, 4, step)[0] for step in (1, 2))
    changed = [i for i, pair in enumerate(zip(plain, stepped, strict=True)) if pair[0] != pair[1]]
    decode = processor.tokenizer.decode
    assert [decode([stepped[i]]) for i in changed] == ["Frame3:", "Frame5:"]


def test_steps_leave_the_lines_between_out_of_a_longer_prompt() -> None:
    """Every token keeps the position that it has in the prompt of all nine frames."""
    builder = PromptBuilder(tiny_processor(TOKENS))
    whole, stepped = builder.batch([TURNS], [9], TOKENS), builder.batch([TURNS], [3], TOKENS, step=3)
    assert whole.positions_BL[0].tolist() == list(range(whole.input_ids_BL.shape[1]))
    end = builder.tokenizer.convert_tokens_to_ids("</img>")
    line, kept = 1, []
    for position, token in enumerate(whole.input_ids_BL[0].tolist()):
        if line in (1, 4, 7) or line > 9:
            kept.append((position, token))
        line += token == end
    assert stepped.input_ids_BL[0].tolist() == [token for _, token in kept]
    assert stepped.positions_BL[0].tolist() == [position for position, _ in kept]


def test_a_processor_that_cannot_serve_is_refused() -> None:
    processor = tiny_processor(TOKENS)
    with pytest.raises(ConfigError, match="video_token is None"):
        PromptBuilder(SimpleNamespace(tokenizer=None, start_image_token="a", end_image_token="b", image_token="c"))  # type: ignore[arg-type]
    processor.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}<video>{% endif %}{{ messages | length }} {% endfor %}"
    )
    with pytest.raises(ConfigError, match="does not extend a prompt by its answer"):
        PromptBuilder(processor).conversation(TURNS[:1], 1, TOKENS)
    processor.chat_template = "{% for m in messages %}<video> and <video>{% endfor %}"
    with pytest.raises(ConfigError, match="writes '<video>' 2 times into a prompt of one video"):
        PromptBuilder(processor).question_ids("What?", 1, TOKENS)
    processor.chat_template = None
    with pytest.raises(ConfigError, match="no chat_template"):
        PromptBuilder(processor)


@pytest.mark.parametrize("asked", [2, 3])
def test_the_next_question_continues_the_conversation(processor: InternVLProcessor, asked: int) -> None:
    """Ids of a chat, put together turn by turn, are those of the whole conversation."""
    builder = PromptBuilder(processor)
    before, after = builder.question_ids(TURNS[0][0], 2, TOKENS)
    ids = before + after
    for turn in range(1, asked):
        ids += processor.tokenizer(TURNS[turn - 1][1], add_special_tokens=False).input_ids
        ids += builder.follow_up_ids([question for question, _ in TURNS[:turn]], TURNS[turn][0])
    assert ids == theirs(processor, 2, TURNS[: asked - 1], TURNS[asked - 1][0])
