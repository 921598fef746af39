"""Rows of a split that the list calls another one's, and videos that two splits share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.loading.split_rows import read_split, said_of_shared
from liteframe.data.sources import kept_tables
from liteframe.data.sources.manifest import VideoSource, read_sources
from liteframe.data.sources.row_table import RowTable
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError


def listed(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps({"path": f"{n}.mp4", **row}) + "\n" for n, row in enumerate(rows)))
    return str(path)


def split_rows(split: Any, *paths: str, skip: bool = False) -> RowTable:
    return read_split(split, [VideoSource(path) for path in paths], None, skip, False)


@pytest.fixture(params=[False, True], ids=["short", "long"])
def length(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param:
        monkeypatch.setattr(kept_tables, "LONG_LIST", 0)


@pytest.mark.usefixtures("length")
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", ["split", "subset", "partition", "data_split"])
def test_rows_that_are_held_out_are_not_trained_on(name: str, skip: bool, tmp_path: Path) -> None:
    own = listed(tmp_path / "own.jsonl", {name: "train"}, {name: "Training"}, {name: "left"}, {})
    assert len(split_rows("train", own, skip=skip)) == 4
    for told in ("test", "TESTING", "val", "valid", "validation", "validate", "dev"):
        mixed = listed(tmp_path / "all.jsonl", {name: "train"}, {name: told}, {}, {name: told})
        with pytest.raises(
            ManifestError,
            match=rf'^data\.train: 2 of the 4 rows of .*all\.jsonl are of another split, "{name}": "{told}" \(the'
            r" first: .*all\.jsonl:2\); write those",
        ):
            split_rows("train", own, mixed, skip=skip)


@pytest.mark.parametrize(
    ("split", "told", "wrong"),
    [
        ("val", ["train", "val"], "train"),
        ("val", ["val", "test"], "test"),
        ("val", ["train"], "train"),
        ("test", ["val", "test"], "val"),
        ("test", ["train", "test"], "train"),
        ("predict", ["train", "test"], "test"),
        ("predict", ["val", "train"], "val"),
        ("val", ["val"], ""),
        ("val", ["test"], ""),
        ("test", ["val"], ""),
        ("test", ["test"], ""),
        ("predict", ["val", "test"], ""),
        ("predict", ["train"], ""),
    ],
)
def test_what_is_held_out_is_kept_apart(split: str, told: list[str], wrong: str, tmp_path: Path) -> None:
    path = listed(tmp_path / "x.jsonl", *({"split": name} for name in told), {"split": 3}, {"split": None}, {})
    if not wrong:
        assert len(split_rows(split, path)) == len(told) + 3
        return
    with pytest.raises(ManifestError, match=rf'data\.{split}: 1 of the {len(told) + 3} rows .* "split": "{wrong}" '):
        split_rows(split, path)


def test_each_list_tells_its_own_splits(tmp_path: Path) -> None:
    train, test = (listed(tmp_path / f"{name}.jsonl", {"split": name}) for name in ("train", "test"))
    assert read_sources([train, test]).splits == [
        {"train": [1, '"split": "train"', f"{train}:1"]},
        {"test": [1, '"split": "test"', f"{test}:1"]},
    ]
    assert len(split_rows("predict", train, test)) == 2, "one list each"


@pytest.mark.usefixtures("length")
def test_videos_that_are_trained_on_and_validated_on_are_counted(tmp_path: Path) -> None:
    rows = [{"path": f"{n}.mp4", "question": '"é\\'} for n in range(4)]
    train = read_sources(listed(tmp_path / "train.jsonl", *rows[:3], rows[1]))
    for val, told in ((rows[1:], "2 of the 3 videos"), (rows[:1], "the one video"), (rows[3:], None)):
        said = said_of_shared(train, read_sources(listed(tmp_path / "val.jsonl", *val)))
        assert said is None if told is None else said is not None and f"warning: {told} of data.val, such as " in said
        assert said is None or "unless the lists take other parts of them" in said


def test_rows_that_are_made_in_the_process_have_paths_too() -> None:
    table = RowTable([[VideoRow("/a.mp4", "a"), VideoRow("/b.mp4", "b", extra={"split": "dev"})]])
    assert [*table.paths()] == ["/a.mp4", "/b.mp4"] and table.splits == [{"val": [1, '"split": "dev"', "b"]}]
