"""Peak memory of reading many frames of large videos: of the process that decodes, and of the one that asked it to.

python benchmarks/decode_memory.py --output benchmarks/records/decode_memory.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from liteframe.bench.environment import environment
from liteframe.bench.memory import peak_mib, reset_peak
from liteframe.bench.records import write_record
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import Linspace

SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160)}
COUNTS = (64, 256, 512)


def write_clip(path: Path, width: int, height: int, frames: int) -> None:
    """An H.264 clip of a moving texture, with a key frame each 2 seconds."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    texture = coarse.repeat(40, 0).repeat(40, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.ascontiguousarray(np.roll(texture, 3 * number, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def measure(path: Path, count: int, size: tuple[int, int]) -> dict[str, Any]:
    """Peaks in MiB of a pool's child that reads `count` frames, whole and beyond the result, and of this process."""
    with DecodePool(1, deadline_s=600) as pool:
        (first,) = pool.run([DecodeJob(str(path), Linspace(), 1, size=size)])  # starts the child and loads decoders
        assert isinstance(first, VideoFrames), first
        reset_peak()
        before = peak_mib()
        (video,) = pool.run([DecodeJob(str(path), Linspace(), count, size=size)])
        assert isinstance(video, VideoFrames), video
        result = video.frames_THWC.nbytes / 2**20
        (child,) = (_peak_of(pid) for pid in pool.children())
    return {
        "frames": len(video.indices),
        "result_mib": round(result, 1),
        "child_mib": round(child, 1),
        "child_beyond_result_mib": round(child - result, 1),
        "parent_beyond_result_mib": round(peak_mib() - before - result, 1),
        "decode_s": round(video.decode_s, 2),
    }


def _peak_of(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=448, help="height and width of the frames that are asked for")
    parser.add_argument("--frames", type=int, default=600, help="of each clip")
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height) in SIZES.items():
            path = Path(folder) / f"{name}.mp4"
            write_clip(path, width, height, options.frames)
            for count in COUNTS:
                rows.append({"video": name, **measure(path, count, (options.size, options.size))})
                print(rows[-1], flush=True)
    if options.output is not None:
        settings = {"size": options.size, "frames_of_clip": options.frames}
        write_record(options.output, "decode_memory", environment(), settings, {"rows": rows})


if __name__ == "__main__":
    main()
