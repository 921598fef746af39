"""A decoder that takes its time, so that there is something to kill; named in configs as "paced_videos:read"."""

from __future__ import annotations

import os
import time

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode

PACE_S, SLOW = "PACED_VIDEOS_S", "PACED_VIDEOS_SLOW"
"""Environment variables: seconds for each video, and the file name of one that takes 20 times as many."""


def read(path: str, job: DecodeJob) -> VideoFrames:
    slow = os.environ.get(SLOW) == os.path.basename(path)
    for _ in range(20 if slow else 1):
        time.sleep(float(os.environ.get(PACE_S, "0")))
        heartbeat.step()
    return decode(job, "pyav")
