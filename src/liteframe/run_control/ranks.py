"""Ranks that watch each other: which of them has asked for the end, which is frozen or dead, and what it did last.

Each rank has its own connection to the rendezvous store, and a thread that says every second that it lives. A frozen
process says nothing, while one that is merely busy does, so a limit of a minute does not end long work.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

_BEAT_S = 1.0
_ANSWER_S = 10
_TOGETHER = 3
"""Beats by which the last signs of life of ranks that were lost together may lie apart."""


class Ranks:
    """This rank's view of all ranks. Threads of it run until `close`.

    Raises RuntimeError, as torch does, where the store cannot be reached.

    Args:
        rank: of this process.
        world_size: number of ranks.
        limit_s: seconds without a sign of life after which a rank counts as frozen.
        stall_s: seconds in which no rank gets anywhere after which they count as stalled; None for no such limit.

    Attributes:
        doing: what this rank does now, in a word or two.
        done: counts up whenever this rank gets somewhere.
    """

    def __init__(self, rank: int, world_size: int, limit_s: float, stall_s: float | None = None) -> None:
        self.rank, self.world_size, self.limit_s, self.stall_s = rank, world_size, limit_s, stall_s
        self.doing, self.done = "starting", 0
        self._said: dict[int, str] = {}
        self._quiet = dict.fromkeys(range(world_size), 0)
        self._still = self._unheard = 0
        self._stop_asked: int | None = None
        self._closed, self._failed = threading.Event(), False
        self._store = _connect()
        self._main_store = _connect()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._count)]
        for thread in self._threads:
            thread.start()

    def close(self, failed: bool = False) -> None:
        """Ends the threads; this rank is then not missed by the others, unless it `failed`."""
        self._failed = failed
        self._closed.set()
        for thread in self._threads:
            thread.join(_ANSWER_S)  # a thread that the interpreter's end finds inside torch aborts the process

    def advance(self, doing: str) -> None:
        """Notes that this rank has got somewhere and what it does next."""
        self.done += 1
        self.doing = doing
        self._still = 0

    def agree_to_stop(self, step: int, asked: int | None) -> int | None:
        """The signal for which all ranks stop after this step, or None; to be called by each after each step.

        A rank that was `asked` to stop names the next step: no rank can have finished that without it.
        """
        if asked is not None:
            self._main_store.compare_set(self._key("stop"), "", f"{step + 1} {asked}")
        if not self._main_store.check([self._key("stop")]):
            return None
        at, number = map(int, self._main_store.get(self._key("stop")).split())
        return number if step >= at else None

    def lost(self) -> list[int]:
        """Ranks that fell silent first, if only a few beats ago; waits so long for their beats."""
        # A beat is heard up to one beat late, and the counters of silence lag by one each.
        self._closed.wait((_TOGETHER + 3) * _BEAT_S)
        if self._unheard >= _TOGETHER:
            return [0] if self.rank != 0 else []
        return self._silent_first()

    @property
    def stop_asked(self) -> int | None:
        """Signal for which some rank was asked to stop; None while none was."""
        return self._stop_asked

    def ask_to_stop(self, number: int) -> None:
        """Tells all ranks to stop at their own pace, for work that has no steps in common."""
        self._main_store.set(self._key("asked"), str(number))

    def frozen(self) -> list[int]:
        """Ranks that have given no sign of life for `limit_s`."""
        limit = self.limit_s / _BEAT_S
        if self._unheard > limit:  # the store answers no more: its host is frozen or gone, or cannot be reached
            return [0] if self.rank != 0 else []
        silent = self._silent_first()
        return silent if max(map(self._silent, silent), default=0) > limit else []

    def stalled(self) -> bool:
        """Whether no rank has got anywhere for `stall_s`, though all are alive."""
        # A frozen rank stalls the others too, and is to be noticed first.
        if self.stall_s is None or self._still <= self.stall_s / _BEAT_S + 2 * _TOGETHER:
            return False
        return all(beats < _TOGETHER for beats in self._quiet.values())

    def describe(self, ranks: Sequence[int]) -> str:
        """What is known of these ranks: process, host, what they did last, and since when they are silent."""
        return "; ".join(f"rank {rank} ({self._known_of(rank)})" for rank in ranks)

    def _known_of(self, rank: int) -> str:
        beats = self._unheard if rank == 0 and self._unheard >= _TOGETHER else self._silent(rank)
        since = f", silent for {beats * _BEAT_S:.0f} s" if beats >= _TOGETHER else ""
        return self._said.get(rank, "never heard of") + since

    def _silent_first(self) -> list[int]:
        """The other ranks that have missed the most beats, and more than a few."""
        silent = {rank: self._silent(rank) for rank in self._quiet if rank != self.rank}
        least = max(_TOGETHER, max(silent.values()) - _TOGETHER + 1)
        return [rank for rank, beats in silent.items() if beats >= least]

    def _silent(self, rank: int) -> int:
        """Beats that a rank has missed; what it said while the store did not answer is not known."""
        return self._quiet[rank] - self._unheard

    def _key(self, name: str) -> str:
        # A launcher's store outlives the ranks that it starts again, and what they said to each other.
        return f"liteframe/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{name}"

    def _beat(self) -> None:
        me = f"pid {os.getpid()} on {socket.gethostname()}"
        heard: dict[int, str] = {}
        tick = 0
        while not self._closed.is_set():
            tick += 1
            try:
                self._store.set(self._key(f"beat/{self.rank}"), f"{tick}|{self.done}|{me}, {self.doing}")
                for rank in range(self.world_size):
                    if self._store.check([self._key(f"beat/{rank}")]):
                        text = self._store.get(self._key(f"beat/{rank}")).decode()
                        if text != heard.get(rank):
                            self._heard(rank, heard.get(rank, "||"), text)
                            heard[rank] = text
                if self._store.check([self._key("asked")]):
                    self._stop_asked = int(self._store.get(self._key("asked")))
                if self._store.check([self._key("stop")]):
                    self._stop_asked = int(self._store.get(self._key("stop")).split()[1])
                self._unheard = 0
            except RuntimeError:  # torch has no narrower class for a store that does not answer
                pass
            self._closed.wait(_BEAT_S)
        if not self._failed:
            self._leave()

    def _heard(self, rank: int, before: str, now: str) -> None:
        self._quiet[rank] = 0
        self._said[rank] = now.split("|", 2)[2]
        if before.split("|")[1] != now.split("|")[1]:
            self._still = 0

    def _leave(self) -> None:
        try:
            self._store.set(self._key(f"beat/{self.rank}"), f"end|{self.done}|ended")
        except RuntimeError:
            return  # the store went first

    def _count(self) -> None:
        """Counts beats of this process's own clock, so that a machine that stalls as a whole accuses nobody."""
        while not self._closed.wait(_BEAT_S):
            self._unheard += 1
            self._still += 1
            for rank, said in list(self._said.items()):
                self._quiet[rank] = 0 if said == "ended" else self._quiet[rank] + 1


def _connect() -> Any:
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, None, False, timedelta(seconds=_ANSWER_S), wait_for_workers=False)
