"""Runs on two hosts of a network: what they meet by, and how they end when one of them is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.command import cli
from liteframe.command.lightning_cli import import_stages
from network_hosts import NetworkHosts, why_impossible
from toy_stage import write_toy_config

RANKS, STEPS, AT = 4, 14, 6
PORT = 29500
pytestmark = pytest.mark.slow
import_stages()


@pytest.fixture(scope="module")
def hosts() -> Iterator[NetworkHosts]:
    if reason := why_impossible():
        pytest.skip(reason)
    with NetworkHosts() as two:
        yield two


class Run:
    """The command as four ranks on two hosts, as torchrun starts them; they are forked, so that none has to import."""

    def __init__(
        self, hosts: NetworkHosts, folder: Path, *args: str, slow: float = 0.2, of_second: tuple[str, ...] = ()
    ) -> None:
        self.hosts, self.folder = hosts, folder
        words = ["fit", "--config", str(write_toy_config(folder, slow=slow)), "--trainer.default_root_dir=run"]
        words += ["--trainer.callbacks=null", "--trainer.logger=false", f"--trainer.max_steps={STEPS}"]
        words += ["--trainer.num_nodes=2", "--trainer.devices=2", "--trainer.strategy=ddp", *args]
        context = multiprocessing.get_context("fork")
        of_host = [words, [*words, *of_second]]
        self.ranks = [context.Process(target=self._main, args=(rank, of_host[rank // 2])) for rank in range(RANKS)]
        for rank in self.ranks:
            rank.start()

    def _main(self, rank: int, words: list[str]) -> None:
        host, local = divmod(rank, 2)
        os.setsid()
        os.chdir(self.folder)
        os.dup2(os.open(f"said{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        self.hosts.enter(host)
        os.environ.update(MASTER_ADDR=self.hosts.addresses[0], MASTER_PORT=str(PORT), OMP_NUM_THREADS="1")
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(local), GROUP_RANK=str(host), WORLD_SIZE=str(RANKS))
        os.environ.update(TORCHELASTIC_RUN_ID="test", LITEFRAME_DEBUG="0")
        torch.set_num_threads(1)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
        sys.exit(cli.main(words))

    def said(self, rank: int) -> str:
        return (self.folder / f"said{rank}.txt").read_text(encoding="utf-8")

    def wait_for_step(self, at: int = AT) -> None:
        for rank in range(RANKS):
            note = self.folder / "run" / f"rank{rank}.txt"
            while not note.is_file() or len(words := note.read_text().split()) != 2 or int(words[1]) < at:
                assert self.ranks[rank].is_alive(), self.said(rank)
                time.sleep(0.05)

    def end(self) -> list[int | None]:
        """Exit codes."""
        for rank in self.ranks:
            rank.join(100)
            if rank.is_alive():
                rank.kill()
        return [rank.exitcode for rank in self.ranks]


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run" / "result.json").read_text(encoding="utf-8")))


def go_on(hosts: NetworkHosts, folder: Path) -> dict[str, Any]:
    again = Run(hosts, folder, "--ckpt_path=last", slow=0.0)
    assert again.end() == [0] * RANKS, again.said(0)
    return result(folder)


@pytest.fixture(scope="module")
def straight(hosts: NetworkHosts, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Weights of a run that was left alone."""
    folder = tmp_path_factory.mktemp("straight")
    run = Run(hosts, folder, slow=0.0)
    assert run.end() == [0] * RANKS, run.said(0)
    return list(result(folder)["weight"])


def test_a_pulled_cable_ends_both_hosts_with_the_reason(
    hosts: NetworkHosts, straight: list[float], tmp_path: Path
) -> None:
    run = Run(hosts, tmp_path, "--rank_timeout_s=4")
    run.wait_for_step()
    hosts.pull_cable(1)
    assert run.end() == [1] * RANKS
    hosts.plug_in(1)
    said = [run.said(rank) for rank in range(RANKS)]
    assert "no sign of life for 4 s of rank 2 (pid " in said[0] and "on host-b, " in said[0] and "; rank 3 (" in said[0]
    assert "--ckpt_path last" in said[0]
    assert "no sign of life for 4 s of rank 0 (pid " in said[2] and "on host-a, " in said[2]
    resumed = go_on(hosts, tmp_path)
    assert resumed["first_step"] >= AT and resumed["weight"] == straight


def test_a_killed_host_ends_the_other_with_the_reason(
    hosts: NetworkHosts, straight: list[float], tmp_path: Path
) -> None:
    run = Run(hosts, tmp_path)
    run.wait_for_step()
    for rank in (2, 3):
        run.ranks[rank].kill()
    assert run.end() == [1, 1, -signal.SIGKILL, -signal.SIGKILL]
    said = run.said(0)
    assert "another rank has ended or does not answer" in said and "Traceback" not in said
    assert said.count("on host-b, ") == 2 and ", silent for " in said and "on host-a, " not in said
    resumed = go_on(hosts, tmp_path)
    assert resumed["first_step"] >= AT and resumed["weight"] == straight


def test_hosts_that_were_started_otherwise_end_with_what_differs(hosts: NetworkHosts, tmp_path: Path) -> None:
    run = Run(hosts, tmp_path, slow=0.0, of_second=("--trainer.max_steps=99",))
    assert run.end() == [1] * RANKS
    for rank in range(RANKS):
        assert "settings.trainer.max_steps is 14 on rank 0 (host-a) and 99 on rank 2 (host-b)" in run.said(rank)
    assert not (tmp_path / "run" / "checkpoints").exists()
