"""Times student and teacher by every engine and in every format, in turns, and asks models in each what they know.

python benchmarks/eight_bits.py RUN=WORLD ... --sizes tiny --output benchmarks/records/eight_bits.json
python benchmarks/eight_bits.py --sizes real --presets fast faster --output benchmarks/records/eight_bits_real.json \
    --engines "torch fp32" "torch bf16" "torch-compile fp32" "OpenVINO fp32" "OpenVINO int8" "torch int8 (dynamic)"
python benchmarks/eight_bits.py runs/tiny/lma/export=runs/tiny/world --sizes tiny --videos 40     # a trial

RUN is a run folder of LMA, and WORLD the tiny world that it was trained on: its encoder goes through each format of
`liteframe export`, in eight bits calibrated on videos that it was trained on, and the model answers questions about
held-out videos with each. Size `tiny` has the weights of the first run, and `real` random ones, which are good for
times alone; there all engines at once take more than 24 GB. The teacher is quantised as the student is. Besides, torch
and onnxruntime quantise linear layers and matrix products by the ranges of each input (dynamic), which needs no videos.

What torch compiles is timed and its features compared, but it is asked no questions: its arithmetic is that of torch in
the same dtype. In bfloat16 torch runs twice: under autocast from weights in float32, as of an exported student, and
under autocast from weights that were converted, as of a base VLM whose file is in bfloat16.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import Tensor, nn

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.environment import environment
from liteframe.bench.floor import flops_of, measure_limits
from liteframe.bench.latency import interleave
from liteframe.bench.questions import question_batches, videos_for
from liteframe.bench.real_size.quick_weights import QuickWeights
from liteframe.bench.real_size.shapes import ATTENTION, shapes
from liteframe.bench.records import write_record
from liteframe.bench.timers import RunRule, summary
from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize, normalized_for
from liteframe.evaluation.answering import answer_all
from liteframe.hf.calibration import read_clips
from liteframe.hf.encoder_program import Encode, TokensOfWholeClips, backbone_program, float_copy
from liteframe.hf.int8_export import likeness, quantise
from liteframe.hf.loading import load_video_llm
from liteframe.hf.onnx import onnxruntime_session, to_onnx
from liteframe.hf.openvino import PRECISION, Compiled, to_openvino
from liteframe.hf.run_folder import RunFolder
from liteframe.models.acceleration.fallback import FallbackWarning
from liteframe.models.backbone import VisionTokens
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.encoder_config import PRESETS
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.hosts import INTERNVL
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.models.video_llm.reading import chunk_frames
from liteframe.system.tables import markdown

FLOAT32, BFLOAT16, CONVERTED, EXPORT = "torch fp32", "torch bf16", "torch bf16 (weights too)", "torch.export fp32"
COMPILED32, COMPILED16 = "torch-compile fp32", "torch-compile bf16"
COMPILED_CONVERTED = "torch-compile bf16 (weights too)"
ONNX, ONNX_INT, OPENVINO, INT = "ONNX fp32", "ONNX int8", "OpenVINO fp32", "OpenVINO int8"
TORCH_DYNAMIC, ONNX_DYNAMIC = "torch int8 (dynamic)", "ONNX int8 (dynamic)"
STUDENT = "student"
COMPILED = (COMPILED32, COMPILED16, COMPILED_CONVERTED)
TORCH = (FLOAT32, BFLOAT16, CONVERTED, EXPORT, TORCH_DYNAMIC, *COMPILED)
ENGINES = (*TORCH, ONNX, ONNX_INT, OPENVINO, INT, ONNX_DYNAMIC)
FRAMES = {"tiny": 64, "real": 4}
"""That are encoded at a time."""
CALIBRATION = {"tiny": 16, "real": 2}
"""Random clips: a time does not depend on how well they are chosen."""
BATCH = 8
"""Videos that are asked about at a time."""


def backbones(size: str, run: RunFolder | None, presets: Sequence[str]) -> dict[str, nn.Module]:
    """Student and teacher: of a run, or with random weights at the paper's size, where there are other students too."""
    if size == "real":
        names = (STUDENT, *(f"{STUDENT}-{preset}" for preset in presets), "teacher")
        with QuickWeights():
            made = {name: ENCODERS[name].make(shapes("real", "internvl3-1b")) for name in names}
        return {name: backbone.float().eval() for name, backbone in made.items()}
    assert run is not None
    teacher = INTERNVL.own_encoder(load_base_vlm(run.host(None), ATTENTION)[0])
    student = LiteFrameBackbone(float_copy(LiteFrameEncoder.from_pretrained(run.encoder)))
    return {STUDENT: student, "teacher": teacher.float().eval()}


