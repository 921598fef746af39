from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from liteframe.data.sampling import FpsCapped
from liteframe.data.store.feature_store import FeatureStore, StoreKey, data_digest, estimate, is_complete
from liteframe.data.store.writer import FeatureStoreWriter, finalize
from liteframe.errors import StoreError, StoreMismatch

IDS = [f"clip-{n:02d}" for n in range(11)]
SHARD_MB = 4 * (2 * 3 * 4 * 8 * 2 + 8 * 3 * 6 * 4) / 1e6  # four samples a shard

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")


def make_key(**changes: object) -> StoreKey:
    key = StoreKey(
        teacher={"class": "InternVLTeacher", "sha256": "ab" * 32, "layer": -1},
        compressor={"name": "wap", "block": (4, 2, 2), "similarity": "dot", "scale": None},
        geometry={"image_size": [448, 448], "patch": 14, "mean": [0.485, 0.456, 0.406]},
        sampling={"sampler": {"name": "UniformMidpoints"}, "frames": 8, "windows": 1, "seed": 0},
        decoder="auto",
        dtype="bfloat16",
        data=data_digest(IDS),
    )
    return replace(key, **changes)


def targets_of(sample_id: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(sample_id[-2:]))
    return torch.randn(2, 3, 4, 8, generator=generator) * torch.arange(1, 9) + 5


def frames_of(sample_id: str) -> torch.Tensor:
    return torch.full((8, 3, 6, 4), int(sample_id[-2:]), dtype=torch.uint8)


def record_of(sample_id: str) -> dict[str, object]:
    return {"path": f"{sample_id}.mp4", "frame_indices": np.arange(8) * 3, "valid_frames": 8, "extra": {"start": 0.5}}


def write(folder: Path, ids: list[str] = IDS, rank: int = 0, world_size: int = 1, flush_seconds: float = 0) -> None:
    with FeatureStoreWriter(
        folder, make_key(), rank, world_size, SHARD_MB, store_frames=True, flush_seconds=flush_seconds
    ) as writer:
        done = writer.done_ids()
        for sample_id in ids:
            if sample_id not in done:
                writer.add(sample_id, targets_of(sample_id), record_of(sample_id), frames_of(sample_id))


def make(folder: Path, **options: float) -> FeatureStore:
    write(folder, **options)
    return finalize(folder, make_key(), SHARD_MB, IDS)


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "store"
    make(folder, flush_seconds=1000)
    return folder


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill, unlike a power cut, loses nothing that was not synced, and hundreds of syncs take long."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    make(tmp_path / "store")
    return tmp_path / "store"


def test_roundtrip(straight: Path) -> None:
    store = FeatureStore.open(straight, make_key(), verify="full")
    assert len(store) == len(IDS) and store.sample_ids() == IDS and store.key == make_key()
    for index in [7, 0, 10]:
        sample_id = IDS[index]
        entry = store.entry(index)
        assert entry["sample_id"] == sample_id and entry["path"] == f"{sample_id}.mp4"
        assert entry["frame_indices"] == list(range(0, 24, 3)) and entry["extra"] == {"start": 0.5}
        assert torch.equal(store.targets(index), targets_of(sample_id).bfloat16())
        frames = store.frames(index)
        assert frames is not None and torch.equal(frames, frames_of(sample_id))
    json.loads((straight / "index.json").read_bytes())


def test_shards_are_plain_safetensors(straight: Path) -> None:
    shards = sorted(straight.glob("shard-*.safetensors"))
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert len(shards) == 3 and len(tensors) == 2 * len(IDS)
    for sample_id in IDS:
        assert torch.equal(tensors[f"{sample_id}/targets"], targets_of(sample_id).bfloat16())
        assert torch.equal(tensors[f"{sample_id}/frames"], frames_of(sample_id))


def test_nothing_is_left_beside_the_store(straight: Path) -> None:
    names = {path.name for path in straight.iterdir() if not path.name.startswith("shard-")}
    assert names == {"key.json", "index.json", "statistics.safetensors", "COMPLETE"}


def test_statistics_are_those_of_all_tokens(straight: Path) -> None:
    tokens = torch.cat([targets_of(sample_id).bfloat16().double().reshape(-1, 8) for sample_id in IDS])
    mean_C, std_C = FeatureStore.open(straight).statistics
    assert mean_C.dtype == std_C.dtype == torch.float32
    torch.testing.assert_close(mean_C, tokens.mean(0).float())
    torch.testing.assert_close(std_C, tokens.std(0, unbiased=False).float())


