"""What is asked of a conversation when its video was read: the tokens of its prompt against the LLM's context."""

from __future__ import annotations

import json
import pickle
import re
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import InternVLProcessor

from host_world import TOKENS, bpe_processor
from liteframe.data.sources.conversations import PARTS
from liteframe.errors import ConfigError, DataError, ManifestError
from liteframe.models.video_llm.prompts import PromptBuilder, Turn
from liteframe.stages.conversation_check import ConversationCheck, context_length
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.tiny.models import tiny_processor
from tiny_world import decoding_in_process, encoder_folder, host_folder, make_trainer, manifest, video_data

TURNS: list[Turn] = [
    ("color of the star", "red"),
    ("color of", "left left left"),
    ("the ball the ball the ball", "left"),
    ("star", "blue red"),
    ("color of the box", "blue"),
]


@pytest.fixture(params=["tiny", "bpe"])
def prompts(request: pytest.FixtureRequest) -> PromptBuilder:
    return PromptBuilder(tiny_processor(TOKENS) if request.param == "tiny" else bpe_processor())


def talk(turns: list[Turn]) -> dict[str, Any]:
    said = [text for turn in turns for text in zip(("human", "gpt"), turn, strict=True)]
    return {"path": "a.mp4", "id": "a", "conversations": [{"from": name, "value": text} for name, text in said]}


