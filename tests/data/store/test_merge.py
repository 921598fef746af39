"""Shards of a list: each sample in one of them, and one store of them all, or an error that names the shard."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_feature_store import IDS, SHARD_MB, frames_of, hashes, make, make_key, record_of, targets_of

from liteframe.data.store.feature_store import StoreKey, data_digest
from liteframe.data.store.list_shard import ListShard, ShardRecord, merge_lock, require_none_made, require_same_count
from liteframe.data.store.merge import merge
from liteframe.data.store.writer import FeatureStoreWriter
from liteframe.errors import ConfigError, SkipLimitExceeded, StoreError, StoreMismatch

BATCH = 2


def write_shard(
    folder: Path,
    text: str,
    key: StoreKey | None = None,
    batch_size: int = BATCH,
    broken: tuple[str, ...] = (),
    recorded: bool = True,
    flush_seconds: float = 1e9,
    **changes: Any,
) -> None:
    """What a job leaves of a shard of `IDS`."""
    shard, key = ListShard.parse(text), key or make_key()
    ids = [IDS[i] for i in shard.samples(len(IDS), batch_size)]
    options: dict[str, Any] = {"store_frames": True, "flush_seconds": flush_seconds, "list_shard": shard}
    with FeatureStoreWriter(folder, key, 0, 1, SHARD_MB, **options) as writer:
        done = writer.done_ids()
        for sample_id in ids:
            if sample_id in broken:
                writer.add_skipped({"path": f"{sample_id}.mp4", "id": sample_id, "reason": "broken"})
            elif sample_id not in done:
                writer.add(sample_id, targets_of(sample_id), record_of(sample_id), frames_of(sample_id))
    if recorded:
        skipped = [sample_id for sample_id in ids if sample_id in broken]
        record = ShardRecord(shard, key.as_dict(), len(IDS), batch_size, len(IDS), skipped, 0.3, SHARD_MB, ids)
        replace(record, **changes).write(folder, key)


def write_all(folder: Path, count: int = 3, **options: Any) -> None:
    for index in reversed(range(count)):
        write_shard(folder, f"{index}/{count}", **options)


@pytest.mark.parametrize("total", [0, 1, 7, 11, 64])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_shards_are_whole_batches_and_share_all_samples_out(total: int, batch_size: int, count: int) -> None:
    parts = [ListShard(index, count).samples(total, batch_size) for index in range(count)]
    assert [sample for part in parts for sample in part] == list(range(total))
    assert all(part.start % batch_size == 0 for part in parts if part)
    sizes = [-(-len(part) // batch_size) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("3", "index and number"), ("3/", "index"), ("-1/4", "index"), ("1/0", "index"), ("4/4", "the last is 3/4")],
)
def test_what_is_no_shard_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--shard is '{text}'.*{said}"):
        ListShard.parse(text)
    assert str(ListShard.parse("03/16")) == "3/16"


@pytest.mark.parametrize("count", [1, 3, 8])
def test_merged_shards_have_the_bytes_of_one_process(count: int, tmp_path: Path) -> None:
    straight = make(tmp_path / "straight")
    write_all(tmp_path / "shards", count)
    assert merge(tmp_path / "shards").sample_ids() == straight.sample_ids() == IDS
    assert hashes(tmp_path / "shards") == hashes(tmp_path / "straight")
    assert not (tmp_path / "shards" / "parts").exists()
    merge(tmp_path / "shards")
    assert hashes(tmp_path / "shards") == hashes(tmp_path / "straight"), "a finished store stays"


def test_a_shard_made_twice_and_one_left_half_way_cost_nothing(tmp_path: Path) -> None:
    make(tmp_path / "straight")
    folder = tmp_path / "shards"
    write_shard(folder, "1/2", recorded=False, flush_seconds=0)
    parts = sorted((folder / "parts").glob("s00001-*-r*"))
    for path in parts[-4:]:  # as a kill does, the last two are not there
        path.unlink()
    for text in ("0/2", "1/2", "0/2"):
        write_shard(folder, text)
    merge(folder)
    assert hashes(folder) == hashes(tmp_path / "straight")


def test_a_merge_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "straight")
    folder = tmp_path / "shards"
    write_all(folder)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("liteframe.data.store.finalize.write_statistics", lambda *_: (_ for _ in ()).throw(RuntimeError))
        merge(folder)
    assert (folder / "parts" / "s00000-of-00003.json").exists()
    merge(folder)
    assert hashes(folder) == hashes(tmp_path / "straight")


def test_what_is_left_beside_a_finished_store_goes(tmp_path: Path) -> None:
    write_all(tmp_path / "a")
    write_all(tmp_path / "b")
    left = (tmp_path / "b" / "parts" / "s00002-of-00003.json").read_bytes()
    merge(tmp_path / "a")
    (tmp_path / "a" / "parts").mkdir()
    (tmp_path / "a" / "parts" / "s00002-of-00003.json").write_bytes(left)
    merge(tmp_path / "a")
    assert not (tmp_path / "a" / "parts").exists()


def test_shards_that_are_not_there_are_named_as_an_array_takes_them(tmp_path: Path) -> None:
    for index in (0, 1, 5):
        write_shard(tmp_path, f"{index}/8", batch_size=1)
    write_shard(tmp_path, "6/8", batch_size=1, recorded=False)
    with pytest.raises(StoreError, match=r"of 8 shards, 6 ended before all was made, 2-4,7 never began; run 2-4,6-7 "):
        merge(tmp_path)
    assert not (tmp_path / "COMPLETE").exists()


def test_a_shard_that_is_being_made_is_named_with_its_holder(tmp_path: Path) -> None:
    write_all(tmp_path)
    shard = ListShard(1, 3)
    with shard.lock(tmp_path):
        said = rf"1/3 is being made by pid {os.getpid()} on "
        with pytest.raises(StoreError, match=said):
            merge(tmp_path)
        with pytest.raises(ConfigError, match=rf"shard 1/3 .* being made by pid {os.getpid()} on"):
            shard.lock(tmp_path).__enter__()
        with pytest.raises(ConfigError, match=said):
            require_none_made(tmp_path)
    require_none_made(tmp_path)
    with merge_lock(tmp_path), pytest.raises(ConfigError, match=rf"being merged by pid {os.getpid()} on"):
        merge(tmp_path)
    assert len(merge(tmp_path)) == len(IDS)


def test_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, "0/3")
    require_same_count(tmp_path, ListShard(2, 3))
    with pytest.raises(ConfigError, match=r"holds shard 0/3, and this is 0/2; take --shard i/3"):
        require_same_count(tmp_path, ListShard(0, 2))
    write_shard(tmp_path, "0/2")
    with pytest.raises(StoreError, match=r"two ways to share the list out, such as 0/2 and 0/3"):
        merge(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 3}, "batch_size of shard 1/3 is 3, of shard 0/3 2"),
        ({"shard_mb": 5.0}, "shard_mb of shard 1/3 is 5.0"),
        ({"samples": 12}, "samples of shard 1/3 is 12, of shard 0/3 11"),
        ({"ids": IDS[:6]}, "sample 'clip-00' is of shards 0/3 and 1/3"),
        ({"ids": IDS[4:5]}, "the shards have 8 samples, and their list 11"),
    ],
)
def test_shards_of_other_ways_to_share_out_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    for text in ("0/3", "2/3"):
        write_shard(tmp_path, text)
    write_shard(tmp_path, "1/3", recorded=False)
    shard, ids = ListShard(1, 3), [IDS[i] for i in ListShard(1, 3).samples(len(IDS), BATCH)]
    record = ShardRecord(shard, make_key().as_dict(), len(IDS), BATCH, len(IDS), [], 0.3, SHARD_MB, ids)
    replace(record, **changes).write(tmp_path, make_key()) if "ids" not in changes else _force(
        record, changes, tmp_path
    )
    with pytest.raises(StoreMismatch, match=said):
        merge(tmp_path)
    assert not (tmp_path / "COMPLETE").exists()


def _force(record: ShardRecord, changes: dict[str, Any], folder: Path) -> None:
    """Writes a record of samples that other shards have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liteframe.data.store.list_shard.require_stored", lambda *_: None)
        replace(record, **changes).write(folder, make_key())


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"decoder": "decord"}, "decoder: 'decord', the store has 'auto'"), ({"data": data_digest(IDS[:4])}, "data: ")],
)
def test_a_shard_of_another_config_or_list_is_named(changes: dict[str, Any], field: str, tmp_path: Path) -> None:
    """Two that begin at once may each find no key there, and each write their own."""
    write_shard(tmp_path, "1/2", make_key(**changes))
    (tmp_path / "key.json").unlink()
    write_shard(tmp_path, "0/2")
    with pytest.raises(StoreMismatch, match=rf"shard 1/2 was made with other settings or another list\. {field}"):
        merge(tmp_path)


