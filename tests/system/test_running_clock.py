"""Calls come when their seconds have passed, of which those in which the process was stopped are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from liteframe.system.running_clock import RunningClock

PROGRAM = """
import os, signal, sys, time
from liteframe.system.running_clock import RunningClock

clock = RunningClock()
clock.call_later(4.0, lambda: print("called", flush=True))
{stop}
time.sleep(60)
"""
STOP_ITSELF = "os.kill(os.getpid(), signal.SIGSTOP)"


def test_calls_come_in_the_order_of_their_time_and_those_taken_back_never() -> None:
    clock, seen, done = RunningClock(), [], threading.Event()
    clock.call_later(0.3, lambda: (seen.append("last"), done.set()))
    taken_back = clock.call_later(0.2, lambda: seen.append("taken back"))
    clock.call_later(0.1, lambda: seen.append("first"))
    taken_back.cancel()
    assert done.wait(60)
    assert seen == ["first", "last"]


def test_a_call_that_fails_takes_no_other_along(capsys: pytest.CaptureFixture[str]) -> None:
    clock, done = RunningClock(), threading.Event()
    clock.call_later(0.0, lambda: print(1 // 0))
    clock.call_later(0.1, done.set)
    assert done.wait(60)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_clock_that_sleeps_is_woken() -> None:
    clock, done = RunningClock(), threading.Event()
    clock.call_later(0.0, lambda: None)
    while not clock._asleep:
        time.sleep(0.05)
    clock.call_later(5.0, lambda: None).cancel()
    clock.call_later(0.1, done.set)
    assert done.wait(60)


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(STOP_ITSELF, id="at once"),
        pytest.param(f"time.sleep(1.5); {STOP_ITSELF}", id="in a wait"),
        pytest.param(f"clock.call_later(0.5, lambda: {STOP_ITSELF})", id="in a call"),
    ],
)
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped")
def test_seconds_in_which_the_process_is_stopped_do_not_count(stop: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(stop=stop)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            os.waitpid(process.pid, os.WUNTRACED)
            time.sleep(6)
            continued = time.monotonic()
            os.kill(process.pid, signal.SIGCONT)
            assert process.stdout.readline() == "called\n"
            assert time.monotonic() - continued >= 0.5, "some of its four seconds are left after those six"
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked")
def test_a_forked_process_has_a_clock_of_its_own() -> None:
    from liteframe.system.running_clock import clock

    clock.call_later(60.0, lambda: None)
    child = os.fork()
    if not child:
        done = threading.Event()
        clock.call_later(0.1, done.set)
        os._exit(0 if done.wait(60) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
