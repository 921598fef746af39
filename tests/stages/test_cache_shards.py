"""Jobs that each cache a shard of the list: killed or not, merged they are the store of one process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_cache import broken_manifest, data, made_before_the_ranks, predict, run, stage

from liteframe.command import cli
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.store.list_shard import ListShard
from liteframe.data.store.merge import merge
from liteframe.errors import ConfigError, StoreError, StoreMismatch
from liteframe.models.teachers import InternVLTeacher
from ranks import run_ranks
from tiny_world import TRAIN, make_trainer, sha256_of, store_folder

__all__ = ["made_before_the_ranks"]


def make_shard(folder: Path, shard: str, data_settings: dict[str, Any] | None = None, **settings: Any) -> None:
    """Caches a shard of the list into `folder/store`."""
    module, videos = stage(folder / "store", shard=shard, **settings), data(**(data_settings or {}))
    make_trainer(folder / "runs" / shard.replace("/", "-")).predict(module, videos, return_predictions=False)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples that the teacher was given, by batch."""
    counts: list[int] = []
    forward = InternVLTeacher.forward
    monkeypatch.setattr(InternVLTeacher, "forward", lambda s, x: (counts.append(len(x)), forward(s, x))[1])
    return counts


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a single process: 18 samples, two windows of each video."""
    return Path(run(tmp_path_factory.mktemp("straight"), {"windows_per_video": 2}, shard_mb=0.5).place)


WINDOWS = {"windows_per_video": 2}


def killed(rank: int, folder: Path, shard: str) -> None:
    """A job that is killed in the middle of writing its second part."""
    from liteframe.data.store import writer as feature_store_writer

    count, write = 0, feature_store_writer.write_sidecar

    def kill(*args: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*args)

    feature_store_writer.write_sidecar = kill
    make_shard(folder, shard, WINDOWS, shard_mb=0.5)


def test_shards_of_which_one_was_killed_make_the_bytes_of_one_process(
    straight: Path, tmp_path: Path, encoded: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_shard(tmp_path, "2/4", WINDOWS, shard_mb=0.5)
    assert "made shard 2/4 of" in capsys.readouterr().out
    assert run_ranks(killed, 1, tmp_path, "1/4") == [-signal.SIGKILL]
    for index in (0, 3):
        make_shard(tmp_path, f"{index}/4", WINDOWS, shard_mb=0.5)
    with pytest.raises(StoreError, match="of 4 shards, 1 ended before all was made; run 1 again"):
        merge(tmp_path / "store")
    encoded.clear()
    make_shard(tmp_path, "1/4", WINDOWS, shard_mb=0.5)
    assert 0 < sum(encoded) < len(ListShard(1, 4).samples(2 * TRAIN, 3)), "what was on disk is not encoded again"
    encoded.clear()
    make_shard(tmp_path, "1/4", WINDOWS, shard_mb=0.5)
    assert not encoded, "a shard that is made is not made again"
    merge(tmp_path / "store")
    assert sha256_of(tmp_path / "store", "*") == sha256_of(straight, "*")
    make_shard(tmp_path, "1/4", WINDOWS, shard_mb=0.5)
    assert not encoded and "finished already, so there is nothing to do for shard 1/4" in capsys.readouterr().out
    assert sha256_of(tmp_path / "store", "*") == sha256_of(straight, "*")


def test_more_shards_than_batches(tmp_path: Path, encoded: list[int]) -> None:
    whole = store_folder()
    encoded.clear()
    for index in range(4):
        make_shard(tmp_path, f"{index}/4")
    assert encoded == [3] * 3, "batches are those of one process, and one shard is empty"
    merge(tmp_path / "store")
    assert sha256_of(tmp_path / "store", "*") == sha256_of(whole, "*")


def test_a_run_without_shard_takes_what_shards_have_made(straight: Path, tmp_path: Path, encoded: list[int]) -> None:
    make_shard(tmp_path, "1/2", WINDOWS, shard_mb=0.5)
    with ListShard(1, 2).lock(tmp_path / "store"), pytest.raises(ConfigError, match=r"1/2 is being made by pid"):
        run(tmp_path, WINDOWS, shard_mb=0.5)
    encoded.clear()
    run(tmp_path, WINDOWS, shard_mb=0.5)
    assert sum(encoded) == TRAIN
    assert sha256_of(tmp_path / "store", "*") == sha256_of(straight, "*")


def test_a_shard_is_refused_beside_its_own_kind_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shard(tmp_path, "0/2")
    with ListShard(1, 2).lock(tmp_path / "store"), pytest.raises(ConfigError, match=f"1/2 .* by pid {os.getpid()} on"):
        make_shard(tmp_path, "1/2")
    with pytest.raises(ConfigError, match=r"holds shard 0/2, and this is 1/3"):
        make_shard(tmp_path, "1/3")
    with pytest.raises(StoreMismatch, match=r"sampling\.frames: stored 8, this run wants 4"):
        make_shard(tmp_path, "1/2", {"frames": 4})
    with pytest.raises(StoreMismatch, match="data: stored"):
        make_shard(tmp_path, "1/2", {"predict": str(broken_manifest(tmp_path))})

    def fail(*_: Any) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr("liteframe.stages.cache.CacheStage.predict_step", fail)
        make_shard(tmp_path, "1/2")
    make_shard(tmp_path, "1/2")  # whose lock is free again
    assert len(merge(tmp_path / "store")) == TRAIN


def shard_job(rank: int, folder: Path, source: Path, ranks: int, shard: str) -> None:
    """`liteframe predict --shard`, as one rank of it."""
    main = cli.main
    cli.main = lambda words: main([*words, "--shard", shard])
    predict(rank, folder, source, ranks)


def test_jobs_of_one_rank_and_of_two_and_a_broken_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = broken_manifest(tmp_path)
    for name in ("one", "jobs"):
        (tmp_path / name).mkdir()
    assert run_ranks(predict, 1, tmp_path / "one", source, 1) == [0]
    for shard, ranks in (("0/2", 1), ("1/2", 2)):
        assert run_ranks(shard_job, ranks, tmp_path / "jobs", source, ranks, shard) == [0] * ranks
    skips = {path.parent.name: path for path in (tmp_path / "jobs").rglob("skipped.jsonl")}
    assert [*skips] == ["s00001-of-00002"]
    assert json.loads(skips["s00001-of-00002"].read_text())["id"] == "broken"
    assert cli.main(["merge", str(tmp_path / "jobs" / "store")]) == 0
    assert f"stored {TRAIN} samples in" in capsys.readouterr().out
    assert sha256_of(tmp_path / "jobs" / "store", "*") == sha256_of(tmp_path / "one" / "store", "*")
    assert [row["id"] for row in FeatureStore.open(tmp_path / "jobs" / "store").skipped] == ["broken"]


def rerun(rank: int, run: Path) -> None:
    os._exit(cli.main(["rerun", str(run)]))


def test_the_run_of_a_shard_is_repeated_as_that_shard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, place = broken_manifest(tmp_path), tmp_path / "jobs"
    place.mkdir()
    for shard in ("1/2", "0/2"):
        assert run_ranks(shard_job, 1, place, source, 1, shard) == [0]
    capfd.readouterr()
    assert run_ranks(rerun, 1, place / "shards/s00000-of-00002") == [0]
    said, again = capfd.readouterr().out, place / "shards/s00000-of-00002-rerun"
    assert f"repeated in {again}: store is the same, bit for bit" in said
    made = {path.name for path in (again / "store/parts").glob("*.json")}
    assert made == {path.name for path in (place / "store/parts").glob("s00000-of-00002*.json")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "--config", "cache.yaml", "--shard", "4/4"], "counted from 0: the last is 3/4"),
        (["predict", "--config", "ctd.yaml", "--shard", "1/4"], "CTDStage makes no shards"),
        (["merge", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_words_that_make_no_shard(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) != 0
    assert said in capsys.readouterr().err


def test_a_run_that_was_killed_while_it_finished_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[int]
) -> None:
    def stop(*_: Any) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr("liteframe.data.store.finalize.write_index", stop)
        run(tmp_path)
    encoded.clear()
    assert len(run(tmp_path)) == TRAIN and not encoded
