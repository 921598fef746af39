"""Which cells are run on which device, those that matter most first: a suite that runs out of time loses the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.real_size.subjects import INSIDE_LLM, POST_HOC

FRAMES = (8, 16, 32, 64, 128, 256, 512)
"""Frame counts that model times are given for."""
CLIP = 4
"""Frames that the paper's Table 2 times a mixer on."""
LLM = "llm"
EXECUTED = ("execution", "float8", "frozen", "fastest", "streamed", "decoded")
"""Suites of one method that is run in several ways, or of methods that are run otherwise than everywhere else."""
FIRST_POST_HOC = ("teacher+fastvid", "teacher+visionzip", "teacher+prumerge")
"""Methods of `POST_HOC` that run before what is of less weight; the others run last."""


@dataclass(frozen=True)
class Step:
    """Methods that run in turns at one size.

    Attributes:
        suite: "encoder", "mixer", "prefill", "pipeline", "throughput", or one of `EXECUTED`; see `LatencyRow`.
        methods: names, those that matter most first.
        frames: of a video; tokens of the prompt for "prefill".
        batch: videos at once.
        chunk_clips: clips that the student encodes at a time; None is all of them.
    """

    suite: str
    methods: tuple[str, ...]
    frames: int
    batch: int = 1
    chunk_clips: int | None = None


def steps_for(device_type: str, tiny: bool = False) -> list[Step]:
    """The cells of a device, in the order in which they run."""
    if tiny:
        return _tiny(device_type)
    return _cuda() if device_type == "cuda" else _cpu()


def _cpu() -> list[Step]:
    # WAP behind the teacher is timed in the teacher's own runs, see `EncoderRun`.
    shared = ("teacher", "student", *_same_size())
    return [
        Step("encoder", shared, 4),
        *(Step("prefill", (LLM,), tokens) for tokens in (256, 1024, 2048)),
        Step("encoder", shared, 8),
        Step("mixer", ("student", *_group("mixer")), CLIP),
        *(Step("encoder", (name,), frames) for name in _native() for frames in _few(name)),
        Step("prefill", (LLM,), 4096),
        Step("encoder", shared, 16),
        *(Step("frozen", (name,), 4) for name in ("student", "teacher")),
    ]


def _cuda() -> list[Step]:
    main = _group("main")
    last = (*(name for name in POST_HOC if name not in FIRST_POST_HOC), *INSIDE_LLM)
    return [
        *(Step("pipeline", main, frames) for frames in FRAMES[:4]),
        *(Step("prefill", (LLM,), tokens) for tokens in (256, 1024, 4096, 16384)),
        # More of the teacher's frames than these are more than its LLM takes.
        *(Step("pipeline", ("student", "teacher+wap"), frames) for frames in FRAMES[4:]),
        Step("encoder", ("student", "teacher"), 64),
        *(Step("execution", (name,), 64) for name in ("student", "teacher")),
        Step("fastest", ("student", "teacher", "teacher+wap"), 64),
        Step("fastest", ("student",), 512),
        *(Step("throughput", ("student", "teacher+wap", "teacher"), 8, batch) for batch in (8, 32)),
        Step("streamed", ("student",), 512),
        Step("streamed", ("teacher",), 64),
        Step("decoded", ("student",), 512),
        Step("float8", ("student",), 64),
        Step("encoder", (*_same_size(), *_native()), 64),
        *(Step("execution", (name,), 8) for name in ("student", "teacher")),
        Step("encoder", ("student", "teacher", *_same_size(), *_native()), 8),
        *(Step("pipeline", FIRST_POST_HOC, frames) for frames in (8, 64)),
        *(Step("mixer", ("student", *_group("mixer")), frames) for frames in (CLIP, 64)),
        *(Step("encoder", ("student",), frames, chunk_clips=128) for frames in (1024, 2048, 4096)),
        *(Step("encoder", ("teacher",), frames) for frames in FRAMES[4:]),
        *(Step("prefill", (LLM,), tokens) for tokens in (2048, 8192)),
        *(Step("pipeline", last, frames) for frames in (8, 64)),
    ]


def _tiny(device_type: str) -> list[Step]:
    """Every kind of cell of that device, at the smallest size that it can have."""
    shared = ("teacher", "student", *_same_size())
    steps = [
        Step("encoder", shared, 4),
        Step("encoder", shared, 8),
        *(Step("encoder", (name,), frames) for name in _native() for frames in _few(name)),
        Step("mixer", ("student", *_group("mixer")), CLIP),
        *(Step("prefill", (LLM,), tokens) for tokens in (64, 128)),
    ]
    if device_type == "cuda":
        steps += [
            Step("pipeline", (*_group("main"), *POST_HOC, *INSIDE_LLM), 8),
            Step("throughput", _group("main"), 8, batch=2),
            Step("encoder", ("student",), 16, chunk_clips=2),
            *(Step("execution", (name,), 4) for name in ("student", "teacher")),
            Step("float8", ("student",), 4),
            Step("fastest", _group("main"), 8),
            Step("streamed", ("student",), 80),
            Step("decoded", ("student",), 8),
        ]
    return steps


def _group(name: str) -> tuple[str, ...]:
    return tuple(method for method, made in ENCODERS.items() if made.group == name)


def _same_size() -> tuple[str, ...]:
    return tuple(name for name in _group("encoder") if ENCODERS[name].native_size is None)


def _native() -> tuple[str, ...]:
    return tuple(name for name in _group("encoder") if ENCODERS[name].native_size is not None)


def _few(name: str) -> tuple[int, ...]:
    """Frames that an encoder runs on where time is short: 4, or a whole group of more and then half of it."""
    group = ENCODERS[name].frames_per_group or 1
    return (4,) if group <= 4 else (group, group // 2)


def methods_of(steps: Sequence[Step]) -> list[str]:
    """Every method of those steps, in the order of the registry, then those that reduce the teacher's tokens."""
    asked = {name for step in steps for name in step.methods}
    return [name for name in (*ENCODERS, *POST_HOC, *INSIDE_LLM) if name in asked]
