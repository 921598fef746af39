"""Rows that a stage refuses: those that a loop over the list finds, and asked once where the list is kept."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
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
from liteframe.evaluation.benchmarks.question import require_letters
from liteframe.tiny.synthetic import require_scene

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
        {"question": "q", "answer": "a", "ok": False, "error": "no video"},
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


def only_its_name() -> Any:
    """`refused_in` as other processes find it, which this one cannot call."""
    return SimpleNamespace(__module__=refused_rows.__name__, __qualname__="refused_in")


def test_several_processes_refuse_what_a_loop_does(
    source: str, asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, expected = read_sources(source, keep_unusable=True), by_a_loop(source, turns_of)
    assert len(expected) > 10
    with monkeypatch.context() as context:
        context.setattr(refused_rows, "refused_in", only_its_name())
        found = refused_rows.refused_rows(table, OF_LMA, first=False)
    assert "by this process" not in capsys.readouterr().err
    assert found == expected and list(found) == sorted(found)
    again = refused_rows.refused_rows(read_sources(source, keep_unusable=True), OF_LMA, first=False)
    assert again == found and list(again) == list(found) and asked == ["asked"]
    for _ in range(2):
        assert refused_rows.refused_rows(table, OF_LMA, first=True) == dict([next(iter(expected.items()))])
    assert len(asked) == 2


def test_each_check_and_table_is_asked_for_itself(source: str, asked: list[str]) -> None:
    table, keys = read_sources(source), KeyFrames()
    both = RowChecks((keys,), turns_of, (["order"], None))
    for check, checks in ((OF_LMA, [turns_of]), (both, [keys.check_row, turns_of]), (OF_LMA, [turns_of])):
        assert refused_rows.refused_rows(table, check, first=False) == by_a_loop(source, *checks)
    assert len(asked) == 2
    marked = min(by_a_loop(source, turns_of))
    table.errors[marked] = "known"
    assert marked not in refused_rows.refused_rows(table, OF_LMA, first=False)
    assert refused_rows.refused_rows(read_sources(source), OF_LMA, first=False) == by_a_loop(source, turns_of)


SEEN: list[str] = []


def strangers(row: dict[str, Any]) -> None:
    SEEN.append(row["id"])
    raise DataError("no")


@wraps(turns_of)
def dressed(row: dict[str, Any]) -> None:
    strangers(row)


@dataclass
class StrangersKeys(KeyFrames):
    def check_row(self, row: dict[str, Any]) -> None:
        strangers(row)


@pytest.mark.parametrize(
    "check",
    [
        strangers,
        RowChecks((), strangers, (None,)),
        RowChecks((), partial(strangers), (None,)),
        RowChecks((), dressed, (None,)),
        RowChecks((StrangersKeys(),), turns_of, (None,)),
    ],
)
def test_code_that_may_change_unseen_is_asked_each_time_and_here(source: str, check: Any, asked: list[str]) -> None:
    table = read_sources(source)
    for times in (1, 2):
        SEEN.clear()
        assert len(refused_rows.refused_rows(table, check, first=False)) == len(SEEN) == len(table.usable_N)
        assert len(asked) == times


@pytest.mark.parametrize("content", [b"", b"00000000\n{}", b"no checksum"])
def test_what_is_damaged_is_asked_anew(source: str, content: bytes, asked: list[str]) -> None:
    table = read_sources(source)
    found = refused_rows.refused_rows(table, OF_LMA, first=False)
    assert table.folder is not None
    (kept,) = table.folder.glob(refused_rows.REFUSED_FILES)
    kept.write_bytes(content)
    for _ in range(2):
        assert refused_rows.refused_rows(table, OF_LMA, first=False) == found
    assert len(asked) == 2


def test_code_is_known_by_its_files_as_long_as_they_are_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "part").mkdir(parents=True)
    monkeypatch.setattr(refused_rows, "_STARTED", time.time() + 60)
    assert refused_rows._code(package) is None
    (package / "part" / "a.py").write_text("1")
    first = refused_rows._code(package)
    assert first is not None and refused_rows._code(package) == first
    (package / "part" / ".#a.py").symlink_to("nobody@nowhere")
    assert refused_rows._code(package) == first
    (package / "part" / "a.py").write_text("2")
    assert refused_rows._code(package) not in (None, first)
    (package / "gone.py").symlink_to("nowhere")
    assert refused_rows._code(package) is None
    (package / "gone.py").unlink()
    monkeypatch.setattr(refused_rows, "_STARTED", time.time() - 60)
    assert refused_rows._code(package) is None


@pytest.mark.parametrize("codes", [["a", "b", "b", "b"], [None] * 6])
def test_code_that_changes_meanwhile_keeps_nothing(
    source: str, codes: list[str | None], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, left = read_sources(source), list(codes)
    monkeypatch.setattr(refused_rows, "_code", lambda _: left.pop(0))
    for _ in range(2):
        assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)
    assert len(asked) == 2


def test_the_table_may_be_read_only_or_gone(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(path)

    table = read_sources(source)
    monkeypatch.setattr(refused_rows, "alone", refused)
    monkeypatch.setattr(DecodePool, "call_in_order", None)
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)
    assert table.folder is not None and not list(table.folder.glob(refused_rows.REFUSED_FILES))
    monkeypatch.undo()
    shutil.rmtree(table.folder)
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)


def test_of_several_one_asks_and_the_others_wait(source: str, asked: list[str]) -> None:
    table, expected = read_sources(source), by_a_loop(source, turns_of)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: refused_rows.refused_rows(table, OF_LMA, first=False), range(4)))
    assert found == [expected] * 4 and asked == ["asked"]


def test_what_is_kept_goes_with_the_table(source: str) -> None:
    table = read_sources(source)
    refused_rows.refused_rows(table, OF_LMA, first=False)
    folder = table.folder
    assert folder is not None and list(folder.glob(refused_rows.REFUSED_FILES))
    del table
    Path(source).write_text(Path(source).read_text() + '{"path": "more.mp4"}\n')
    assert len(read_sources(source)) == 91 and not folder.exists()


def test_processes_that_fail_lose_no_row(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(self: DecodePool, calls: Iterator[Any]) -> Iterator[Any]:
        for _ in calls:
            yield DecodeError("x", "killed")

    monkeypatch.setattr(DecodePool, "call_in_order", failing)
    table = read_sources(source, keep_unusable=True)
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)
    assert capsys.readouterr().err.count("rows are checked by this process") == 1


def test_a_table_in_memory_is_asked_here(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecodePool, "call_in_order", None)
    table = RowTable([read_manifest(source)])
    assert refused_rows.refused_rows(table, OF_LMA, first=False) == by_a_loop(source, turns_of)


@pytest.mark.parametrize("stage", ["lma", "evaluate", "frame_labels"])
def test_what_stages_ask_is_asked_without_torch(stage: str) -> None:
    checks = {"lma": turns_of, "evaluate": require_letters, "frame_labels": require_scene}
    asked = RowChecks((KeyFrames(),), checks[stage], (None,))
    assert asked.are_own
    content = f"import pickle, sys; pickle.loads({pickle.dumps(asked)!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", content], check=True)
