"""Greedy answers with a cache are those of a full prefill for every token, in turns and in batches."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration

from host_world import bpe_processor
from liteframe.errors import DataError
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm import prefill
from liteframe.models.video_llm.generation import (
    Conversation,
    SharedVideo,
    answer_batch,
    answer_prompt,
    prompt_ids,
    room_for_answer,
)
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.token_choice import Sampled
from liteframe.system.cancellation import Cancellation, Cancelled
from liteframe.tiny.models import tiny_config, tiny_processor
from tiny_world import encoder_folder

QUESTIONS = ["color of the star", "color of the ball", "color of the first triangle"]


@pytest.fixture(params=["tiny", "bpe"])
def model(request: pytest.FixtureRequest) -> VideoLLM:
    """With a head of its own, so that what comes next is not just what came last."""
    return tiny_model(tiny_processor() if request.param == "tiny" else bpe_processor())


def tiny_model(processor: Any, **text: Any) -> VideoLLM:
    config = tiny_config(processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    if text:
        config.text_config = type(config.text_config).from_dict(
            {**config.text_config.to_dict(), "layer_types": None, **text}
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        host = InternVLForConditionalGeneration(config)
        encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    return VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=4).eval()


def see(model: VideoLLM, frames: int = 8, seed: int = 0) -> Tensor:
    pixels = torch.randn(1, frames, 3, 112, 112, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.project(model.encode(pixels))


def slow_answer(model: VideoLLM, visual: Tensor, ids: list[int], max_tokens: int) -> list[int]:
    """The whole conversation through the LLM again for every token."""
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < max_tokens:
            token = int(model.prefill(visual, [*ids, *answer])[0].argmax())
            if token == model.prompts.end_id:
                break
            answer.append(token)
    return answer


def end_with(model: VideoLLM, token: int) -> None:
    """Lets answers end with a token that this random model does come to say."""
    tokenizer = model.prompts.tokenizer
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(token)


def test_a_prompt_in_parts_is_the_prompt_at_once(model: VideoLLM) -> None:
    visual = see(model, 24)
    asked = [(turn, list(Conversation(model, visual).reply(turn, 4))) for turn in QUESTIONS[:2]]
    for tokens in (1, 7, 16):  # a part may begin and end among the tokens of a clip
        with mock.patch.object(prefill, "_PREFILL_TOKENS", tokens):
            for turn, ids in asked:
                assert list(Conversation(model, visual).reply(turn, 4)) == ids


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_question_whose_reading_was_cancelled_was_never_asked(model: VideoLLM, parts: int) -> None:
    visual = see(model, 24)
    expected = Conversation(model, visual)
    answers = [list(expected.reply(turn, 4)) for turn in QUESTIONS]
    talk, counts = Conversation(model, visual), dict.fromkeys(range(3), 0)
    hidden_states, going = VideoLLM.hidden_states, 0

    def watched(self: VideoLLM, *given: Any, **more: Any) -> Tensor:
        counts[going] += 1
        if counts[going] > parts:
            ending.cancel()
        return hidden_states(self, *given, **more)

    for going, turn in enumerate(QUESTIONS):
        ending = Cancellation()
        if not parts:
            ending.cancel()
        with (
            mock.patch.object(prefill, "_PREFILL_TOKENS", 1),
            mock.patch.object(VideoLLM, "hidden_states", watched),
            pytest.raises(Cancelled),
        ):
            list(talk.reply(turn, 4, ending))
        assert list(talk.reply(turn, 4)) == answers[going]
    assert talk.ids == expected.ids


def test_an_answer_that_was_cancelled_has_ended_there(model: VideoLLM) -> None:
    visual, ending = see(model), Cancellation()
    left, cancelled = Conversation(model, visual), Conversation(model, visual)
    next(left.reply(QUESTIONS[0], 5))
    words = cancelled.reply(QUESTIONS[0], 5, ending)
    next(words)
    ending.cancel()
    with pytest.raises(Cancelled):
        next(words)
    assert cancelled.ids == left.ids
    assert list(cancelled.reply(QUESTIONS[1], 4)) == list(left.reply(QUESTIONS[1], 4))


def test_layers_that_hold_but_a_window_answer_as_without_a_cache() -> None:
    model = tiny_model(tiny_processor(), use_sliding_window=True, sliding_window=12, max_window_layers=1)
    visuals = [see(model, frames, seed=frames) for frames in (24, 8)]
    asked = [prompt_ids(model, visual, QUESTIONS[0]) for visual in visuals]
    expected = [slow_answer(model, visual, ids, 1) for visual, ids in zip(visuals, asked, strict=True)]
    assert len(asked[1]) > 12
    assert answer_batch(model, visuals, [QUESTIONS[0]] * 2, 1) == expected
    shared = SharedVideo(model, visuals[0])
    video, question = model.prompts.question_ids(QUESTIONS[0], *visuals[0].shape[1:3])
    assert [shared.answer(video, question, 1)[1] for _ in range(2)] == [expected[0]] * 2


def test_a_conversation_is_an_uncached_prefill_of_all_of_it(model: VideoLLM) -> None:
    visual, talk = see(model), Conversation(model, see(model))
    passed: list[int] = []
    model.language_model.layers[0].register_forward_pre_hook(lambda _, inputs: passed.append(inputs[0].shape[1]))
    said = 0
    for turn, question in enumerate(QUESTIONS):
        expected = prompt_ids(model, visual, question) if turn == 0 else None
        answer = list(talk.reply(question, 6))
        prompt = talk.ids[: len(talk.ids) - len(answer)]
        assert expected in (None, prompt) and len(prompt) > said
        tokens_passed, said = sum(passed), len(talk.ids)
        assert tokens_passed == talk.cached in (said, said - 1), "each token once"
        assert answer == slow_answer(model, visual, prompt, 6) and len(answer) == 6
        passed[:] = [tokens_passed]
    assert len(set(talk.ids[-6:])) > 1, "answers of one word would show little"


def test_an_answer_stops_at_the_token_that_ends_it(model: VideoLLM) -> None:
    visual = see(model)
    whole = list(Conversation(model, visual).reply(QUESTIONS[0], 8))
    end_with(model, whole[-1])
    answer = whole[: whole.index(whole[-1])]
    talk = Conversation(model, visual)
    assert list(talk.reply(QUESTIONS[0], 8)) == answer
    again = list(talk.reply(QUESTIONS[1], 8))
    assert again == slow_answer(model, visual, talk.ids[: len(talk.ids) - len(again)], 8)


def test_an_answer_that_is_broken_off_is_part_of_the_conversation(model: VideoLLM) -> None:
    visual, talk = see(model), Conversation(model, see(model))
    left = talk.reply(QUESTIONS[0], 9)
    started = [next(left), next(left)]
    left.close()
    assert talk.ids[-2:] == started
    answer = list(talk.reply(QUESTIONS[1], 4))
    assert answer == slow_answer(model, visual, talk.ids[: len(talk.ids) - len(answer)], 4)


def test_a_batch_of_videos_is_answered_as_one_by_one(model: VideoLLM) -> None:
    visuals = [see(model, frames, seed) for seed, frames in enumerate((4, 20, 10))]
    alone = [list(Conversation(model, v).reply(q, 7)) for v, q in zip(visuals, QUESTIONS, strict=True)]
    assert answer_batch(model, visuals, QUESTIONS, 7) == alone
    end_with(model, alone[1][2])
    alone = [list(Conversation(model, v).reply(q, 7)) for v, q in zip(visuals, QUESTIONS, strict=True)]
    assert answer_batch(model, visuals, QUESTIONS, 7) == alone
    assert len({len(answer) for answer in alone}) > 1, "one ends before the others"


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
def test_what_cannot_be_asked_is_named(model: VideoLLM) -> None:
    visual = see(model)

    def ask(question: str, tokens: int = 1) -> None:
        list(Conversation(model, visual).reply(question, tokens))

    with pytest.raises(DataError, match=r"does not know the words 'What', 'says'; it knows ball, blue, .*, yellow"):
        ask("What color says the ball")
    with pytest.raises(DataError, match="the question is empty"):
        ask(" ")
    for token in ("<video>", "<IMG_CONTEXT>", "<|im_end|>"):
        with pytest.raises(DataError, match="which a question may not"):
            ask(f"color of the {token}")
    with pytest.raises(DataError, match=r"the LLM takes 8192 in all; look at fewer frames"):
        ask(QUESTIONS[0], 9000)
    with pytest.raises(DataError, match="max_tokens is 0"):
        ask(QUESTIONS[0], 0)
    with pytest.raises(DataError, match=r"no number for each of 300 groups of frames; look at fewer"):
        answer_batch(model, [visual[:, :1].expand(-1, 300, -1, -1)], QUESTIONS[:1], 1)


def test_a_whole_prompt_is_answered_as_a_conversation_is(model: VideoLLM) -> None:
    talk = Conversation(model, visual := see(model))
    first, second = list(talk.reply(QUESTIONS[0], 4)), list(talk.reply(QUESTIONS[1], 4))
    prompts = model.prompts
    said = prompts.tokenizer.decode(first, skip_special_tokens=True)
    video, asked = [{"type": "video"}], [[{"type": "text", "text": question}] for question in QUESTIONS[:2]]
    messages = [
        {"role": "user", "content": video + asked[0]},
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
        {"role": "user", "content": asked[1]},
    ]
    shape = tuple(visual.shape[1:3])
    assert list(answer_prompt(model, prompts.dialogue_ids(messages[:1], [shape]), [visual], 4)) == first
    if prompts.tokenizer(said, add_special_tokens=False).input_ids == first:
        ids = prompts.dialogue_ids(messages, [shape])
        assert ids == talk.ids[: len(talk.ids) - len(second)]
        assert list(answer_prompt(model, ids, [visual], 4)) == second


def test_tokens_are_drawn_by_their_probability() -> None:
    logits_BV = torch.tensor([[2.0, 1.0, 0.0, -torch.inf]])
    draw = Sampled(temperature=0.5, seed=0)
    shares = torch.bincount(torch.cat([draw(logits_BV) for _ in range(4000)]), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.softmax(logits_BV[0] / 0.5, dim=-1), atol=0.02, rtol=0)
    assert {int(Sampled(9.0, top_k=2, seed=seed)(logits_BV)) for seed in range(50)} == {0, 1}
    # Of 0.67, 0.24 and 0.09, the first two are the fewest that have 0.7.
    assert {int(Sampled(1.0, top_p=0.7, seed=seed)(logits_BV)) for seed in range(50)} == {0, 1}
    assert len({int(Sampled(9.0)(logits_BV)) for _ in range(50)}) > 1
    with pytest.raises(DataError, match="logits are no numbers"):
        Sampled(1.0)(torch.tensor([[1.0, torch.nan]]))


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
def test_logits_that_are_no_numbers_are_no_answer(model: VideoLLM) -> None:
    visual = see(model)
    with torch.no_grad():
        model.language_model.norm.weight.fill_(torch.nan)
    with pytest.raises(DataError, match="logits are no numbers; take another dtype"):
        list(Conversation(model, visual).reply(QUESTIONS[0], 3))
    with pytest.raises(DataError, match="logits are no numbers"):
        answer_batch(model, [visual], QUESTIONS[:1], 3)


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
def test_an_answer_has_the_room_that_the_context_leaves(model: VideoLLM) -> None:
    limit = model.language_model.config.max_position_embeddings
    assert room_for_answer(model, limit - 3, 2) == 2
    assert room_for_answer(model, limit - 3, 4096) == 3
    with pytest.raises(DataError, match=f"the LLM takes {limit} in all"):
        room_for_answer(model, limit, 4096)


@pytest.mark.parametrize("model", ["tiny"], indirect=True)
def test_a_refused_question_leaves_the_conversation_as_it_was(model: VideoLLM) -> None:
    talk, undisturbed = Conversation(model, see(model)), Conversation(model, see(model))
    list(talk.reply(QUESTIONS[0], 3))
    with pytest.raises(DataError):
        next(talk.reply("nonsense", 3))
    list(undisturbed.reply(QUESTIONS[0], 3))
    assert list(talk.reply(QUESTIONS[1], 3)) == list(undisturbed.reply(QUESTIONS[1], 3))
    assert talk.ids == undisturbed.ids
