from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from liteframe.data.skips import SkipLedger
from liteframe.errors import SkipLimitExceeded


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_each_id_is_listed_once_with_its_reason(tmp_path: Path) -> None:
    ledger = SkipLedger(tmp_path / "run" / "skipped.jsonl", total=100)
    assert not ledger.path.exists()
    ledger.record("/v/a.mp4", "a", "broken")
    ledger.record("/v/a.mp4", "a", "broken again")
    ledger.record("/v/b.mp4", "b", "slow")
    assert lines(ledger.path) == [
        {"path": "/v/a.mp4", "id": "a", "reason": "broken"},
        {"path": "/v/b.mp4", "id": "b", "reason": "slow"},
    ]
    assert ledger.ids == ["a", "b"]


def test_the_limit_is_a_share_of_all_and_the_message_helps(tmp_path: Path) -> None:
    ledger = SkipLedger(tmp_path / "skipped.jsonl", total=40, max_fraction=0.05)
    ledger.record("a", "a", "moov atom not found")
    ledger.record("b", "b", "took more than 30 s")
    with pytest.raises(SkipLimitExceeded) as error:
        ledger.record("c", "c", "no video stream")
    message = str(error.value)
    for part in (str(ledger.path), "3 of 40", "5.0%", "--data.max_skip_fraction", "moov atom not found"):
        assert part in message
    assert len(lines(ledger.path)) == 3


def test_no_skip_is_allowed_at_zero(tmp_path: Path) -> None:
    with pytest.raises(SkipLimitExceeded):
        SkipLedger(tmp_path / "s.jsonl", total=1000, max_fraction=0.0).record("a", "a", "x")


def test_resume_and_other_ranks_count(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    SkipLedger(path, total=40).record("a", "a", "x")
    one, two = SkipLedger(path, total=40), SkipLedger(path, total=40)
    assert one.ids == ["a"]
    one.record("b", "b", "x")
    with pytest.raises(SkipLimitExceeded):
        two.record("c", "c", "x")
    assert len(lines(path)) == 3


def test_lines_of_other_data_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    SkipLedger(path, total=100).record("z", "z", "x")
    ledger = SkipLedger(path, total=1, max_fraction=0.5, known=["a"])
    assert ledger.ids == [] and lines(path)[0]["id"] == "z"


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"path": "a", "id": "a", "reason": "x"}\n{"path": "b", "i')
    ledger = SkipLedger(path, total=100)
    ledger.record("c", "c", "y")
    assert ledger.ids == ["a", "c"] and SkipLedger(path, total=100).ids == ["a", "c"]
    assert path.read_text().endswith(os.linesep)
