"""The record of WAP with other importance scores: what is asked of each method, and gains against the class token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from liteframe.bench.saliency import compressors_of, rows_against
from liteframe.command import cli
from liteframe.errors import ConfigError
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.models.backbone import WAP, Pool
from tiny_world import WAP_SETTINGS, InProcessPool, host_folder, manifest, store_folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has its teacher and its store, and no student yet."""
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    shutil.copytree(manifest("test").parent, tmp_path / "run" / "world")
    shutil.copytree(host_folder(), tmp_path / "run" / "pretrain-llm" / "export")
    shutil.copytree(store_folder(), tmp_path / "run" / "cache" / "store")
    return tmp_path / "run"


def test_a_record_of_every_saliency_scale_and_frame_count(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["saliency", str(run), "--frames", "4", "8", "--scales", "5", "--saliencies", "mean_token", "norm"]
    assert cli.main(words) == 0
    record = json.loads((run / "saliency.json").read_text())
    assert record["kind"] == "saliency" and record["environment"]["packages"]
    methods = ["none", "class_token x20", "mean_token x20", "mean_token x5", "norm x20", "norm x5"]
    assert [(row["arm"], row["frames"]) for row in record["rows"]] == [
        (method, n) for method in methods for n in (4, 8)
    ]
    settings = record["settings"]
    assert settings["image_size"] == settings["image_size_made_for"] == [112, 112]
    assert (settings["reference"], settings["split"]) == ("class_token x20", "test")
    assert settings["compressors"]["norm x5"] == WAP((4, 2, 2), "cosine", 5.0, "norm").describe()
    for row in record["rows"]:
        assert row["questions"] == len(row["right"]) == 12
        assert row["accuracy"] == pytest.approx(sum(row["right"]) / 12)
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        if row["arm"] == "class_token x20":
            assert (row["gain"], row["gain_low"], row["gain_high"]) == (0, 0, 0)
    shown = capsys.readouterr().out
    assert "mean_token x5" in shown and "saliency.json" in shown


def test_methods_have_the_settings_of_the_run() -> None:
    wap = WAP((4, 2, 2), **WAP_SETTINGS)
    methods = compressors_of(wap, ["norm"], [])
    assert methods == {
        "none": Pool("average"),
        "class_token x20": wap,
        "norm x20": WAP((4, 2, 2), "cosine", 20.0, "norm"),
    }
    assert list(compressors_of(WAP(), ["class_token"], [2.0])) == ["none", "class_token", "class_token x2"]


def test_gains_are_paired_by_question() -> None:
    scores = {(name, 8): MultipleChoiceAccuracy() for name in ("a", "b")}
    answers = {"a": [1, 1, 0, 0, 1, 0], "b": [1, 0, 0, 0, 0, 1]}
    for name, right in answers.items():
        scores[name, 8].update(torch.tensor(right), ["needle"] * 6, [0, 0, 1, 1, 2, 2], list(range(6)))
    own, other = rows_against(scores, "b")
    assert own["right"] == answers["a"] and own["gain"] == pytest.approx((3 - 2) / 6)
    # Videos gain 1/2, 0 and 0: no draw of them has less than 0 or more than 1/2.
    assert own["gain_low"] == 0 and own["gain_high"] == pytest.approx(0.5)
    assert (other["gain"], other["gain_low"], other["gain_high"]) == (0, 0, 0)


def test_what_a_run_lacks_is_named(run: Path, tmp_path: Path) -> None:
    from liteframe.bench.command import saliency_command

    with pytest.raises(ConfigError, match=r"val\.jsonl is missing; run the pipeline first"):
        saliency_command(str(run), split="val")
    with pytest.raises(ConfigError, match=r"attention pool.* has none; .*class_token, mean_token, norm"):
        saliency_command(str(run), saliencies=["attention_pool"], frames=[4])
    shutil.rmtree(run / "pretrain-llm")
    with pytest.raises(ConfigError, match=r"pretrain-llm/export is missing; finish the run first"):
        saliency_command(str(run))
