"""Ranks agree on the step after which they stop, and tell a rank that has ended from one that has failed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from liteframe.run_control import ranks as watching
from liteframe.run_control.ranks import Ranks

BEAT_S = 0.5


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Ranks]]:
    """Both ranks of a run, in this process, whose limits are two beats."""
    monkeypatch.setattr(watching, "_BEAT_S", BEAT_S)
    store = TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=20), wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    ranks = [Ranks(rank, 2, limit_s=2 * BEAT_S, stall_s=2 * BEAT_S) for rank in range(2)]
    yield ranks
    for rank in ranks:
        rank.close()


def wait_for(condition: object) -> None:
    assert callable(condition)
    while not condition():
        time.sleep(0.01)


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_after_the_step_that_follows_the_one_in_which_any_was_asked(two: list[Ranks], asked: int) -> None:
    other = 1 - asked
    assert two[other].agree_to_stop(4, None) is None
    assert two[asked].agree_to_stop(5, signal.SIGTERM) is None
    assert two[other].agree_to_stop(5, None) is None
    assert two[other].agree_to_stop(6, None) == signal.SIGTERM
    assert two[asked].agree_to_stop(6, signal.SIGTERM) == signal.SIGTERM
    wait_for(lambda: two[other].stop_asked == signal.SIGTERM)


def test_a_rank_that_has_failed_is_missed_and_one_that_has_ended_is_not(two: list[Ranks]) -> None:
    two[1].advance("in a training step")
    wait_for(lambda: "in a training step" in two[0].describe([1]))
    two[1].close(failed=True)
    wait_for(lambda: two[0].frozen() == [1])
    two[1]._failed = False
    two[1]._leave()
    wait_for(lambda: two[0].frozen() == [])


def test_a_rank_that_misses_a_few_beats_is_named_and_none_is_while_the_store_is_away(two: list[Ranks]) -> None:
    wait_for(lambda: "pid" in two[0].describe([1]))
    assert two[0].lost() == [] and "silent" not in two[0].describe([0, 1])
    two[1].close(failed=True)
    assert two[0].lost() == [1]
    assert f"rank 1 (pid {os.getpid()} on " in two[0].describe([1]) and ", silent for " in two[0].describe([1])
    two[0].close()
    for beats in (1, 2, 3):
        two[0]._quiet[1] = two[0]._unheard = beats
        assert two[0].frozen() == [], "what it said meanwhile is not known"


def test_ranks_that_live_but_get_nowhere_are_stalled(two: list[Ranks]) -> None:
    wait_for(two[0].stalled)
    assert two[0].frozen() == []
    two[0]._quiet[1] += 3
    assert not two[0].stalled(), "one that is silent is not stalled but frozen, soon"
    wait_for(two[0].stalled)
    two[1].advance("in a training step")
    wait_for(lambda: not two[0].stalled())
