"""Which paths may be opened at all; the kinds that are no files are in `test_unusable_rows`."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from painted_videos import write_video

from liteframe.data.checking.command import check
from liteframe.data.decoding.video_file import fault_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.errors import ManifestError

CASES = {
    ("9.jpg", "10.jpg", "1.jpg"): "3 pictures ('1.jpg' to '10.jpg'), .* -start_number 1 -i %d.jpg -crf",
    ("0003.png", "0002.png"): "2 pictures ('0002.png' to '0003.png'), .* -start_number 2 -i %04d.png -crf",
    ("img_00.JPEG", "img_01.JPEG"): "2 pictures .* -start_number 0 -i img_%02d.JPEG -crf",
    ("a 50%_1.jpg",): "1 picture ('a 50%_1.jpg' to .* -i 'a 50%%_%01d.jpg' -crf",
    ("a.jpg", "b.jpg"): "2 pictures ('a.jpg' to 'b.jpg'), and a video is one file: make one of them$",
}


@pytest.mark.parametrize("names", CASES, ids=" ".join)
def test_a_folder_of_frames_says_how_to_make_a_video_of_it(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in (*names, "notes.txt"):
        (tmp_path / name).touch()
    fault = fault_of(tmp_path)
    for part in CASES[names].rstrip("$").split(" .* "):
        assert part in fault
    assert fault.startswith("is a folder of ") and "\n" not in fault
    assert not CASES[names].endswith("$") or fault.endswith("make one of them")
    with pytest.raises(ManifestError, match=f"is a folder of {len(names)} picture"):
        read_manifest(tmp_path)


def test_a_folder_of_frames_in_a_row_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.jpg").touch()
    write_video(tmp_path / "a.mp4", 4)
    listed = tmp_path / "list.jsonl"
    listed.write_text("".join(json.dumps({"video": name}) + "\n" for name in ("frames", "a.mp4")))
    frames, video = check(str(listed), processes=1)
    assert not frames.ok and "is a folder of 1 picture" in frames.error and video.ok


@pytest.mark.parametrize(
    ("there", "listed", "told"),
    [
        ("v_a.mkv", "v_a.mp4", ", but there is 'v_a.mkv'"),
        ("v_a.mp4", "v_a", ", but there is 'v_a.mp4'"),
        ("a.MP4", "a.mp4", ", but there is 'a.MP4'"),
        ("b/a.mp4", r"b\a.mp4", ", but there is 'b/a.mp4'"),
        ("a b.mp4", "a%20b.mp4", ", but there is 'a b.mp4'"),
        ("a b/a.mp4", "a%20b/a.mp4", ", but there is 'a b/a.mp4'"),
        ("a.mp4", "a.mp4 ", ", but there is 'a.mp4'"),
        (unicodedata.normalize("NFD", "é.mp4"), "é.mp4", ", but there is one .* in another Unicode form (NFD)"),
        ("a.mp4", "c.mp4", ""),
        ("a.txt", "a", ""),
    ],
)
def test_a_file_that_is_not_there_tells_the_one_that_is_meant(
    there: str, listed: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    fault = fault_of(str(tmp_path / listed))
    start, _, end = f"no such file{told}".partition(" .* ")
    assert fault.startswith(start) and fault.endswith(end) and (told or fault == "no such file")


def test_nothing_is_told_of_what_lies_outside(tmp_path: Path) -> None:
    """A list is written by someone else, who may not learn from its errors which files there are."""
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    for name in ("secret.mp4", "away/secret.mp4"):
        (tmp_path / name).touch()
    (root / "c").symlink_to(tmp_path / "away")
    (root / "secret.mkv").symlink_to(tmp_path / "secret.mp4")
    absolute = str(tmp_path / "secret.mp4").replace("/", "%2F")
    names = ["%2e%2e%2fsecret.mp4", r"..\secret.mp4", r"b\..\..\secret.mp4", "b/%2e%2e/%2e%2e/secret.mp4", "secret.mp4"]
    names += [
        r"c\secret.mp4",
        "x/%2e%2e%2f%2e%2e%2fsecret.mp4",
        absolute,
        "%2e%2e/away/secret.mp4",
        "%00",
        "%2e%2e%2fx",
    ]
    for name in names:
        (tmp_path / "x.jsonl").write_text(json.dumps({"path": name}))
        (row,) = read_manifest(tmp_path / "x.jsonl", str(root))
        assert fault_of(row.path) == "no such file", name
    assert fault_of(str(tmp_path / "nowhere" / "%2e%2e%2fsecret.mp4")) == "no such file"


def test_the_name_of_the_root_is_taken_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / unicodedata.normalize("NFD", "50%20 \u00e9")
    root.mkdir()
    (root / "a b.mp4").touch()
    assert fault_of(str(root / "a%20b.mp4")) == "no such file, but there is 'a b.mp4'"


def test_a_path_without_a_folder_is_in_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mkv").touch()
    assert fault_of("a.mp4") == "no such file, but there is 'a.mkv'"
