from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from liteframe.data.loading.skips import SkipLedger, Skipped, set_aside
from liteframe.errors import ConfigError, SkipLimitExceeded


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


@pytest.mark.parametrize("field", ["path", "id", "reason"])
def test_half_a_character_is_written_as_its_escape(field: str, tmp_path: Path) -> None:
    """File names on disk may be no UTF-8, and reasons repeat them."""
    skip = {"path": "/v/a.mp4", "id": "a", "reason": "broken", field: "x\udcff\ud83d"}
    ledger = SkipLedger(tmp_path / "s.jsonl", total=100)
    ledger.record(**skip)
    ledger.record(**skip)
    assert lines(ledger.path) == [skip] and SkipLedger(ledger.path, total=100).ids == [skip["id"]]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "3",
        '{"path": ["a"], "id": "a", "reason": "x"}',
        '{"path": "a", "id": {"x": 1}, "reason": "x"}',
        '{"path": "a", "id": 7, "reason": null}',
        '{"path": "a"}',
        "[" * 100_000,
        "\0\0",
        "\udcff",
    ],
)
def test_lines_of_another_shape_are_left_alone(line: str, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(line.encode(errors="surrogateescape") + b'\n{"path": "b", "id": "b", "reason": "x"}\n')
    for known in (None, ["a", "b", "c"]):
        assert SkipLedger(path, total=100, known=known).ids == ["b"]
    SkipLedger(path, total=100).record("c", "c", "y")
    assert SkipLedger(path, total=100).ids == ["b", "c"]


def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    ledger = SkipLedger(tmp_path / "s.jsonl", total=100)
    ledger.record("a", "a", "x" * 10_000_000)
    assert ledger.path.stat().st_size < 10_000


def test_what_is_expected_is_counted_by_all_and_written_by_one(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    skips = [Skipped(f"{n}.mp4", f"{n}", "bad") for n in range(3)]
    first, second = SkipLedger(path, total=100), SkipLedger(path, total=100)
    second.expect(skips, write=False)
    assert not path.exists() and second.ids == ["0", "1", "2"]
    first.expect(skips)
    second.record("0.mp4", "0", "bad")
    assert [line["id"] for line in lines(path)] == ["0", "1", "2"]
    for write in (True, False):
        with pytest.raises(SkipLimitExceeded, match="3 of 10"):
            SkipLedger(tmp_path / f"{write}.jsonl", total=10).expect(skips, write=write)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/s\.jsonl: the list of skipped videos cannot be kept .*free space"):
        SkipLedger(tmp_path / "file" / "s.jsonl", total=100).record("a", "a", "x")
    with pytest.raises(ConfigError, match="cannot be kept"):
        SkipLedger(tmp_path, total=100)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ledger = SkipLedger(tmp_path / "s.jsonl", total=100)
    ledger.record("a", "a", "x")
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.path.stat().st_size + 9, limits[1]))
    try:
        with pytest.raises(ConfigError, match="cannot be kept"):
            ledger.record("b", "b", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ledger.record("c", "c", "x")
    assert SkipLedger(ledger.path, total=100).ids == ["a", "c"]


def test_each_verb_counts_its_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    SkipLedger(path, total=100, verb="fit").record("a", "a", "x")
    test = SkipLedger(path, total=100, verb="test")
    assert test.ids == []
    test.record("a", "a", "y")
    assert [(line["id"], line["reason"], line["verb"]) for line in lines(path)] == [
        ("a", "x", "fit"),
        ("a", "y", "test"),
    ]
    assert [skip.reason for skip in SkipLedger(path, total=100, verb="fit").skipped()] == ["x"]


def test_what_is_set_aside_is_kept_beside_the_list(tmp_path: Path) -> None:
    path = tmp_path / "skipped.jsonl"
    set_aside(path, "test")
    assert not list(tmp_path.iterdir())
    no_verb = '{"path": "old", "id": "old", "reason": "x"}'
    path.write_text(no_verb + "\n[1]\n")
    for name, verb in (("a", "fit"), ("b", "test"), ("c", "predict")):
        SkipLedger(path, total=100, verb=verb).record(name, name, "x")
    before = path.read_text().splitlines()
    set_aside(path, "test")
    assert [line for line in before if '"b"' not in line] == path.read_text().splitlines()
    set_aside(path, "fit")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [[1], json.loads(before[-1])]
    earlier = (tmp_path / "skipped-earlier.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in earlier] == ["b", "old", "a"]


def test_a_list_is_taken_up_again_and_rows_that_are_read_leave_it(tmp_path: Path) -> None:
    path, archive = tmp_path / "s.jsonl", tmp_path / "skipped-earlier.jsonl"
    archive.write_text("older\n")
    first = SkipLedger(path, total=100, verb="fit")
    for name in "abc":
        first.record(name, name, "x")
    first.was_read("a", "a")
    assert first.ids == ["a", "b", "c"]  # skipped once in this run: another try, or part of it, changes nothing
    before = lines(path)
    for _ in range(2):
        earlier = set_aside(path, "fit")
        later, beside = (SkipLedger(path, total=100, known="abc", verb="fit") for _ in range(2))
        assert later.ids == []
        later.record("c", "c", "x")
        for ledger in (later, beside):
            ledger.go_on(earlier, write=ledger is later)
        assert sorted(map(str, lines(path))) == sorted(map(str, before)) and archive.read_text() == "older\n"
        assert {skip.id for skip in beside.skipped()} == {*later.ids} == {*"abc"}
    for ledger in (later, beside, later):
        ledger.was_read("a", "a")
        ledger.was_read("new", "new")
    assert {*later.ids} == {skip.id for skip in beside.skipped()} == {*"bc"} and len(lines(path)) == 4
    later.record("a", "a", "again")
    assert {*SkipLedger(path, total=100).ids} == {*"abc"}


def test_a_trial_counts_and_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s.jsonl"
    trial = SkipLedger(path, total=3, max_fraction=0.4, keep=False)
    trial.record("a", "a", "x")
    assert trial.ids == ["a"] and not path.parent.exists()
    with pytest.raises(SkipLimitExceeded, match="2 of 3"):
        trial.record("b", "b", "x")
