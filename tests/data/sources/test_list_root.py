"""Names in a list lead nowhere but below its root, where it has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.checking.source_check import check_source
from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import DecodeError, ManifestError
from liteframe.system.contained_path import OutsideRoot


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """`root` with a clip, a folder of a data source, and links that stay and that leave; `secret` beside it."""
    for name in ("root/a.mp4", "root/0_30_s/b.mp4", "root/other/c.mp4", "secret/s.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    root = tmp_path / "root"
    (root / "out.mp4").symlink_to(tmp_path / "secret" / "s.mp4")
    (root / "in.mp4").symlink_to(root / "other" / "c.mp4")
    (root / "folder_out").symlink_to(tmp_path / "secret")
    (root / "folder_in").symlink_to(root / "other")
    (root / "0_30_s" / "out.mp4").symlink_to(tmp_path / "secret" / "s.mp4")
    return tmp_path


def rows_of(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("a.mp4", "other/../a.mp4", "in.mp4", "folder_in/c.mp4", "absent/x.mp4", "..a.mp4", "ABSOLUTE/a.mp4"),
        *("file://ABSOLUTE/a.mp4", "file://ABSOLUTE/%61.mp4"),
    ],
)
def test_names_below_a_root_are_found(name: str, world: Path) -> None:
    name = name.replace("ABSOLUTE", str(world / "root"))
    path = Path(ListRoot("/elsewhere", str(world / "root")).locate(name))
    assert path.resolve().is_relative_to((world / "root").resolve())
    plain = name.removeprefix("file://").replace("%61", "a")
    assert path.resolve() == (world / "root" / plain).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "../secret/s.mp4",
        "other/../../secret/s.mp4",
        "..",
        "/etc/passwd",
        "ABSOLUTE/secret/s.mp4",
        "ABSOLUTE/root2/a.mp4",
        "out.mp4",
        "other/../out.mp4",
        "folder_out/s.mp4",
        "folder_out/absent.mp4",
        "https://host/a.mp4",
        "file:///etc/passwd",
        "file://ABSOLUTE/root/%2e%2e/secret/s.mp4",
        "file://ABSOLUTE/root/out.mp4",
        "file://host/a.mp4",
        "file:///a%00.mp4",
    ],
)
def test_names_that_leave_a_root_are_the_fault_of_their_row(name: str, world: Path) -> None:
    name = name.replace("ABSOLUTE", str(world))
    for field in ("path", "video"):
        listed = rows_of(world / "list.jsonl", {"path": "a.mp4"}, {field: name})
        with pytest.raises(ManifestError, match=rf"list\.jsonl:2: field '{field}': .*without a root"):
            read_manifest(listed, str(world / "root"))
        rows = read_manifest(listed, str(world / "root"), keep_unusable=True)
        assert [bool(row.error) for row in rows] == [False, True] and rows[1].path == f"{listed}:2"
        assert list(check_source(str(listed), str(world / "root")).unreadable) == [f"{listed}:2"]


def test_a_list_without_a_root_is_its_users_own(world: Path) -> None:
    names = ["../secret/s.mp4", "/etc/passwd", "https://host/a.mp4", "out.mp4", "folder_out/s.mp4", "file:///etc/a%20b"]
    rows = read_manifest(rows_of(world / "root" / "list.jsonl", *({"path": name} for name in names)))
    assert [row.path for row in rows] == [
        str(world / "secret" / "s.mp4"),
        "/etc/passwd",
        "https://host/a.mp4",
        str(world / "root" / "out.mp4"),
        str(world / "root" / "folder_out" / "s.mp4"),
        "/etc/a b",
    ]


@pytest.mark.parametrize("with_root", [True, False])
def test_the_folder_of_a_data_source_is_a_root(with_root: bool, world: Path) -> None:
    root = ListRoot(str(world / "root"), str(world / "root") if with_root else None)
    assert root.locate("b.mp4", "0_30_s") == str(world / "root" / "0_30_s" / "b.mp4")
    assert root.locate("a.mp4", "no such folder") == str(world / "root" / "a.mp4")
    for name in ("../a.mp4", "../../secret/s.mp4", "out.mp4"):
        with pytest.raises(OutsideRoot):
            root.locate(name, "0_30_s")
    for source in ("../secret", str(world / "secret"), "folder_out"):
        if with_root:
            with pytest.raises(OutsideRoot, match="its data_source"):
                root.locate("s.mp4", source)


@pytest.mark.parametrize("with_root", [True, False])
def test_a_name_may_begin_with_the_folder_of_its_data_source(with_root: bool, world: Path) -> None:
    def root() -> ListRoot:
        return ListRoot(str(world / "root"), str(world / "root") if with_root else None)

    before = root()
    for name in ("0_30_s/b.mp4", "./0_30_s/./b.mp4", "b.mp4"):
        assert before.locate(name, "0_30_s") == str(world / "root" / "0_30_s" / "b.mp4"), name
    seen = before.seen()
    assert root().is_as(seen)
    for name in ("0_30_s/out.mp4", "0_30_s/../a.mp4", "../0_30_s/b.mp4"):
        try:
            assert Path(before.locate(name, "0_30_s")).is_relative_to(world / "root" / "0_30_s")
        except OutsideRoot as error:
            assert "the folder of its data_source" in str(error)
    (world / "root" / "0_30_s" / "0_30_s").mkdir()
    assert not root().is_as(seen), "what the same names mean is another now"
    assert root().locate("0_30_s/b.mp4", "0_30_s") == str(world / "root" / "0_30_s" / "0_30_s" / "b.mp4")


def test_a_missing_file_names_the_data_source_that_it_is_looked_for_in(world: Path) -> None:
    row = {"data_source": "0_30_s", "video": "absent.mp4"}
    listed = rows_of(world / "root" / "list.jsonl", row, {"path": "other/absent.mp4", "data_source": "0_30_s"})
    told = "folder of its row's field 'data_source', '0_30_s'"
    assert told in check_source(str(listed)).first["no_file"]
    native = {"path": "0_30_s/absent.mp4", "data_source": "0_30_s"}
    by_path = check_source(str(rows_of(world / "root" / "native.jsonl", native))).first["no_file"]
    assert "where 'video' names it, it is looked for" in by_path, "which it does not"
    found = read_manifest(listed)
    for each, is_told in zip(found, (True, False), strict=True):
        with pytest.raises(DecodeError, match="no such file") as error:
            decode(DecodeJob(each.path, UniformMidpoints(), row=each.as_dict()), "auto")
        assert (told in str(error.value)) == is_told


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.mp4", "s3://bucket/x/a.mp4"),
        ("./clips/../a.mp4", "s3://bucket/x/a.mp4"),
        ("s3://bucket/x/y/a.mp4", "s3://bucket/x/y/a.mp4"),
        ("a.mp4?token=a//b", "s3://bucket/x/a.mp4?token=a//b"),
        ("100%25 sure.mp4", "s3://bucket/x/100%25 sure.mp4"),
        ("50%.mp4", "s3://bucket/x/50%.mp4"),
    ],
)
def test_names_below_a_url_are_normalised(name: str, found: str) -> None:
    assert ListRoot("/lists", "s3://bucket/x/").locate(name) == found


@pytest.mark.parametrize(
    "name",
    [
        "../b.mp4",
        "y/../../b.mp4",
        "..",
        ".",
        "/disk/c.mp4",
        "//host/c.mp4",
        "s3://other/b.mp4",
        "s3://bucket/xy/b.mp4",
        "s3://bucket/x/../b.mp4",
        "https://host/b.mp4",
        "file:///etc/passwd",
        "%2e%2e/b.mp4",
        "%2E./b.mp4",
        "y/%2e%2e/%2e%2e/b.mp4",
        "%252e%252e/b.mp4",
        "..%2fb.mp4",
        "%2fdisk/c.mp4",
        "..\\b.mp4",
        "y%5c..%5c..%5cb.mp4",
        "a.mp4?/../../b.mp4",
        ".\t./b.mp4",
        "a\n.mp4",
        "a.mp4::file:///etc/passwd",
    ],
)
def test_names_that_leave_a_url_are_refused(name: str) -> None:
    with pytest.raises(OutsideRoot):
        ListRoot("/lists", "s3://bucket/x/").locate(name)


def test_each_folder_is_looked_at_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has millions of rows, and a network disk takes its time for each question."""
    import os

    asked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(str(path)) or scandir(path))
    for name in ("lstat", "stat", "readlink"):
        kept = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *rest, kept=kept, **named: asked.append(str(path)) or kept(path, *rest, **named)
        )
    root = ListRoot("/lists", str(world / "root"))
    root.locate("other/first.mp4")
    before = len(asked)
    for number in range(100):
        root.locate(f"other/{number}.mp4")
    assert len(asked) == before > 0