def test_a_pickled_store_reads_in_a_worker(straight: Path) -> None:
    store = pickle.loads(pickle.dumps(FeatureStore.open(straight)))
    loader = torch.utils.data.DataLoader(range(len(store)), num_workers=2, collate_fn=lambda b: store.targets(b[0]))
    for sample_id, targets in zip(IDS, loader, strict=True):
        assert torch.equal(targets, targets_of(sample_id).bfloat16())


@pytest.mark.parametrize("order", [1, -1])
def test_order_in_the_data_set_rules_if_given(tmp_path: Path, order: int) -> None:
    with FeatureStoreWriter(tmp_path, make_key()) as writer:
        for place, sample_id in enumerate(IDS):
            writer.add(sample_id, targets_of(sample_id), {"order": place * order})
    assert finalize(tmp_path, make_key()).sample_ids() == IDS[::order]


def test_fp32_store_without_frames(tmp_path: Path) -> None:
    key = make_key(dtype="float32")
    with FeatureStoreWriter(tmp_path, key, dtype=torch.float32) as writer:
        targets = targets_of("clip-00")
        writer.add("clip-00", targets, {})
        targets.zero_()
    store = finalize(tmp_path, key)
    assert torch.equal(store.targets(0), targets_of("clip-00")) and store.frames(0) is None


@pytest.mark.parametrize(
    ("changes", "field", "wanted"),
    [
        (
            {"compressor": {"name": "wap", "block": [4, 2, 2], "similarity": "dot", "scale": 0.1}},
            "compressor.scale",
            "0.1",
        ),
        ({"teacher": {"class": "InternVLTeacher", "sha256": "cd" * 32, "layer": -1}}, "teacher.sha256", "cdcd"),
        ({"decoder": "pyav"}, "decoder", "'pyav'"),
        ({"data": data_digest(IDS[1:])}, "data", data_digest(IDS[1:])),
    ],
)
def test_a_mismatch_names_the_field(straight: Path, changes: dict[str, object], field: str, wanted: str) -> None:
    other = make_key(**changes)
    assert [difference.name for difference in make_key().diff(other)] == [field]
    for attempt in (
        lambda: FeatureStore.open(straight, other),
        lambda: FeatureStoreWriter(straight, other),
        lambda: finalize(straight, other),
    ):
        with pytest.raises(StoreMismatch, match=rf"{field}: stored .*wants .*{wanted}"):
            attempt()


def test_a_partial_key_is_compared_where_it_speaks(straight: Path) -> None:
    FeatureStore.open(straight, {"geometry": {"patch": 14}, "clip_frames": 4})
    with pytest.raises(StoreMismatch, match=r"geometry\.patch: stored 14, this run wants 16"):
        FeatureStore.open(straight, {"geometry": {"patch": 16}})


