"""A decoder that stalls on some files, inside C code and with the interpreter's lock held, as decoders do."""

from __future__ import annotations

import ctypes
from pathlib import Path

from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode


def pyav_that_stalls(path: str, job: DecodeJob) -> VideoFrames:
    """Decodes by PyAV; where the file's name begins with "stalled", never comes back."""
    if Path(path).name.startswith("stalled"):
        ctypes.PyDLL(None).sleep(3600)
    return decode(job, "pyav")