def refuses(check: ConversationCheck, row: dict[str, Any], frames: int) -> bool:
    try:
        check(row, frames)
    except DataError as error:
        assert "a.mp4 (id a): field " in str(error) and "\n" not in str(error)
        return True
    return False


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 8, 9])
def test_a_conversation_has_the_tokens_of_its_prompt(prompts: PromptBuilder, count: int, frames: int) -> None:
    length = prompts.batch([TURNS[:count]], [-(-frames // 4)], TOKENS).input_ids_BL.shape[1]
    for limit in sorted({*range(length - 60, length + 60, 9), *range(length - 2, length + 2)}):
        check = ConversationCheck(prompts, 4, TOKENS, limit)
        assert refuses(check, talk(TURNS[:count]), frames) == (length > limit), (length, limit)
    assert not refuses(ConversationCheck(prompts, 4, TOKENS, None), talk(TURNS), 10**4)


@pytest.mark.parametrize("most", [1, 2, 4])
def test_of_questions_that_are_drawn_the_longest_have_to_fit(prompts: PromptBuilder, most: int) -> None:
    drawn = [list(turns) for turns in permutations(TURNS, most)]
    longest = max(prompts.batch([turns], [2], TOKENS).input_ids_BL.shape[1] for turns in drawn)
    row = {"path": "a.mp4", "id": "a", "questions": [{"question": q, "answer": a} for q, a in TURNS]}
    for limit in (longest - 1, longest):
        assert refuses(ConversationCheck(prompts, 4, TOKENS, limit, most), row, 8) == (limit < longest)


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_what_does_not_fit_is_left_out_where_that_is_asked_for(prompts: PromptBuilder, kept: int) -> None:
    lengths = [prompts.batch([TURNS[:count]], [2], TOKENS).input_ids_BL.shape[1] for count in range(1, 6)]
    prompts.max_length = lengths[kept - 1]
    made = prompts.batch([TURNS, TURNS[:1]], [2, 2], TOKENS)
    whole = prompts.conversation(TURNS[:kept], 2, TOKENS)
    assert made.input_ids_BL[0].tolist() == whole[0] and made.labels_BL[0].tolist() == whole[1]
    for limit, fits in ((lengths[0] - 1, False), (lengths[0], True)):
        assert refuses(ConversationCheck(prompts, 4, TOKENS, limit, truncate=True), talk(TURNS), 8) != fits


def with_tokens(*tokens: str) -> InternVLProcessor:
    processor = bpe_processor()
    processor.tokenizer.add_tokens(list(tokens), special_tokens=True)
    return processor


def test_tokens_that_prompts_are_built_of_are_named_and_others_are_text() -> None:
    processor = with_tokens("<ref>", "<turn>")
    processor.chat_template = processor.chat_template.replace("<|im_start|>", "<turn>")
    check = ConversationCheck(PromptBuilder(processor), 4, TOKENS, None)
    assert not refuses(check, talk([("find <ref>it</ref>", "<ref>ball</ref>, a <box> <|im_sta rt|>")]), 8)
    for turn in (("what <turn>", "red"), ("what", "red<turn>user")):
        with pytest.raises(DataError, match="field conversations: holds '<turn>', which prompts of this base VLM"):
            check(talk([TURNS[0], turn]), 8)


def test_a_loader_process_gets_a_copy(prompts: PromptBuilder) -> None:
    prompts.max_length = 7
    check = ConversationCheck(prompts, 4, TOKENS, 60)
    assert refuses(check, talk(TURNS), 8)
    copy = pickle.loads(pickle.dumps(check))
    assert refuses(copy, talk(TURNS), 8) and not refuses(copy, talk(TURNS[:1]), 1)
    assert copy.prompts.max_length == 7


def test_the_context_is_the_llms_or_else_the_tokenizers() -> None:
    def model(positions: int | None, longest: float) -> Any:
        config = SimpleNamespace(max_position_embeddings=positions)
        prompts = SimpleNamespace(tokenizer=SimpleNamespace(model_max_length=longest))
        return SimpleNamespace(language_model=SimpleNamespace(config=config), prompts=prompts)

    assert [context_length(model(*pair)) for pair in ((8, 4), (None, 4), (None, 1e30))] == [8, 4, None]


def rows() -> list[dict[str, Any]]:
    found = [json.loads(line) for line in manifest().read_text().splitlines()]
    return [{**row, "path": str(manifest().parent / row["path"])} for row in found]


def fitted(folder: Path, source: str, lma: dict[str, Any] | None = None, **settings: Any) -> LMAStage:
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj"])
    stage = LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager", **(lma or {}))
    common = {"frames": 4, "batch_size": 1, "max_skip_fraction": 0.9}
    with decoding_in_process():
        make_trainer(folder, max_steps=4).fit(stage, video_data(train=source, **{**common, **settings}))
    return stage


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_too_long_for_the_llm_is_an_error_or_skipped_or_cut(workers: int, tmp_path: Path) -> None:
    def row(number: int, count: int) -> dict[str, Any]:
        asked = [{"from": ("human", "gpt")[i % 2], "value": "red"} for i in range(2 * count)]
        return {"path": rows()[number]["path"], "id": f"of {count}", "conversations": asked}

    listed = [row(0, 1), row(1, 40), row(2, 2)]
    source = tmp_path / "x.jsonl"
    source.write_text("".join(json.dumps(item) + "\n" for item in listed))
    settings = {"num_workers": workers}
    with pytest.raises(ManifestError, match=r"x\.jsonl:2: .*\(id of 40\): field conversations: the conversation has "):
        fitted(tmp_path / "error", str(source), {"max_length": 100}, **settings)
    fitted(tmp_path / "skip", str(source), {"max_length": 100}, on_error="skip", **settings)
    (skip,) = [json.loads(line) for line in (tmp_path / "skip" / "skipped.jsonl").read_text().splitlines()]
    assert (
        skip["id"] == "of 40"
        and "x.jsonl:2" in skip["reason"]
        and "questions: 40), more than the 100" in skip["reason"]
    )
    if workers:
        return  # what fits is trained on wherever it was looked at
    cut = fitted(tmp_path / "cut", str(source), {"max_length": 100, "truncate": True}, **settings)
    assert all(weight.isfinite().all() for weight in cut.parameters())
    fitted(tmp_path / "fits", str(source), **settings)
    assert not (tmp_path / "cut" / "skipped.jsonl").exists() and not (tmp_path / "fits" / "skipped.jsonl").exists()


def test_no_more_than_the_llm_takes_can_be_asked_for(tmp_path: Path) -> None:
    for length in (0, 8193):
        with pytest.raises(ConfigError, match=rf"model\.max_length is {length}; the LLM takes 1 to 8192 tokens"):
            fitted(tmp_path, str(manifest()), {"max_length": length})


@pytest.mark.parametrize("token", ["<video>", "<pad>", "<|endoftext|>"])
@pytest.mark.parametrize("place", [0, 1])
def test_tokens_that_end_answers_fill_batches_or_stand_for_videos_are_named(token: str, place: int) -> None:
    processor = with_tokens("<ref>", "<video>", "<pad>", "<|endoftext|>")
    processor.tokenizer.pad_token = "<pad>"
    ends = [processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    prompts = PromptBuilder(processor, ends)
    turn = ("what", f"red {token}") if place else (f"what {token}", "red")
    row = {
        "path": "a.mp4",
        "id": "a",
        "questions": [{"question": "q", "answer": "a"}, dict(zip(PARTS, turn, strict=True))],
    }
    for check in (ConversationCheck(prompts, 4, TOKENS, None), pickle.loads(pickle.dumps(prompts))):
        asked = check if isinstance(check, ConversationCheck) else ConversationCheck(check, 4, TOKENS, None)
        if (token, place) == ("<video>", 0):
            asked(row, 8)  # a placeholder, which is left out of questions
            continue
        with pytest.raises(
            DataError, match=rf"field questions: holds '{re.escape(token)}'.* of the {PARTS[place]} of item 2"
        ):
            asked(row, 8)
