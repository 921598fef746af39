"""A run that nobody started as its settings say is refused, and gloo goes by the interface that leads to the others."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psutil
import pytest
from lightning.pytorch import Trainer

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.rehearsal.steps import without_other_run
from liteframe.run_control.same_run import SameRun, require_same, with_local_paths
from liteframe.run_control.several_hosts import choose_interface, meeting_fault, require_launcher
from toy_stage import ToyStage

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
    same = {**facts, "settings": with_local_paths({**facts["settings"], "data": {"train": "/else/b.jsonl"}})}
    facts = {**facts, "settings": with_local_paths(facts["settings"])}
    require_same([("host-a", facts), ("host-b", same)])
    other = {**facts, "settings": {**facts["settings"], "trainer": {"max_steps": 40}}}
    message = r"settings.trainer.max_steps is 20 on rank 0 \(host-a\) and 40 on rank 2 \(host-b\)"
    with pytest.raises(ConfigError, match=message):
        require_same([("host-a", facts), ("host-a", facts), ("host-b", other)])
    with pytest.raises(ConfigError, match="checkpoint is none on rank 0 .* and last.ckpt on rank 1"):
        require_same([("host-a", facts), ("host-b", {**facts, "checkpoint": "last.ckpt"})])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("OpenGVLab/InternVL3-1B", "OpenGVLab/InternVL3-2B"),
        ("s3://a/v", "s3://b/v"),
        ("0/2", "1/2"),
        ("Say left/right.", "Say yes/no."),
        (["a/b", "/x"], ["a/c", "/x"]),
        ("/disk/model", "org/model"),
    ],
)
def test_what_looks_like_a_path_and_is_none_has_to_be_the_same(first: Any, second: Any) -> None:
    ranks = [{"settings": with_local_paths({"value": value})} for value in (first, second)]
    require_same([("host-a", ranks[0]), ("host-b", ranks[0])])
    for one, other in (ranks, ranks[::-1]):
        with pytest.raises(ConfigError, match="settings.value is "):
            require_same([("host-a", one), ("host-b", other)])


def test_paths_of_each_host_may_differ_and_be_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = pickle.loads(pickle.dumps(with_local_paths({"out": "runs/a", "url": "file:///a/b"})))
    (tmp_path / "runs/a").mkdir(parents=True)
    theirs = with_local_paths({"out": "runs/a", "url": "file:///c"})
    require_same([("host-a", {"settings": ours}), ("host-b", {"settings": theirs})])
    require_same([("host-a", {"settings": theirs}), ("host-b", {"settings": ours})])


def facts_of_a_rank(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, data: VideoDataModule | None = None, local_rank: int = 0
) -> tuple[str, dict[str, Any]]:
    """What a rank of such a config tells the others."""
    told: list[Any] = []
    monkeypatch.setattr("liteframe.run_control.same_run.gather_objects", lambda value: told.append(value) or [value])
    trainer: Any = SimpleNamespace(world_size=2, local_rank=local_rank, datamodule=data, ckpt_path=None)
    SameRun(lambda: config).setup(trainer, ToyStage(), "fit")
    host, facts = told[0]
    return host, facts


ROW = {"id": "a", "path": "a.mp4", "question": "Which?", "options": ["x", "y"], "answer": "x"}


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "y"},
        {"path": "b.mp4"},
        {"end": 2.0},
        {"decoder": "pyav"},
        {"ok": False, "error": "cannot be decoded"},
        {"questions": [{"question": "When?", "answer": "y"}]},
    ],
)
@pytest.mark.parametrize("is_kept", [False, True])
def test_lists_of_the_same_ids_that_say_other_things_are_told_apart(
    change: dict[str, Any], is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("liteframe.data.sources.kept_tables.LONG_LIST", 0 if is_kept else 1 << 30)
    ranks = []
    for host, row in enumerate([ROW, ROW, {**ROW, **change}]):
        (folder := tmp_path / str(host)).mkdir()
        (folder / "list.jsonl").write_text(json.dumps(row))
        data = VideoDataModule(val=str(folder / "list.jsonl"), on_error="skip")
        data.rows("val")
        config = {"data": {"init_args": {"val": str(folder / "list.jsonl")}}}
        ranks.append(facts_of_a_rank(config, monkeypatch, data))
    require_same(ranks[:2])
    with pytest.raises(ConfigError, match=r"data.val is 1 rows of sha256 \w+ on rank 0 .* on rank 1"):
        require_same(ranks[1:])


def test_what_lies_at_the_paths_of_each_host_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = []
    for host, content in enumerate(["1", "1", "2"]):
        (model := tmp_path / str(host) / "model").mkdir(parents=True)
        (model / "config.json").write_text(content)
        ranks.append(facts_of_a_rank({"model": {"init_args": {"teacher": str(model)}}}, monkeypatch))
    config = {"model": {"init_args": {"teacher": str(model)}}}
    second = facts_of_a_rank(config, monkeypatch, local_rank=1)
    require_same(ranks[:2])
    with pytest.raises(ConfigError, match="inputs.model.init_args.teacher.sha256 is"):
        require_same(ranks[1:])
    monkeypatch.setattr("liteframe.run_control.run_inputs._add_content", lambda *_: pytest.fail("read again"))
    assert facts_of_a_rank(config, monkeypatch, local_rank=1) == second
    require_same([ranks[2], second])


def test_a_model_of_the_hub_that_a_host_has_not_yet_may_be_of_any_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = []
    for commit in ("first", None, "second"):
        monkeypatch.setattr("liteframe.run_control.run_inputs._hub_commit", lambda name, commit=commit: commit)
        ranks.append(facts_of_a_rank({"model": {"init_args": {"teacher": "org/model"}}}, monkeypatch))
    require_same(ranks[:2])
    with pytest.raises(ConfigError, match=r"teacher.hub_commit is first on rank 0 .* and second on rank 2"):
        require_same(ranks)


def test_credentials_are_neither_compared_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    roots = ["https://user:one@host/videos?sig=two", "https://user:three@host/videos?sig=four"]
    ranks = [facts_of_a_rank({"data": {"root": root}, "api_key": root}, monkeypatch) for root in roots]
    assert "one" not in str(ranks[0][1]["settings"]) and "two" not in str(ranks[0])
    require_same(ranks)


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
