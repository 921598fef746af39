from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks import archives
from liteframe.evaluation.benchmarks.archives import packed_in, unpack

CONTENT = {"data/a.mp4": b"first" * 50_000, "data/b.MP4": b"second", "subtitle/a.srt": b"1\n"}


def write_zip(path: Path, content: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def tar_bytes(content: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def write_parts(root: Path, name: str, data: bytes, parts: list[str]) -> None:
    size = -(-len(data) // len(parts))
    for number, part in enumerate(parts):
        (root / f"{name}{part}").write_bytes(data[number * size : (number + 1) * size])


def files_below(root: Path) -> dict[str, bytes]:
    videos = (path for path in root.rglob("*") if path.suffix.lower() in (".mp4", ".srt"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in videos}


def test_zips_are_unpacked_where_they_lie_and_may_be_again(tmp_path: Path) -> None:
    write_zip(tmp_path / "video/chunk_01.zip", CONTENT)
    told: list[str] = []
    expected = [tmp_path / "video" / name for name in CONTENT]
    assert unpack(tmp_path, told.append) == expected
    assert told == ["unpacking video/chunk_01.zip"]
    assert files_below(tmp_path / "video") == CONTENT
    before = expected[0].stat().st_ino
    assert unpack(tmp_path) == expected
    assert expected[0].stat().st_ino == before  # kept, not written anew


@pytest.mark.parametrize(
    ("name", "parts", "mode"),
    [
        ("videos.tar", [""], "w"),
        ("videos.tar", [".part.aa", ".part.ab", ".part.ac"], "w"),
        ("test_video.tar.gz", [".part-aa", ".part-ab"], "w:gz"),
        ("videos.tar", [".part00", ".part01", ".part02"], "w"),
        ("videos.tgz", [""], "w:gz"),
        ("videos.tar", [f".{number}" for number in range(12)], "w"),
    ],
)
def test_tars_and_their_parts_are_read_as_one(name: str, parts: list[str], mode: str, tmp_path: Path) -> None:
    write_parts(tmp_path, name, tar_bytes(CONTENT, mode), parts)
    unpack(tmp_path)
    assert files_below(tmp_path) == CONTENT


@pytest.mark.parametrize("name", ["../out.mp4", "/tmp/out.mp4", "a/../../out.mp4", "a\\..\\out.mp4", "link/out.mp4"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_member_leads_out(name: str, kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    if kind == "zip":
        write_zip(root / "x.zip", {"good.mp4": b"good", name: b"bad"})
    else:
        (root / "x.tar").write_bytes(tar_bytes({name: b"bad"}))
    with pytest.raises(DataError, match=rf"x.{kind}: its member .*out"):
        unpack(root)
    assert files_below(tmp_path) == {}  # of a zip not even the good one


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.mp4")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(DataError, match=r"'a.mp4' is no file but a link or a device"):
        unpack(tmp_path)
    assert not os.path.lexists(tmp_path / "a.mp4")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.mp4")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="is no file but a link"):
        unpack(tmp_path)
    assert not os.path.lexists(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("there", [b"firzt", b"fir", b"first and more"])
def test_a_file_that_differs_is_never_overwritten(kind: str, there: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(there)
    if kind == "zip":
        write_zip(tmp_path / "x.zip", {"a.mp4": b"first"})
    else:
        (tmp_path / "x.tar").write_bytes(tar_bytes({"a.mp4": b"first"}))
    with pytest.raises(DataError, match=r"a.mp4: is there already and differs"):
        unpack(tmp_path)
    assert (tmp_path / "a.mp4").read_bytes() == there


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_the_disk_has_no_room_for_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, archives._SPARE + 100_000))
    content = {"small.mp4": b"1", "big.mp4": bytes(200_000)}
    if kind == "zip":
        write_zip(tmp_path / "x.zip", content)
    else:
        (tmp_path / "x.tar").write_bytes(tar_bytes(content))
    with pytest.raises(DataError, match="bytes are to be unpacked and the disk has .* free; make room"):
        unpack(tmp_path)
    assert not (tmp_path / "big.mp4").exists()


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_part_that_is_missing_is_an_error(missing: int, tmp_path: Path) -> None:
    parts = [".part.aa", ".part.ab", ".part.ac", ".part.ad"]
    write_parts(tmp_path, "videos.tar", tar_bytes(CONTENT), parts)
    (tmp_path / f"videos.tar{parts[missing]}").unlink()
    fault = "ends within|download it again" if missing == 3 else "a part is missing among"  # the last is not known of
    with pytest.raises(DataError, match=fault):
        unpack(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        unpack(tmp_path / "nowhere")


@pytest.mark.parametrize("size", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_short_leaves_no_half_video(kind: str, size: float, tmp_path: Path) -> None:
    content = {"a.mp4": os.urandom(100_000), "b.mp4": os.urandom(100_000)}
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        write_zip(path, content)
    else:
        path.write_bytes(tar_bytes(content, "w:gz" if kind == "tar.gz" else "w"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * size)])
    with pytest.raises(DataError, match=r"x\.[a-z.]+: .*download it again"):
        unpack(tmp_path)
    assert files_below(tmp_path).items() <= content.items()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_rubbish_behind_a_member_is_not_taken_for_the_end(tmp_path: Path) -> None:
    good = tar_bytes({"a.mp4": b"first"})[:1024]
    (tmp_path / "x.tar").write_bytes(good + os.urandom(4096))
    with pytest.raises(DataError, match="download it again"):
        unpack(tmp_path)


def test_a_damaged_member_is_an_error_and_is_not_written(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.mp4": os.urandom(50_000)})
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[20_000:20_010] = bytes(10)
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"x.zip: not an archive that can be read"):
        unpack(tmp_path)
    assert not (tmp_path / "a.mp4").exists()


def test_parts_are_ordered_and_other_files_are_no_archives() -> None:
    names = [f"v.tar.{number}" for number in (10, 9, 0, 1)] + ["a.zip", "x/b.TAR", "notes.txt", "v.mp4", "c.part.aa"]
    names += ["d.tar.txt", "d.tar.md", "e.tar.aa", "e.tar.ab", "f.tgz.part-ba"]
    found = {archive.name: archive.parts for archive in packed_in(names)}
    assert found == {
        "v.tar": ("v.tar.0", "v.tar.1", "v.tar.9", "v.tar.10"),
        "a.zip": ("a.zip",),
        "x/b.TAR": ("x/b.TAR",),
        "e.tar": ("e.tar.aa", "e.tar.ab"),
        "f.tgz": ("f.tgz.part-ba",),
    }


def test_what_a_killed_run_left_is_gone_after_the_next(tmp_path: Path) -> None:
    """Half of a file, under the name that it has until it is whole."""
    write_zip(tmp_path / "x.zip", {"data/[a].mp4": b"first", "b.mp4": b"second"})
    half, mine = tmp_path / "data" / f".[a].mp4.{'0f' * 8}.part", tmp_path / "data/.[a].mp4.of-mine.part"
    for path in (half, mine):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"fir")
    unpack(tmp_path)
    assert files_below(tmp_path) == {"data/[a].mp4": b"first", "b.mp4": b"second"}
    assert not half.exists() and mine.exists()


def test_one_process_unpacks_at_a_time(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.mp4": b"first"})
    with archives._alone(tmp_path), pytest.raises(DataError, match="another process unpacks it"):
        unpack(tmp_path)
    assert not (tmp_path / "a.mp4").exists()
    unpack(tmp_path)
    assert files_below(tmp_path) == {"a.mp4": b"first"}
