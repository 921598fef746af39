"""Loader processes end with their parent, and one that dies is a named error."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from painted_videos import write_video

from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.data.loading.batching import SequentialRequests
from liteframe.data.loading.dataset import ClipSettings, VideoDataset
from liteframe.data.loading.loader import VideoLoader
from liteframe.data.loading.loader_processes import _NamedDeaths
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import DataError

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


class Deadly:
    """Samples in whose place a loader process dies."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getitems__(self, requests: Any) -> Any:
        os.kill(os.getpid(), self.number)
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_killed_loader_process_is_a_named_error(number: int) -> None:
    loader = VideoLoader(Deadly(number), SequentialRequests(8, 2, 2, 0), num_workers=2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a loader process \(pid [\d, ]+\).*data\.num_workers.*--ckpt_path last"):
        list(loader)
    loader.close()


def test_torchs_own_alarm_is_named_wherever_it_rings() -> None:
    def torchs(number: int, frame: object) -> None:
        raise RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. ")

    with pytest.raises(DataError, match=r"\(pid 17\) is killed by signal: Killed;"):
        _NamedDeaths(torchs)(signal.SIGCHLD, None)

    def anothers(number: int, frame: object) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        _NamedDeaths(anothers)(signal.SIGCHLD, None)


def parents() -> dict[int, int]:
    """Parent of each process that runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it has just ended
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(process: int) -> set[int]:
    table, found = parents(), {process}
    while more := {child for child, parent in table.items() if parent in found} - found:
        found |= more
    return found - {process}


def load_without_end(folder: Path) -> None:
    rows = [VideoRow(f"{folder}/bad{number}.mp4", str(number)) for number in range(4)]
    pool = DecodePool(deadline_s=600.0, decoder="slow_decoders:sleeps_for_ever_on_bad")
    dataset = VideoDataset(rows, [UniformMidpoints()], pool, ClipSettings((64, 64)))
    list(VideoLoader(dataset, SequentialRequests(4, 2, 1, 0), num_workers=2))


@needs_proc
def test_all_processes_die_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    for number in range(4):
        write_video(tmp_path / f"bad{number}.mp4", 4)
    main = multiprocessing.get_context("fork").Process(target=load_without_end, args=(tmp_path,))
    main.start()
    deadline = time.monotonic() + 120
    while len(below := descendants(main.pid or 0)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    main.kill()
    main.join()
    assert len(below) >= 4, "two loader processes, and a decode process of each"
    deadline = time.monotonic() + 60
    while (left := below & set(parents())) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left
