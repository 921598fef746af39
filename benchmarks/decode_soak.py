"""Decodes one small file many times through the pool and prints how much memory this process and its children hold.

python benchmarks/decode_soak.py --decodes 10000 --output benchmarks/records/decode_soak.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import RandomSegment


def write_clip(path: Path, frames: int = 128, size: int = 112) -> None:
    """An H.264 clip of a moving pattern."""
    pattern = (
        np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(size // 8, 0).repeat(size // 8, 1)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.ascontiguousarray(np.roll(pattern, number, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def resident_mb(process: int) -> float:
    """Resident memory of a process in megabytes, 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / 1e6


def soak(path: str, decodes: int, frames: int, processes: int, recycle_after: int, decoder: str) -> dict[str, Any]:
    """The samples of memory, one every 500 decodes, and what was measured."""
    samples = []
    started, decode_s = time.perf_counter(), 0.0
    with DecodePool(processes, decoder=decoder, recycle_after=recycle_after) as pool:
        for first in range(0, decodes, 50):
            jobs = [DecodeJob(path, RandomSegment(), frames, seed=first + k) for k in range(min(50, decodes - first))]
            for result in pool.run(jobs):
                if not isinstance(result, VideoFrames):
                    raise result
                decode_s += result.decode_s
            done = first + len(jobs)
            if done % 500 == 0 or done == decodes or first == 0:
                children = sorted(round(resident_mb(child), 1) for child in pool.children())
                samples.append(
                    {"decodes": done, "parent_mb": round(resident_mb(os.getpid()), 1), "children_mb": children}
                )
                print(samples[-1], flush=True)
    wall_s = time.perf_counter() - started
    return {
        "name": "decode_soak",
        "decodes": decodes,
        "frames": frames,
        "processes": processes,
        "recycle_after": recycle_after,
        "decoder": decoder,
        "wall_s": round(wall_s, 1),
        "mean_decode_ms": round(1000 * decode_s / decodes, 2),
        "samples": samples,
        "environment": {"python": platform.python_version(), "machine": platform.machine(), "av": av.__version__},
        "commit": _commit(),
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decodes", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=16, help="frames a decode")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--recycle_after", type=int, default=2000, help="a child is replaced after so many decodes")
    parser.add_argument("--decoder", default="auto")
    parser.add_argument("--video", help="a file to decode instead of a generated clip")
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.video
        if path is None:
            path = f"{folder}/clip.mp4"
            write_clip(Path(path))
        record = soak(path, options.decodes, options.frames, options.processes, options.recycle_after, options.decoder)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
