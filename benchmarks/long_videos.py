"""Memory and time of long videos: the encoder alone, a video from file to first token, and a stream to its end.

python benchmarks/long_videos.py --output benchmarks/records/long_videos.json
python benchmarks/long_videos.py --frames 64 256 --repeats 1      # a trial

Each case has a process of its own, in turns, whose peak resident set is measured from where the model is loaded, and
that of its children beside it. Models have random weights: the demo's sizes, with as many `Frame` lines in the
vocabulary as are needed, and `real`, the paper's student at 448 px alone. What grows is told in bytes a frame beyond
the first 64, against the bytes a frame of those; the keys and values of the LLM, which must grow, are told apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from torch import Tensor

from liteframe.bench.environment import environment
from liteframe.bench.memory import peak_mib, reset_peak
from liteframe.bench.real_size.quick_weights import QuickWeights
from liteframe.bench.records import write_record
from liteframe.chat.loading import load
from liteframe.chat.model import ChatModel
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.transforms import normalize
from liteframe.models.clip_chunks import CLIPS_AT_ONCE
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.system.runtime import tune_malloc
from liteframe.system.tables import markdown
from liteframe.tiny import models as tiny_models
from liteframe.tiny import synthetic
from liteframe.tiny.synthetic_files import write_video

FRAMES = (64, 256, 1024, 4096)
REAL_FRAMES = (16, 64, 256)
TINY = {
    "image_size": synthetic.SIZE,
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "output_size": 128,
    "downsample_after": [1, 2],
    "initializer_range": 0.06,
}
QUESTION = synthetic.QUESTIONS["needle"]
HELD = 32
"""Clips in the memory of a stream."""
MIB = 2**20
_LOOK_S = 0.05


def write_model(folder: Path, lines: int) -> Path:
    """A Video LLM of the demo's sizes that has words for so many `Frame` lines."""
    with mock.patch.object(tiny_models, "_MAX_FRAMES", lines):
        base_vlm, processor = tiny_models.build_tiny_base_vlm(attention="sdpa")
    base_vlm.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    (folder / "model").mkdir()
    encoder = LiteFrameEncoder(LiteFrameConfig(**TINY))
    save_adapted(folder / "model", str(folder / "base"), encoder, None, base_vlm.model.multi_modal_projector)
    return folder / "model"


def encode(backbone: LiteFrameBackbone, frames: int, side: int) -> dict[str, Any]:
    """Encodes so many frames, which are made as they are needed; what comes of them is kept."""
    generator, kept, made_s = torch.Generator().manual_seed(0), list[Tensor](), 0.0
    chunk = CLIPS_AT_ONCE * backbone.clip_frames
    began = time.perf_counter()
    for start in range(0, frames, chunk):
        making = time.perf_counter()
        shape = (1, min(chunk, frames - start), 3, side, side)
        pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        made_s += time.perf_counter() - making
        kept.append(backbone(normalize(pixels)).tokens_BTHWC)
    seconds = time.perf_counter() - began - made_s
    return {"stages_s": {"encode": seconds}, "kept_bytes": sum(tokens.nbytes for tokens in kept)}


def answer(model: ChatModel, video: Path, frames: int) -> dict[str, Any]:
    """From a file to the first token."""
    talk = model.chat(video, frames=frames, sampler=UniformMidpoints())
    talk.ask(QUESTION, max_tokens=1)
    assert talk.last is not None and talk.last.frames == frames
    config: Any = model.model.language_model.config
    head = config.hidden_size // config.num_attention_heads
    a_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head * model_bytes(model)
    return {
        "stages_s": {stage: ms / 1e3 for stage, ms in talk.last.ms.items()},
        "prompt_tokens": talk.last.prompt_tokens,
        "cache_bytes": talk.last.prompt_tokens * a_token,
    }


def model_bytes(model: ChatModel) -> int:
    """Of a number in the LLM's keys and values."""
    return torch.tensor([], dtype=model.dtype or torch.float32).element_size()


def watch(model: ChatModel, video: Path, frames: int) -> dict[str, Any]:
    """A stream to its end, and an answer about what is held of it."""
    with model.stream(video, fps=synthetic.FPS, memory=HELD, forget="merge") as talk:
        talk.wait()
        assert talk.ask(QUESTION, max_tokens=1).frames == frames
    return {}


