"""``liteframe chat``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any, Literal

from liteframe.data.decoding.processes import child as decoding
from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import local_path
from liteframe.errors import DataError, DecodeError
from liteframe.models.folders.model_folder import require_folder_or_hub_id
from liteframe.models.video_llm import chat_template
from liteframe.system.runtime import first_imports


def chat_command(
    model: str,
    video: str,
    question: str | None = None,
    *,
    frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_tokens: int = 256,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    engine: Literal["torch", "openvino-int8", "torchao-fp8"] = "torch",
) -> int:
    """Ask about a video: one question, or, without one, a conversation that an empty line ends.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of an InternVL.
        video: a video file.
        question: what to ask; without it, questions are read line by line.
        frames: frames to look at; with fps, the most. By default as many as the model was trained on, or 64.
        fps: frames to take of each second; by default they are chosen as in training, or evenly.
        start: second of the video from which to look.
        end: second of the video up to which to look.
        max_tokens: most tokens of an answer.
        device: cpu, cuda, or auto for a GPU where there is one.
        dtype: of the arithmetic; auto is the faster of float32 and bfloat16 on a CPU, and that of the LLM's weights on
            a GPU.
        engine: that runs the encoder; openvino-int8 is eight bits on a CPU, out of a folder exported with that engine,
            torchao-fp8 float8 on a GPU (pip install 'liteframe[fp8]').
    """
    require_folder_or_hub_id(model)
    if fault := fault_of(local_path(video)):
        raise DecodeError(local_path(video), fault)
    decoding.start_ahead()
    chat_template.start_ahead()
    with first_imports():
        from transformers.utils.logging import disable_progress_bar

        from liteframe.chat.model import load

    disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is to go
        loaded = load(model, device, dtype, engine=engine)
    talk = loaded.chat(video, frames=frames, fps=fps, start=start, end=end)
    if question is not None:
        _answer(talk, question, max_tokens)
        return 0
    for asked in _questions():
        try:
            _answer(talk, asked, max_tokens)
        except DataError as error:
            print(f"liteframe: {error}", file=sys.stderr)
    return 0


# `talk` is a VideoChat; to read a signature, jsonargparse carries out imports under TYPE_CHECKING too.
def _answer(talk: Any, question: str, max_tokens: int) -> None:
    for piece in talk.stream(question, max_tokens):
        print(piece, end="", flush=True)
    assert talk.last is not None
    print(f"\n[{talk.last.summary()}]", flush=True)


def _questions() -> Iterator[str]:
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if not line:
            return
        yield line
