"""What students of other shapes cost at the tiny size: operations, parameters and the time to encode a video.

python benchmarks/student_shapes.py --output benchmarks/records/student_shapes.json

The shapes are those of the group `family` in `liteframe/bench/paper/cells.toml`, whose accuracy `benchmarks/paper.py
--beyond` measures. All run in turns beside the teacher, in the dtype that is faster here; weights are random, as times
do not depend on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import Tensor

from liteframe.bench.environment import environment
from liteframe.bench.latency import MUST_AGREE, interleave
from liteframe.bench.paper.cells import FURTHER_CELLS
from liteframe.bench.records import write_record
from liteframe.bench.run_methods import ATTENTION
from liteframe.bench.timers import RunRule, StageTimer
from liteframe.command.configs import shipped_configs
from liteframe.models.flop_count import cost_of
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.system.fast_dtype import fast_dtype
from liteframe.system.runtime import tune_malloc
from liteframe.system.tables import aligned
from liteframe.tiny.models import build_tiny_base_vlm
from liteframe.tiny.synthetic import SIZE

FRAMES = 64
"""Of the video that is encoded."""
_FIELD = "--model.encoder."


def configs() -> dict[str, LiteFrameConfig]:
    """Shape -> its student: the tiny recipe's with what the cell's CTD changes in it, and the recipe's own, "paper"."""
    tiny = yaml.safe_load((shipped_configs() / "tiny" / "ctd.yaml").read_text(encoding="utf-8"))
    own = tiny["model"]["init_args"]["encoder"]
    found = {"paper": LiteFrameConfig(**own)}
    for cell in FURTHER_CELLS:
        if cell.group == "family" and cell.training is not None and cell.training.ctd is not None:
            words = [word.removeprefix(_FIELD).partition("=") for word in cell.training.ctd]
            changed = {name: yaml.safe_load(value) for name, _, value in words}
            found[cell.name.removeprefix("ctd-")] = LiteFrameConfig(**{**own, **changed})
    return found


def measured(seconds: float) -> list[dict[str, Any]]:
    """A row for the teacher and for each shape; `seconds` are spent on the times of each."""
    tower = build_tiny_base_vlm()[0].model.vision_tower.eval()
    students = {name: LiteFrameEncoder(config).eval() for name, config in configs().items()}
    video_TCHW = torch.randn(FRAMES, 3, SIZE, SIZE)
    dtype = getattr(torch, fast_dtype("cpu"))
    encode: dict[str, Callable[[Tensor], Any]] = {
        "teacher": lambda frames_TCHW: tower(pixel_values=frames_TCHW),
        **{name: lambda frames_TCHW, of=student: of(frames_TCHW[None]) for name, student in students.items()},
    }
    operations = {name: cost_of(lambda of=run: of(video_TCHW)).forward for name, run in encode.items()}
    for model in (tower, *students.values()):
        model.to(dtype)

    def timed(run: Callable[[Tensor], Any]) -> Callable[[StageTimer], None]:
        def once(timer: StageTimer) -> None:
            with torch.inference_mode(), timer.stage("encode"):
                run(video_TCHW.to(dtype))

        return once

    settings = dict.fromkeys(MUST_AGREE, "of the tiny world") | {"dtype": str(dtype), "attention_kernel": ATTENTION}
    rule = RunRule.for_device("cpu", max_runs=200, max_seconds=seconds)
    samples = interleave(
        {name: timed(run) for name, run in encode.items()}, dict.fromkeys(encode, settings), rule, memory=False
    )
    return [
        {
            "shape": name,
            "mflops_per_frame": operations[name] / FRAMES / 1e6,
            "parameters": sum(weight.numel() for weight in (students.get(name) or tower).parameters()),
            "ms": samples[name].median_ms("encode"),
            "runs_ms": samples[name].stages_ms["encode"],
        }
        for name in encode
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timed runs of each shape")
    parser.add_argument("--output", required=True, help="file of the record")
    options = parser.parse_args()
    tune_malloc()
    rows = measured(options.seconds)
    lines = [
        [row["shape"], f"{row['mflops_per_frame']:.1f}", f"{row['parameters']:,}", f"{row['ms']:.1f}"] for row in rows
    ]
    print(aligned(["shape", "MFLOP a frame", "parameters", f"ms for {FRAMES} frames"], lines))
    about = environment("cpu", fast_dtype("cpu"), ATTENTION)
    settings = {"frames": FRAMES, "seconds": options.seconds}
    print(write_record(options.output, "student_shapes", about, settings, {"rows": rows}))


if __name__ == "__main__":
    main()
