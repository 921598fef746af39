"""`liteframe evaluate`: from a benchmark's folder to answers and scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import liteframe
from evaluating import copied_world, evaluate, lines, report, whole, world
from host_world import family_folder
from liteframe.command import cli
from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import DataError
from liteframe.evaluation import command, watching
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.subject_loading import load_subject
from liteframe.models.rivals.dycoke_decoding import DyCokeVideoLLM
from liteframe.models.rivals.earlytom import EarlyTomVideoLLM
from liteframe.models.rivals.llm_pruning import PrunedVideoLLM
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.video_llm.generation import SharedVideo
from liteframe.models.video_llm.model import VideoLLM
from tiny_world import InProcessPool, host_folder, lma_run_folder


def questions() -> list[Question]:
    return [row for row in benchmark("tiny-world").read(world()) if isinstance(row, Question)]


def pixels(video: str, frames: int) -> torch.Tensor:
    return normalize(resize_uint8(read_frames(str(world() / video), uniform_midpoints(128, frames)), (112, 112)))[None]


def test_the_tiny_world_is_answered_as_chat_answers_it() -> None:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        chat = liteframe.load(lma_run_folder() / "export")
        found = {(line["question"], line["frames"]): line for line in lines(whole())}
        assert len(found) == len(lines(whole())) == 24
        for question in questions()[::5]:
            for frames in (8, 13):
                answer = chat.answer(world() / question.video, question.text, max_tokens=16, frames=frames)
                line = found[question.id, frames]
                assert line["answer"] == answer.text != ""
                assert (line["shown"], line["visual_tokens"]) == (answer.frames, answer.visual_tokens)
                assert line["prompt_tokens"] == answer.prompt_tokens


def test_scores_are_those_of_the_answers() -> None:
    found = report(whole())
    assert found["complete"] and not found["skipped"] and not found["left_out"]
    for frames in (8, 13):
        logits = {line["question"]: line["option_logits"] for line in lines(whole()) if line["frames"] == frames}
        right = {
            question.id: max(range(4), key=logits[question.id].__getitem__) == question.answer
            for question in questions()
        }
        at = found["frames"][str(frames)]
        assert at["scores"]["likelihood"]["accuracy"] == pytest.approx(sum(right.values()) / 12)
        assert found["judged"][str(frames)]["likelihood"] == right
        assert set(at["scores"]) == {"strict", "lmms-eval", "likelihood"}
        assert (at["answered"], at["unanswered"], at["scores"]["strict"]["videos"]) == (12, 0, 3)


@pytest.mark.parametrize(
    ("compressor", "kind"),
    [
        (None, VideoLLM),
        ("wap", VideoLLM),
        ("fastvid", PostHocVideoLLM),
        ("earlytom", EarlyTomVideoLLM),
        ("fastv", PrunedVideoLLM),
        ("holitom-llm", PrunedVideoLLM),
    ],
)
def test_an_internvl_with_any_compressor_is_asked_as_it_stands(
    compressor: str | None, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CLIPS_AT_ONCE", 4)
    reduced = ["--compressor", compressor, "--ratio", 4] if compressor else []
    assert evaluate("--out", tmp_path / "o", *reduced, "--answer", "likelihood", model=host_folder()) == 0
    model = load_subject(str(host_folder()), compressor, 4)
    assert type(model) is kind
    found = {(line["question"], line["frames"]): line for line in lines(tmp_path / "o")}
    assert all("answer" not in line for line in found.values())
    question = questions()[4]
    with torch.no_grad():
        for frames in (8, 13):
            visual: Any = model.project(model.encode(pixels(question.video, frames)))  # type: ignore[arg-type]
            (logits_QV,) = model.first_answer_logits(visual, [[question.text]])
            ids = [model.prompts.first_token(option) for option in question.options]
            assert found[question.id, frames]["option_logits"] == pytest.approx(logits_QV[0, ids].tolist(), abs=2e-3)
    settings = json.loads((tmp_path / "o" / "evaluation.json").read_text())["settings"]
    assert (settings["compressor"] or {}).get("name") == compressor


def test_a_question_that_breaks_off_between_two_layers_leaves_the_video_as_it_was() -> None:
    model: Any = load_subject(str(host_folder()))
    with torch.no_grad():
        visual = model.project(model.encode(pixels(questions()[0].video, 8)))
    video = model.prompts.video_text(visual.shape[1], visual.shape[2])
    ids = [model.prompts.asked_ids(video, question.text) for question in questions()[:3]]
    wanted = [SharedVideo(model, visual).answer(*each, 4) for each in ids]
    shared, last = SharedVideo(model, visual), model.language_model.layers[-1]
    assert torch.equal(shared.answer(*ids[0], 4)[0], wanted[0][0])
    with mock.patch.object(last, "forward", side_effect=torch.OutOfMemoryError), pytest.raises(torch.OutOfMemoryError):
        shared.answer(*ids[1], 4)
    hidden_C, answer = shared.answer(*ids[2], 4)
    torch.testing.assert_close(hidden_C, wanted[2][0])
    assert answer == wanted[2][1]


def test_dycoke_prunes_while_it_writes(tmp_path: Path) -> None:
    words = ["--compressor", "dycoke-llm", "--ratio", 4, "--frames", 8]
    assert evaluate("--out", tmp_path / "o", *words, model=host_folder()) == 0
    model = load_subject(str(host_folder()), "dycoke-llm", 4)
    assert isinstance(model, DyCokeVideoLLM)
    found, differ = {line["question"]: line for line in lines(tmp_path / "o")}, 0
    for question in questions():
        with torch.no_grad():
            (video,) = model.project(model.encode(pixels(question.video, 8)))
        ids = model.prompts.question_ids_of_lines(question.text, video.lines)
        visual = video.compressed.tokens_MC[None, None]
        written, whole_cache = (
            model.prompts.tokenizer.decode(shared.answer(*ids, 16)[1], skip_special_tokens=True)
            for shared in (model.shared_video(visual), SharedVideo(model.inner, visual))
        )
        assert found[question.id]["answer"] == written
        differ += written != whole_cache
    assert differ, "the test sees answers that pruning changes"


def test_pruning_inside_the_llm_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--out", tmp_path / "o", "--compressor", "fastv", model=host_folder()) == 1
    assert "--answer likelihood" in capsys.readouterr().err


def test_one_bad_question_costs_itself_and_is_asked_again_once_it_is_good(tmp_path: Path) -> None:
    data, out = copied_world(tmp_path / "world"), tmp_path / "o"
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    rows[0]["questions"][1]["question"] = "colour of the star"
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / rows[1]["path"]).write_bytes(b"no video")
    assert evaluate("--data", data, "--frames", 8, "--out", out) == 0
    skipped = {item["question"]: item["why"] for item in report(out)["skipped"]}
    bad = [f"{rows[0]['id']} 1", *(f"{rows[1]['id']} {number}" for number in range(4))]
    assert list(skipped) == bad
    assert "does not know the words 'colour'" in skipped[bad[0]]
    assert rows[1]["path"] in skipped[bad[1]]
    at = report(out)["frames"]["8"]
    assert (at["answered"], at["skipped"], at["scores"]["likelihood"]["questions"]) == (7, 5, 7)
    shutil.copy(world() / rows[1]["path"], data / rows[1]["path"])
    assert evaluate("--data", data, "--frames", 8, "--out", out) == 0
    at = report(out)["frames"]["8"]
    assert (at["answered"], at["skipped"]) == (11, 1)
    wanted = {line["question"]: line for line in lines(whole()) if line["frames"] == 8}
    assert all(wanted[line["question"]] == line for line in lines(out) if line["status"] == "answered")


def test_options_that_begin_alike_are_told_apart_by_what_is_written_alone(tmp_path: Path) -> None:
    data = copied_world(tmp_path / "world")
    row = json.loads((data / "test.jsonl").read_text().splitlines()[0])
    row["questions"][0] |= {"options": ["red", "red box"], "answer": "red"}
    (data / "test.jsonl").write_text(json.dumps(row) + "\n")
    for answer, answered in (("generate", 4), ("likelihood", 3)):
        assert evaluate("--data", data, "--frames", 8, "--answer", answer, "--out", tmp_path / answer) == 0
        at = report(tmp_path / answer)["frames"]["8"]
        assert (at["answered"], at["skipped"], at["scores"]["likelihood"]["questions"]) == (answered, 4 - answered, 3)
    assert at["scores"].keys() == {"likelihood"}
    assert "do not differ in their first token" in report(tmp_path / "likelihood")["skipped"][0]["why"]


def test_frames_of_another_size_are_shown_only_where_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((whole() / "evaluation.json").read_text())["settings"]
    assert settings["image_size"] == settings["image_size_made_for"] == [112, 112]
    assert evaluate("--out", tmp_path / "o", "--image_size", 100) == 1
    assert "--image_size" in capsys.readouterr().err and not (tmp_path / "o").exists()
    assert evaluate("--out", tmp_path / "o", "--image_size", 224, "--limit", 1, "--frames", 4) == 0
    settings = json.loads((tmp_path / "o" / "evaluation.json").read_text())["settings"]
    assert (settings["image_size"], settings["image_size_made_for"]) == ([224, 224], [112, 112])
    assert all(line["visual_tokens"] == 4 * 4 for line in lines(tmp_path / "o"))


def test_what_is_missing_or_unknown_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in [
        (["--frames", "8,x"], "--frames '8,x'"),
        (["--sampler", "RandomSegment"], "--sampler"),
        (["--sampler", "Linspace:by=size"], "--sampler"),
        (["--prompt", "vlmevalkit"], "no prompt 'vlmevalkit' for tiny-world"),
        (["--subtitles"], "--subtitles"),
        (["--compressor", "wap"], "with the tokens that it makes itself"),
        (["--frames", "9" * 5000], "--frames '999"),
        (["--part", "3/2"], "--part '3/2'"),
        (["--part", f"{'9' * 5000}/1"], "--part '999"),
        (["--limit", "0"], "--limit"),
        (["--data", tmp_path / "none"], "no such folder"),
        (["--data", tmp_path / "none", "--unpack"], "no such folder"),
        (["--data", tmp_path / "none", "--unpack", "--prompt", "other"], "no prompt 'other'"),
        (["--data", tmp_path / "none", "--unpack", "--split", "other"], "no split 'other'"),
        (["--unpack", "--part", "1/2"], "--unpack is for one process"),
    ]:
        assert evaluate("--out", tmp_path / "o", *words, *(["--frames", 8] if words[0] != "--frames" else [])) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert cli.main(["evaluate"]) == 1
    assert "video-mme" in capsys.readouterr().err


def test_the_whole_prompt_is_tokenised_as_it_is_written() -> None:
    prompts = load_subject(str(family_folder("qwen2", "300M"))).prompts
    before, after = prompts.asked_ids("Frame1: x", "What?", "Look.", "Best option:(")
    text = "<|im_start|>system\nLook.<|im_end|>\n<|im_start|>user\nFrame1: x\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    assert prompts.tokenizer.decode([*before, *after]) == text + "Best option:("


def test_no_word_that_the_model_does_not_know_is_read(tmp_path: Path) -> None:
    prompts = load_subject(str(host_folder())).prompts
    good = {"video": prompts.video_text(2, 4), "question": "color of the star", "system": "red", "answer_start": "red"}
    prompts.asked_ids(**good)
    spoilt = {"video": f"{good['video']}\nzebra", "question": "zebra", "system": "a zebra", "answer_start": "zebra"}
    for name, text in spoilt.items():
        with pytest.raises(DataError, match="does not know the words .*'zebra'; it knows"):
            prompts.asked_ids(**{**good, name: text})
    with pytest.raises(DataError, match="no number for each of 300 groups of frames; look at fewer frames"):
        prompts.asked_ids(prompts.video_text(300, 4), "color of the star")


def test_an_answer_is_cut_where_the_context_ends_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = {line["question"]: line for line in lines(whole()) if line["frames"] == 8}
    longest = max(line["prompt_tokens"] for line in full.values())
    prompts = load_subject(str(lma_run_folder())).prompts
    with mock.patch("liteframe.models.video_llm.generation._context", return_value=longest + 2):
        assert evaluate("--out", tmp_path, "--frames", 8) == 0
    cut = [line for line in lines(tmp_path) if line.get("cut_by_context")]
    assert 0 < len(cut) == report(tmp_path)["frames"]["8"]["cut_by_context"]
    assert f"{len(cut)} answers at 8 frames end where the LLM takes no more tokens" in capsys.readouterr().out
    for line in lines(tmp_path):
        wanted = full[line["question"]]
        assert line["option_logits"] == wanted["option_logits"]
        room = longest + 2 - line["prompt_tokens"]
        said = prompts.tokenizer(wanted["answer"], add_special_tokens=False).input_ids
        assert line.get("cut_by_context", False) == (len(said) >= room)
        # a cut inside a character leaves bytes that are none
        assert prompts.tokenizer.decode(said[:room]).rstrip("\ufffd") == line["answer"].rstrip("\ufffd")


@pytest.mark.parametrize(
    ("asked", "rank", "given"),
    [
        *(("auto", "3", "cuda:3"), ("cuda", "3", "cuda:3"), ("cuda:1", "3", "cuda:1"), ("cpu", "3", "cpu")),
        *(("auto", None, "auto"), ("cuda", None, "cuda")),
    ],
)
def test_each_process_of_a_launcher_has_its_own_gpu(
    asked: str, rank: str | None, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert command._device(asked) == given