def run_case(case: str, frames: int, folder: Path, threads: int) -> dict[str, Any]:
    """Measures a case in this process, which has done nothing else."""
    tune_malloc()  # as the command does
    torch.set_num_threads(threads)
    work: Callable[[], dict[str, Any]]
    if case in ("encoder", "real encoder"):
        side = synthetic.SIZE if case == "encoder" else 448
        with QuickWeights():
            encoder = LiteFrameEncoder(LiteFrameConfig(**TINY) if case == "encoder" else LiteFrameConfig())
        work = partial(encode, LiteFrameBackbone(encoder.eval()), frames, side)
    else:
        ask = {"whole": answer, "stream": watch}[case]
        work = partial(ask, load(folder / "model", device="cpu"), folder / f"{frames}.mp4", frames)
    loaded = psutil.Process().memory_info().rss
    reset_peak()
    with PeakOfChildren() as children, torch.inference_mode():
        began = time.perf_counter()
        measured = work()
        seconds = time.perf_counter() - began
    peak = peak_mib() * MIB - loaded
    return {"case": case, "frames": frames, "s": seconds, "bytes": peak, "child_bytes": children.bytes, **measured}


class PeakOfChildren:
    """A context that looks again and again at the largest process that this one has started.

    Attributes:
        bytes: its peak resident set, since it runs a program of its own.
    """

    def __init__(self) -> None:
        self.bytes, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> PeakOfChildren:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            for child in psutil.Process().children():
                with suppress(OSError):  # it has just ended
                    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
                    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
                    self.bytes = max([self.bytes, *peaks])


def growth(rows: list[dict[str, Any]]) -> list[list[object]]:
    """For each case and frame count: times a frame, and bytes a frame beyond those of the shortest video."""
    lines: list[list[object]] = []
    for case in dict.fromkeys(row["case"] for row in rows):
        counts = sorted({row["frames"] for row in rows if row["case"] == case})
        best = {count: _least(rows, case, count) for count in counts}
        first = best[counts[0]]
        for count, row in best.items():
            more = count - counts[0]
            slope = {name: (row[name] - first[name]) / more if more else None for name in ("bytes", "child_bytes")}
            own = slope["bytes"]
            apart = (row.get("cache_bytes", 0) - first.get("cache_bytes", 0)) / more if more else 0
            share = None if own is None else (own - apart) / (first["bytes"] / counts[0])
            lines.append(
                [
                    case,
                    count,
                    f"{1e3 * row['s'] / count:.3f}",
                    f"{row['bytes'] / MIB:.1f}",
                    f"{row['child_bytes'] / MIB:.1f}",
                    *("" if value is None else f"{value:.0f}" for value in (own, apart, slope["child_bytes"])),
                    "" if share is None else f"{100 * share:.2f} %",
                ]
            )
    return lines


def _least(rows: list[dict[str, Any]], case: str, frames: int) -> dict[str, Any]:
    """The fastest run of a case, with the smallest peaks of all its runs."""
    runs = [row for row in rows if (row["case"], row["frames"]) == (case, frames)]
    fastest = min(runs, key=lambda row: row["s"])
    return {**fastest, **{name: min(row[name] for row in runs) for name in ("bytes", "child_bytes")}}


COLUMNS = [
    *("case", "frames", "ms a frame", "MiB beyond the model", "MiB of the child"),
    *("bytes a frame more", "of it keys and values", "bytes a frame more, child", "share of the first frames'"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="*", default=list(FRAMES), help="of the demo's size")
    parser.add_argument("--real", type=int, nargs="*", default=list(REAL_FRAMES), help="frames of the paper's size")
    parser.add_argument("--cases", nargs="*", default=["encoder", "whole", "stream"], help="of the demo's size")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "FRAMES", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, frames, folder = options.one
        print(json.dumps(run_case(case, int(frames), Path(folder), options.threads)))
        return
    todo = [(case, count) for count in options.frames for case in options.cases]
    todo += [("real encoder", count) for count in options.real]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), max([256, *options.frames]) // 4)
        for count in options.frames:
            scene = synthetic.draw_scene(np.random.default_rng(count), synthetic.TEST_DURATIONS, frames=count)
            write_video(Path(folder) / f"{count}.mp4", synthetic.render(scene))
        for _ in range(options.repeats):
            for case, count in todo:
                words = ["--threads", str(options.threads), "--one", case, str(count), folder]
                told = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True, text=True)
                rows.append(json.loads(told.stdout.splitlines()[-1]))
                print({name: value for name, value in rows[-1].items() if name != "stages_s"}, flush=True)
    print(markdown(COLUMNS, growth(rows)))
    if options.output is not None:
        settings = {"repeats": options.repeats, "threads": options.threads, "clips_held": HELD}
        write_record(options.output, "long_videos", environment(), settings, {"rows": rows})


if __name__ == "__main__":
    main()
