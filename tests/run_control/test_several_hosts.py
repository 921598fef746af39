"""A run that nobody started as its settings say is refused, and gloo goes by the interface that leads to the others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from unittest import mock

import psutil
import pytest
from lightning.pytorch import Trainer

from liteframe.errors import ConfigError
from liteframe.rehearsal.steps import without_other_run
from liteframe.run_control.same_run import require_same, without_paths
from liteframe.run_control.several_hosts import choose_interface, meeting_fault, require_launcher

TORCHRUN = {"TORCHELASTIC_RUN_ID": "job", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
SLURM = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}
SLURM |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "2"}
SRUN = SLURM | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
BY_HAND = MEETING | {"NODE_RANK": "0"}


@pytest.fixture(autouse=True)
def started_by_nobody() -> Iterator[None]:
    others = {name: value for name, value in without_other_run(os.environ).items() if not name.startswith("GLOO_")}
    with mock.patch.dict(os.environ, others, clear=True):  # Lightning sets some for good
        yield


def trainer(environment: dict[str, str], devices: int, nodes: int, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    strategy = "ddp" if devices * nodes > 1 else "auto"
    settings = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", devices=devices, num_nodes=nodes, strategy=strategy, **settings)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "message"),
    [
        (TORCHRUN, 2, 1, "2 x 1, but torchrun has started 4 processes"),
        (TORCHRUN, 1, 1, "1 x 1, but torchrun has started 4 processes"),
        (SRUN, 2, 1, "2 x 1, but srun has started 4 tasks"),
        (SRUN, 1, 1, "1 x 1, but srun has started 4 tasks"),
        (SRUN | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, 2, 1, "2 x 1, but srun has started 1 tasks"),
        (SLURM, 2, 2, "was not started by srun"),
        (SRUN | {"SLURM_JOB_NAME": "interactive"}, 2, 2, "4 tasks in a job named 'interactive'"),
        ({}, 2, 2, "nothing says where the hosts meet.*MASTER_ADDR, MASTER_PORT, NODE_RANK"),
        (MEETING, 2, 2, "or set NODE_RANK in the environment"),
    ],
)
def test_what_was_started_otherwise_is_refused(
    environment: dict[str, str], devices: int, nodes: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=message):
        require_launcher(trainer(environment, devices, nodes, monkeypatch))


def test_a_first_host_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.run_control.several_hosts._RESOLVE_TRIES", 1)
    run = trainer(BY_HAND | {"MASTER_ADDR": "no-such-host.invalid"}, 2, 2, monkeypatch)
    with pytest.raises(ConfigError, match="MASTER_ADDR is 'no-such-host.invalid', for which .* knows no address"):
        require_launcher(run)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes"),
    [
        (TORCHRUN, 2, 2),
        (TORCHRUN | {"WORLD_SIZE": "1"}, 1, 1),
        (TORCHRUN | SLURM, 2, 2),
        (SRUN, 2, 2),
        (SLURM, 1, 1),
        (SLURM | {"SLURM_JOB_NAME": "interactive"}, 2, 1),
        (BY_HAND, 2, 2),
        ({}, 2, 1),
        ({}, 1, 1),
    ],
)
def test_what_fits_goes_on(
    environment: dict[str, str], devices: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_launcher(trainer(environment, devices, nodes, monkeypatch))


def test_the_interface_is_that_on_the_way_to_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {
        address.address: name
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET and name != "lo" and psutil.net_if_stats()[name].isup
    }
    if not places:
        pytest.skip("this machine has no network interface")
    address, name = next(iter(places.items()))
    run = trainer(BY_HAND | {"MASTER_ADDR": address}, 2, 2, monkeypatch)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "theirs")
    choose_interface(run)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "theirs"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    choose_interface(run)
    assert os.environ["GLOO_SOCKET_IFNAME"] == name
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    choose_interface(trainer({}, 2, 1, monkeypatch))
    assert "GLOO_SOCKET_IFNAME" not in os.environ, "one host meets on its loopback"


def test_ranks_that_differ_are_named_with_what_differs() -> None:
    facts = {"settings": {"trainer": {"max_steps": 20}, "data": {"train": "/disk/a.jsonl"}}, "checkpoint": "none"}
    same = {**facts, "settings": without_paths({**facts["settings"], "data": {"train": "/else/b.jsonl"}})}
    facts = {**facts, "settings": without_paths(facts["settings"])}
    require_same([("host-a", facts), ("host-b", same)])
    other = {**facts, "settings": {**facts["settings"], "trainer": {"max_steps": 40}}}
    message = r"settings.trainer.max_steps is 20 on rank 0 \(host-a\) and 40 on rank 2 \(host-b\)"
    with pytest.raises(ConfigError, match=message):
        require_same([("host-a", facts), ("host-a", facts), ("host-b", other)])
    with pytest.raises(ConfigError, match="checkpoint is none on rank 0 .* and last.ckpt on rank 1"):
        require_same([("host-a", facts), ("host-b", {**facts, "checkpoint": "last.ckpt"})])
    assert without_paths({"precision": "32-true", "lists": ["a/b", "c"]}) == {
        "precision": "32-true",
        "lists": ["a path", "c"],
    }


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("server socket has failed to listen, port: 29500, name: EADDRINUSE, message: in use", "set MASTER_PORT to"),
        ("Gloo connectFullMesh failed with pair.cc:152 remote=[127.0.0.1]", "set GLOO_SOCKET_IFNAME on each host"),
        ("The client socket has timed out after 1800000ms while trying to connect", "whether rank 0 runs there"),
    ],
)
def test_what_keeps_ranks_from_meeting_is_said_with_what_to_do(said: str, advice: str) -> None:
    fault = meeting_fault(RuntimeError(said))
    assert fault is not None and advice in fault
    assert meeting_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
