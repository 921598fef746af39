"""Stages and rows that they cannot use: named before the first step, or skipped, listed and of no effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.data.sources.conversations import choices_of
from liteframe.errors import DataError, ManifestError, SkipLimitExceeded
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings, Stage
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage
from tiny_world import decoding_in_process, encoder_folder, host_folder, make_trainer, manifest, video_data

BAD = [
    r'{"path": "a\ud800.mp4"}',
    "{",
    '{"path": "a.mp4", "start": "abc"}',
    '{"path": "a.mp4", "questions": "abc"}',
]


def rows(split: str = "train") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in manifest(split).read_text().splitlines()]
    return [{**row, "path": str(manifest(split).parent / row["path"])} for row in found]


def listed(path: Path, *lines: dict[str, Any] | str) -> str:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def lma() -> LMAStage:
    lora = LoraSettings(rank=4, alpha=8, targets=["q_proj"])
    return LMAStage(str(host_folder()), str(encoder_folder()), lora, attention="eager")


def host() -> HostPretrainStage:
    return HostPretrainStage(str(host_folder()), attention="eager")


def timm() -> TimmPretrainStage:
    return TimmPretrainStage(48, 2, 2, OptimizerSettings(lr=1e-3))


def fit(folder: Path, stage: Stage, train: str, steps: int = 3, **settings: Any) -> dict[str, torch.Tensor]:
    """The weights afterwards, by name."""
    common = {"frames": 4, "batch_size": 1, "on_error": "skip", "max_skip_fraction": 0.9}
    with decoding_in_process():
        make_trainer(folder, max_steps=steps).fit(stage, video_data(train=train, **{**common, **settings}))
    return {name: weight.detach().clone() for name, weight in stage.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("make", [lma, host, timm])
def test_batches_of_rows_that_cannot_be_read_teach_nothing(make: Any, tmp_path: Path) -> None:
    """With batches of one, each bad row is a blank batch, whose row has neither questions nor a scene."""
    before = {name: weight.detach().clone() for name, weight in make().named_parameters() if weight.requires_grad}
    source = listed(tmp_path / "x.jsonl", *BAD, rows()[0])
    after = fit(tmp_path / "run", make(), source, steps=5)
    assert all(weight.isfinite().all() for weight in after.values())
    if before:
        assert any(not torch.equal(weight, before[name]) for name, weight in after.items())
    reasons = [json.loads(line)["id"] for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert reasons[:3] == [f"{source}:{number}" for number in (1, 2, 3)] and len(reasons) == 4


@pytest.mark.parametrize("make", [lma, host, timm])
def test_a_row_that_the_stage_cannot_use_is_named_before_the_first_step(make: Any, tmp_path: Path) -> None:
    mute = {"path": rows()[1]["path"], "id": "mute"}
    source = listed(tmp_path / "x.jsonl", rows()[0], mute)
    with pytest.raises(ManifestError, match=r"x\.jsonl:2: .*\(id mute\): no "):
        fit(tmp_path / "run", make(), source, on_error="error")


@pytest.mark.parametrize("scene", [{}, 3, None, {"box": {"kind": "box"}}, "abc", [1]])
def test_a_scene_that_nobody_can_draw_is_a_fault_of_its_row(scene: Any, tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", {**rows()[0], "scene": scene}, rows()[1])
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: .*field scene"):
        fit(tmp_path / "run", timm(), source, on_error="error")
    damaged = json.loads(json.dumps(rows()[0]["scene"]))
    damaged["box"]["x"] = "left"
    source = listed(tmp_path / "y.jsonl", {**rows()[0], "scene": damaged}, rows()[1])
    with pytest.raises(ManifestError, match=r"y\.jsonl:1: .*field scene"):
        fit(tmp_path / "run", timm(), source, on_error="error")


def evaluated(folder: Path, source: str, choices: Any = "words", **settings: Any) -> dict[str, Any]:
    stage = EvaluateStage(str(host_folder()), choices=choices, attention="eager")
    with decoding_in_process():
        make_trainer(folder).test(stage, video_data(test=source, frames=4, batch_size=2, **settings), verbose=False)
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def asked(row: dict[str, Any], **change: Any) -> dict[str, Any]:
    """The row with its first question changed."""
    first, *others = row["questions"]
    return {**row, "questions": [{**first, **change}, *others]}


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"answer": "purple"}, "field answer"),
    ({"options": 3}, "field options"),
    ({"question": "what is love"}, "does not know the words"),
    ({"question": " "}, "the question is empty"),
    ({"options": ["red box", "red ball"], "answer": "red box"}, "first token"),
    ({"type": "x" * 100}, "64"),
]


def test_questions_that_cannot_be_asked_are_left_out_of_the_figures(tmp_path: Path) -> None:
    first, second, third = rows("test")
    without = evaluated(tmp_path / "without", listed(tmp_path / "a.jsonl", first, third))
    odd = [{**asked(second, **change), "id": f"odd {number}"} for number, (change, _) in enumerate(CHANGES)]
    source = listed(tmp_path / "b.jsonl", first, *odd, third)
    found = evaluated(tmp_path / "run", source, on_error="skip", max_skip_fraction=0.9)
    reasons = {skip["id"]: skip["reason"] for skip in found["skipped"]}
    for number, (_, reason) in enumerate(CHANGES):
        assert reason in reasons.pop(f"odd {number}")
    assert not reasons and {**found, "skipped": []} == without


def test_they_stop_the_run_otherwise_or_where_they_are_too_many(tmp_path: Path) -> None:
    first, second, third = rows("test")
    source = listed(tmp_path / "x.jsonl", first, asked(second, question="what is love"), third)
    with pytest.raises(DataError, match="does not know the words"):
        evaluated(tmp_path / "stopped", source)
    with pytest.raises(SkipLimitExceeded, match="does not know the words"):
        evaluated(tmp_path / "limit", source, on_error="skip", max_skip_fraction=0.1)


def test_more_options_than_letters_are_named(tmp_path: Path) -> None:
    row = asked(rows("test")[0], options=[f"option {number}" for number in range(27)], answer="option 26")
    assert len(choices_of(row)[0]["options"]) == 27
    with pytest.raises(ManifestError, match="27 of them, more than there are letters"):
        evaluated(tmp_path, listed(tmp_path / "x.jsonl", row), choices="letters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *CHANGES,
        ({"answer": "C. something"}, "field answer: 'C. something'"),
        ({"answer": 1}, "a number may count from 0 or 1"),
        ({"question": "red " * 9000}, "the prompt has 9000 tokens .* the LLM takes 8192"),
    ],
)
def test_a_row_at_the_end_stops_an_evaluation_before_its_first_answer(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(*_: Any) -> None:
        raise AssertionError("a video was answered about")

    monkeypatch.setattr(EvaluateStage, "_answer", answered)
    first, second, third = rows("test")
    source = listed(tmp_path / "x.jsonl", first, second, asked(third, **change))
    with pytest.raises(ManifestError, match=rf"x\.jsonl:3: .*{message}"):
        evaluated(tmp_path / "run", source)
