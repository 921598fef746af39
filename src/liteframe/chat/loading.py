"""A folder or hub id made into a model that answers: `liteframe.load`, and what the commands do around it."""

from __future__ import annotations

import sys
from pathlib import Path

from liteframe.chat.model import ChatModel
from liteframe.data.decoding.read_video import DEADLINE_S
from liteframe.hf.engine import TORCH, require_engine
from liteframe.hf.loading import load_video_llm
from liteframe.models.video_llm.precision import AUTO, dtype_named, merged_dtype, on_device


def load(
    model: str | Path,
    device: str = "auto",
    dtype: str | None = AUTO,
    attention: str | None = None,
    engine: str = TORCH,
    decode_deadline_s: float = DEADLINE_S,
) -> ChatModel:
    """A Video LLM that answers questions about video files.

    What its generation config asks for, and greedy answers do not follow, is said on stderr.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of
            a base VLM of any family (an InternVL, ...).
        device: "cpu", "cuda", ...; "auto" is a GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; None is the one of the LLM's weights. "auto" is that too, but on a
            CPU the faster of float32 and bfloat16, measured once a machine: where that is float32, bfloat16 weights
            are converted and take twice the memory.
        attention: attention implementation of the LLM, "eager" or "sdpa"; None is transformers' choice.
        engine: that runs the encoder: "torch"; "torch-compile", compiled while it is loaded, on a CPU;
            "openvino-int8", eight bits on a CPU, out of a folder that `liteframe export --calibrate` wrote; or
            "torchao-fp8", float8 on a GPU.
        decode_deadline_s: see `ChatModel`.

    Raises:
        ConfigError: nothing there that is a Video LLM, or a setting that makes no sense.
    """
    device = require_engine(engine, device)
    dtype = dtype_named(dtype, device)
    found = load_video_llm(model, attention, merged_dtype(dtype), engine)
    if found.not_applied:
        asked = ", ".join(found.not_applied)
        print(f"liteframe: answers are greedy; of its generation config {asked} is not applied", file=sys.stderr)
    return ChatModel(on_device(found, device), dtype, decode_deadline_s)