@pytest.mark.parametrize("lost_files", ["*", "safetensors", "a part of safetensors"])
def test_a_sample_that_was_lost_is_named_with_its_shard(lost_files: str, tmp_path: Path) -> None:
    write_all(tmp_path, flush_seconds=0)
    for path in (tmp_path / "parts").glob(f"s00001-*-r00000-000001.{lost_files.rpartition(' ')[2]}"):
        if lost_files.startswith("a part"):
            os.truncate(path, path.stat().st_size // 2)
        else:
            path.unlink()
    lost = IDS[ListShard(1, 3).samples(len(IDS), BATCH)[1]]
    with pytest.raises(StoreError, match=rf"1 of the 4 samples of shard 1/3 .*first '{lost}'; run shard 1/3 again"):
        merge(tmp_path)
    write_shard(tmp_path, "1/3")
    assert len(merge(tmp_path)) == len(IDS)


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data.replace(b'"rows":11', b'"rows":99')])
def test_a_damaged_record_is_named(damage: Any, tmp_path: Path) -> None:
    write_all(tmp_path)
    path = tmp_path / "parts" / "s00002-of-00003.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=r"s00002-of-00003\.json: .*"):
        merge(tmp_path)
    write_shard(tmp_path, "2/3")
    merge(tmp_path)
    assert not (tmp_path / "parts").exists()


