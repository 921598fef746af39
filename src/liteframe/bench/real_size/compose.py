"""Model time beyond what was run: encode and project by the frame, prefill from operations over measured rates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from liteframe.bench.encoders import ComparedEncoder
from liteframe.bench.latency_record import How, LatencyRow, StageTime
from liteframe.bench.real_size.rows import computed
from liteframe.bench.real_size.subjects import LINE_TOKENS, QUESTION_TOKENS
from liteframe.bench.real_size.work import LlmWork

_RATE = "operations over the rate"


def composed_rows(
    rows: Sequence[LatencyRow],
    methods: dict[str, ComparedEncoder],
    frames: Sequence[int],
    work: LlmWork,
    context_tokens: int,
) -> list[LatencyRow]:
    """Rows of the suite "pipeline" for every method and frame count that was not run as a whole.

    A stage that a cell of the suites "encoder" or "prefill" has measured at that very size is taken over as it is.

    Args:
        rows: those that were measured.
        methods: those to compose, those without rows of the encoder are left out.
        frames: frame counts.
        work: operations of the LLM.
        context_tokens: visual tokens that the LLM may be given.
    """
    prefills = sorted(_with(rows, "prefill"), key=lambda row: row.prompt_tokens or 0)
    run_whole = {(row.arm, row.frames) for row in _with(rows, "pipeline")}
    found = []
    for name, about in methods.items():
        encoders = sorted((row for row in _with(rows, "encoder") if row.arm == name), key=lambda row: row.frames or 0)
        for count in frames if encoders and prefills else ():
            if (name, count) in run_whole:
                continue
            row = _composed(name, about, count, encoders, prefills, work)
            if (row.tokens_llm or 0) <= context_tokens:
                found.append(row)
    return found


def groups_of(about: ComparedEncoder, frames: int) -> int:
    """`Frame` lines of a prompt about that many frames."""
    return -(-frames // (about.frames_per_group or about.compressor.frames_per_group))


def prefill_stage(tokens: int, prefills: Sequence[LatencyRow], work: LlmWork) -> StageTime:
    """A prefill of `tokens` tokens, measured at that length or computed.

    Args:
        tokens: of the prompt.
        prefills: rows of the suite "prefill", by rising length.
        work: operations of the LLM.
    """
    lengths = [row.prompt_tokens or 0 for row in prefills]
    if tokens in lengths:
        return prefills[lengths.index(tokens)].stages["prefill"]
    flops, least = work.prefill(tokens), work.prefill_least(tokens)  # the latter as for lengths that are measured
    times = [row.stages["prefill"].ms for row in prefills]
    rates = [work.prefill(length) / ms for length, ms in zip(lengths, times, strict=True)]
    if tokens < lengths[0]:
        return computed(flops / rates[0], least, How.AT_RATE, f"{_RATE} measured at {lengths[0]} tokens")
    if tokens > lengths[-1]:
        ms, note = _beyond(tokens, lengths, times, work)
        return computed(ms, least, How.EXTRAPOLATED, note)
    after = next(index for index, length in enumerate(lengths) if length > tokens)
    share = math.log(tokens / lengths[after - 1]) / math.log(lengths[after] / lengths[after - 1])
    rate = rates[after - 1] + share * (rates[after] - rates[after - 1])
    note = f"{_RATE} between those measured at {lengths[after - 1]} and {lengths[after]} tokens"
    return computed(flops / rate, least, How.AT_RATE, note)


def _beyond(tokens: int, lengths: Sequence[int], times: Sequence[float], work: LlmWork) -> tuple[float, str]:
    """Milliseconds of a prefill longer than any that was run, and in words how they were found.

    Layers and attention have a rate each, since kernels skip what causal attention masks, and its share grows.
    """
    if len(lengths) < 3:
        rate = work.prefill(lengths[-1]) / times[-1]
        return work.prefill(tokens) / rate, f"longer than any that was run: {_RATE} measured at {lengths[-1]} tokens"
    slopes = _slopes(lengths, times, work)
    from_shorter = work.parts(lengths[-1]) @ _slopes(lengths[:-1], times[:-1], work)
    off = from_shorter / times[-1] - 1
    note = (
        f"layers and attention at a rate each, fitted to {len(lengths)} lengths up to {lengths[-1]} tokens; without the"
        f" longest the fit is {off:+.0%} off there"
    )
    return float(work.parts(tokens) @ slopes), note


def _slopes(lengths: Sequence[int], times: Sequence[float], work: LlmWork) -> NDArray[np.float64]:
    """Milliseconds an operation, of layers and of attention, neither below 0; the relative errors are least."""
    parts = np.stack([work.parts(length) for length in lengths]) / np.asarray(times)[:, None]
    slopes, *_ = np.linalg.lstsq(parts, np.ones(len(times)), rcond=None)
    for part, other in ((0, 1), (1, 0)):
        if slopes[part] < 0:
            alone = parts[:, other]
            slopes[part], slopes[other] = 0.0, alone.sum() / (alone @ alone)
    return slopes


def _composed(
    name: str,
    about: ComparedEncoder,
    frames: int,
    encoders: Sequence[LatencyRow],
    prefills: Sequence[LatencyRow],
    work: LlmWork,
) -> LatencyRow:
    base = _base(about, frames, encoders)
    timed = base.frames or 1
    factor = frames / timed
    stages = {
        stage: base.stages[stage] if factor == 1 else _scaled(base.stages[stage], factor, timed)
        for stage in ("encode", "project")
    }
    tokens_llm = round((base.tokens_llm or 0) * factor)
    prompt = QUESTION_TOKENS + LINE_TOKENS * groups_of(about, frames) + tokens_llm
    stages["prefill"] = prefill_stage(prompt, prefills, work)
    return LatencyRow(
        "pipeline",
        name,
        frames,
        stages,
        computed=True,
        image_size=base.image_size,
        tokens_encoder=round((base.tokens_encoder or 0) * factor),
        tokens_llm=tokens_llm,
        prompt_tokens=prompt,
        dtype=base.dtype,
        note="composed of stages that were run apart or computed",
    )


def _base(about: ComparedEncoder, frames: int, encoders: Sequence[LatencyRow]) -> LatencyRow:
    """The row that a number of frames is composed of: the longest up to it, of whole groups where there is one.

    Encoders go through frames or clips one like the other, so the time of one more is that of the last one; but a short
    clip of AutoGaze costs more by the frame than a whole one.
    """
    group = about.frames_per_group or about.compressor.frames_per_group
    if frames % group == 0:
        encoders = [row for row in encoders if (row.frames or 0) % group == 0] or encoders
    return next((row for row in reversed(encoders) if (row.frames or 0) <= frames), encoders[0])


def _scaled(stage: StageTime, factor: float, frames: int) -> StageTime:
    flops = None if stage.flops is None else stage.flops * factor
    return computed(stage.ms * factor, flops, How.BY_THE_FRAME, f"by the frame, from {frames} frames")


def _with(rows: Sequence[LatencyRow], suite: str) -> list[LatencyRow]:
    return [row for row in rows if row.suite == suite and row.status == "ok" and row.batch == 1]
