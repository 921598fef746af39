"""Trains on thousands of clips of which some are broken, and looks at memory, throughput and skips all the while.

python benchmarks/soak.py --output benchmarks/records/soak.json
python benchmarks/soak.py --clips 400 --workers 2 --stalled 2 --every_s 1

The data module, loader processes, decode processes and the list of skips are those of any run; only the model is not:
it learns three numbers, so that the data are what takes the time. The command ends with exit code 1 where a verdict is
not good, and with 124 where the run hangs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.data.datamodule import VideoDataModule
from liteframe.system.tables import aligned
from soaking.clips import Clips, ways_of, write_clips
from soaking.deadline import give_up_after
from soaking.memory import MemorySampler

_GROWTH, _SLACK_MB, _SLOWDOWN = 1.05, 16.0, 0.9


class Watched(LightningModule):
    """Learns three numbers, and notes when each batch came and what was left out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.times_s: list[float] = []
        self.clips = 0
        self.skipped: list[Counter[str]] = []
        self.read: list[Counter[str]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def on_train_epoch_start(self) -> None:
        self.skipped.append(Counter())
        self.read.append(Counter())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.times_s.append(time.monotonic())
        self.skipped[-1].update(skip["id"] for skip in batch["skipped"])
        valid = batch["valid_frames_B"].tolist()
        self.read[-1].update(row["id"] for row, frames in zip(batch["rows"], valid, strict=True) if frames)
        self.clips += sum(1 for frames in valid if frames) + len(batch["skipped"])
        return (batch["frames_BTCHW"].float().mean((0, 1, 3, 4)) * self.weight).sum()


def soak(clips: Clips, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Trains on the clips, and gives what was seen of it."""
    data = VideoDataModule(
        train=str(clips.manifest),
        frames=8,
        batch_size=options.batch_size,
        image_size=64,
        decoder="soaking.stalls:pyav_that_stalls",
        decode_deadline_s=options.decode_deadline_s,
        num_workers=options.workers,
        on_error="skip",
        max_skip_fraction=1.0,
        seed=0,
    )
    model = Watched()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        default_root_dir=folder,
        **quiet,
    )
    sampler = MemorySampler(options.every_s, lambda: model.clips)
    sampler.start()
    began = time.monotonic()
    trainer.fit(model, data)
    wall_s = time.monotonic() - began
    sampler.stop()
    lines = (folder / "skipped.jsonl").read_text(encoding="utf-8").splitlines() if clips.broken else []
    return {
        "wall_s": round(wall_s, 1),
        "samples": sampler.samples,
        "batches_s": [round(moment - began, 3) for moment in model.times_s],
        "skips": [dict(epoch) for epoch in model.skipped],
        "read": [dict(epoch) for epoch in model.read],
        "listed": Counter(json.loads(line)["id"] for line in lines),
        "reasons": {json.loads(line)["id"]: json.loads(line)["reason"] for line in lines},
    }


def verdicts(seen: dict[str, Any], clips: Clips, names: set[str]) -> dict[str, dict[str, Any]]:
    """What was asked of the run, each with `good` and the figures it follows from.

    Memory is flat where it is in the last quarter of the run no more than 5 % and 16 MB above that in the second: the
    first is for starting up. Throughput is flat where the last quarter has at least 0.9 of the batches a second that
    the first has, without the time to the first batch; by CPU time a clip, a slower run is told from a busy machine.
    """
    once = dict.fromkeys(clips.broken, 1)
    rest = dict.fromkeys(names - clips.broken.keys(), 1)
    found = {
        "skips": {
            "good": all(epoch == once for epoch in seen["skips"]) and seen["listed"] == once,
            "broken": len(once),
            "left_out_in_each_epoch": [sum(epoch.values()) for epoch in seen["skips"]],
            "lines": sum(seen["listed"].values()),
        },
        "reads": {
            "good": all(epoch == rest for epoch in seen["read"]),
            "whole": len(rest),
            "read_in_each_epoch": [sum(epoch.values()) for epoch in seen["read"]],
        },
        "throughput": _throughput(seen["batches_s"]) | {"cpu_ms_a_clip_by_quarters": _cpu_ms(seen["samples"])},
    }
    for kind in ("parent", "workers", "decoders"):
        found[f"memory of {kind}"] = _flat([sample[f"{kind}_mb"] for sample in seen["samples"]])
    return found


def _flat(series_mb: list[float]) -> dict[str, Any]:
    quarter = len(series_mb) // 4
    if quarter < 1:
        return {"good": False, "why": "fewer than four samples; take more clips, or a smaller --every_s"}
    second, last = statistics.median(series_mb[quarter : 2 * quarter]), statistics.median(series_mb[-quarter:])
    return {"good": last <= _GROWTH * second + _SLACK_MB, "second_quarter_mb": second, "last_quarter_mb": last}


def _cpu_ms(samples: list[dict[str, Any]]) -> list[float | None]:
    bounds = [samples[(len(samples) - 1) * n // 4] for n in range(5)] if samples else []
    parts = [(after["clips"] - before["clips"], after["cpu_s"] - before["cpu_s"]) for before, after in pairwise(bounds)]
    return [round(1000 * seconds / clips, 2) if clips else None for clips, seconds in parts]


def _throughput(moments_s: list[float]) -> dict[str, Any]:
    parts = [moments_s[len(moments_s) * n // 10 : len(moments_s) * (n + 1) // 10 + 1] for n in range(10)]
    tenths = [round((len(part) - 1) / (part[-1] - part[0]), 2) for part in parts if len(part) > 1]
    quarter = len(moments_s) // 4
    first, last = (part[-1] - part[0] for part in (moments_s[: quarter + 1], moments_s[-quarter - 1 :]))
    good = last * _SLOWDOWN <= first
    return {"good": good, "last_over_first": round(first / last, 3), "batches_a_second_by_tenths": tenths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--broken", type=float, default=0.05, help="share of clips that cannot be decoded")
    parser.add_argument("--stalled", type=int, default=10, help="of those, clips that stall the decoder")
    parser.add_argument("--workers", type=int, default=4, help="loader processes")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=8, help="a divisor of the number of clips")
    parser.add_argument("--decode_deadline_s", type=float, default=5.0)
    parser.add_argument("--every_s", type=float, default=5.0, help="seconds between samples of memory (Linux)")
    parser.add_argument("--hangs_after_s", type=float, default=3600.0, help="a run that takes longer is ended")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    if options.clips % options.batch_size:
        parser.error("--clips has to be a multiple of --batch_size, as an epoch drops the rest")
    give_up_after(options.hangs_after_s)
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder), options.clips, options.broken, options.stalled)
        names = {json.loads(line)["path"] for line in clips.manifest.read_text(encoding="utf-8").splitlines()}
        seen = soak(clips, Path(folder), options)
        found = verdicts(seen, clips, names)
    good = all(verdict["good"] for verdict in found.values())
    lines = [[name, "good" if verdict["good"] else "NOT GOOD", json.dumps(verdict)] for name, verdict in found.items()]
    print(aligned(["verdict", "", ""], lines))
    print(f"{options.epochs * options.clips} clips in {seen['wall_s']:.0f} s")
    if options.output:
        settings = {name: value for name, value in vars(options).items() if name != "output"}
        raw = {name: seen[name] for name in ("wall_s", "samples", "batches_s")}
        reasons = {clips.broken[name]: reason for name, reason in seen["reasons"].items()}
        data = {"broken": ways_of(clips), "reasons": reasons, "verdicts": found, **raw}
        print(write_record(options.output, "soak", environment(), settings, data))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
