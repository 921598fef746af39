"""The ranks of one machine meet on its loopback interface, where nobody else can join or read along.

torch's own rendezvous store listens on every interface of the machine.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import timedelta
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

_HOST = "127.0.0.1"
_stores: list[Any] = []
"""The servers of this process; a store ends with its object."""


def meet_on_loopback(trainer: Trainer) -> None:
    """Starts the store that the ranks of `trainer` meet at, where they are all of this machine and started by us.

    The environment then says what a launcher such as torchrun says: that there is a store, and where. An address that
    the user gave (`MASTER_ADDR`) stays. Call it before the ranks are started.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    alone = trainer.num_nodes == 1 and isinstance(environment, LightningEnvironment)
    if trainer.world_size == 1 or not alone or "MASTER_ADDR" in os.environ or "LOCAL_RANK" in os.environ:
        return
    from torch.distributed import TCPStore

    listener = socket.socket()
    listener.bind((_HOST, 0))
    listener.listen(512)
    port = listener.getsockname()[1]
    _stores.append(
        TCPStore(
            _HOST,
            port,
            None,
            True,
            timedelta(minutes=30),
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    )
    os.environ.update(MASTER_ADDR=_HOST, MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE=str(True))
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
