"""`liteframe check` writes as it goes, goes on from what is there, and writes over nothing of others."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from painted_videos import number_of, write_video

import liteframe
from liteframe.data.checking import command as check_command
from liteframe.data.checking.command import check
from liteframe.data.checking.output import CheckOutput
from liteframe.data.checking.probe import check_many, check_video
from liteframe.data.checking.rows import CheckRow, Table
from liteframe.errors import ConfigError, DecodeError
from liteframe.system.printable import printable


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_video(path, 4)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path, clip: bytes) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(clip if name != "c.mp4" else clip[:300])
    return tmp_path / "videos"


def rows_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names_in(path: Path) -> list[str]:
    return [Path(row["path"]).name for row in rows_in(path)]


def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are checked from now on."""
    names: list[str] = []
    many = check_command.check_many

    def noted(paths: list[str], *rest: Any) -> Any:
        names.extend(Path(path).name for path in paths)
        return many(paths, *rest)

    monkeypatch.setattr(check_command, "check_many", noted)
    return names


def test_what_is_unchanged_is_not_checked_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "out.jsonl"
    first = check(str(folder), str(output), processes=1)
    text = output.read_text()
    names = checked(monkeypatch)
    assert check(str(folder), str(output), processes=1) == first and names == [] and output.read_text() == text
    assert "4 of 4 files are in" in capsys.readouterr().err
    (folder / "b.mp4").write_bytes((folder / "b.mp4").read_bytes() + b"x")
    os.utime(folder / "d.mp4", ns=(1, 1))
    assert [row.ok for row in check(str(folder), str(output), processes=1)] == [True, True, False, True]
    assert names == ["b.mp4", "d.mp4"] and names_in(output) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_a_check_that_was_ended_goes_on(
    end: type[BaseException],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    check(str(folder), str(whole), processes=1)

    def ended(paths: list[str], *rest: Any) -> Any:
        for path in paths[:2]:
            yield check_video(path)
            assert names_in(output)[-1] == Path(path).name or path == paths[0], "there as soon as it is known"
        raise end

    with monkeypatch.context() as patch:
        patch.setattr(check_command, "check_many", ended)
        with pytest.raises(end):
            check(str(folder), str(output))
        assert f"2 of 4 files are in {output}; the same command goes on" in capsys.readouterr().err
        with pytest.raises(end):
            check(str(folder))
        assert "nothing is kept; with --output" in capsys.readouterr().err
    assert names_in(output) == ["a.mp4", "b.mp4"]
    with output.open("a") as file:
        file.write('{"path": "/x/c.mp4", "ok": fal')
    names = checked(monkeypatch)
    check(str(folder), str(output), processes=1)
    assert names == ["c.mp4", "d.mp4"] and output.read_text() == whole.read_text()


def test_a_kill_loses_nothing(folder: Path, tmp_path: Path, clip: bytes) -> None:
    for number in range(40):
        (folder / f"e{number:02}.mp4").write_bytes(clip)
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "liteframe", "check", str(folder), "--output", str(output), "--processes", "1"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not output.exists() or output.read_bytes().count(b"\n") < 3:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = output.read_bytes().count(b"\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and f"check: {before} of 44 files are in" in done.stderr, done.stderr
    assert names_in(output) == sorted(path.name for path in folder.iterdir())


def test_faults_that_may_pass_are_looked_at_again(folder: Path, tmp_path: Path) -> None:
    output, path = tmp_path / "out.jsonl", write_video(folder / "long.mp4", 2000)
    rows = check(str(path), str(output), processes=1, deadline_s=1e-6)
    assert not rows[0].ok and rows_in(output)[0]["passing"] is True
    assert [row.ok for row in check(str(path), str(output), processes=1)] == [True]
    assert "passing" not in rows_in(output)[0]


def test_rows_are_in_the_order_of_the_list_and_complete(folder: Path, tmp_path: Path) -> None:
    listed, output = tmp_path / "x.jsonl", tmp_path / "out.jsonl"
    names = ["d.mp4", "a.mp4", "absent.mp4", "b.mp4"]
    listed.write_text("".join(json.dumps({"path": f"videos/{name}"}) + "\n" for name in names[:2]) + "[]\n")
    check(str(listed), str(output), processes=1)
    assert names_in(output) == ["d.mp4", "a.mp4", "x.jsonl:3"]
    listed.write_text("".join(json.dumps({"path": f"videos/{name}"}) + "\n" for name in names[::-1]))
    check(str(listed), str(output), processes=1)
    assert names_in(output) == names[::-1]


FOREIGN = [
    '{"path": "a.mp4", "question": "q"}\n',
    '{"path": "a.mp4", "question": "q"}',
    '{"path": "a.mp4", "quest',
    '[{"video": "a.mp4"}]',
    "notes of mine",
    "\0\0\0",
    '{"path": "a.mp4", "ok": "yes", "codec": "", "frames": 1, "decoder": ""}\n',
    '{"path": "a.mp4", "ok": true, "codec": "", "frames": "1", "decoder": ""}\n',
    '{"path": "a.mp4", "ok": true, "codec": "", "frames": 1, "decoder": "", "question": "mine"}\n',
    '{"path": "a.mp4", "ok": true, "codec": "", "frames": 1, "decoder": ""}\nand notes of mine',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", FOREIGN)
def test_what_others_wrote_is_left_alone(text: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.jsonl"
    output.write_text(text)
    with pytest.raises(ConfigError, match=r"--output .*mine\.jsonl.* is not as `liteframe check` wrote it"):
        check(str(folder), str(output))
    assert output.read_text() == text


def test_the_output_is_not_what_is_checked(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    check(str(folder), str(output), processes=1)
    text = output.read_text()
    (tmp_path / "link.jsonl").symlink_to(output)
    for name in ("out.jsonl", "link.jsonl"):
        with pytest.raises(ConfigError, match="is what is to be checked"):
            check(str(output), str(tmp_path / name))
    for path in (folder, folder / "a.mp4"):
        with pytest.raises(ConfigError, match="--output"):
            check(str(folder), str(path))
    assert output.read_text() == text


@pytest.mark.parametrize("place", ["/dev/full", "/dev/null", "pipe", "file/below"])
def test_an_output_that_is_no_file_is_refused_before_the_work(
    place: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = checked(monkeypatch)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--output"):
        check(str(folder), os.path.join(tmp_path, place))
    assert names == []


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_named_before_the_work(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = checked(monkeypatch)
    with room_for(100), pytest.raises(ConfigError, match=r"--output .*out\.jsonl: cannot be written \(.*free space"):
        check(str(folder), str(tmp_path / "out.jsonl"))
    assert names == [] and not (tmp_path / "out.jsonl").exists()


def test_a_disk_that_fills_keeps_whole_rows(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with CheckOutput(str(output), str(folder)) as out:
        out.append(CheckRow("/v/a.mp4", True))
        with (
            room_for(output.stat().st_size + 50),
            pytest.raises(ConfigError, match="its 1 rows are kept, and the same"),
        ):
            out.append(CheckRow("/v/b.mp4", True))
    assert names_in(output) == ["a.mp4"] and output.read_text().endswith("}\n")


def test_a_read_only_place_is_refused_before_the_work(folder: Path, tmp_path: Path) -> None:
    denied = PermissionError(13, "Permission denied")
    with mock.patch("os.open", side_effect=denied), pytest.raises(ConfigError, match="Permission denied"):
        check(str(folder), str(tmp_path / "out.jsonl"))
    with mock.patch("os.access", return_value=False), pytest.raises(ConfigError, match="no permission"):
        check(str(folder), str(tmp_path / "out.jsonl"))


def test_two_checks_do_not_write_one_file(folder: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl")
    with CheckOutput(output, str(folder)) as out:
        out.append(CheckRow("/v/a.mp4", True))
        with pytest.raises(ConfigError, match="another check is writing it"):
            CheckOutput(output, str(folder))


def test_a_source_that_is_not_there_leaves_no_output(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no such manifest"):
        check(str(tmp_path / "absent.jsonl"), str(tmp_path / "out.jsonl"))
    assert not (tmp_path / "out.jsonl").exists()


def test_control_characters_do_not_reach_the_terminal() -> None:
    row = CheckRow("/v/a\x1b[2J\n.mp4", False, "broken\nin two\x07")
    assert printable("a\x1b[2J\n") == "a\\x1b[2J\\x0a" and printable("\u202ea\udcff") == "\\u202ea\\udcff"
    shown = Table([row.path])
    assert not {"\x1b", "\n", "\x07"} & {*shown.line(row)} and shown.head().startswith("file")


def test_what_is_done_is_written_and_shown_while_an_earlier_file_takes_long(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"

    def last_first(paths: list[str], *rest: Any) -> Any:
        for path in paths[::-1]:
            yield check_video(path)
            assert names_in(output)[-1] == Path(path).name or path == paths[-1]
            assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith(Path(path).name) or path == paths[-1]

    monkeypatch.setattr(check_command, "check_many", last_first)
    check(str(folder), str(output))
    assert names_in(output) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], "in the order of the list in the end"


def test_rows_are_taken_as_they_are_done(folder: Path) -> None:
    """A file that hangs holds up no other."""
    os.mkfifo(folder / "pipe.mp4")
    paths = [str(folder / name) for name in ("a.mp4", "pipe.mp4", "b.mp4")]
    assert {row.path for row in check_many(paths, 2, progress=False)} == set(paths)


def test_full_checks_again_what_was_checked_in_places(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    rows = check(str(folder), str(output), processes=1)
    assert [row.verified for row in rows] == [4, 4, 0, 4]
    names = checked(monkeypatch)
    check(str(folder), str(output), processes=1, full=True)
    assert names == [], "all of their frames were decoded"
    lines = rows_in(output)
    lines[0]["verified"] = 2
    del lines[1]["verified"]  # as before there was such a field, when all frames were decoded
    output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    check(str(folder), str(output), processes=1)
    assert names == []
    check(str(folder), str(output), processes=1, full=True)
    assert names == ["a.mp4"] and [row["verified"] for row in rows_in(output)] == [4, 4, 0, 4]


def test_bad_files_are_named_again_below_a_long_table(
    tmp_path: Path, clip: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(31):
        (tmp_path / f"{number:02}.mp4").write_bytes(clip if number else clip[:300])
    check(str(tmp_path), processes=2)
    printed = capsys.readouterr().out
    assert f"\nnot usable:\n  {tmp_path / '00.mp4'}: " in printed[printed.index("30 of 31 files usable") :]


def test_what_is_there_of_a_cut_file_is_used_where_it_may_be(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 60, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = str(tmp_path / "out.jsonl")
    (refused,) = check(str(path), output, processes=1)
    (used,) = check(str(path), output, processes=1, truncated=True)
    (again,) = check(str(path), output, processes=1)
    assert not refused.ok and refused.error == again.error and "is cut short" in refused.error
    assert used.ok and 10 < used.frames < 50 and "is cut short" in used.reason
    video = liteframe.read_video(path, frames=None, truncated="use")
    assert [number_of(frame) for frame in video.frames_THWC] == list(range(used.frames)) and video.info.cut_short
    with pytest.raises(DecodeError, match="is cut short"):
        liteframe.read_video(path)
