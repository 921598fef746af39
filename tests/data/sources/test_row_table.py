"""Rows held as bytes: the same rows, in about the size of their list, and of no size in loader processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import tracemalloc
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.multiprocessing  # noqa: F401 (teaches the pickler of processes to share tensors)

from liteframe.data.sources.id_keys import IdSet, id_key, id_keys
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_sources
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import VideoRow

ROWS = [
    VideoRow("/a.mp4", "a"),
    VideoRow("s3://b/c.mp4", "ü\n🎥", "q", ["x", "y"], "x", [{"from": "human", "value": "滚\0"}], 0.5, 2.0),
    VideoRow("/d.mp4", "", error="no video stream", extra={"scene": {"deep": [1, None, 2.5]}}, place="x.jsonl:3"),
    VideoRow("/half.mp4", "half \udc80"),
]


def listed(path: Path, count: int, turns: int = 8) -> Path:
    with path.open("w") as file:
        for number in range(count):
            said = [{"from": ("human", "gpt")[i % 2], "value": f"{number} {i} " + "word " * 20} for i in range(turns)]
            file.write(json.dumps({"id": str(number), "video": f"{number}.mp4", "conversations": said}) + "\n")
    return path


def test_rows_come_out_as_they_went_in() -> None:
    table = RowTable([ROWS[:1], [], ROWS[1:]])
    assert list(table) == ROWS and table[1:3] == ROWS[1:3] and table[-1] == ROWS[-1]
    assert [row.place for row in table] == [row.place for row in ROWS]
    assert table.sizes == [1, 0, 3] and len(table) == 4 and len(RowTable([])) == 0
    assert list(table.ids()) == [row.id for row in ROWS] == [table.id_of(n) for n in range(4)]
    assert table.errors == {2: "no video stream"} and table.usable_N.tolist() == [0, 1, 3]
    assert table.first_url == "s3://b/c.mp4"
    table[0].conversations = [{}]
    assert table[0] == ROWS[0], "a row is made anew at each access"
    with pytest.raises(IndexError):
        table[4]


def test_keys_stand_for_ids() -> None:
    names = [f"{number}.mp4" for number in range(5000)]
    keys_N = id_keys(names)
    assert len(set(keys_N.tolist())) == 5000 and keys_N[7] == id_key("7.mp4")
    known = IdSet(keys_N[::2])
    assert [name in known for name in names] == [True, False] * 2500
    assert 3 not in known and "a" not in IdSet(np.empty(0, np.int64))


def test_a_list_takes_about_its_size(tmp_path: Path) -> None:
    path = listed(tmp_path / "x.jsonl", 4000)
    read_sources(str(path))
    tracemalloc.start()
    table = read_sources(str(path))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 4000 and size < 1.25 * path.stat().st_size
    assert list(table) == read_manifest(path)


def own_bytes() -> int:
    """This process's share of memory, but for pages of files, which are given up where memory is short."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss_Anon")) * 1024


def passes(rows: Any, out: Any) -> None:
    list(rows[:10])
    before = own_bytes()
    for row in rows:
        assert row.conversations
    out.put(own_bytes() - before)


@pytest.fixture(params=["held", "kept"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Rows are held in memory, or kept in files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("liteframe.data.sources.kept_tables.LONG_LIST", 0 if request.param == "kept" else 1 << 40)
    return str(request.param)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="tells memory on Linux only")
def test_a_pass_over_all_rows_takes_no_memory_of_a_loader_process(where: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "x.jsonl", 8000)
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    process = context.Process(target=passes, args=(read_sources(str(path)), out))
    process.start()
    grown = out.get()
    process.join()
    assert grown < path.stat().st_size / 5, f"{grown} bytes of {path.stat().st_size}"


def test_a_process_that_is_spawned_is_handed_no_copy(where: str, tmp_path: Path) -> None:
    table = read_sources(str(listed(tmp_path / "x.jsonl", 1000)))
    rows = list(table)
    if where == "kept":
        assert list(pickle.loads(ForkingPickler.dumps(table))) == rows
    handed = ForkingPickler.dumps(table)
    assert len(handed) < 10_000
    assert list(table) == rows, "and they are still here"


def test_sources_of_the_same_list_keep_their_ids_apart(tmp_path: Path) -> None:
    path = str(listed(tmp_path / "x.jsonl", 3))
    table = read_sources([path, VideoSource(path)])
    assert list(table.ids()) == ["0", "1", "2", "0@1", "1@1", "2@1"] and table.sizes == [3, 3]
