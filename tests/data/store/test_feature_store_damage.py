"""A feature store that was damaged: resumed to the same bytes or refused by name, never used as it is."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_feature_store import IDS, SHARD_MB, hashes, make, make_key, record_of, targets_of, write

from liteframe.data.store import finalize as feature_store_finalize
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.store.files import is_own
from liteframe.data.store.sealed_json import sealed, unseal
from liteframe.data.store.writer import FeatureStoreWriter, finalize
from liteframe.errors import StoreError

FEW = IDS[:5]
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def small(folder: Path, ids: list[str]) -> None:
    with FeatureStoreWriter(folder, make_key(), shard_mb=SHARD_MB, flush_seconds=1000) as writer:
        done = writer.done_ids()
        for sample_id in ids:
            if sample_id not in done:
                writer.add(sample_id, targets_of(sample_id)[:1, :1, :2], record_of(sample_id))


def finish(folder: Path, ids: list[str] = FEW) -> FeatureStore:
    small(folder, ids)
    return finalize(folder, make_key(), SHARD_MB / 8, ids)


def files_of(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lay(folder: Path, files: Files) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("whole") / "store"
    finish(folder)
    return files_of(folder)


@pytest.fixture(params=["finished", "in parts", "half finished", "half grown"])
def files(request: pytest.FixtureRequest, tmp_path: Path, whole: Files, monkeypatch: pytest.MonkeyPatch) -> Files:
    """A store in one of the states that a kill leaves."""
    if request.param == "finished":
        return whole
    folder = tmp_path / "store"
    if request.param == "half grown":
        finish(folder, FEW[:3])
    small(folder, FEW[:4])
    if request.param != "in parts":

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(feature_store_finalize, "write_statistics", stop)
            finish(folder)
    return files_of(folder)


def damages(files: Files) -> Iterator[tuple[str, Files]]:
    step = 397  # bits; all of them were tried once, which takes long
    for name, data in files.items():
        for bit in range(zlib.crc32(name.encode()) % step, len(data) * 8, step):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            yield f"{name}: bit {bit}", {**files, name: bytes(flipped)}
        for size in (0, len(data) // 3, len(data) - 1):
            yield f"{name}: cut at {size}", {**files, name: data[:size]}
        yield f"{name}: longer", {**files, name: data + b"\0"}
        yield f"{name}: gone", {other: kept for other, kept in files.items() if other != name}
    for one, other in itertools.pairwise(files):
        yield f"{one} and {other}: swapped", {**files, one: files[other], other: files[one]}


def test_whatever_is_damaged_is_made_again_or_named(
    files: Files, whole: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "liteframe")
    outcomes = {"same": 0, "named": 0}
    for what, damaged in damages(files):
        folder = lay(tmp_path / "damaged", damaged)
        try:
            finish(folder)
        except StoreError as error:
            assert "key.json" in what and "key.json" in str(error), f"{what}: only a key cannot be made again: {error}"
            outcomes["named"] += 1
        else:
            found = files_of(folder)
            assert {name: found.get(name) for name in whole} == whole, what
            outcomes["same"] += 1
    assert outcomes["same"] > 30 and outcomes["named"] > 5


def test_a_damaged_finished_store_is_read_right_or_refused(whole: Files, tmp_path: Path) -> None:
    for what, damaged in damages(whole):
        folder = lay(tmp_path / "damaged", damaged)
        try:
            store = FeatureStore.open(folder, make_key(), verify="full")
        except StoreError:
            continue
        assert store.sample_ids() == FEW and store.skipped == [], what
        for index, sample_id in enumerate(FEW):
            assert torch.equal(store.targets(index), targets_of(sample_id)[:1, :1, :2].bfloat16()), what
            assert store.source(index) == (f"{sample_id}.mp4", tuple(range(0, 24, 3)), None), what


@pytest.mark.parametrize("field", ["offset", "crc32", "id", "record", "shape"])
def test_an_index_that_nothing_vouches_for_is_held_against_the_names_of_shards(
    field: str, whole: Files, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "store", {name: data for name, data in whole.items() if name != "COMPLETE"})
    head, *lines = whole["index.json"].split(b"\n")
    entry = json.loads(lines[2].rstrip(b","))
    if field == "record":
        entry["record"]["frame_indices"][0] = 1
    elif field == "id":
        entry["id"] = "clip-99"
    else:
        place = ["dtype", "shape", "offset", "crc32"].index(field)
        entry["targets"][place] = [1, 1, 1, 8] if field == "shape" else entry["targets"][place] - 1
    lines[2] = json.dumps(entry, separators=(",", ":")).encode() + b","
    (folder / "index.json").write_bytes(b"\n".join([head, *lines]))
    done = FeatureStoreWriter(folder, make_key()).done_ids()
    assert done < {*FEW} and FEW[2] not in done, "what shares its shard may be lost too, not more"
    finish(folder)
    assert files_of(folder) == whole


def test_a_damaged_part_is_said_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "straight")
    write(tmp_path / "store")
    part = tmp_path / "store" / "parts" / "r00000-000003.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"\x7f")
    writer = FeatureStoreWriter(tmp_path / "store", make_key())
    assert writer.done_ids() == {*IDS} - {IDS[3]}
    assert f"{part}: changed since it was written; its samples are computed again" in caplog.text
    make(tmp_path / "store")
    make(tmp_path / "straight")
    assert hashes(tmp_path / "store") == hashes(tmp_path / "straight")


def test_finishing_alone_does_not_drop_what_was_damaged(tmp_path: Path) -> None:
    make(tmp_path)
    before = hashes(tmp_path)
    shard = sorted(tmp_path.glob("shard-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(StoreError, match=rf"{shard.name}: missing or changed.* 4 of its samples .*first 'clip-04'"):
        finalize(tmp_path, make_key(), SHARD_MB)
    assert {*hashes(tmp_path)} == {*before}


def test_a_lost_key_costs_nothing(tmp_path: Path) -> None:
    write(tmp_path, IDS[:6])
    (tmp_path / "key.json").write_bytes(b"\0" * 40)
    with pytest.raises(StoreError, match=r"key\.json: is damaged.*move it away and run the cache stage again"):
        FeatureStoreWriter(tmp_path, make_key())
    (tmp_path / "key.json").unlink()
    assert FeatureStoreWriter(tmp_path, make_key()).done_ids() == {*IDS[:6]}
    make(tmp_path)
    (tmp_path / "key.json").unlink()
    with pytest.raises(StoreError, match="decoder: stored 'auto', this run wants 'pyav'"):
        FeatureStoreWriter(tmp_path, make_key(decoder="pyav"))
    assert FeatureStoreWriter(tmp_path, make_key()).done_ids() == {*IDS}


def test_parts_of_another_key_are_neither_used_nor_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "store", IDS[:2])
    with FeatureStoreWriter(tmp_path / "other", make_key(decoder="pyav"), store_frames=False) as writer:
        writer.add(IDS[5], torch.zeros(2, 3, 4, 8), record_of(IDS[5]))
    for path in (tmp_path / "other" / "parts").iterdir():
        shutil.copy(path, tmp_path / "store" / "parts" / path.name.replace("r00000", "r00007"))
        assert not is_own(tmp_path / "store" / "parts" / path.name.replace("r00000", "r00007"), make_key().digest)
    store = make(tmp_path / "store")
    assert "is of a store with another key" in caplog.text and store.sample_ids() == IDS
    assert store.targets(5).float().abs().sum() > 0
    assert len(list((tmp_path / "store" / "parts").iterdir())) == 2


def unsealed(path: Path) -> None:
    """As a version before the checksums wrote it."""
    value, _ = unseal(path.read_bytes(), "")
    value.pop("key", None) if "shard" in value else None
    path.write_bytes(json.dumps(value, separators=(",", ":")).encode())


def test_a_finished_store_without_checksums_opens_and_stays(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("key.json", "COMPLETE"):
        unsealed(tmp_path / name)
    before = hashes(tmp_path)
    assert FeatureStore.open(tmp_path, make_key(), verify="full").sample_ids() == IDS
    make(tmp_path)
    assert hashes(tmp_path) == before


def test_parts_without_checksums_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "store", IDS[:9])
    for path in [tmp_path / "store" / "key.json", *(tmp_path / "store" / "parts").glob("*.json")]:
        unsealed(path)
    assert FeatureStoreWriter(tmp_path / "store", make_key()).done_ids() == set()
    assert "has no checksum, as older versions wrote it; its samples are computed again" in caplog.text
    assert "so it is with 4 sidecars more" in caplog.text
    make(tmp_path / "store")
    make(tmp_path / "straight")
    (tmp_path / "straight" / "key.json").write_bytes((tmp_path / "store" / "key.json").read_bytes())
    assert hashes(tmp_path / "store") == hashes(tmp_path / "straight")


def test_a_seal_is_of_every_byte() -> None:
    value = {"a": [1.5, "\ud800", None], "b": {"checksum": "x"}}
    data = sealed(value)
    assert unseal(data, "x") == (value, True) and json.loads(data).keys() == {"a", "b", "checksum"}
    for place in range(len(data)):
        try:
            found, is_sealed = unseal(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :], "x")
        except StoreError:
            continue
        assert not is_sealed and found.keys() != value.keys(), "only the seal's name, which no reader then takes"
