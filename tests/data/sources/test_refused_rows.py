"""Rows that a stage refuses: those that a loop over the list finds, and asked once where the list is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.decoding.processes import in_parts
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.sampling import KeyFrames
from liteframe.data.sources import kept_tables, refused_rows
from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest, read_sources
from liteframe.data.sources.row_checks import RowChecks
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import DataError, DecodeError

OF_LMA = RowChecks((), turns_of, (None,))


@pytest.fixture(autouse=True)
def in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tables, "LONG_LIST", 0)
    monkeypatch.setattr(refused_rows, "_ROWS_OF_A_PART", 7)
    monkeypatch.setattr(in_parts, "usable_cores", lambda: 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one name each time that rows are asked."""
    times: list[str] = []
    ask = refused_rows._asked

    def counted(*args: Any, **settings: Any) -> dict[int, str]:
        times.append("asked")
        return ask(*args, **settings)

    monkeypatch.setattr(refused_rows, "_asked", counted)
    return times


@pytest.fixture
def source(tmp_path: Path) -> str:
    kinds: list[dict[str, Any]] = [
        {"question": "q", "answer": "a"},
        {"questions": [{"question": "q", "answer": "a", "type": "order"}], "key_frames": [1, 2]},
        {"question": "q", "answer": "<IMG_CONTEXT>"},
        {"question": "q", "answer": "a", "error": "no video"},
        {"key_frames": "x", "question": "q", "answer": "a"},
        {},
    ]
    rows = [{"path": f"v{n}.mp4", **kinds[n * n % 11 % len(kinds)]} for n in range(90)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def by_a_loop(source: str, *checks: Callable[[dict[str, Any]], object]) -> dict[int, str]:
    found = {}
    for index, row in enumerate(read_manifest(source)):
        for check in checks if row.error is None else ():
            try:
                check(row.as_dict())
            except DataError as error:
                found.setdefault(index, f"{source}:{index + 1}: {error}")
    return found


def test_several_processes_refuse_what_a_loop_does(source: str, asked: list[str]) -> None:
    table, expected = read_sources(source, keep_unusable=True), by_a_loop(source, turns_of)
    assert len(expected) > 20
    found = refused_rows.refused_rows(table, OF_LMA, first=False)
    assert found == expected and list(found) == sorted(found)
    again = refused_rows.refused_rows(read_sources(source, keep_unusable=True), OF_LMA, first=False)
    assert again == found and list(again) == list(found) and asked == ["asked"]
    assert refused_rows.refused_rows(table, OF_LMA, first=True) == dict([next(iter(expected.items()))])
    assert refused_rows.refused_rows(table, OF_LMA, first=True) == dict([next(iter(expected.items()))])
    assert len(asked) == 2


def test_each_check_is_asked_for_itself(source: str, asked: list[str]) -> None:
    table, keys = read_sources(source), KeyFrames()
    both = RowChecks((keys,), turns_of, (["needle"], None))
    for check, checks in ((OF_LMA, [turns_of]), (both, [keys.check_row, turns_of]), (OF_LMA, [turns_of])):
        assert refused_rows.refused_rows(table, check, first=False) == by_a_loop(source, *checks)
    assert len(asked) == 2


def test_code_that_may_change_unseen_is_asked_each_time_and_here(source: str, asked: list[str]) -> None:
    seen: list[str] = []

    def strangers(row: dict[str, Any]) -> None:
        seen.append(row["id"])
        raise DataError("no")

    table = read_sources(source)
    for check in (strangers, RowChecks((), strangers, (None,)), RowChecks((), partial(strangers), (None,))):
        seen.clear()
        found = refused_rows.refused_rows(table, check, first=False)
        assert len(found) == len(seen) == len(table.usable_N) and asked.pop() == "asked"


@pytest.mark.parametrize("content", [b"", b"00000000\n{}", b"no checksum"])
def test_what_is_damaged_is_asked_anew(source: str, content: bytes, asked: list[str]) -> None:
    table = read_sources(source)
    found = refused_rows.refused_rows(table, OF_LMA, first=False)
    assert table.folder is not None
    (table.folder / refused_rows.REFUSED_FILE).write_bytes(content)
    for _ in range(2):
        assert refused_rows.refused_rows(table, OF_LMA, first=False) == found
    assert len(asked) == 2


def test_other_code_asks_anew(source: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_sources(source)
    refused_rows.refused_rows(table, OF_LMA, first=False)
    monkeypatch.setattr(refused_rows, "_code", lambda: b"other")
    refused_rows.refused_rows(table, OF_LMA, first=False)
    assert len(asked) == 2


def test_processes_that_fail_lose_no_row(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(self: DecodePool, calls: Iterator[Any]) -> Iterator[Any]:
        for _ in calls:
            yield DecodeError("x", "killed")

    monkeypatch.setattr(DecodePool, "call_in_order", failing)
    table = read_sources(source, keep_unusable=True)
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)
    assert capsys.readouterr().err.count("others that should read parts of it fail") == 1


def test_a_table_in_memory_is_asked_here(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecodePool, "call_in_order", None)
    table = RowTable([read_manifest(source)])
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)