def test_a_record_of_odd_fields_is_refused(tmp_path: Path) -> None:
    from liteframe.data.store.sealed_json import sealed, unseal

    write_all(tmp_path)
    path = tmp_path / "parts" / "s00000-of-00003.json"
    value, _ = unseal(path.read_bytes(), "record")
    for name, odd in (("ids", 3), ("rows", "many"), ("shard_mb", None), ("shard", "1/3"), ("key", "0" * 64)):
        path.write_bytes(sealed({**value, name: odd}))
        with pytest.raises(StoreError, match="run shard 0/3 again"):
            merge(tmp_path)


def test_skips_count_over_all_shards(tmp_path: Path) -> None:
    write_all(tmp_path / "few", broken=(IDS[0], IDS[5], IDS[10]))
    store = merge(tmp_path / "few")
    assert [row["id"] for row in store.skipped] == [IDS[0], IDS[5], IDS[10]] and len(store) == len(IDS) - 3
    write_all(tmp_path / "many", broken=(IDS[0], IDS[5], IDS[9], IDS[10]))
    with pytest.raises(
        SkipLimitExceeded, match=r"4 of 11 rows were skipped \(1 in 0/3, 1 in 1/3, 2 in 2/3\), .* 30\.0%"
    ):
        merge(tmp_path / "many")
    write_shard(tmp_path / "many", "2/3")  # repaired
    assert [row["id"] for row in merge(tmp_path / "many").skipped] == [IDS[0], IDS[5]]


def test_a_record_is_not_written_of_what_is_not_stored(tmp_path: Path) -> None:
    write_shard(tmp_path, "0/2", recorded=False)
    record = ShardRecord(ListShard(0, 2), make_key().as_dict(), 11, BATCH, 11, [], 0.3, SHARD_MB, [*IDS[:6], "more"])
    with pytest.raises(StoreError, match=r"1 of the 7 samples of shard 0/2 are neither stored nor skipped.*'more'"):
        record.write(tmp_path, make_key())


def test_a_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature store here"):
        merge(tmp_path)
    FeatureStoreWriter(tmp_path, make_key(), shard_mb=SHARD_MB, store_frames=True)
    with pytest.raises(StoreError, match="holds no shards"):
        merge(tmp_path)


def test_what_a_killed_shard_was_writing_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    write_shard(tmp_path, "0/2", recorded=False)
    own = tmp_path / "parts" / ".s00000-of-00002-r00000-000007.safetensors.0123456789abcdef.part"
    other = tmp_path / "parts" / ".s00001-of-00002-r00000-000000.safetensors.0123456789abcdef.part"
    for path in (own, other):
        path.write_bytes(b"half")
    write_shard(tmp_path, "0/2")
    assert other.exists() and not own.exists()
