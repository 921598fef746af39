"""The fuzzer makes inputs of every kind, finds nothing wrong with what is whole, and its judge sees each fault."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from fuzz import lists as fuzz_lists
from fuzz import videos as fuzz_videos
from fuzz.checkpoints import Checkpoints
from fuzz.kinds import KINDS
from fuzz.lists import Lists
from fuzz.outcome import Input, Kind, judge
from fuzz.run import Setting, Tally, fuzz, make_input, prepare
from fuzz.workers import Gone, Killable
from liteframe.system.checkpoint_io import AtomicCheckpointIO

NAMES = ["../x", "/x/witness", "http://127.0.0.1:1/clip.mp4", "os:system", "touch /x"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the seeds of all kinds."""
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(Setting(0, KINDS, folder))
    return folder


def kind_of(name: str, ground: Path) -> Kind:
    kind = KINDS[name](ground / "seeds" / name)
    kind.names = NAMES
    return kind


def outcomes(tally: Tally, kind: str) -> set[str]:
    return set(tally.counts[kind])


def intact(name: str, ground: Path, folder: Path) -> Input:
    """The first undamaged input of a kind."""
    kind = kind_of(name, ground)
    for number in range(2_000):
        shelf = folder / str(number)
        shelf.mkdir()
        item = make_input(kind, 0, (name, number), shelf)
        if item.intact:
            return item
    raise AssertionError("no undamaged input among 2,000")


@pytest.mark.parametrize("name", KINDS)
def test_inputs_of_every_kind_have_outcomes(name: str, ground: Path) -> None:
    setting = Setting(7, {name: KINDS[name]}, ground)
    tally = fuzz(setting, iter([(name, number) for number in range(4)]), minutes=2, workers=1)
    assert tally.counts[name].total() == 4
    assert f" {name} 4 " in " ".join(tally.table().split())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_whole_is_right(name: str, ground: Path, tmp_path: Path) -> None:
    item = intact(name, ground, tmp_path)

    def feeder() -> Callable[[Any], Any]:
        torch.set_num_threads(1)
        kind = kind_of(name, ground)
        return lambda request: judge(kind, request)

    worker = Killable(feeder)
    try:
        assert worker.ask(item, 60).outcome == "right"
    finally:
        worker.kill()


@pytest.mark.parametrize("name", KINDS)
def test_an_input_is_made_again_to_the_byte(name: str, ground: Path, tmp_path: Path) -> None:
    kind = kind_of(name, ground)
    for number in range(3):
        made = []
        for folder in (tmp_path / f"a{number}", tmp_path / f"b{number}"):
            folder.mkdir()
            item = make_input(kind, 3, (name, number), folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            made.append((item.what, [(str(path.relative_to(folder)), path.read_bytes()) for path in files]))
        assert made[0] == made[1]


def test_a_reader_that_swallows_damage_is_silent(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: AtomicCheckpointIO, path: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return torch.load(path, weights_only=True)
        except Exception:
            return {}

    monkeypatch.setattr(AtomicCheckpointIO, "load_checkpoint", careless)
    setting = Setting(0, {"checkpoints": Checkpoints}, ground)
    tally = fuzz(setting, iter([("checkpoints", number) for number in range(8)]), minutes=1, workers=1)
    assert "silent" in outcomes(tally, "checkpoints")
    assert tally.bad()[0]["outcome"] == "silent"


@pytest.mark.parametrize("referenced", [True, False])
def test_damage_counts_for_the_frames_that_need_the_picture(referenced: bool, ground: Path, tmp_path: Path) -> None:
    import av

    clip = tmp_path / "clip.mp4"
    data = bytearray((ground / "seeds" / "videos" / "h264.mp4").read_bytes())
    with av.open(str(ground / "seeds" / "videos" / "h264.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    victim = next(one for one in packets[2:] if bool(bytes(one)[4] & 0x60) == referenced and not one.is_keyframe)
    middle = victim.pos + victim.size // 2
    data[middle : victim.pos + victim.size] = bytes(victim.pos + victim.size - middle)
    clip.write_bytes(data)
    told = fuzz_videos.in_order(str(clip))
    place = told["times"].index(victim.pts)
    assert fuzz_videos.said_of(told, place)
    assert bool(fuzz_videos.said_of(told, place + 1)) == referenced
    assert not fuzz_videos.said_of(told, 0)


def _imports(path: Path, root: Any) -> Any:
    importlib.import_module("fuzz_canary")


def _forgets(path: Path, root: Any) -> Any:
    (path.parents[1] / "witness" / "file.txt").unlink()
    return []


def _sleeps(path: Path, root: Any) -> Any:
    time.sleep(60)


def _fails(path: Path, root: Any) -> Any:
    raise KeyError("x")


def _dies(path: Path, root: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _grows(path: Path, root: Any) -> Any:
    return [os.urandom(1 << 20) for _ in iter(lambda: time.sleep(0.001), 1)]


def _peeks(path: Path, root: Any) -> Any:
    return (path.parents[1] / "witness" / "file.txt").read_text()


@pytest.mark.parametrize(
    ("reader", "outcome"),
    [
        (_imports, "code"),
        (_forgets, "deleted"),
        (_sleeps, "hang"),
        (_fails, "unnamed"),
        (_dies, "crash"),
        (_grows, "memory"),
        (_peeks, "escape"),
    ],
)
def test_the_judge_sees_what_a_reader_does(
    reader: Callable[..., Any], outcome: str, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_lists, "read_manifest", reader)
    setting = Setting(0, {"lists": Lists}, ground, patience=0.02 if outcome == "hang" else 1, growth_bytes=100_000_000)
    tally = fuzz(setting, iter([("lists", 3)]), minutes=1, workers=1)
    assert outcomes(tally, "lists") == {outcome}
    assert [fault["outcome"] for fault in tally.bad()] == [outcome]


def test_a_bad_input_is_kept(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_lists, "read_manifest", _fails)
    fuzz(Setting(0, {"lists": Lists}, ground, tmp_path), iter([("lists", 3)]), minutes=1, workers=1)
    assert {path.name for path in (tmp_path / "lists-3-unnamed").iterdir()} == {"input", "verdict.json"}
    assert next((tmp_path / "lists-3-unnamed" / "input").glob("list.*")).is_file()


def test_a_process_that_dies_says_so() -> None:
    worker = Killable(lambda: lambda request: os._exit(3))
    with pytest.raises(Gone, match="crash: exit code 3"):
        worker.ask("x", 10)


def test_an_undamaged_input_may_not_be_refused(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("")
    assert (
        judge(Lists(tmp_path), Input("intact", tmp_path / "list.jsonl", {"root": None}, intact=True)).outcome
        == "refused"
    )
