"""Checkpoints: every flipped bit is seen, nothing in them runs, and a failed write loses nothing."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.errors import CheckpointError
from liteframe.system.checkpoint_io import AtomicCheckpointIO, read_checkpoint, require_checkpoint_file

CONTENT = {
    "state_dict": {"weight": torch.arange(40.0), "bias": torch.ones(3, dtype=torch.bfloat16)},
    "loops": {"fit_loop": {}},
    "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}],
    "lr_schedulers": [],
    "callbacks": {},
    "global_step": 7,
    "epoch": 0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_what_was_saved_is_read_by_us_and_by_torch(path: Path) -> None:
    for read in (read_checkpoint(path), read_checkpoint(path, mmap=True), torch.load(path, weights_only=True)):
        assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])  # type: ignore[index]
        assert read["global_step"] == 7


def test_a_flip_of_any_bit_is_seen(path: Path) -> None:
    data = path.read_bytes()
    draw = random.Random(1)
    for bit in [*draw.sample(range(8 * len(data)), 300), *range(8 * len(data) - 8 * 104, 8 * len(data), 5)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged"):
            read_checkpoint(path)


@pytest.mark.parametrize("size", [0, 1, 100, -1, -90, -200])
def test_a_cut_file_is_named(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged"):
        read_checkpoint(path)


def test_damage_points_to_the_checkpoint_before(path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 8}, path)
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=rf"--ckpt_path {path.with_name('previous.ckpt')}"):
        read_checkpoint(path)
    assert read_checkpoint(path.with_name("previous.ckpt"))["global_step"] == 7


def test_checkpoints_that_others_wrote_are_held_to_the_checksums_of_their_zip(path: Path) -> None:
    torch.save(CONTENT, path)
    assert read_checkpoint(path)["global_step"] == 7
    data = bytearray(path.read_bytes())
    place = data.find(CONTENT["state_dict"]["weight"].numpy().tobytes())  # type: ignore[index]
    data[place + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="has changed"):
        read_checkpoint(path)


class Payload:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


def _zip_of(pickled: bytes) -> bytes:
    """What torch writes, with another pickle in it."""
    whole, out = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": {}}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


@pytest.mark.parametrize("form", ["zip", "bare"])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, form: str) -> None:
    pickled = pickle.dumps({"state_dict": Payload(tmp_path / "ran")}, protocol=2)
    (tmp_path / "evil.ckpt").write_bytes(_zip_of(pickled) if form == "zip" else pickled)
    for ask in (None, False):
        with pytest.raises(CheckpointError, match=r"evil\.ckpt: (holds more than tensors|damaged)"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=ask)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["http://host/a.ckpt", "s3://bucket/a.ckpt", "registry:model", "file:///a", "."])
def test_what_other_readers_would_unpickle_is_refused(tmp_path: Path, name: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="--ckpt_path"):
        require_checkpoint_file(name)
    with pytest.raises(CheckpointError, match="--ckpt_path"):
        AtomicCheckpointIO().load_checkpoint(name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [{"state_dict": 3}, {"loops": []}, {"optimizer_states": {}}, {"global_step": "x"}])
def test_parts_of_another_kind_are_named(path: Path, part: dict[str, Any]) -> None:
    torch.save({**CONTENT, **part}, path)
    with pytest.raises(CheckpointError, match=f"its {next(iter(part))} is missing or of another kind"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="its state_dict is missing"):
        read_checkpoint(path)


def test_a_full_disk_is_named_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: object, file: Any) -> None:
        file.write(b"half")
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed") from error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be written \(No space left on device\)"):
        AtomicCheckpointIO().save_checkpoint(CONTENT, path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_what_a_killed_save_left_is_removed_and_what_only_looks_like_it_is_not(path: Path) -> None:
    left, mine = path.with_name(".last.ckpt.0123456789abcdef.part"), path.with_name(".last.ckpt.99.part")
    for file in (left, mine):
        file.write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint({**CONTENT, "global_step": 8}, path)
    assert not left.exists() and mine.exists()


def test_only_what_carries_our_seal_is_removed(tmp_path: Path, path: Path) -> None:
    others = [tmp_path / "notes.ckpt", tmp_path / "folder"]
    others[0].write_text("mine")
    others[1].mkdir()
    for other in [*others, tmp_path / "folder" / ".." / "last.ckpt"]:
        AtomicCheckpointIO().remove_checkpoint(other)
        assert other.exists()
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not path.exists()
