"""What a job of a cluster runs, and what it says of its end; needs no Ray."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from liteframe.command import cli
from liteframe.errors import ConfigError
from liteframe.ray import jobs
from liteframe.ray.jobs import ShardJob, ShardLost, make_shard, own_environment, words_of
from liteframe.system.atomic import atomic_write_text
from liteframe.system.run_lock import RunLock


def job(folder: Path, *words: str) -> ShardJob:
    return ShardJob("1/4", words, str(folder), str(folder / "parts"), "s00001-of-00004.lock")


def run_instead(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a shell script take the place of the interpreter that jobs start."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(jobs.sys, "executable", str(path))


def test_the_words_are_those_of_predict_on_one_device() -> None:
    words = words_of(["a.yaml", "b.yaml"], ["--data.frames=8"])
    assert words[:6] == ("predict", "--config", "a.yaml", "--config", "b.yaml", "--data.frames=8")
    assert {"--trainer.devices=1", "--trainer.num_nodes=1"} <= {*words[6:]}


def test_a_job_is_not_taken_for_one_rank_of_a_launcher() -> None:
    kept = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "4"}
    launched = {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "7", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "MASTER_ADDR": "a"}
    assert own_environment({**launched, **kept}) == kept


def test_what_a_command_says_is_why_it_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert make_shard(job(tmp_path, "predict", "--config", "nowhere.yaml")).startswith("config nowhere.yaml: not here")
    assert "liteframe: error: config nowhere.yaml" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("script", "reason"),
    [("exit 0", ""), ("exit 3", "exit code 3"), ("echo one; echo two >&2; exit 1", "one / two")],
)
def test_how_a_command_ends(script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(script, tmp_path, monkeypatch)
    assert make_shard(job(tmp_path)) == reason


@pytest.mark.parametrize(("script", "number"), [("kill -9 $$", 9), ("exit 143", 15), ("exit 137", 9)])
def test_a_command_that_was_killed_may_be_tried_again(
    script: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(script, tmp_path, monkeypatch)
    with pytest.raises(ShardLost, match=f"shard 1/4: its process was ended by signal {number}"):
        make_shard(job(tmp_path))


def test_a_shard_that_another_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead("exit 0", tmp_path, monkeypatch)
    monkeypatch.setattr(jobs, "_LOOK_S", 0.01)
    lock = RunLock(tmp_path / "parts", "s00001-of-00004.lock")
    with lock, monkeypatch.context() as patch:
        patch.setattr(jobs, "_PATIENCE_S", 0.05)
        with pytest.raises(ShardLost, match=f"shard 1/4: still being made by pid {os.getpid()} on"):
            make_shard(job(tmp_path))
    lock.__enter__()
    threading.Timer(0.1, lock.__exit__).start()
    assert make_shard(job(tmp_path)) == ""


def test_a_machine_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"/away: not on this machine; run from a folder on a disk"):
        make_shard(job(tmp_path / "away"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_command_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """As a job's does when Ray kills the worker."""
    pidfile = tmp_path / "pid"

    def sleep(words: Any) -> int:
        atomic_write_text(pidfile, str(os.getpid()))
        time.sleep(600)
        return 0

    parent = os.fork()
    if parent == 0:
        os.environ[cli.PARENT_PID] = str(os.getpid())
        if os.fork() == 0:
            cli.dispatch = sleep
            os._exit(cli.main(["fit"]))
        while not pidfile.exists():
            time.sleep(0.01)
        os._exit(0)
    os.waitpid(parent, 0)
    pid = int(pidfile.read_text())
    until = time.monotonic() + 60
    while time.monotonic() < until and _is_alive(pid):
        time.sleep(0.02)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat_file = Path(f"/proc/{pid}/stat")
    return not stat_file.exists() or stat_file.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to cache"),
        (["--config", "cache.yaml"], "--shards is None"),
        (["--config", "cache.yaml", "--shards", "0"], "--shards is 0"),
        (["--config", "cache.yaml", "--shards", "4", "--max_jobs", "0"], "--max_jobs is 0"),
        (["--config", "cache.yaml", "--shards", "4", "--num_gpus", "-1"], "--num_gpus is -1"),
        (["--config", "cache.yaml", "--shards", "4", "--max_retries", "-2"], "--max_retries is -2"),
        (["--config", "cache.yaml", "--shards", "4"], "Ray is not installed; pip install 'liteframe-video[ray]'"),
    ],
)
def test_words_that_cache_nothing(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "liteframe.ray.driver", raising=False)
    assert cli.main(["cache", *words]) == 1
    assert said in capsys.readouterr().err
