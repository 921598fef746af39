"""A feature store behind a server that fails, read by ranges: the tensors that were written, or an error."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_feature_store import IDS, frames_of, make, make_key, targets_of, write

from liteframe.data.remote import fetched, objects
from liteframe.data.remote.upload import upload_folder
from liteframe.data.store import block_cache, shard_files
from liteframe.data.store.block_cache import StoreCache
from liteframe.data.store.feature_store import FeatureStore, read_key
from liteframe.errors import ConfigError, StoreError, StoreMismatch
from object_store import Fault, ObjectStore, cut, flipped, http_store, reset, s3_store, short, slow_down, status

BLOCK = 512


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetched, "_recent", {})
    for module in (block_cache, shard_files):
        monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(params=["http", "s3"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """A server with a store at `store`."""
    make(tmp_path / "made")
    if request.param == "http":
        with http_store() as made:
            for path in (tmp_path / "made").iterdir():
                made.files[f"store/{path.name}"] = path.read_bytes()
            yield made
        return
    with s3_store(monkeypatch) as made:
        upload_folder(tmp_path / "made", f"{made.root}/store")
        yield made


def opened(server: ObjectStore, tmp_path: Path, gigabytes: float = 1.0, **options: object) -> FeatureStore:
    cache = StoreCache(str(tmp_path / "blocks"), gigabytes)
    return FeatureStore.open(f"{server.root}/store", cache=cache, **options)  # type: ignore[arg-type]


def require_same(store: FeatureStore) -> None:
    assert store.sample_ids() == IDS
    for index in torch.randperm(len(IDS)).tolist():
        assert torch.equal(store.targets(index), targets_of(IDS[index]).bfloat16())
        frames = store.frames(index)
        assert frames is not None and torch.equal(frames, frames_of(IDS[index]))


def shards_of(server: ObjectStore) -> list[str]:
    return sorted(name for name in server.gets if name.endswith(".safetensors") and "shard-" in name)


def test_it_gives_what_the_folder_gives(server: ObjectStore, tmp_path: Path) -> None:
    here, there = FeatureStore.open(tmp_path / "made"), opened(server, tmp_path, expected_key=make_key())
    require_same(there)
    assert all(torch.equal(a, b) for a, b in zip(here.statistics, there.statistics, strict=True))
    assert read_key(f"{server.root}/store") == here.key and there.shard_files == here.shard_files
    there.verify()
    with pytest.raises(StoreMismatch, match=f"{server.root}/store"):
        opened(server, tmp_path, expected_key=make_key(decoder="decord"))


def test_it_is_read_by_ranges_once_and_ahead_in_order(server: ObjectStore, tmp_path: Path) -> None:
    store = opened(server, tmp_path)
    assert not shards_of(server), "opening reads no shard"
    store.targets(0)
    first = [ranges for name in shards_of(server) for ranges in server.ranges[name]]
    assert len(first) == 1 and first[0].startswith("bytes="), "one request, of the blocks of one tensor"
    for index in range(len(IDS)):
        store.targets(index)
        store.frames(index)
    asked = sum(server.gets[name] for name in shards_of(server))
    assert asked < 2 * len(IDS), "in the order of a shard, what comes next has come along"
    require_same(opened(server, tmp_path))
    assert sum(server.gets[name] for name in shards_of(server)) == asked, "all of it is in the cache"


def test_the_cache_stays_below_its_limit(server: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "theirs").write_bytes(bytes(50_000))
    store = opened(server, tmp_path, gigabytes=5e-6)
    for _ in range(2):
        require_same(store)
        blocks = list((tmp_path / "blocks").glob("*.block"))
        assert blocks and sum(path.stat().st_size for path in blocks) <= 5000
    assert (tmp_path / "blocks" / "theirs").exists()
    with pytest.raises(ConfigError, match=r"data\.store_cache\.gigabytes"):
        StoreCache(gigabytes=0)


@pytest.mark.parametrize("fault", [slow_down, status(500), reset, cut, short, flipped])
def test_what_passes_changes_nothing(server: ObjectStore, fault: Fault, tmp_path: Path) -> None:
    store = opened(server, tmp_path)
    for name in store.shard_files:
        server.faults[f"store/{name}"] = [fault, *[lambda _handler, answer: answer] * 2]
    require_same(store)
    assert all(len(server.faults[f"store/{name}"]) < 3 for name in store.shard_files), "each fault was met"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (flipped, r"store/shard-.*: the bytes of sample 'clip-\d\d' have changed since they were written"),
        (status(404), r"store/shard-.*: cannot be read: .*404"),
        (status(403), r"store/shard-.*: cannot be read: .*403"),
        (short, r"store/shard-.*: cannot be read: "),
    ],
)
def test_what_stays_is_an_error_and_never_other_bytes(
    server: ObjectStore, fault: Fault, said: str, tmp_path: Path
) -> None:
    store = opened(server, tmp_path)
    for name in store.shard_files:
        server.faults[f"store/{name}"] = [fault] * 1000
    for index in range(len(IDS)):
        with pytest.raises(StoreError, match=said):
            store.targets(index)
    server.faults.clear()
    require_same(store)


def test_a_block_that_was_damaged_on_disk_is_fetched_again(server: ObjectStore, tmp_path: Path) -> None:
    store = opened(server, tmp_path)
    require_same(store)
    for number, path in enumerate(sorted((tmp_path / "blocks").glob("*.block"))):
        path.write_bytes(bytes(path.stat().st_size) if number % 2 else path.read_bytes()[:-1])
    require_same(store)


def test_a_shard_that_is_missing_or_cut_is_seen_at_the_start(tmp_path: Path) -> None:
    make(tmp_path / "made")
    with http_store() as server:
        server.files = {f"store/{path.name}": path.read_bytes() for path in (tmp_path / "made").iterdir()}
        name = next(name for name in server.files if name.endswith(".safetensors") and "shard-" in name)
        whole = server.files.pop(name)
        with pytest.raises(StoreError, match="missing"):
            opened(server, tmp_path)
        server.files[name] = whole[:-1]
        with pytest.raises(StoreError, match="truncated or overwritten"):
            opened(server, tmp_path)
        server.files[name] = whole[:-1] + bytes([whole[-1] ^ 1])
        with pytest.raises(StoreError, match="changed since it was written"):
            opened(server, tmp_path, verify="full")


def test_what_is_no_finished_store_names_its_address(tmp_path: Path) -> None:
    write(tmp_path / "made")
    with http_store() as server:
        with pytest.raises(StoreError, match=f"{server.root}/store: no feature store here"):
            opened(server, tmp_path)
        server.files["store/key.json"] = (tmp_path / "made" / "key.json").read_bytes()
        with pytest.raises(StoreError, match=f"{server.root}/store: the feature store is not finished"):
            opened(server, tmp_path)
        server.files["store/key.json"] = b"{}"
        with pytest.raises(StoreError, match=f"{server.root}/store/key.json"):
            opened(server, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, as torch's loaders do")
def test_forked_loaders_and_pickled_copies_read(server: ObjectStore, tmp_path: Path) -> None:
    store = opened(server, tmp_path)
    store.targets(0)  # so that the parent has used its client
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for index, targets in enumerate(pool.imap(_read, [(pickle.dumps(store), i) for i in range(6)])):
            assert torch.equal(torch.tensor(targets), targets_of(IDS[index]).bfloat16().float())


def _read(asked: tuple[bytes, int]) -> list[object]:
    store: FeatureStore = pickle.loads(asked[0])
    return store.targets(asked[1]).float().tolist()