def clips_of(backbone: nn.Module, frames: int, side: int) -> Tensor:
    """Random frames as the clips that the backbone takes."""
    clip = getattr(backbone, "clip_frames", 1)
    return torch.randint(0, 256, (frames // clip, clip, 3, side, side), dtype=torch.uint8)


def arms(backbone: nn.Module, clips: list[Tensor], engines: Collection[str]) -> dict[str, Encode]:
    """A backbone in float32 by those engines that are asked for, calibrated on clips: uint8 (T, C, H, W).

    Compiled by torch, its weights are constants, as with ``--engine torch-compile``.
    """
    clip, channels, height, width = clips[0].shape
    tokens = TokensOfWholeClips(backbone, clip).eval()
    program = cache(lambda: backbone_program(backbone, (clip, channels, height, width)))
    graph = cache(lambda: to_onnx(program()))
    model = cache(lambda: to_openvino(program(), (channels, height, width)))
    compiled = cache(partial(_compiled, backbone, clips[0].shape))
    makers: dict[str, Callable[[], Encode]] = {
        FLOAT32: lambda: tokens,
        BFLOAT16: lambda: _in_bfloat16(tokens),
        CONVERTED: lambda: _in_bfloat16(deepcopy(tokens).bfloat16()),
        EXPORT: lambda: program().module(check_guards=False),
        ONNX: lambda: onnxruntime_session(graph()),
        ONNX_INT: lambda: onnxruntime_session(quantise(graph(), clips)),
        OPENVINO: lambda: Compiled(model(), **PRECISION),
        INT: lambda: Compiled(quantise(model(), clips), **PRECISION),
        TORCH_DYNAMIC: lambda: torch.ao.quantization.quantize_dynamic(deepcopy(tokens), {nn.Linear}, dtype=torch.qint8),
        ONNX_DYNAMIC: lambda: onnxruntime_session(_quantised_dynamically(graph())),
        COMPILED32: lambda: compiled(torch.float32),
        COMPILED16: lambda: _in_bfloat16(compiled(torch.float32)),
        COMPILED_CONVERTED: lambda: _in_bfloat16(compiled(torch.bfloat16)),
    }
    return {engine: maker() for engine, maker in makers.items() if engine in engines}


def _compiled(backbone: nn.Module, shape: torch.Size, dtype: torch.dtype) -> nn.Module:
    clip, _, height, width = shape
    backbone = deepcopy(backbone).to(dtype)
    subject: Any = SimpleNamespace(backbone=backbone, clip_frames=clip)
    at_once = chunk_frames(subject, (height, width), torch.device("cpu")) // clip
    if isinstance(backbone, LiteFrameBackbone):
        backbone.encoder.freeze_chunks(at_once)
    else:
        assert isinstance(backbone, InternVLTeacher)
        backbone.freeze_frames(at_once)
    return TokensOfWholeClips(backbone, clip).eval()


def _in_bfloat16(tokens: nn.Module) -> Encode:
    """Under autocast, as answers are given in bfloat16, whatever the weights."""
    encode: Encode = torch.autocast("cpu", torch.bfloat16)(tokens.__call__)
    return encode


def _quantised_dynamically(graph: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, plain)
        # By half of the range, as else CPUs without VNNI saturate.
        quantize_dynamic(plain, quantised, reduce_range=True)
        return onnx.load(quantised)


@torch.no_grad()
def time_size(
    size: str, run: RunFolder | None, presets: Sequence[str], engines: Collection[str], rule: RunRule
) -> dict[str, Any]:
    """Milliseconds a frame of student and teacher by each of the engines, and of presets in int8, all in turns."""
    encode: dict[str, Callable[[Any], object]] = {}
    errors: dict[str, float] = {}
    flops: dict[str, float] = {}
    for name, backbone in backbones(size, run, presets).items():
        side = 448 if size == "real" else 112
        clips = list(clips_of(backbone, 4 * CALIBRATION[size], side))
        found = arms(backbone, clips, engines if name in (STUDENT, "teacher") else (FLOAT32, INT))
        frames_BTCHW = normalize(clips_of(backbone, FRAMES[size], side))
        reference = found[FLOAT32](frames_BTCHW)
        flops[name] = flops_of(partial(found[FLOAT32], frames_BTCHW)) / FRAMES[size]
        for engine, of in found.items():
            errors[f"{name}, {engine}"] = likeness([of(frames_BTCHW)], [reference]).relative_error
            encode[f"{name}, {engine}"] = partial(_timed, of, frames_BTCHW)
    same = dict.fromkeys(("dtype", "attention_kernel", "llm", "prompt", "output_length"), "none, or the engine's own")
    samples = interleave(encode, dict.fromkeys(encode, same), rule, memory=False)
    ms = {name: [time / FRAMES[size] for time in found.run_ms] for name, found in samples.items()}
    about = {"size": size, "frames": FRAMES[size], "flops_a_frame": flops, "relative_error": errors, "ms_a_frame": ms}
    others = {name: ratios(ms, name) for name in flops if name.startswith(f"{STUDENT}-")}
    return {**about, "times_faster": ratios(ms, STUDENT), "times_faster_by_preset": others}


def _timed(encode: Encode, frames_BTCHW: Tensor, timer: Any) -> None:
    with timer.stage("encode"):
        encode(frames_BTCHW)


def ratios(ms: dict[str, list[float]], subject: str) -> dict[str, dict[str, float]]:
    """How many times faster a student in int8 is: than the teacher and the paper's student by whatever of torch is
    fastest for each, and than the teacher in int8. Of each round, in which all were timed once."""
    against = {f"teacher, {INT}": f"teacher, {INT}"}
    for name in ("teacher", STUDENT):
        timed = [f"{name}, {engine}" for engine in TORCH if f"{name}, {engine}" in ms]
        best = min(timed, key=lambda arm: float(np.median(ms[arm])))
        against[f"{best} (the best of torch)"] = best
    student = np.array(ms[f"{subject}, {INT}"])
    return {name: summary((np.array(ms[arm]) / student).tolist()) for name, arm in against.items()}


class ForeignBackbone(nn.Module):
    """A student whose encoder another engine runs, as a backbone for videos of whole clips."""

    def __init__(self, student: LiteFrameBackbone, encode: Encode) -> None:
        super().__init__()
        self.frames_per_group, self.clip_frames = student.frames_per_group, student.clip_frames
        self.frame_wise, self.image_size = student.frame_wise, student.image_size
        self._encode = (encode,)  # no part of this module, as it is in its own device and dtype

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        (encode,) = self._encode
        return VisionTokens(encode(normalized_for(frames_BTCHW, IMAGENET_MEAN, IMAGENET_STD)).float())


def ask(run: RunFolder, world: Path, engines: Collection[str], counts: list[int], videos: int | None) -> dict[str, Any]:
    """Accuracy of a model on held-out videos with its encoder by each of the engines, how near its features are to
    those in float32, and on which share of questions it is right where float32 is right and wrong where that is."""
    model = load_video_llm(run.export).float()
    student = LiteFrameBackbone(float_copy(LiteFrameEncoder.from_pretrained(run.encoder)), model.backbone.image_size)
    frames = replace(run.frames, clip_frames=student.clip_frames)
    clips = read_clips(str(world / "train.jsonl"), frames, student.image_size)
    held_out = [normalize(clip.frames_TCHW)[None] for clip in clips.held_out]
    with torch.no_grad():
        reference = [student(clip).tokens_BTHWC for clip in held_out]
    accuracy: dict[str, dict[str, Any]] = {}
    near: dict[str, Any] = {}
    right: dict[str, dict[str, np.ndarray]] = {}
    for engine, encode in arms(student, [clip.frames_TCHW for clip in clips.calibration], engines).items():
        with torch.no_grad():
            features = [encode(clip) for clip in held_out]
        near[engine] = asdict(likeness(features, reference))
        model.backbone = ForeignBackbone(student, encode)
        data = videos_for({engine: model}, world / "test.jsonl", max(counts), BATCH)
        cells = {(engine, count): model for count in counts}
        with closing(question_batches(data, f"questions, {engine}")) as batches:
            some = batches if videos is None else islice(batches, -(-videos // BATCH))
            scores = answer_all(cells, some, torch.float32, torch.device("cpu"))
        accuracy[engine] = {str(count): score.compute() for (_, count), score in scores.items()}
        right[engine] = {str(count): score.answered()[0] for (_, count), score in scores.items()}
    as_float = {
        engine: {count: float(np.mean(each == right[FLOAT32][count])) for count, each in found.items()}
        for engine, found in right.items()
    }
    return {"accuracy": accuracy, "right_as_float32": as_float, "likeness": near}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="RUN=WORLD", help="run folder of LMA, and its world")
    parser.add_argument("--sizes", nargs="*", choices=list(FRAMES), default=list(FRAMES), help="to time at")
    parser.add_argument(
        "--presets",
        nargs="*",
        choices=[name for name in PRESETS if name != "paper"],
        default=[],
        help="students of other shapes, in int8 at real size beside the paper's",
    )
    parser.add_argument(
        "--engines",
        nargs="*",
        choices=ENGINES,
        default=ENGINES,
        help=f"all by default; {FLOAT32} and {INT} are always among them",
    )
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 32, 128], help="frame counts to ask with")
    parser.add_argument("--videos", type=int, help=f"of each world to ask about, in batches of {BATCH}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="in which every engine is timed once, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    if "tiny" in options.sizes and not options.models:
        parser.error("size tiny takes its weights from a model; give RUN=WORLD, or --sizes real")
    torch.set_num_threads(options.threads)
    warnings.simplefilter("error", FallbackWarning)  # what was not compiled is not timed as if it were
    models = dict(given.split("=", 1) for given in options.models)
    first = RunFolder.open(Path(next(iter(models)))) if models else None
    rule = RunRule(warmup=1, min_runs=options.rounds, slow_runs=options.rounds)
    packages = {name: version(name) for name in ("openvino", "nncf", "onnx", "onnxruntime")}
    engines = {FLOAT32, INT, *options.engines}
    settings = {"threads": options.threads, "rule": rule.describe(), "frames": options.frames, "packages": packages}
    around, limits, times, asked = environment(), measure_limits(), [], []

    def keep() -> None:
        """Writes what there is so far: engines run native code, of which a crash would take all of it along."""
        if options.output is not None:
            found = {"limits": limits, "times": times, "models": asked}
            write_record(options.output, "eight_bits", around, settings, found)

    for size in options.sizes:
        found = time_size(size, first, options.presets, engines, rule)
        times.append(found)
        rows: list[list[object]] = [
            [name, *(f"{summary(ms)[of]:.3g}" for of in ("median", "p10", "p90")), found["relative_error"][name]]
            for name, ms in found["ms_a_frame"].items()
        ]
        print(f"\n{size}\n\n{markdown(['arm', 'ms a frame', 'p10', 'p90', 'relative error'], rows)}\n")
        for student, against in ((STUDENT, found["times_faster"]), *found["times_faster_by_preset"].items()):
            for name, ratio in against.items():
                print(f"{student}, {INT}: {ratio['median']:.2f} times faster than {name}", flush=True)
        keep()
    for number, (run, world) in enumerate(models.items(), start=1):
        asking = engines.difference(COMPILED)
        answers = ask(RunFolder.open(Path(run)), Path(world), asking, options.frames, options.videos)
        asked.append({"model": number, **answers})
        rows = [
            [engine, *(f"{by_count[str(count)]['accuracy']:.3f}" for count in options.frames), f"{error:.4f}"]
            for engine, by_count in answers["accuracy"].items()
            for error in [answers["likeness"][engine]["relative_error"]]
        ]
        print(f"\n{run}\n\n{markdown(['student by', *map(str, options.frames), 'relative error'], rows)}", flush=True)
        keep()


if __name__ == "__main__":
    main()