def test_every_flipped_byte_is_found_and_named(store_folder: Path) -> None:
    shard = sorted(store_folder.glob("shard-*.safetensors"))[1]
    whole = shard.read_bytes()
    for place in [0, 9, len(whole) // 2, len(whole) - 1]:
        data = bytearray(whole)
        data[place] ^= 1
        shard.write_bytes(data)
        with pytest.raises(StoreError, match=shard.name):
            FeatureStore.open(store_folder, verify="full")
    store = FeatureStore.open(store_folder)
    with pytest.raises(StoreError, match=f"{shard.name}.*clip-07"):
        store.frames(7)
    with pytest.raises(StoreError, match=f"{shard.name}.*clip-07"):
        store.verify()


@pytest.mark.parametrize("name", ["index.json", "statistics.safetensors"])
def test_a_flipped_byte_beside_the_shards_is_found(store_folder: Path, name: str) -> None:
    data = bytearray((store_folder / name).read_bytes())
    data[-4] ^= 1
    (store_folder / name).write_bytes(data)
    with pytest.raises(StoreError, match=name):
        FeatureStore.open(store_folder, verify="full")


@pytest.mark.parametrize("cut", [0, 1])
def test_a_truncated_shard_is_named_at_open_and_made_again(store_folder: Path, straight: Path, cut: int) -> None:
    shard = sorted(store_folder.glob("shard-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[: -cut or None] if cut else b"")
    with pytest.raises(StoreError, match=shard.name):
        FeatureStore.open(store_folder)
    make(store_folder)
    assert hashes(store_folder) == hashes(straight)


def test_a_deleted_shard_is_made_again(store_folder: Path, straight: Path) -> None:
    shard = sorted(store_folder.glob("shard-*.safetensors"))[2]
    shard.unlink()
    with pytest.raises(StoreError, match=f"{shard.name}: missing"):
        FeatureStore.open(store_folder)
    assert FeatureStoreWriter(store_folder, make_key()).done_ids() == set(IDS[:8])
    make(store_folder)
    assert hashes(store_folder) == hashes(straight)


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature store here"):
        FeatureStore.open(tmp_path)
    write(tmp_path, IDS[:3])
    assert not is_complete(tmp_path)
    with pytest.raises(StoreError, match="not finished"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match="8 of 11 samples are neither stored nor skipped, first 'clip-03'"):
        finalize(tmp_path, make_key(), expected_ids=IDS)


def test_skips_are_listed_and_tried_again(tmp_path: Path, straight: Path) -> None:
    write(tmp_path, IDS[1:])
    for rank in range(2):
        with FeatureStoreWriter(tmp_path, make_key(), rank, 2) as writer:
            writer.add_skipped({"path": "clip-00.mp4", "id": "clip-00", "reason": "truncated"})
    store = finalize(tmp_path, make_key(), SHARD_MB, IDS)
    assert store.skipped == [{"path": "clip-00.mp4", "id": "clip-00", "reason": "truncated"}]
    assert len(store) == len(IDS) - 1
    store = make(tmp_path)
    assert store.skipped == [] and hashes(tmp_path) == hashes(straight)


def test_two_ranks_at_once_equal_one(tmp_path: Path, straight: Path) -> None:
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    # One sample is written by both, as a distributed sampler that pads would have it.
    jobs = [context.Process(target=write, args=(tmp_path, [*IDS[rank::2], IDS[0]], rank, 2)) for rank in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    finalize(tmp_path, make_key(), SHARD_MB, IDS)
    assert hashes(tmp_path) == hashes(straight)


def _dies_at(call: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that kills itself before its `call`-th change of the disk; whether it died."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def wrapper(*args: object, **options: object) -> object:
                nonlocal count
                count += 1
                if count == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **options)

            return wrapper

        for name in ("replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the child failed by itself at call {call}"
    return status != 0


@needs_fork
def test_killed_at_every_change_of_the_disk_and_resumed(tmp_path: Path, straight: Path, no_fsync: None) -> None:
    for call in itertools.count(1):
        folder = tmp_path / f"{call}"
        died = _dies_at(call, lambda folder=folder: make(folder))
        make(folder, flush_seconds=1000)
        assert hashes(folder) == hashes(straight), f"killed at call {call}"
        if not died:
            break
    assert call > 40


@needs_fork
def test_killed_again_and_again_it_gets_there(tmp_path: Path, straight: Path, no_fsync: None) -> None:
    runs = 0
    while _dies_at(12, lambda: make(tmp_path)):
        runs += 1
        assert runs < 60
    assert hashes(tmp_path) == hashes(straight)


@needs_fork
def test_a_complete_store_that_grows_survives_kills(tmp_path: Path, straight: Path, no_fsync: None) -> None:
    def begin(folder: Path) -> None:
        write(folder, IDS[1:])
        finalize(folder, make_key(), SHARD_MB)

    for call in itertools.count(1):
        folder = tmp_path / f"{call}"
        begin(folder)
        died = _dies_at(call, lambda folder=folder: make(folder))
        make(folder)
        assert hashes(folder) == hashes(straight), f"killed at call {call}"
        if not died:
            break


def test_resume_does_not_write_again(tmp_path: Path) -> None:
    write(tmp_path, IDS[:5])
    before = hashes(tmp_path)
    write(tmp_path)
    after = hashes(tmp_path)
    assert before.items() <= after.items() and len(after) == len(before) + 2 * 6
    write(tmp_path)
    assert hashes(tmp_path) == after


def test_a_flipped_byte_in_a_part_stops_finalize(tmp_path: Path, straight: Path) -> None:
    write(tmp_path)
    part = sorted((tmp_path / "parts").glob("*.safetensors"))[3]
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    with pytest.raises(StoreError, match=f"{part.name}.*clip-03.*delete this file"):
        finalize(tmp_path, make_key(), SHARD_MB)
    part.unlink()
    make(tmp_path)
    assert hashes(tmp_path) == hashes(straight)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_names_the_file_and_keeps_what_was_there(
    tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, IDS[:4])
    writer = FeatureStoreWriter(tmp_path, make_key(), store_frames=True)
    writer.add(IDS[4], targets_of(IDS[4]), record_of(IDS[4]), frames_of(IDS[4]))
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda path, mode, _open=open: _open("/dev/full", mode))
        with pytest.raises(StoreError, match=r"r00000-000004\.safetensors: cannot be written \(No space left"):
            writer.flush()
    make(tmp_path)
    assert hashes(tmp_path) == hashes(straight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets_THWC": torch.full((1, 2, 2, 8), torch.nan)}, "not finite"),
        ({"targets_THWC": torch.full((1, 2, 2, 8), 1e39, dtype=torch.float64)}, "not finite"),
        ({"targets_THWC": torch.zeros(2, 2, 8)}, "must be"),
        ({"entry": {"odd": object()}}, "field odd"),
        ({"frames_TCHW": None}, "store_frames"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path: Path, change: dict[str, object], message: str) -> None:
    writer = FeatureStoreWriter(tmp_path, make_key(), store_frames=True)
    sample = {"targets_THWC": targets_of(IDS[0]), "entry": {}, "frames_TCHW": frames_of(IDS[0])}
    with pytest.raises(StoreError, match=f"clip-00.*{message}"):
        writer.add("clip-00", **{**sample, **change})
    assert writer.done_ids() == set()


def test_dtype_and_width_must_agree(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="dtype"):
        FeatureStoreWriter(tmp_path, make_key(), dtype=torch.float32)
    with FeatureStoreWriter(tmp_path, make_key()) as writer:
        writer.add("a", torch.zeros(1, 2, 2, 8), {})
        writer.add("b", torch.zeros(1, 2, 2, 4), {})
    with pytest.raises(StoreError, match="feature widths"):
        finalize(tmp_path, make_key())


def test_estimate() -> None:
    paper = estimate(1_000_000, 1, (16, 16), 1024, "bfloat16", 0.36)
    assert paper.gigabytes == pytest.approx(524.288) and paper.hours == pytest.approx(100)
    assert str(paper) == "1,000,000 samples: 524.3 GB on disk, about 100.0 hours"
    small = estimate(10, 2, (2, 2), 8, "float32", 0.5, frames_bytes=1000)
    assert small.gigabytes == pytest.approx(10 * (2 * 4 * 8 * 4 + 1000) / 1e9)
    assert str(small) == "10 samples: 0.0 MB on disk, about 5.0 seconds"


def test_a_key_of_before_other_saliencies_means_the_class_token() -> None:
    wap = {"compressor": "wap", "block": [4, 2, 2], "similarity": "dot", "scale": None}
    old = StoreKey.from_dict(make_key(compressor=wap).as_dict())
    assert old == make_key(compressor={**wap, "saliency": "class_token"})
    with pytest.raises(StoreMismatch, match=r"compressor\.saliency: stored 'class_token', this run wants 'norm'"):
        old.require({"compressor": {**wap, "saliency": "norm"}}, "store")
    average = {"compressor": "average", "block": [4, 2, 2]}
    assert StoreKey.from_dict(make_key(compressor=average).as_dict()).compressor == average


def test_a_store_by_index_is_not_taken_for_one_by_time() -> None:
    """FpsCapped chose by index when stores did not say so."""

    def key(sampler: object) -> StoreKey:
        return StoreKey.from_dict(make_key(sampling={"sampler": sampler, "frames": 8}).as_dict())

    old, index, time = {"name": "FpsCapped", "fps": 1.0}, FpsCapped(1.0, "index"), FpsCapped(1.0)
    key(old).require(key(index.describe()), "store")
    for wanted in (key(time.describe()), {"sampling": {"sampler": time.describe()}}):
        with pytest.raises(StoreMismatch, match=r"sampling\.sampler\.by: stored '\(absent\)', this run wants 'time'"):
            key(old).require(wanted, "store")
    for wanted in (key(index.describe()), {"sampling": {"sampler": index.describe()}}):
        with pytest.raises(StoreMismatch, match=r"sampling\.sampler\.by: stored 'time', this run wants '\(absent\)'"):
            key(time.describe()).require(wanted, "store")
