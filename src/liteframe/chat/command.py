"""``liteframe chat``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal

from liteframe.chat.command_model import load_for_command
from liteframe.data.decoding.live.source import STDIN, LiveSource
from liteframe.data.decoding.video_file import fault_of
from liteframe.data.remote.file import local_path
from liteframe.errors import ConfigError, DataError, DecodeError
from liteframe.models.folders.model_folder import require_folder_or_hub_id


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
    engine: Literal["torch", "torch-compile", "openvino-int8", "torchao-fp8"] = "torch",
    stream: bool = False,
    memory: int | None = None,
    forget: Literal["window", "merge"] | None = None,
    seconds: float | None = None,
    idle: float | None = None,
    drop: bool | None = None,
) -> int:
    """Ask about a video: one question, or, without one, a conversation that an empty line ends.

    With --stream the video is one that goes on: it is watched while questions are typed, and each is answered on
    its own about what was seen up to then. One question is answered when the stream has ended.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of
            a base VLM of any family (an InternVL, ...).
        video: a video file; with stream also a file that grows, a pipe ("-" is stdin), a camera (/dev/video0) or a URL
            (rtsp, udp, http, ...).
        question: what to ask; without it, questions are read line by line.
        frames: frames to look at; with fps, the most. By default as many as the model was trained on, or 64.
        fps: frames to take of each second; by default they are chosen as in training, or evenly, and 2 of a stream.
        start: second of the video from which to look.
        end: second of the video up to which to look.
        max_tokens: most tokens of an answer.
        device: cpu, cuda, or auto for a GPU where there is one.
        dtype: of the arithmetic; auto is the faster of float32 and bfloat16 on a CPU, and that of the LLM's weights on
            a GPU.
        engine: that runs the encoder; torch-compile compiles it for a CPU first, which takes a minute or so,
            openvino-int8 is eight bits on a CPU, out of a folder that `liteframe export --calibrate` wrote, torchao-fp8
            float8 on a GPU (pip install 'liteframe-video[fp8]').
        stream: watch the video as it goes on.
        memory: clips of a stream that are held at most; by default those of as many frames as the model was trained on.
        forget: what goes where a stream has more; window drops the oldest clips, merge makes one of neighbours.
        seconds: of watching, after which one question is answered in any case.
        idle: seconds without anything new after which a stream has ended; 10 by default.
        drop: whether frames that come faster than they are encoded are dropped, or their source waits; by default those
            of cameras and of streams that do not wait are.
    """
    require_folder_or_hub_id(model)
    of_streams = {"memory": memory, "forget": forget, "seconds": seconds, "idle": idle, "drop": drop}
    of_files = {"frames": frames, "start": start, "end": end}
    if unfit := [name for name, value in (of_files if stream else of_streams).items() if value is not None]:
        raise ConfigError(
            f"--{unfit[0]} is for {'files' if stream else 'streams'}; {'leave' if stream else 'give'} --stream"
        )
    if stream:
        source = LiveSource.of(video)
        if source.name == STDIN and question is None:
            _read_questions_from_terminal()
    elif fault := fault_of(local_path(video)):
        raise DecodeError(local_path(video), fault)
    loaded = load_for_command(model, device, dtype, engine, decodes=not stream)
    if stream:
        watching = loaded.stream(video, **_given(fps=fps, memory=memory, forget=forget, drop=drop, idle_s=idle))
        with watching as talk:
            if question is None:
                talk.await_first_frame()
            else:
                talk.wait(seconds)
            _talk(talk, question, max_tokens)
        return 0
    _talk(loaded.chat(video, frames=frames, fps=fps, start=start, end=end), question, max_tokens)
    return 0


def _given(**settings: Any) -> dict[str, Any]:
    """Those that are not left to their defaults."""
    return {name: value for name, value in settings.items() if value is not None}


# `talk` is a VideoChat or LiveChat; to read a signature, jsonargparse carries out imports under TYPE_CHECKING too.
def _talk(talk: Any, question: str | None, max_tokens: int) -> None:
    if question is not None:
        _answer(talk, question, max_tokens)
        return
    for asked in _questions():
        try:
            _answer(talk, asked, max_tokens)
        except DataError as error:
            print(f"liteframe: {error}", file=sys.stderr)


def _answer(talk: Any, question: str, max_tokens: int) -> None:
    for piece in talk.stream(question, max_tokens):
        print(piece, end="", flush=True)
    assert talk.last is not None
    print(f"\n[{talk.last.summary()}]", flush=True)


def _read_questions_from_terminal() -> None:
    """As stdin is the video. Raises ConfigError where there is no terminal."""
    try:
        sys.stdin = open("/dev/tty")  # noqa: SIM115 (as long as this process lives)
    except OSError as error:
        raise ConfigError(
            "the video comes through stdin, and there is no terminal to ask at; give the question"
        ) from error


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
