"""Times student and teacher in eight bits and in torch, in turns, and asks models in both what they know.

python benchmarks/eight_bits.py RUN=WORLD ... --output benchmarks/records/eight_bits.json
python benchmarks/eight_bits.py runs/tiny/lma/export=runs/tiny/world --sizes tiny --questions 40     # a trial

RUN is a run folder of LMA, and WORLD the tiny world that it was trained on: each model is exported with the engine
openvino-int8, calibrated on videos that it was trained on, and asked about held-out videos by both engines. Size
`tiny` has the weights of the first run, and `real` random ones: those are good for times alone. The teacher is
quantised as the student is. onnxruntime and torch quantise linear layers and matrix products by the ranges of each
input (dynamic).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import Tensor, nn

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.environment import environment
from liteframe.bench.floor import flops_of, measure_limits
from liteframe.bench.latency import interleave
from liteframe.bench.real_size.quick_weights import QuickWeights
from liteframe.bench.real_size.shapes import ATTENTION, shapes
from liteframe.bench.records import write_record
from liteframe.bench.timers import RunRule, summary
from liteframe.command.export import export_command
from liteframe.data.transforms import normalize
from liteframe.evaluation.command import evaluate_command
from liteframe.hf.engine import INT8, RECORD, TORCH
from liteframe.hf.onnx import float_copy
from liteframe.hf.openvino import INPUT, Compiled, TokensOnly, quantise, to_openvino
from liteframe.hf.run_folder import RunFolder
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import BaseParts, LiteFrameBackbone
from liteframe.system.tables import markdown

FLOAT32, BFLOAT16, OPENVINO, INT = "torch fp32", "torch bf16", "OpenVINO fp32", "OpenVINO int8"
TORCH_INT, ONNX_INT = "torch int8 (dynamic)", "onnxruntime int8 (dynamic)"
FRAMES = {"tiny": 64, "real": 4}
"""That are encoded at a time."""
CALIBRATION = {"tiny": 16, "real": 2}
"""Random clips: a time does not depend on how well they are chosen."""
Encode = Callable[[Tensor], Tensor]


def backbones(size: str, run: RunFolder | None) -> dict[str, nn.Module]:
    """Student and teacher: of a run, or with random weights at the paper's size."""
    if size == "real":
        with QuickWeights():
            made = {name: ENCODERS[name].make(shapes("real", "internvl3-1b")) for name in ("student", "teacher")}
        return {name: backbone.float().eval() for name, backbone in made.items()}
    assert run is not None
    parts = BaseParts.of(load_base_vlm(run.host(None), ATTENTION)[0])
    teacher = InternVLTeacher(parts.vision_tower, None, parts.downsample_ratio, parts.feature_layer, *parts.pixels)
    student = LiteFrameBackbone(float_copy(LiteFrameEncoder.from_pretrained(run.encoder)))
    return {"student": student, "teacher": teacher.float().eval()}


