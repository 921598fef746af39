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
