"""What the page asks of the models: the answers of `liteframe chat`, WAP's weights, and faults in plain words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from unittest import mock

import av
import pytest
import torch

import liteframe
from liteframe.chat.model import ChatModel
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.demo.answers import Shown, Subject, Watcher, usual_saliency
from liteframe.models.backbone import WAP
from liteframe.models.teachers import Teacher
from llava_world import FILLED, llava_folder
from qwen3_world import qwen3_folder
from tiny_world import InProcessPool, host_folder, lma_run_folder, manifest

QUESTION = "color of the star"


@pytest.fixture(autouse=True)
def decoding_in_process() -> Iterator[None]:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        yield


@lru_cache
def models() -> tuple[ChatModel, ChatModel]:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        return liteframe.load(lma_run_folder() / "export"), liteframe.load(host_folder())


def watcher(teacher: bool = True) -> Watcher:
    subjects = [Subject(name, model) for name, model in zip(("student", "teacher"), models(), strict=True)]
    return Watcher(subjects if teacher else subjects[:1], WAP(), max_tokens=4)


@lru_cache
def video(number: int = 0) -> str:
    rows = manifest().read_text().splitlines()
    return str(manifest().parent / json.loads(rows[number])["path"])


def last(shown: Iterator[Shown]) -> Shown:
    return list(shown)[-1]


def test_both_answer_as_chat_does_and_the_answer_streams() -> None:
    steps = list(watcher().ask(video(), QUESTION, 10))
    final = steps[-1]
    for reply, model in zip(final.replies, models(), strict=True):
        alone = model.answer(video(), QUESTION, max_tokens=4, frames=10)
        assert reply.answer is not None and reply.text == reply.answer.text == alone.text != ""
        assert (reply.answer.frames, reply.answer.visual_tokens) == (10, alone.visual_tokens)
    texts = [step.replies[0].text for step in steps]
    assert texts[0] == "" and len(set(texts)) > 2 and all(b.startswith(a) for a, b in pairwise(texts))
    first_of_teacher = next(number for number, step in enumerate(steps) if step.replies[1].text)
    assert steps[first_of_teacher].replies[0].answer is not None, "one after the other"


def test_models_are_warm_before_they_are_timed() -> None:
    asks = watcher()
    with mock.patch.object(ChatModel, "answer", autospec=True, side_effect=ChatModel.answer) as answer:
        last(asks.ask(video(), "what is this", 16))
        assert answer.call_count == 1, "what cannot be asked warms nothing"
        for number in range(2):
            last(asks.ask(video(number), QUESTION, 16))
    assert [call.args[:2] for call in answer.call_args_list[1:]] == [(model, video()) for model in models()]
    assert [call.kwargs["frames"] for call in answer.call_args_list] == [8] * 3


def test_without_a_teacher_there_are_no_weights() -> None:
    final = last(watcher(teacher=False).ask(video(), QUESTION, 4))
    assert len(final.replies) == 1 and final.replies[0].answer is not None and final.weights is None


def test_weights_are_the_softmax_over_each_block() -> None:
    found = last(watcher().ask(video(), QUESTION, 6)).weights
    assert found is not None and found.block == (4, 2, 2) and found.blocks_in_all == 2
    assert found.times_s is not None and len(set(found.times_s[:6])) == 6
    assert found.times_s[5:] == [found.times_s[5]] * 3, "the last frame fills up the block"
    teacher = models()[1].model.backbone
    assert isinstance(teacher, Teacher)
    with torch.no_grad():
        vision = teacher(normalize(resize_uint8(found.frames_THWC.numpy(), (112, 112)))[None])
    assert vision.cls_BTC is not None
    tokens_THWC, cls_TC = vision.tokens_BTHWC[0], vision.cls_BTC[0]
    T, H, W, C = tokens_THWC.shape
    for t in range(0, T, 4):
        for h in range(0, H, 2):
            for w in range(0, W, 2):
                places = [(t + i, h + j, w + k) for i in range(4) for j in range(2) for k in range(2)]
                powers = [math.exp(float(tokens_THWC[place] @ cls_TC[place[0]]) / math.sqrt(C)) for place in places]
                shown = [float(found.weights_THW[place]) for place in places]
                assert shown == pytest.approx([power / sum(powers) for power in powers], rel=1e-3)


def test_of_many_blocks_some_are_shown_from_the_whole_video() -> None:
    found = last(watcher().ask(video(), QUESTION, 64)).weights
    assert found is not None and found.times_s is not None
    assert (len(found.frames_THWC), found.blocks_in_all) == (32, 16)
    assert found.times_s[0] < 1 and found.times_s[-1] > 7


@pytest.mark.parametrize(("file", "question", "said"), [(None, QUESTION, "Choose a video"), ("here", " ", "Type a")])
def test_what_is_missing_is_asked_for(file: str | None, question: str, said: str) -> None:
    assert said in str(last(watcher().ask(file and video(), question, 4)).error)


def test_a_question_that_cannot_be_asked_is_said_beside_the_model() -> None:
    final = last(watcher().ask(video(), "what is this", 4))
    assert final.weights is None and final.error is None
    assert all("does not know the words 'what', 'is', 'this'" in str(reply.error) for reply in final.replies)


def test_too_many_frames_for_one_leave_the_other_its_answer() -> None:
    with mock.patch.object(models()[1].model.language_model.config, "max_position_embeddings", 100):
        student, teacher = last(watcher().ask(video(), QUESTION, 16)).replies
    assert student.answer is not None and teacher.answer is None
    assert "look at fewer frames" in str(teacher.error)


def test_a_broken_file_is_named_as_its_owner_calls_it(tmp_path: Path) -> None:
    broken = tmp_path / "holiday.mp4"
    broken.write_bytes(b"no film" * 100)
    final = last(watcher().ask(str(broken), QUESTION, 4))
    assert str(final.error).startswith("holiday.mp4: ") and str(tmp_path) not in str(final.error)
    assert not final.replies


def test_a_recording_without_its_end_is_answered_and_said(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "sample.webm"
    with av.open(video()) as source, av.open(str(whole), "w", options={"live": "1"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(whole.read_bytes()[:-20])
    final = last(watcher().ask(str(cut), QUESTION, 8))
    assert str(final.note).startswith("sample.webm is cut short")
    assert all(reply.answer is not None and reply.answer.frames == 8 for reply in final.replies)
    assert final.weights is not None and final.error is None
    assert last(watcher().ask(str(whole), QUESTION, 8)).note is None


def test_weights_of_a_teacher_without_a_class_token_are_by_the_norm() -> None:
    student, internvl = models()
    qwen = liteframe.load(qwen3_folder())
    for others, expected in (([], "class_token"), ([internvl], "class_token"), ([qwen], "norm")):
        subjects = [Subject("student", student), *(Subject("teacher", model) for model in others)]
        assert usual_saliency(subjects) == expected
    subjects = [Subject("teacher", qwen)]
    shown = last(Watcher(subjects, WAP(saliency=usual_saliency(subjects)), max_tokens=2).ask(video(), QUESTION, 8))
    assert shown.error is None and shown.weights is not None and shown.weights.block == (4, 2, 2)
    frames_THWC, weights_THW = shown.weights.frames_THWC, shown.weights.weights_THW
    assert len(frames_THWC) == len(weights_THW) == 8, "a weight for each frame, though a token spans two"
    assert torch.equal(weights_THW[::2], weights_THW[1::2]) and weights_THW.std() > 0
    sums = weights_THW.unflatten(0, (2, 4)).unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).sum(dim=(1, 3, 5))
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_weights_of_a_teacher_are_of_frames_that_blocks_fill() -> None:
    llava = liteframe.load(llava_folder())
    wap = WAP(saliency=usual_saliency([Subject("teacher", llava)]))
    shown = last(Watcher([Subject("teacher", llava)], wap, max_tokens=2).ask(video(), QUESTION, 8))
    assert shown.error is None and shown.weights is not None
    assert shown.weights.frames_THWC.shape == (8, FILLED, FILLED, 3)
    assert shown.weights.weights_THW.shape == (8, 8, 8)
