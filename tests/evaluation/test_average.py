"""The paper's average: of one model, of whole splits, and of what was answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluating import report, whole
from liteframe.command import cli
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.system.json_files import write_json

FOUR = {"a": ("video-mme", False), "b": ("video-mme", True), "c": ("mlvu", False), "d": ("longvideobench", False)}


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Reports of the four, with headlines of 0.1, 0.3, 0.5 and 0.7."""
    made = report(whole())
    for number, (name, (of, subtitles)) in enumerate(FOUR.items()):
        split = benchmark(of).splits[0]
        settings = {**made["settings"], "benchmark": of, "split": split, "subtitles": subtitles}
        at = {"scores": {"strict": {"headline": 0.1 + 0.2 * number, "accuracy": 1.0}}, "answered": 12, "rows": 12}
        write_json(tmp_path / name / "report.json", {**made, "settings": settings, "frames": {"8": at}})
    return [str(tmp_path / name) for name in FOUR]


def change(folder: str, settings: dict[str, Any] | None = None, **fields: Any) -> None:
    path = Path(folder) / "report.json"
    found = json.loads(path.read_text())
    found["settings"] |= settings or {}
    write_json(path, {**found, **fields})


def test_it_is_the_mean_of_the_four(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--average", *folders[::-1]]) == 0
    row = ["8", "strict", *["0.100", "0.300", "0.500", "0.700", "0.400"]]
    assert capsys.readouterr().out.splitlines()[-1].split() == row
    assert cli.main(["evaluate", "--average", *folders[:3]]) == 1
    assert "takes evaluations of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "fields", "said"),
    [
        ({"weights_sha256": "0"}, {}, "weights_sha256 is"),
        ({"dtype": "bfloat16"}, {}, "dtype is 'float32' in video-mme and 'bfloat16' in mlvu"),
        ({"split": "test"}, {}, "mlvu was asked of its split 'test'; the paper's is 'dev'"),
        ({"limit": 3}, {}, "mlvu was asked 3 rows alone"),
        ({}, {"complete": False}, "not finished"),
    ],
)
def test_what_is_not_alike_is_refused(
    settings: dict[str, Any],
    fields: dict[str, Any],
    said: str,
    folders: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(folders[2], settings, **fields)
    assert cli.main(["evaluate", "--average", *folders]) == 1
    assert said in capsys.readouterr().err


def test_what_it_is_not_whole_of_is_said(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    at = {"scores": {"strict": {"headline": 0.5, "accuracy": 1.0}}, "answered": 9, "rows": 12, "not_averaged": ["ego"]}
    change(folders[2], {"prompt": {"name": "lmms-eval"}}, frames={"8": at})
    assert cli.main(["evaluate", "--average", *folders]) == 0
    told = capsys.readouterr().out
    assert "at 8 frames not all questions have an answer: mlvu 9 of 12" in told
    assert "at 8 frames the mean of mlvu leaves out ego, which have no answer" in told
    assert "asked in different words: video-mme by liteframe" in told and "mlvu by lmms-eval" in told
