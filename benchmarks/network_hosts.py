"""Hosts of a network on this machine: each with its own interface, name and processes, all with the same file system.

A host is a process that sleeps in namespaces of its own (network, name, processes), so nothing of it outlives the one
that made it. Their cables meet at a switch, where one can be pulled without either side being told. Linux and root.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from liteframe.system.runtime import die_with_parent

INTERFACE = "eth0"
_NETWORK = "10.77.0."
_TOOLS = ("ip", "unshare", "nsenter", "hostname")


def why_impossible() -> str | None:
    """Why there can be no such hosts here, in words; None if there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed (iproute2, util-linux and hostname of the distribution)"
    tried = subprocess.run(["unshare", "--net", "--uts", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


class NetworkHosts:
    """So many hosts, `host-a`, `host-b` and so forth, while it is entered; all that runs on them ends with it.

    Raises:
        RuntimeError: on entering, where there can be none; says why.
    """

    def __init__(self, count: int = 2) -> None:
        self.names = [f"host-{chr(ord('a') + number)}" for number in range(count)]
        self.addresses = [f"{_NETWORK}{number + 1}" for number in range(count)]
        self._switch: subprocess.Popen[bytes] | None = None
        self._hosts: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> NetworkHosts:
        if reason := why_impossible():
            raise RuntimeError(reason)
        try:
            self._switch = _namespaces()
            self._at_switch("link", "add", "name", "bridge0", "type", "bridge")
            self._at_switch("link", "set", "bridge0", "up")
            for host in range(len(self.names)):
                self._hosts.append(_namespaces())
                self._connect(host)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in [*self._hosts, *([self._switch] if self._switch else [])]:
            _end(holder)

    def start(
        self, host: int, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        """Starts a command on a host, with what it writes to both outputs in a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                _inside(self._hosts[host], command, folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def enter(self, host: int) -> None:
        """Puts this process on a host, with its network and its name; for one that was forked and has no threads."""
        libc = ctypes.CDLL(None, use_errno=True)
        for kind in ("net", "uts"):
            handle = os.open(f"/proc/{_first_process(self._hosts[host])}/ns/{kind}", os.O_RDONLY)
            if libc.setns(handle, 0):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            os.close(handle)

    def lose(self, host: int) -> None:
        """Ends all processes of a host at once, as SIGKILL does."""
        _end(self._hosts[host])

    def replace(self, host: int) -> None:
        """Puts a new host in the place of a lost one, with its name and address."""
        self._at_switch("link", "delete", f"port{host}", check=False)  # went with its host, perhaps
        self._hosts[host] = _namespaces()
        self._connect(host)

    def pull_cable(self, host: int) -> None:
        """From now on nothing reaches the host, or comes from it; no interface goes down."""
        self._at_switch("link", "set", f"port{host}", "nomaster")

    def plug_in(self, host: int) -> None:
        """The contrary of `pull_cable`."""
        self._at_switch("link", "set", f"port{host}", "master", "bridge0")

    def _connect(self, host: int) -> None:
        pid = str(_first_process(self._hosts[host]))
        self._at_switch("link", "add", f"port{host}", "type", "veth", "peer", "name", INTERFACE, "netns", pid)
        self._at_switch("link", "set", f"port{host}", "master", "bridge0", "up")
        for words in (
            ["hostname", self.names[host]],
            ["ip", "link", "set", "lo", "up"],
            ["ip", "address", "add", f"{self.addresses[host]}/24", "dev", INTERFACE],
            ["ip", "link", "set", INTERFACE, "up"],
        ):
            subprocess.run(_inside(self._hosts[host], words), check=True)

    def _at_switch(self, *words: str, check: bool = True) -> None:
        assert self._switch is not None
        # Only its network: hosts are named by process ids of this machine.
        target = str(_first_process(self._switch))
        subprocess.run(["nsenter", "--target", target, "--net", "ip", *words], check=check, capture_output=not check)


def _namespaces() -> subprocess.Popen[bytes]:
    """A process in new namespaces of network, name, processes and mounts, that ends with this one."""
    words = ["--net", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]
    holder = subprocess.Popen(
        ["unshare", *words, "sh", "-c", "echo; exec sleep infinity"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,
        start_new_session=True,  # Ctrl-C is for whoever made it, who then ends it
    )
    assert holder.stdout is not None
    if not holder.stdout.readline():
        raise RuntimeError("unshare made no namespaces")
    return holder


def _first_process(holder: subprocess.Popen[bytes]) -> int:
    """The process that all others of the namespaces end with."""
    return int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])


def _inside(holder: subprocess.Popen[bytes], command: Sequence[str], folder: Path = Path("/")) -> list[str]:
    kinds = ["--net", "--uts", "--pid", "--mount"]
    return ["nsenter", "--target", str(_first_process(holder)), *kinds, f"--wdns={folder.resolve()}", "--", *command]


def _end(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    if holder.stdout is not None:
        holder.stdout.close()
