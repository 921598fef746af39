"""``liteframe demo``."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from typing import Literal

from liteframe.data.decoding.processes import child as decoding
from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import require_folder_or_hub_id
from liteframe.models.video_llm import chat_template
from liteframe.system.runtime import first_imports


def demo_command(
    model: str,
    *,
    teacher: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    frames: int | None = None,
    most_frames: int | None = None,
    max_tokens: int = 256,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    engine: Literal["torch", "openvino-int8"] = "torch",
    similarity: Literal["dot", "cosine"] = "dot",
    scale: float | None = None,
    max_upload_mb: int = 512,
) -> int:
    """Ask about videos on a page in the browser, which shows where the time went.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of an InternVL.
        teacher: folder or hub id of an InternVL that answers beside it, with all of its tokens.
        host: address to listen on; with another than this machine's own, others can ask too.
        port: to listen on; 0 is any that is free.
        frames: frames to look at before the slider is moved; by default as many as the model was trained on, or 64.
        most_frames: where the slider ends; by default twice as many.
        max_tokens: most tokens of an answer.
        device: cpu, cuda, or auto for a GPU where there is one.
        dtype: of the arithmetic; auto is the faster of float32 and bfloat16 on a CPU, and that of the LLM's weights on
            a GPU.
        engine: that runs the encoder; openvino-int8 is eight bits on a CPU, out of a folder exported with that engine.
        similarity: of WAP, whose weights over the teacher's frames are shown; as in the run that trained the model.
        scale: of WAP, likewise.
        max_upload_mb: largest video that is taken, in megabytes.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("gradio is not installed; pip install 'liteframe[demo]'")
    counts = {"frames": frames, "most_frames": most_frames, "max_tokens": max_tokens, "max_upload_mb": max_upload_mb}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")
    if not 0 <= port <= 65535:
        raise ConfigError(f"port is {port}; give a number from 0, which is any that is free, to 65535")
    for source in (model, teacher):
        if source is not None:
            require_folder_or_hub_id(source)
    decoding.start_ahead()
    chat_template.start_ahead()
    with first_imports():
        from transformers.utils.logging import disable_progress_bar

        from liteframe.chat.model import load
        from liteframe.demo.answers import Subject, Watcher
        from liteframe.demo.server import listen, serve, uploads
        from liteframe.models.backbone import WAP

    with listen(host, port) as socket, uploads():
        disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is to go
            subjects = [Subject("liteframe", load(model, device, dtype, engine=engine))]
            if teacher is not None:
                subjects.append(Subject("teacher, all tokens", load(teacher, device, dtype)))
        watcher = Watcher(subjects, WAP(similarity=similarity, scale=scale), max_tokens)
        first = frames or watcher.usual_frames
        print(f"liteframe: the demo is at http://{_address(socket.getsockname())}/, Ctrl-C ends it", flush=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            print(f"liteframe: everyone who reaches {host} can use it; there is no password", file=sys.stderr)
        serve(watcher, socket, first, max(first, most_frames or 2 * first), max_upload_mb)
    return 0


def _address(name: tuple[str, int]) -> str:
    """Host and port as they stand in a URL."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
