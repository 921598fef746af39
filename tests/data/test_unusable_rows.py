"""Rows that cannot be used stop a run before it begins, or are skipped, listed and counted."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from painted_videos import write_video
from resume_toys import FakePool, Recorder, make_trainer

from liteframe.data.checking.command import check
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.decoding.video_file import fault_of
from liteframe.data.loading.batching import BatchShape
from liteframe.data.sampling import KeyFrames
from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import VideoSource, read_manifest
from liteframe.errors import DecodeError, ManifestError, SkipLimitExceeded
from ranks import run_ranks

BAD = [
    r'{"path": "a\ud800.mp4"}',
    '{"path": "bad.mp4", "decoder": "shutil:rmtree"}',
    '{"path": "bad.mp4", "start": "abc"}',
    "{",
    '{"path": "bad.mp4", "id": 1e400}',
]


@pytest.fixture(autouse=True)
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", FakePool)


def listed(path: Path, bad: list[str], good: int = 8, **fields: Any) -> str:
    rows = [json.dumps({"path": f"{number}.mp4", **fields}) for number in range(good)]
    path.write_text("\n".join([*rows[:2], *bad, *rows[2:]]) + "\n")
    return str(path)


def data(**settings: Any) -> VideoDataModule:
    batches = {} if "shapes" in settings else {"batch_size": 2, "frames": 4}
    return VideoDataModule(**{"image_size": 8, "max_skip_fraction": 0.5, **batches, **settings})


def skipped(run: Path) -> dict[str, str]:
    return {line["id"]: line["reason"] for line in map(json.loads, (run / "skipped.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_rows_are_skipped_by_their_places(workers: int, tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", BAD)
    for bad in BAD:
        with pytest.raises(ManifestError, match=r"y\.jsonl:3: "):
            data(train=listed(tmp_path / "y.jsonl", [bad])).rows("train")
    recorder = Recorder()
    trainer = make_trainer(tmp_path / "run", max_steps=13, callbacks=None)
    trainer.fit(recorder, data(train=source, on_error="skip", num_workers=workers))
    assert {name for _, _, names, *_ in recorder.seen for name in names if not name.startswith(source)} == {
        f"{number}.mp4" for number in range(8)
    }
    assert torch.isfinite(recorder.weight).all()
    assert sorted(skipped(tmp_path / "run")) == sorted(f"{source}:{line}" for line in range(3, 8))
    predicted = Recorder()
    make_trainer(tmp_path / "predict").predict(
        predicted, data(predict=source, on_error="skip", num_workers=workers), return_predictions=False
    )
    assert predicted.predicted == [f"{number}.mp4" for number in range(8)]
    assert len(skipped(tmp_path / "predict")) == 5


def test_too_many_of_them_stop_the_run_before_it_begins(tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", BAD, good=4)
    recorder = Recorder()
    with pytest.raises(SkipLimitExceeded, match=r"5 of 9 rows were skipped, .*--data\.max_skip_fraction") as error:
        make_trainer(tmp_path / "run", max_steps=4, callbacks=None).fit(recorder, data(train=source, on_error="skip"))
    assert recorder.seen == []
    places = re.findall(r"x\.jsonl:\d+", str(error.value))
    assert len(places) == len(set(places)) == 3


class Asking(Recorder):
    """Asks the questions of its rows, as LMA does."""

    def row_check(self) -> Any:
        return turns_of

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        for row, valid in zip(batch["rows"], batch["valid_frames_B"], strict=True):
            assert turns_of(row) if valid else True
        return super().training_step(batch, batch_idx)


TALK = {"conversations": [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A star."}]}
MUTE: list[dict[str, Any]] = [
    {},
    {"conversations": TALK["conversations"][::-1]},
    {"conversations": [{"from": ["human"], "value": "x"}]},
    {"conversations": [*TALK["conversations"][:1], {"from": "gpt", "value": None}]},
    {"conversations": [*TALK["conversations"][:1], {"from": "gpt", "value": "<IMG_CONTEXT>"}]},
    {"questions": [{}]},
    {"questions": [{"question": "q", "answer": 3}]},
]


@pytest.mark.parametrize("fields", MUTE)
def test_what_a_stage_asks_of_a_row_is_asked_before_it_begins(fields: dict[str, Any], tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", [json.dumps({"path": "mute.mp4", **fields})], **TALK)
    recorder = Asking()
    with pytest.raises(ManifestError, match=r"x\.jsonl:3: .*mute\.mp4 \(id mute\.mp4\): "):
        make_trainer(tmp_path / "a", max_steps=1, callbacks=None).fit(recorder, data(train=source))
    assert recorder.seen == []
    make_trainer(tmp_path / "b", max_steps=9, callbacks=None).fit(recorder, data(train=source, on_error="skip"))
    assert list(skipped(tmp_path / "b")) == ["mute.mp4"] and len(recorder.seen) == 9
    make_trainer(tmp_path / "c", max_steps=1, callbacks=None).fit(Recorder(), data(train=source))


def test_what_a_shape_asks_and_a_sampler_reads_count_too(tmp_path: Path) -> None:
    asked = {"questions": [{"question": "q", "answer": "a", "type": "order"}]}
    odd = {"path": "odd.mp4", "questions": [{"question": "q", "answer": "a", "type": ["needle"]}]}
    source = listed(tmp_path / "x.jsonl", [json.dumps(odd)], **asked)
    shapes = [BatchShape(4, 2), BatchShape(4, 1, question_types=["order"])]
    with pytest.raises(ManifestError, match=r"x\.jsonl:3: .*odd\.mp4"):
        make_trainer(tmp_path / "a", max_steps=1).fit(Asking(), data(train=source, shapes=shapes))
    make_trainer(tmp_path / "b", max_steps=9, callbacks=None).fit(
        Asking(), data(train=source, shapes=shapes, on_error="skip")
    )
    assert list(skipped(tmp_path / "b")) == ["odd.mp4"]
    for keys in ("abc", [1.5], [[1]], [[3, 2]], [True], [-1], {"a": 1}, [[0, 10**30]]):
        source = listed(tmp_path / "y.jsonl", [json.dumps({"path": "odd.mp4", "key_frames": keys})], key_frames=[1])
        with pytest.raises(ManifestError, match=r"y\.jsonl:3: key_frames: "):
            data(val=source, sampler=KeyFrames()).rows("val")
        found = data(val=source, sampler=KeyFrames(), on_error="skip").rows("val")
        assert [bool(row.error) for row in found] == [False, False, True, *[False] * 6]
        assert not any(row.error for row in data(val=source).rows("val")), "nobody reads them"


def test_frames_that_cannot_be_resized_are_a_fault_of_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(frames: Any, size: Any) -> torch.Tensor:
        raise RuntimeError("not enough memory: you tried to allocate 10 GB")

    monkeypatch.setattr("liteframe.data.loading.dataset.resize_uint8", full)
    source = listed(tmp_path / "x.jsonl", [], good=1)
    with pytest.raises(DecodeError, match=r"0\.mp4: its frames cannot be resized: RuntimeError: not enough memory"):
        list(data(val=source).loader("val"))
    (batch,) = data(val=source, on_error="skip").loader("val")
    assert batch["skipped"][0]["id"] == "0.mp4" and "not enough memory" in batch["skipped"][0]["reason"]


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 4)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "link.mp4").symlink_to("nowhere")
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "socket.mp4"))
    faults = {
        "a.mp4": "",
        "absent.mp4": "no such file",
        "pipe.mp4": "is not a regular file but a pipe",
        "folder.mp4": "is not a regular file but a folder",
        "link.mp4": "a link to 'nowhere', which is not there",
        "round.mp4": "cannot be read (Too many levels of symbolic links)",
        "device.mp4": "is not a regular file but a device",
        "socket.mp4": "is not a regular file but a socket",
        "x" * 300 + ".mp4": "cannot be read (File name too long)",
    }
    assert {name: fault_of(tmp_path / name) for name in faults} == faults and fault_of("a\0b").startswith("cannot")
    rows = check(listed_paths(tmp_path, list(faults)), processes=1)
    assert {Path(row.path).name: row.error for row in rows} == faults
    for name in ("pipe.mp4", "device.mp4", "socket.mp4", "link.mp4"):
        with pytest.raises(ManifestError, match=faults[name].replace("(", r"\(")):
            read_manifest(tmp_path / name)
    door.close()


def listed_paths(folder: Path, names: list[str]) -> str:
    (folder / "all.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    return str(folder / "all.jsonl")


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet"])
def test_a_list_that_cannot_be_opened_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("{}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ManifestError, match=rf"{name}: cannot be read \(no permission\)"):
        read_manifest(tmp_path / name)


def test_names_on_disk_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    for name in (b"a.mp4", b"b\xff.mp4"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    with pytest.raises(ManifestError, match=r"b\\udcff\.mp4': the file's name is no UTF-8.*rename it"):
        read_manifest(tmp_path)
    good, bad = read_manifest(tmp_path, keep_unusable=True)
    assert good.id == "a.mp4" and bad.error
    json.dumps(bad.as_dict(), ensure_ascii=False).encode()


def test_sources_keep_their_faults_apart(tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", ["{"], good=2)
    found = data(train=[VideoSource(source), VideoSource(source)], on_error="skip").rows("train")
    assert len({row.id for row in found}) == 6 and sum(bool(row.error) for row in found) == 2


def fit_as_rank(rank: int, folder: Path, source: str) -> None:
    trainer = make_trainer(folder, devices=2, strategy="ddp", max_steps=6, callbacks=None)
    trainer.fit(Recorder(), data(train=source, batch_size=1, on_error="skip", max_skip_fraction=0.9))
    os._exit(0)


def test_ranks_agree_about_them(tmp_path: Path) -> None:
    source = listed(tmp_path / "x.jsonl", BAD, good=2)
    assert run_ranks(fit_as_rank, 2, tmp_path, source) == [0, 0]
    names = [json.loads(line)["id"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert sorted(names) == sorted(f"{source}:{line}" for line in range(3, 8))


def mixed(path: Path, bad: str, good: int = 4) -> str:
    """A list in which the rows named in `bad` are marked as unusable."""
    broken = {"ok": False, "error": "broken"}
    rows = [{"path": f"{n}.mp4", "id": str(n), **(broken if str(n) in bad else {})} for n in range(good)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def verb_ids(run: Path, name: str = "skipped.jsonl") -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [(row["verb"], row["id"]) for row in rows]


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_run_that_goes_on_from_nothing_counts_only_its_own_skips(verb: str, tmp_path: Path) -> None:
    """The folder holds lists of a fit and of the same verb, made when more of the same videos were broken."""
    split = {"validate": "val"}.get(verb, verb)
    source = tmp_path / "x.jsonl"
    settings = {"on_error": "skip", "max_skip_fraction": 0.5}

    def run(bad: str) -> VideoDataModule:
        seen = data(**{split: mixed(source, bad)}, **settings)
        getattr(make_trainer(tmp_path, callbacks=None), verb)(Recorder(), seen)
        return seen

    make_trainer(tmp_path, max_steps=1, callbacks=None).fit(
        Recorder(), data(train=mixed(source, "01"), on_error="skip")
    )
    run("12")
    seen = run("3")
    assert seen.ledger is not None and seen.ledger.ids == ["3"]
    assert verb_ids(tmp_path) == [("fit", "0"), ("fit", "1"), (verb, "3")]
    assert verb_ids(tmp_path, "skipped-earlier.jsonl") == [(verb, "1"), (verb, "2")]
    run("")
    assert verb_ids(tmp_path) == [("fit", "0"), ("fit", "1")]


def test_a_fit_goes_on_with_its_own_list_and_drops_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: set[str] = set()

    class Pool(FakePool):
        def run(self, jobs: Sequence[DecodeJob]) -> list[Any]:
            bad = [DecodeError(job.path, "cut off") if Path(job.path).stem in broken else None for job in jobs]
            return [error or super(Pool, self).run([job])[0] for error, job in zip(bad, jobs, strict=True)]

    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", Pool)
    source = mixed(tmp_path / "x.jsonl", "")

    def fit(bad: str, steps: int, checkpoint: str | None = None) -> set[str]:
        broken.clear()
        broken.update(bad)
        seen = data(train=source, on_error="skip", max_skip_fraction=0.5)
        make_trainer(tmp_path, max_steps=steps).fit(Recorder(), seen, ckpt_path=checkpoint)
        assert seen.ledger is not None
        return {skip.id for skip in seen.ledger.skipped()}

    kept = str(tmp_path / "kept" / "step=2.ckpt")
    assert fit("01", 2) == {"0", "1"}
    broken.clear()
    tested = data(test=mixed(tmp_path / "y.jsonl", "23"), on_error="skip", max_skip_fraction=0.5)
    make_trainer(tmp_path, callbacks=None).test(Recorder(), tested)
    assert fit("01", 3, kept) == {"0", "1"}
    assert fit("0", 4, kept) == {"0"}
    assert fit("", 6, kept) == set()
    assert [skip for skip in verb_ids(tmp_path) if skip[0] == "test"] == [("test", "2"), ("test", "3")]


def test_a_fit_that_begins_anew_is_not_stopped_by_old_skips(tmp_path: Path) -> None:
    source = tmp_path / "x.jsonl"
    for bad in ("01", "23"):
        seen = data(train=mixed(source, bad), on_error="skip", max_skip_fraction=0.5)
        make_trainer(tmp_path, max_steps=1, callbacks=None).fit(Recorder(), seen)
    assert verb_ids(tmp_path) == [("fit", "2"), ("fit", "3")]
    assert verb_ids(tmp_path, "skipped-earlier.jsonl") == [("fit", "0"), ("fit", "1")]


def test_a_trial_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    source, run = tmp_path / "x.jsonl", tmp_path / "run"
    kept: dict[str, str] = {}
    for bad, trial in (("0", False), ("12", True)):
        seen = data(train=mixed(source, bad), on_error="skip", max_skip_fraction=0.5)
        make_trainer(run, max_steps=1, callbacks=[], enable_checkpointing=False, fast_dev_run=trial).fit(
            Recorder(), seen
        )
        now = {path.name: path.read_text() for path in run.iterdir()}
        assert {*now} == {"skipped.jsonl", "sources.json"} and kept in ({}, now)
        kept = now
    assert verb_ids(run) == [("fit", "0")]
