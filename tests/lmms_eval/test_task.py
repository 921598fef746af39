"""Benchmarks as tasks of lmms-eval: what `liteframe lmms-eval` writes, and what the tasks' functions make of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from liteframe.command import cli
from liteframe.errors import ConfigError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.prompts.prompt import prompt, prompt_names
from liteframe.evaluation.scoring.scores import Answer, scores
from liteframe.lmms_eval import command, task
from tiny_world import manifest


class _Task(yaml.SafeLoader):
    """Reads ``!function`` as lmms-eval does, where no file beside the YAML has the name."""


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    module, _, name = str(loader.construct_scalar(node)).rpartition(".")
    return getattr(importlib.import_module(module), name)


_Task.add_constructor("!function", _function)


def hlvid(root: Path) -> Path:
    """Three rows as they are published, of which one lacks its options."""
    asked = "What does the sign say?\nA. Hampden St\nB. Hampden Ave\nC. Hampden Rd"
    rows = [
        {"question_id": number, "category": "av", "video_path": "clip.mp4", "question": text, "answer": "B"}
        for number, text in enumerate([asked, "What?", asked])
    ]
    (root / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "data/test-00000-of-00001.parquet")
    (root / "videos").mkdir()
    (root / "videos/clip.mp4").touch()
    return root


def documents(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_task_is_whole() -> None:
    assert command.task_names() == ["hlvid", "own", "tiny-world"]
    for path in (Path(command.__file__).parent / "tasks").glob("*.yaml"):
        settings = yaml.load(path.read_text(), _Task)
        assert settings["task"] == path.stem
        name = path.stem.removeprefix("liteframe_").replace("_", "-")
        splits = benchmark(name).splits
        tokens = {prompt(other, name, split).max_new_tokens for split in splits for other in prompt_names(name, split)}
        assert tokens == {settings["generation_kwargs"]["max_new_tokens"]}
        scored = {metric["metric"] for metric in settings["metric_list"]}
        assert scored <= set(task.results(tiny_document(), [""]))
        assert all(callable(metric["aggregation"]) for metric in settings["metric_list"])


def tiny_document() -> dict[str, Any]:
    question = Question("v 0", "v.mp4", "which", ("red", "blue"), 1, {"type": "needle"}, "row 1")
    return task.document(Path("/data"), question, prompt("liteframe", "tiny-world", "test"))


def test_hlvid_is_asked_as_the_prompt_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    data, folder = hlvid(tmp_path / "data"), tmp_path / "tasks/hlvid"
    assert cli.main(["lmms-eval", "hlvid", str(data), str(folder), "--prompt", "nvila"]) == 0
    said = capsys.readouterr()
    assert "2 questions, 1 left out" in said.out and "--include_path" in said.out
    assert "no options in it" in said.err
    first, last = documents(folder)
    assert last["target"] == first["target"] == "B" and {first["id"], last["id"]} == {"0", "2"}
    assert task.messages(first) == [
        {
            "role": "user",
            "content": [
                {"type": "video", "url": str(data / "videos/clip.mp4"), "start_time": None, "end_time": None},
                {
                    "type": "text",
                    "text": "Question: What does the sign say?\nA. Hampden St\nB. Hampden Ave\nC. Hampden Rd\n"
                    "Please answer directly with the letter of the correct answer.",
                },
            ],
        }
    ]
    assert task.visual(first) == [str(data / "videos/clip.mp4")]


def test_a_model_that_takes_no_messages_is_not_shown_more_than_was_asked_about() -> None:
    whole = tiny_document()
    assert task.visual(whole) == ["/data/v.mp4"]
    for part in ({"start_s": 1.5}, {"end_s": 3.0}):
        with pytest.raises(ConfigError, match=r"v 0: is about a part of /data/v.mp4"):
            task.visual({**whole, **part})
        (turn,) = task.messages({**whole, **part})
        assert {"start_time": part.get("start_s"), "end_time": part.get("end_s")}.items() <= turn["content"][0].items()


def test_a_task_scores_as_our_own_scores_do(tmp_path: Path) -> None:
    root = manifest("test").parent
    assert cli.main(["lmms-eval", "tiny-world", str(root), str(tmp_path / "task")]) == 0
    answers = ["red", "blue", "", "up", "the answer is B", "(A)"]
    found = documents(tmp_path / "task")
    given = {doc["id"]: answers[number % len(answers)] for number, doc in enumerate(found)}
    ours = scores(
        benchmark("tiny-world"),
        benchmark("tiny-world").read(root),
        {name: Answer(text) for name, text in given.items()},
    )["scores"]
    theirs: dict[str, list[dict[str, Any]]] = {}
    for doc in found:
        for metric, item in task.results(doc, [given[doc["id"]]]).items():
            theirs.setdefault(metric, []).append(item)
    assert 0 < ours["strict"]["accuracy"] < 1 and 0 < ours["strict"]["unparsed"] < 1
    assert task.share(theirs["strict"]) == ours["strict"]["accuracy"]
    assert task.share(theirs["lmms_eval"]) == ours["lmms-eval"]["accuracy"]
    assert task.share(theirs["unparsed"]) == ours["strict"]["unparsed"]
    assert task.share(theirs["answered"]) == sum(map(bool, given.values())) / len(given)
    assert len({item["video"] for item in theirs["strict"]}) == ours["strict"]["videos"]


def test_a_folder_of_others_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("task: mine")
    assert cli.main(["lmms-eval", "tiny-world", str(manifest("test").parent), str(tmp_path)]) == 1
    assert "liteframe did not write it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_what_lmms_eval_has_itself_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lmms-eval", "mlvu", str(tmp_path), str(tmp_path / "task")]) == 1
    assert "no task 'mlvu'; choose one of hlvid, own, tiny-world" in capsys.readouterr().err