def clips_of(backbone: nn.Module, frames: int, side: int) -> Tensor:
    """Random frames as the clips that the backbone takes."""
    clip = getattr(backbone, "clip_frames", 1)
    return torch.randint(0, 256, (frames // clip, clip, 3, side, side), dtype=torch.uint8)


def arms(backbone: nn.Module, calibration: Tensor, folder: Path) -> dict[str, Encode]:
    """A backbone by every engine."""
    tokens, shape = TokensOnly(backbone).eval(), tuple(calibration.shape[1:])
    model = to_openvino(backbone, shape)
    single = Compiled(model, INFERENCE_PRECISION_HINT="f32")
    eight = Compiled(quantise(model, list(calibration)), INFERENCE_PRECISION_HINT="f32")
    in_torch = torch.ao.quantization.quantize_dynamic(deepcopy(tokens), {nn.Linear}, dtype=torch.qint8)
    return {
        FLOAT32: tokens,
        BFLOAT16: torch.autocast("cpu", torch.bfloat16)(tokens.__call__),
        OPENVINO: single,
        INT: eight,
        TORCH_INT: in_torch,
        ONNX_INT: by_onnxruntime(tokens, shape, folder),
    }


def by_onnxruntime(tokens: nn.Module, shape: Sequence[int], folder: Path) -> Encode:
    """A backbone with int8 weights in onnxruntime, by its own quantisation."""
    plain, quantised = folder / "plain.onnx", folder / "int8.onnx"
    axes: Any = ({0: torch.export.Dim("batch", min=1)},)
    program: Any = torch.onnx.export(
        tokens, (torch.zeros(2, *shape),), input_names=[INPUT], dynamic_shapes=axes, dynamo=True, verbose=False
    )
    program.save(plain)
    quantize_dynamic(plain, quantised)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(quantised), options, providers=["CPUExecutionProvider"])
    return lambda frames_BTCHW: torch.from_numpy(session.run(None, {INPUT: frames_BTCHW.numpy()})[0])


@torch.no_grad()
def time_size(size: str, run: RunFolder | None, rule: RunRule) -> dict[str, Any]:
    """Milliseconds a frame of student and teacher by every engine, all in turns."""
    encode: dict[str, Callable[[Any], object]] = {}
    likeness: dict[str, float] = {}
    flops: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, backbone in backbones(size, run).items():
            side = 448 if size == "real" else 112
            found = arms(backbone, clips_of(backbone, 4 * CALIBRATION[size], side), Path(folder))
            frames_BTCHW = normalize(clips_of(backbone, FRAMES[size], side))
            wanted = found[FLOAT32](frames_BTCHW)
            flops[name] = flops_of(partial(found[FLOAT32], frames_BTCHW)) / FRAMES[size]
            for engine, of in found.items():
                error = (of(frames_BTCHW).float() - wanted).norm() / wanted.norm()
                likeness[f"{name}, {engine}"] = round(float(error), 5)
                encode[f"{name}, {engine}"] = partial(_timed, of, frames_BTCHW)
    same = dict.fromkeys(("dtype", "attention_kernel", "llm", "prompt", "output_length"), "none, or the engine's own")
    samples = interleave(encode, dict.fromkeys(encode, same), rule, memory=False)
    ms = {name: [time / FRAMES[size] for time in found.run_ms] for name, found in samples.items()}
    return {"size": size, "frames": FRAMES[size], "flops_a_frame": flops, "relative_error": likeness, "ms_a_frame": ms}


def _timed(encode: Encode, frames_BTCHW: Tensor, timer: Any) -> None:
    with timer.stage("encode"):
        encode(frames_BTCHW)


def ratios(ms: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times faster the student in int8 is: than the teacher in torch's best dtype, and than it in int8. Of
    each round, in which all were timed once."""
    best = min((FLOAT32, BFLOAT16), key=lambda engine: np.median(ms[f"teacher, {engine}"]))
    against = {f"teacher, {best} (the best of torch)": f"teacher, {best}", f"teacher, {INT}": f"teacher, {INT}"}
    student = np.array(ms[f"student, {INT}"])
    return {name: summary((np.array(ms[arm]) / student).tolist()) for name, arm in against.items()}


def ask(name: str, world: str, frames: str, questions: int | None, folder: Path) -> dict[str, Any]:
    """Accuracy of a model by both engines on held-out videos, and how often both answer the same."""
    model = folder / "model"
    export_command(name, str(model), engine=INT8, calibrate=f"{world}/train.jsonl")
    picks: dict[str, dict[tuple[str, int], int]] = {}
    accuracy: dict[str, dict[str, float]] = {}
    for engine in (TORCH, INT8):
        out = folder / engine
        settings: dict[str, Any] = {"benchmark": "tiny-world", "data": world, "frames": frames, "answer": "likelihood"}
        evaluate_command(str(model), **settings, limit=questions, engine=engine, device="cpu", out=str(out))
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        picks[engine] = {(row["question"], row["frames"]): int(np.argmax(row["option_logits"])) for row in lines}
        report = json.loads((out / "report.json").read_text())
        accuracy[engine] = {count: at["scores"]["likelihood"]["accuracy"] for count, at in report["frames"].items()}
    same = [picks[INT8][key] == pick for key, pick in picks[TORCH].items()]
    likeness = json.loads((model / RECORD).read_text())["likeness"]
    counts = {"questions": len(same), "equal_answers": float(np.mean(same))}
    return {"accuracy": accuracy, **counts, "likeness": likeness}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="RUN=WORLD", help="run folder of LMA, and its world")
    parser.add_argument("--sizes", nargs="*", choices=list(FRAMES), default=list(FRAMES), help="to time at")
    parser.add_argument("--frames", default="8,32,128", help="frame counts to ask with")
    parser.add_argument("--questions", type=int, help="of each world at most; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="in which every engine is timed once, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    if "tiny" in options.sizes and not options.models:
        parser.error("size tiny takes its weights from a model; give RUN=WORLD, or --sizes real")
    torch.set_num_threads(options.threads)
    models = dict(given.split("=", 1) for given in options.models)
    first = RunFolder.open(Path(next(iter(models)))) if models else None
    rule = RunRule(warmup=1, min_runs=options.rounds, slow_runs=options.rounds)
    limits, times, asked = measure_limits(), [], []
    for size in options.sizes:
        found = time_size(size, first, rule)
        times.append({**found, "times_faster": ratios(found["ms_a_frame"])})
        rows: list[list[object]] = [
            [name, *(f"{summary(ms)[of]:.3g}" for of in ("median", "p10", "p90")), found["relative_error"][name]]
            for name, ms in found["ms_a_frame"].items()
        ]
        print(f"\n{size}\n\n{markdown(['arm', 'ms a frame', 'p10', 'p90', 'relative error'], rows)}\n")
        for name, ratio in times[-1]["times_faster"].items():
            print(f"student, {INT}: {ratio['median']:.2f} times faster than {name}", flush=True)
    for number, (run, world) in enumerate(models.items(), start=1):
        with tempfile.TemporaryDirectory() as folder:
            asked.append({"model": number, **ask(run, world, options.frames, options.questions, Path(folder))})
        print(asked[-1], flush=True)
    if options.output is not None:
        packages = {name: version(name) for name in ("openvino", "nncf", "onnxruntime")}
        settings = {"threads": options.threads, "rule": rule.describe(), "frames": options.frames, "packages": packages}
        write_record(
            options.output, "eight_bits", environment(), settings, {"limits": limits, "times": times, "models": asked}
        )


if __name__ == "__main__":
    main()
