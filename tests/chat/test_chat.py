"""`liteframe chat` and `liteframe.load`: from a file and a question to an answer, and what it took."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import liteframe
from liteframe.chat.model import ChatModel
from liteframe.command import cli
from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling import Linspace
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import ConfigError, DataError, DecodeError
from liteframe.hf.loading import load_video_llm
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.precision import dtype_named
from liteframe.system.fast_dtype import CpuRates
from tiny_world import InProcessPool, encoder_folder, home, host_folder, manifest

QUESTION, NEXT = "color of the star", "color of the box"


@pytest.fixture(autouse=True)
def decoding_in_process() -> Iterator[None]:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        yield


@lru_cache
def export() -> str:
    """What LMA leaves behind, from a host and an encoder with fresh weights."""
    folder = home() / "lma-for-chat"
    folder.mkdir()
    host, _ = load_base_vlm(str(host_folder()))
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    save_adapted(folder, str(host_folder()), encoder, None, host.model.multi_modal_projector)
    return str(folder)


@lru_cache
def model() -> ChatModel:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        return liteframe.load(export())


@lru_cache
def videos() -> list[str]:
    return [str(manifest().parent / json.loads(line)["path"]) for line in manifest().read_text().splitlines()]


def slow_answer(video: str, question: str, frames: int, max_tokens: int) -> str:
    """Every step written out, with the whole prompt for each token."""
    llm = load_video_llm(export())
    pixels = normalize(resize_uint8(read_frames(video, uniform_midpoints(128, frames)), (112, 112)))[None]
    with torch.no_grad():
        visual = llm.project(llm.encode(pixels))
        before, after = llm.prompts.question_ids(question, *visual.shape[1:3])
        ids = [*before, *after]
        for _ in range(max_tokens):
            token = int(llm.prefill(visual, ids)[0].argmax())
            if token == llm.prompts.tokenizer.eos_token_id:
                break
            ids.append(token)
    return llm.prompts.tokenizer.decode(ids[len(before) + len(after) :], skip_special_tokens=True)


def test_two_lines_of_python_answer() -> None:
    answer = model().answer(videos()[0], QUESTION, max_tokens=5, frames=10)
    assert str(answer) == answer.text == slow_answer(videos()[0], QUESTION, 10, 5) != ""
    assert (answer.frames, answer.visual_tokens, answer.cached_tokens) == (10, 3 * 4, 0)
    assert answer.prompt_tokens > answer.visual_tokens and answer.answer_tokens <= 5
    parts = {"wait", "preprocess", "encode", "project", "prefill", "other"}
    assert set(answer.ms) == parts | {"decode", "transfer", "token"}
    assert min(answer.ms[part] for part in parts - {"other"}) > 0 <= answer.ms["other"]
    whole = sum(answer.ms[part] for part in parts)
    assert f"first token after {whole:.1f} ms = wait {answer.ms['wait']:.1f} (decode " in answer.summary()


def test_pieces_are_the_text_and_a_video_is_watched_once() -> None:
    talk = model().chat(videos()[1], frames=8)
    first = list(talk.stream(QUESTION, 6))
    assert talk.last is not None and "".join(first) == talk.last.text and len(first) > 1
    before = talk.last
    after = talk.ask(NEXT, 6)
    said = before.prompt_tokens + before.answer_tokens
    assert after.cached_tokens in (said, said - 1), "an answer's last token is fed with the next question"
    assert after.prompt_tokens < before.prompt_tokens
    assert set(after.ms) == {"prefill", "token"}
    assert f"+ {after.cached_tokens} cached" in after.summary()


def test_a_batch_of_videos_of_different_lengths() -> None:
    found = model().answers(videos()[:3], [QUESTION, NEXT, QUESTION], max_tokens=5, frames=100, start=0.0, end=0.7)
    alone = [
        model().answer(video, asked, max_tokens=5, frames=100, start=0.0, end=0.7)
        for video, asked in zip(videos()[:3], [QUESTION, NEXT, QUESTION], strict=True)
    ]
    assert [one.text for one in found] == [one.text for one in alone]
    assert [one.prompt_tokens for one in found] == [one.prompt_tokens for one in alone]
    assert found[0].frames == 12, "16 frames a second for 0.7 seconds"
    assert [one.text for one in model().answers(videos()[:1], QUESTION, max_tokens=5, frames=100, end=0.7)] == [
        alone[0].text
    ]
    assert model().answers([], QUESTION) == []
    with pytest.raises(ConfigError, match="1 questions about 2 videos"):
        model().answers(videos()[:2], [QUESTION])


def test_frames_are_chosen_as_asked() -> None:
    assert model().watch(videos()[0]).frames == 64
    assert model().watch(videos()[0], fps=2.0).frames == 16
    assert model().watch(videos()[0], frames=5, fps=2.0).frames == 5
    assert model().watch(videos()[0], start=2.0, end=4.0).frames == 32
    with pytest.raises(DecodeError, match=r"no frame from 9\S* s on: it is"):
        model().watch(videos()[0], start=9.0)
    with pytest.raises(ConfigError, match="frames is 0"):
        model().watch(videos()[0], frames=0)
    with pytest.raises(ConfigError, match="fps is -1"):
        model().watch(videos()[0], fps=-1.0)
    with pytest.raises(ConfigError, match="end is 2 s and start 5 s"):
        model().watch(videos()[0], start=5, end=2)
    with pytest.raises(DecodeError, match="no such file"):
        model().watch("nothing.mp4")


def test_a_sampler_and_a_size_are_taken_as_given() -> None:
    llm = load_video_llm(export())
    pixels = resize_uint8(read_frames(videos()[0], np.array([0, 42, 84, 127])), (112, 112))[None]
    with torch.no_grad():
        expected = llm.project(llm.encode(pixels))
    usual = model().watch(videos()[0], frames=4)
    seen = model().watch(videos()[0], frames=4, sampler=Linspace())
    assert torch.equal(seen.visual_BTNC, expected) and not torch.equal(usual.visual_BTNC, expected)
    assert model().watch(videos()[0], frames=4, image_size=224).tokens == 4 * usual.tokens
    with pytest.raises(ConfigError, match="image_size: frames of 100 x 100 px"):
        model().watch(videos()[0], image_size=100)
    with pytest.raises(ConfigError, match=r"fps is 2\.0, and a sampler is given"):
        model().watch(videos()[0], fps=2.0, sampler=Linspace())


def test_a_host_with_its_own_encoder_answers_too() -> None:
    own = liteframe.load(str(host_folder()))
    answer = own.answer(videos()[0], QUESTION, max_tokens=3, frames=4)
    assert (answer.frames, answer.visual_tokens) == (4, 4 * 16)


def test_autocast_is_to_the_dtype_that_was_named() -> None:
    assert liteframe.load(export(), dtype="bfloat16").answer(videos()[0], QUESTION, 2, frames=4).answer_tokens <= 2
    half = load_video_llm(export()).to(torch.bfloat16)
    assert ChatModel(half).dtype is torch.bfloat16, "by default that of the LLM"


@pytest.mark.parametrize(
    ("rates", "autocast", "weights"),
    [(CpuRates(2.0, 1.0), torch.bfloat16, torch.bfloat16), (CpuRates(1.0, 2.0), None, torch.float32)],
)
def test_auto_is_the_faster_dtype_on_a_cpu_alone(
    rates: CpuRates, autocast: torch.dtype | None, weights: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteframe.system.fast_dtype.cpu_rates", lambda threads: rates)
    assert liteframe.load(export(), "cpu").dtype is autocast
    half = load_video_llm(export()).to(torch.bfloat16)
    assert ChatModel(half, "auto").dtype is autocast
    assert {weight.dtype for weight in half.parameters()} == {weights}
    assert dtype_named("auto", "cuda:1") is None


def test_float32_is_of_the_weights_too() -> None:
    half = load_video_llm(export()).to(torch.bfloat16)
    chat = ChatModel(half, "float32")
    assert {weight.dtype for weight in half.parameters()} == {torch.float32} and chat.dtype is None


def test_weights_of_the_other_half_precision_are_converted() -> None:
    chat = ChatModel(load_video_llm(export()).to(torch.bfloat16), "float16")
    assert chat.answer(videos()[0], QUESTION, 2, frames=4).answer_tokens <= 2


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model here; give the export folder of an LMA run"):
        liteframe.load(tmp_path)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "liteframe.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a run folder; give the model in it"):
        liteframe.load(tmp_path)
    with pytest.raises(ConfigError, match="no model folder"):
        liteframe.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="device 'tpu9' cannot be used"):
        liteframe.load(export(), device="tpu9")
    with pytest.raises(ConfigError, match="dtype is 'int8'; choose one of float32"):
        liteframe.load(export(), dtype="int8")


LAST_LINE = re.compile(
    r"\[8 frames \| 8 visual tokens, prompt \d+, answer \d+ \| first token after N ms = wait N \(decode N, transfer N\)"
    r" \+ preprocess N \+ encode N \+ project N \+ prefill N \+ other N; then N ms a token\]".replace("N", r"[\d.]+")
)


def test_the_command_answers_one_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chat", export(), videos()[0], QUESTION, "--frames", "8", "--max_tokens", "4"]) == 0
    text, last = capsys.readouterr().out.splitlines()
    assert text == slow_answer(videos()[0], QUESTION, 8, 4)
    assert LAST_LINE.fullmatch(last)


def test_the_command_converses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter([QUESTION, "what is this", NEXT, ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert cli.main(["chat", export(), videos()[0], "--frames=8", "--max_tokens=3"]) == 0
    shown = capsys.readouterr()
    talk = model().chat(videos()[0], frames=8)
    expected = [talk.ask(asked, 3).text for asked in (QUESTION, NEXT)]
    assert shown.out.splitlines()[::2] == expected
    assert "cached" in shown.out.splitlines()[-1]
    assert "does not know the words 'what', 'is', 'this'; it knows" in shown.err
    monkeypatch.setattr("builtins.input", mock.Mock(side_effect=EOFError))
    assert cli.main(["chat", export(), videos()[0], "--frames=8"]) == 0


def test_one_question_that_cannot_be_asked_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chat", export(), videos()[0], "what is this", "--frames=8"]) == 1
    assert "liteframe: error: the model does not know the words" in capsys.readouterr().err
    with pytest.raises(DataError):
        model().answer(videos()[0], "what is this", frames=4)
