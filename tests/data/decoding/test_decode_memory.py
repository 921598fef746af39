"""What decoding may take is bounded, and a video that wants more is an error of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from painted_videos import write_video

import liteframe
from liteframe.data.decoding import decode
from liteframe.data.decoding.decode import read_frames
from liteframe.errors import DecodeError

_PROGRAM = """
import mmap, sys
sys.path.insert(0, {source!r})
from liteframe.data.decoding import memory as decode_memory
import numpy as np
decode_memory.machine_bytes = lambda: 0
decode_memory.limit_own_memory()
for name, allocate in (
    ("malloc", lambda: np.ones(3 << 30, np.uint8)),
    ("private map", lambda: mmap.mmap(-1, 3 << 30, flags=mmap.MAP_PRIVATE)),
):
    try:
        allocate()
    except (MemoryError, OSError):
        print(name, "refused")
np.ones(1 << 28, np.uint8)
print("a usual amount given")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_decode_process_is_refused_what_is_over_its_limit() -> None:
    """RLIMIT_DATA counts the heap and private maps, from which decoders take all; not code, nor address space alone."""
    program = _PROGRAM.format(source=str(Path(liteframe.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["malloc refused", "private map refused", "a usual amount given"]


def test_what_a_decoder_is_refused_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 3)

    def refused(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "_read", refused)
    with pytest.raises(DecodeError, match=r"a\.mp4.*memory.*scale the video down"):
        read_frames(str(path), [0])
