"""A list that several processes read is the list that one reads, row by row: `read_manifest` does so here."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liteframe.data.decoding.processes import in_parts
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.sources import json_text, kept_tables, list_blocks, parquet, row_block
from liteframe.data.sources.json_text import json_rows, line_parts
from liteframe.data.sources.kept_tables import ListFile
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_sources
from liteframe.data.sources.parquet import parquet_rows
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import DecodeError, LiteFrameError, ManifestError

ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\n \n"]


@pytest.fixture(autouse=True)
def in_small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tables, "LONG_LIST", 0)
    monkeypatch.setattr(list_blocks, "PART_BYTES", 700)
    monkeypatch.setattr(in_parts, "usable_cores", lambda: 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of what several processes do."""
    seen: list[str] = []
    call = DecodePool.call_in_order

    def seeing(pool: DecodePool, asked: Iterable[Any]) -> Iterator[Any]:
        first, *rest = asked
        seen.append(first[1].partition(":")[2])
        return call(pool, [first, *rest])

    monkeypatch.setattr(DecodePool, "call_in_order", seeing)
    return seen


def written(path: Path, seed: int, faults: bool = True) -> Path:
    """Rows of several forms, with ids that come again, behind all ends of lines; some cannot be read."""
    rng = random.Random(seed)
    kinds = [
        lambda n: {"path": f"v{n}.mp4"},
        lambda n: {"path": f"v{n % 7}.mp4", "question": "ü🎥", "options": ["a", "b"], "answer": "a"},
        lambda n: {"id": f"i{n}", "path": f"v{n}.mp4", "start": 1, "end": 2.5, "ok": False, "error": "no video"},
        lambda n: {"id": f"l{n % 5}", "video": f"v{n}.mp4", "conversations": [{"from": "human", "value": "x" * n}]},
        lambda n: {"path": f"s3://b/v{n}.mp4", "extra": {"deep": [1, None, {}, 10**30, float("inf")]}},
    ]
    bad = ["no json", '{"path": 3}', "[]", '{"path": "a.mp4", "path": "b"}', '{"id": "i2", "path": "twice.mp4"}']
    content = ""
    for number in range(120):
        row = json.dumps(rng.choice(kinds)(number), ensure_ascii=rng.random() < 0.5)
        row = row if not faults or rng.random() < 0.9 else rng.choice(bad)
        content += row + rng.choice(ENDS)
    path.write_text("\ufeff" * (seed % 2) + content.rstrip("\r\n"), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("longest", [json_text.MAX_ROW, 90])
@pytest.mark.parametrize("least_bytes", [1, 97, 5000])
@pytest.mark.parametrize("seed", range(4))
def test_parts_hold_the_rows_of_the_whole(
    seed: int, least_bytes: int, longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "MAX_ROW", longest)
    monkeypatch.setattr(json_text, "_CHUNK", 64)
    path = written(tmp_path / "x.jsonl", seed)
    parts = list(line_parts(path, least_bytes))
    assert parts[0].start == 0 and parts[-1].end == path.stat().st_size
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    rows = [(where, str(row)) for part in parts for where, row in json_rows(path, part)]
    assert rows == [(where, str(row)) for where, row in json_rows(path)]


def assert_same(table: RowTable, rows: list[VideoRow]) -> None:
    held = RowTable([rows])
    assert list(table) == rows and [row.place for row in table] == [row.place for row in rows]
    assert table.errors == held.errors and list(table.errors) == sorted(held.errors)
    assert table.first_url == held.first_url and table.first_unreadable == held.first_unreadable
    assert table.sha256 == held.sha256 and table.sizes == [len(rows)]
    assert table.keys_N.tolist() == held.keys_N.tolist()
    assert table.sample_keys_N.tolist() == held.sample_keys_N.tolist()


@pytest.mark.parametrize("seed", range(2))
def test_rows_of_several_processes_are_those_of_one(
    seed: int, tmp_path: Path, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "x.jsonl", seed)
    rows = read_manifest(path, keep_unusable=True)
    assert sum(bool(row.error) for row in rows) > 5 and any(row.id.endswith("@2") for row in rows)
    assert_same(read_sources(str(path), keep_unusable=True), rows)
    assert "by this process" not in capsys.readouterr().err and calls == ["read_part"]


def test_the_first_fault_of_a_list_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", 1)
    with pytest.raises(ManifestError) as by_one:
        read_manifest(path)
    with pytest.raises(ManifestError) as by_several:
        read_sources(str(path))
    assert str(by_several.value) == str(by_one.value)


def written_parquet(path: Path, group_rows: int) -> Path:
    """Rows of which some cannot be read, and some ids come again."""
    paths = [f"v{number % 37}.mp4" if number % 10 else None for number in range(95)]
    table = pa.table({"path": paths, "question": ["q" * (number % 5) for number in range(95)]})
    pq.write_table(table, path, row_group_size=group_rows)
    return path


@pytest.mark.parametrize("group_rows", [1, 4, 95])
def test_row_groups_of_several_processes_are_those_of_one(
    group_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_OF_A_PART", 7)
    path = written_parquet(tmp_path / "x.parquet", group_rows)
    parts = parquet.group_parts(path)
    assert len(parts) == {1: 14, 4: 12, 95: 1}[group_rows]
    assert [row for part in parts for row in parquet_rows(path, part)] == list(parquet_rows(path))
    rows = read_manifest(path, keep_unusable=True)
    assert sum(bool(row.error) for row in rows) > 5 and any(row.id.endswith("@2") for row in rows)
    assert_same(read_sources(str(path), keep_unusable=True), rows)


def test_large_row_groups_are_read_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written_parquet(tmp_path / "x.parquet", 40)
    assert len(parquet.group_parts(path)) == 1
    for name, most in (("_MOST_BYTES_OF_A_GROUP", 50), ("_MOST_ROWS_OF_A_GROUP", 39)):
        with monkeypatch.context() as context:
            context.setattr(parquet, name, most)
            assert parquet.group_parts(path) == []


def test_parts_whose_rows_are_long_are_read_in_blocks_by_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_OF_A_PART", 7)
    monkeypatch.setattr(row_block, "_BLOCK_BYTES", 1 << 20)
    path = tmp_path / "x.parquet"
    texts = pa.array(["q" * 60_000] * 900 + ["short"] * 60)
    pq.write_table(pa.table({"path": [f"v{n}.mp4" for n in range(960)], "question": texts}), path, row_group_size=60)
    asked = list(in_parts.in_parts("x", list_blocks.read_part, calls_of(path), 2))
    assert [answer is None for _, answer in asked] == [False] * 16
    monkeypatch.setattr(parquet, "_ROWS_OF_A_PART", 900)
    (_, none), (_, some) = in_parts.in_parts("x", list_blocks.read_part, calls_of(path), 2)
    assert none is None and some is not None and len(some[0] or ()) == 60
    assert_same(read_sources(str(path), keep_unusable=True), read_manifest(path, keep_unusable=True))
    assert capsys.readouterr().err.count("by this process") == 0


def calls_of(path: Path) -> list[tuple[Any, ...]]:
    return [(ListFile(path, None), part, 0, True) for part in parquet.group_parts(path)]


def test_a_damaged_parquet_is_told_as_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS_OF_A_PART", 7)
    path = written_parquet(tmp_path / "x.parquet", 4)
    content = bytearray(path.read_bytes())
    for fault in (slice(len(content) // 3, len(content) // 3 + 200), slice(len(content) - 60, None)):
        damaged = content.copy()
        damaged[fault] = b"\xff" * len(damaged[fault])
        path.write_bytes(damaged)
        with pytest.raises(ManifestError) as by_one:
            read_manifest(path, keep_unusable=True)
        with pytest.raises(ManifestError) as by_several:
            read_sources(str(path), keep_unusable=True)
        assert str(by_several.value) == str(by_one.value)


def test_what_other_processes_see_of_the_disk_is_asked_again(tmp_path: Path) -> None:
    """A link that leads out of the root since, in a folder that the last part of the list names."""
    path, root = tmp_path / "x.jsonl", tmp_path / "root"
    for name in ("first", "last"):
        (root / name).mkdir(parents=True)
    rows = [*({"path": f"first/{number}.mp4"} for number in range(60)), {"path": "last/a.mp4"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = VideoSource(str(path), str(root))
    assert len(read_sources([source])) == 61
    (root / "last" / "a.mp4").symlink_to(tmp_path / "outside.mp4")
    with pytest.raises(ManifestError, match=r"x\.jsonl:61: .*leads out"):
        read_sources([source])


def test_sights_that_differ_are_never_seen_again(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    before, after, now = (ListRoot(str(tmp_path), str(tmp_path)) for _ in range(3))
    before.locate("sub/a.mp4")
    (tmp_path / "sub" / "a.mp4").symlink_to(tmp_path / "b.mp4")
    after.locate("sub/a.mp4")
    first = before.seen()
    before.take_in(after.news())
    assert not now.is_as(first) and now.is_as(after.seen()) and not now.is_as(before.seen())


def test_sights_that_agree_are_as_good_from_whomever(tmp_path: Path) -> None:
    """A video that comes while a list is read changes the time of its folder, and nothing else."""
    (tmp_path / "sub").mkdir()
    one, other = (ListRoot(str(tmp_path), str(tmp_path)) for _ in range(2))
    one.locate("sub/a.mp4")
    (tmp_path / "sub" / "b.mp4").touch()
    os.utime(tmp_path / "sub", ns=(0, 0))
    other.locate("sub/a.mp4")
    one.take_in(other.news())
    assert ListRoot(str(tmp_path), str(tmp_path)).is_as(one.seen())


def test_news_are_told_once(tmp_path: Path) -> None:
    for name in ("a", "b", "part"):
        (tmp_path / name).mkdir()
    root, all_news = ListRoot(str(tmp_path), str(tmp_path)), ListRoot(str(tmp_path), str(tmp_path))
    told = []
    for name, source in (("a/x.mp4", None), ("b/x.mp4", None), ("a/y.mp4", None), ("x.mp4", "part"), ("a/z.mp4", "no")):
        root.locate(name, source)
        told.append(root.news())
        all_news.take_in(told[-1])
    assert [sum(map(len, news["folders"].values())) for news in told] == [1, 1, 0, 1, 0]
    assert all_news.seen() == {**root.seen(), "folders": {**root.seen()["folders"]}}


def die(_pool: DecodePool, calls: Iterable[Any]) -> Iterator[DecodeError]:
    return (DecodeError("x.jsonl", "died") for _ in calls)


def start_none(_pool: DecodePool, calls: Iterator[Any]) -> Iterator[Any]:
    next(calls)
    raise LiteFrameError("no process can be started")
    yield


@pytest.mark.parametrize("call", [die, start_none])
def test_processes_that_fail_lose_no_row(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "x.jsonl", 0)
    monkeypatch.setattr(DecodePool, "call_in_order", call)
    assert_same(read_sources(str(path), keep_unusable=True), read_manifest(path, keep_unusable=True))
    assert capsys.readouterr().err.count("x.jsonl is read by this process") == 1


def test_a_list_that_is_replaced_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", 0)
    file = ListFile(path, None)
    blocks = list_blocks.list_blocks(file, file.held_root(), 0, keep_unusable=True)
    next(blocks)
    os.replace(written(tmp_path / "y.jsonl", 1), path)
    with pytest.raises(ManifestError, match=r"x\.jsonl: changed while it was read"):
        list(blocks)


def test_an_error_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[DecodePool] = []
    monkeypatch.setattr(in_parts, "DecodePool", lambda *args: pools.append(DecodePool(*args)) or pools[-1])
    with pytest.raises(ManifestError) as kept:
        read_sources(str(written(tmp_path / "x.jsonl", 1)))
    assert kept.value and [pool.children() for pool in pools] == [[]]


@pytest.mark.parametrize("content", ["\ufeff{}".encode("utf-16"), b'[{"path": "a.mp4"}]', b'{"a": "' + b"x" * 5000])
def test_parts_are_of_lines_alone(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    assert len(list(line_parts(tmp_path / "x.jsonl", 100))) == (content[:1] == b"{")


def test_a_long_list_without_a_row_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n" * 5000)
    with pytest.raises(ManifestError, match=r"x\.jsonl: the manifest is empty"):
        read_sources(str(path))
