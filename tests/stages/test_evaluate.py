"""Evaluation: each question alone through the host's own prompt gives the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import DataError, ManifestError
from liteframe.evaluation.benchmarks.question import questions_of
from liteframe.hf.loading import load_video_llm
from liteframe.stages.evaluate import EvaluateStage
from tiny_world import decoding_in_process, host_folder, lma_run_folder, make_trainer, manifest, video_data

FRAMES = 6


def evaluate(folder: Path, source: Path, rows: Path, **settings: Any) -> dict[str, Any]:
    stage = EvaluateStage(str(source), attention="eager", **settings)
    with decoding_in_process():
        make_trainer(folder).test(stage, video_data(test=str(rows), frames=FRAMES, batch_size=2), verbose=False)
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def one_by_one(source: Path, rows: Path, tail: str = "") -> list[tuple[str, bool]]:
    """Type, and whether the likeliest option is right, with one full prefill for each question."""
    model = load_video_llm(source, "eager")
    answers = []
    with decoding_in_process(), torch.no_grad():
        data = video_data(test=str(rows), frames=FRAMES, batch_size=1)
        for batch in data.loader("test"):
            frames = batch["frames_BTCHW"][:, : -(-FRAMES // 4) * 4]
            if model.frames_per_group == 1:
                frames = frames[:, :FRAMES]
            visual = model.project(model.encode(frames))
            for question in batch["rows"][0]["questions"]:
                before, after = model.prompts.question_ids(question["question"], *visual.shape[1:3])
                logits = model.prefill(visual, before + after)[0]
                first = [model.prompts.tokenizer(option).input_ids[0] for option in question["options"]]
                best = max(range(len(first)), key=lambda n: float(logits[first[n]]))
                answers.append((question["type"], question["options"][best] == question["answer"]))
    return answers


@pytest.mark.parametrize("kind", ["host", "lma"])
def test_it_equals_one_question_after_the_other(kind: str, tmp_path: Path) -> None:
    source = host_folder() if kind == "host" else lma_run_folder() / "export"
    figures = evaluate(tmp_path, source, manifest("test"), choices="words")
    expected = one_by_one(source, manifest("test"))
    assert figures["questions"] == len(expected) == 12 and figures["videos"] == 3
    assert figures["accuracy"] == pytest.approx(sum(right for _, right in expected) / 12)
    for name, share in figures["per_type"].items():
        of_type = [right for given, right in expected if given == name]
        assert share == pytest.approx(sum(of_type) / len(of_type))


def test_no_answer_depends_on_the_chunks_of_the_encoder(tmp_path: Path) -> None:
    source = lma_run_folder() / "export"
    whole = evaluate(tmp_path / "whole", source, manifest("test"), choices="words")
    parts = evaluate(tmp_path / "parts", source, manifest("test"), choices="words", encoder_chunk_frames=3)
    assert parts == whole


def test_letters_are_asked_for_and_may_be_the_answer(tmp_path: Path) -> None:
    stage = EvaluateStage("nowhere")
    asked = {"question": "what is it", "options": ["a box", "a ball"], "answer": "B"}
    (question,) = questions_of({"path": "a.mp4", "id": "a", **asked})
    assert stage.prompt.ask(question).user.splitlines()[:3] == ["what is it", "A. a box", "B. a ball"]
    assert stage.prompt.answers(question) == ("A", "B")
    # Of the tiny world's words none is a letter: here the options are the words, and the answers the letters.
    rows = [json.loads(line) for line in manifest("test").read_text().splitlines()]
    for row in rows:
        row["path"] = str(manifest("test").parent / row["path"])
        for asked in row["questions"]:
            asked["answer"] = "ABCD"[asked["options"].index(asked["answer"])]
            asked["question"] = f"<video>\n{asked['question']}"
            asked["options"] = [f"{letter}. {word}" for letter, word in zip("ABCD", asked["options"], strict=True)]
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_letter = evaluate(tmp_path / "a", host_folder(), tmp_path / "letters.jsonl", choices="words")
    assert by_letter == evaluate(tmp_path / "b", host_folder(), manifest("test"), choices="words")


def test_what_does_not_fit_the_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"words .*'A\.'.*; a model of few words .* model\.choices set to words"):
        evaluate(tmp_path, host_folder(), manifest("test"))
    row = json.loads(manifest("test").read_text().splitlines()[0])
    row["path"] = str(manifest("test").parent / row["path"])
    row["questions"][0]["options"] = ["red box", "red ball"]
    row["questions"][0]["answer"] = "red box"
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="first token; set model.choices to letters"):
        evaluate(tmp_path, host_folder(), tmp_path / "rows.jsonl", choices="words")


def test_the_file_says_what_was_left_out(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in manifest("test").read_text().splitlines()]
    for row in rows:
        row["path"] = str(manifest("test").parent / row["path"])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rows[0]["path"] = str(tmp_path / "broken.mp4")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = EvaluateStage(str(host_folder()), choices="words")
    data = video_data(test=str(tmp_path / "rows.jsonl"), frames=4, on_error="skip", max_skip_fraction=0.5)
    with decoding_in_process():
        make_trainer(tmp_path).test(stage, data, verbose=False)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert [skip["id"] for skip in found["skipped"]] == [rows[0]["id"]] and found["videos"] == 2
    assert (found["frames"], found["sampler"], found["precision"]) == (4, "UniformMidpoints", "32-true")
    (tmp_path / "broken.mp4").write_bytes(Path(rows[1]["path"]).read_bytes())
    again = video_data(test=str(tmp_path / "rows.jsonl"), frames=4, on_error="skip", max_skip_fraction=0)
    with decoding_in_process():
        make_trainer(tmp_path).test(EvaluateStage(str(host_folder()), choices="words"), again, verbose=False)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["skipped"] == [] and found["questions"] == sum(len(row["questions"]) for row in rows)


def test_a_trial_leaves_the_folder_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evaluation.json").write_text("of a real run")
    stage = EvaluateStage(str(host_folder()), choices="words")
    with decoding_in_process():
        trainer = make_trainer(tmp_path, fast_dev_run=True)
        trainer.test(stage, video_data(test=str(manifest("test")), frames=4, batch_size=1), verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]
    assert (tmp_path / "evaluation.json").read_text() == "of a real run"
    assert "a trial, of which nothing is kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "purple"}, "field answer: 'purple'"),
        ({"options": ["red"]}, "field options"),
        ({"options": None}, "options"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    row = json.loads(manifest("test").read_text().splitlines()[0])
    row["path"] = str(manifest("test").parent / row["path"])
    row["questions"][0].update(change)
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert read_manifest(tmp_path / "rows.jsonl")
    with pytest.raises(ManifestError, match=said) as raised:
        evaluate(tmp_path, host_folder(), tmp_path / "rows.jsonl", choices="words")
    assert row["id"] in str(raised.value)


def test_rows_about_one_file_are_one_video(tmp_path: Path) -> None:
    """A row a question, in parts of the file too, and the same file by another path."""
    rows = [json.loads(line) for line in manifest("test").read_text().splitlines()]
    link, lines = tmp_path / "link.mp4", []
    link.symlink_to(manifest("test").parent / rows[0]["path"])
    for row in rows:
        for number, asked in enumerate(row["questions"]):
            path = link if row is rows[0] and number == 1 else manifest("test").parent / row["path"]
            lines.append({"path": str(path), "start": 0.5 * number, **asked})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = evaluate(tmp_path, host_folder(), tmp_path / "rows.jsonl", choices="words")
    assert (found["questions"], found["videos"]) == (12, 3)
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:4]))
    found = evaluate(tmp_path / "one", host_folder(), tmp_path / "one.jsonl", choices="words")
    assert found["videos"] == 1 and found["accuracy_low"] == found["accuracy"] == found["accuracy_high"]
