"""Runs on several hosts: whether what started them is what the trainer's settings say, and which interface they use."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

import psutil
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from liteframe.errors import ConfigError

_MEETING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_INTERFACE = "GLOO_SOCKET_IFNAME"
_RESOLVE_TRIES = 5
_ELSEWHERE = "192.0.2.1"
"""An address that is nobody's, by RFC 5737: the way to it is the way out."""


def require_launcher(trainer: Trainer) -> None:
    """Looks whether as many processes were started as the trainer counts on; fewer would wait for ever, or for nobody.

    Raises:
        ConfigError: torchrun, SLURM or the user started the hosts otherwise; says which setting to change.
    """
    size = f"trainer.devices x trainer.num_nodes is {trainer.num_devices} x {trainer.num_nodes}"
    wanted = trainer.num_devices * trainer.num_nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started = int(os.environ.get("WORLD_SIZE", 1))
        if started != wanted:
            raise ConfigError(
                f"{size}, but torchrun has started {started} processes; set them to --nproc_per_node and --nnodes of"
                " torchrun"
            )
    elif "SLURM_PROCID" in os.environ:
        _require_srun(size, wanted, isinstance(_environment(trainer), LightningEnvironment))
    missing = [name for name in _MEETING if name not in os.environ]
    if trainer.num_nodes > 1 and isinstance(_environment(trainer), LightningEnvironment) and missing:
        raise ConfigError(
            f"trainer.num_nodes is {trainer.num_nodes}, but nothing says where the hosts meet; start each by torchrun"
            f" or srun (docs/clusters.md), or set {', '.join(missing)} in the environment of each"
        )
    if trainer.num_nodes > 1 and (environment := _environment(trainer)) is not None:
        _require_address(environment.main_address)


def meeting_fault(error: Exception) -> str | None:
    """What keeps the ranks from meeting, and what to do, where an error of torch's says so; None for any other."""
    text = str(error)
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in text:
        return (
            f"the ranks cannot meet at {place}: the port is in use, by another run perhaps; set MASTER_PORT to another"
            " on all hosts"
        )
    if "connectFullMesh" in text:
        return (
            f"the ranks have met at {place}, but cannot connect to each other by the interface"
            f" {os.environ.get(_INTERFACE, 'that gloo chose')} ({text.splitlines()[0]}); set {_INTERFACE} on each host"
            " to the one that leads to the others (`ip route get`)"
        )
    if "client socket has" in text or "Timed out after" in text:
        return (
            f"the ranks do not meet at {place} ({text.splitlines()[0]}); look whether rank 0 runs there, whether all"
            " hosts were started, and whether a firewall lets them through"
        )
    return None


def _require_address(address: str) -> None:
    for _ in range(_RESOLVE_TRIES):
        try:
            socket.getaddrinfo(address, None)
            return
        except OSError as error:
            fault = error
            time.sleep(1)
    raise ConfigError(
        f"MASTER_ADDR is {address!r}, for which {socket.gethostname()} knows no address ({fault}); give one that all"
        " hosts reach: --local_addr of torchrun on each host, or MASTER_ADDR in the environment of each"
    )


def _require_srun(size: str, wanted: int, is_ignored: bool) -> None:
    job, by_srun = int(os.environ.get("SLURM_NTASKS", 1)), "SLURM_STEP_ID" in os.environ
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", job)) if by_srun else 1
    if is_ignored and tasks > 1:
        name = os.environ.get("SLURM_JOB_NAME")
        raise ConfigError(
            f"srun has started {tasks} tasks in a job named {name!r}, and in one of that name Lightning looks for no"
            " other tasks; name it otherwise (srun --job-name train)"
        )
    if is_ignored or wanted == tasks == 1:
        return
    if not by_srun:
        raise ConfigError(
            f"{size} in a SLURM job, but this process was not started by srun, so that it would wait for others; write"
            " srun before the command"
        )
    if wanted != tasks:
        raise ConfigError(
            f"{size}, but srun has started {tasks} tasks; set them to --ntasks-per-node and --nodes of the job"
        )


def choose_interface(trainer: Trainer) -> None:
    """Has gloo use the network interface by which the first host is reached, where the user has named none.

    gloo's own choice is that of the machine's name, which on many machines and in most containers is the loopback,
    where no other host answers.
    """
    environment = _environment(trainer)
    if trainer.num_nodes == 1 or environment is None or _INTERFACE in os.environ or sys.platform != "linux":
        return
    names = {
        address.address.partition("%")[0]: name
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name != "lo"
    }
    for target in (environment.main_address, _ELSEWHERE):  # on the first host its own name may be the loopback's
        if (name := names.get(_own_address(target))) is not None:
            os.environ[_INTERFACE] = name
            return


def _own_address(target: str) -> str:
    """Address that this host has on the way to another; "" where there is no way. Nothing is sent."""
    try:
        kind, _, _, _, place = socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _environment(trainer: Trainer) -> Any:
    return getattr(trainer.strategy, "cluster_environment", None)
