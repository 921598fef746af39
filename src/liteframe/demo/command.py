"""``liteframe demo``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from liteframe.chat.command_model import load_for_command
from liteframe.data.limits import require_whole
from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import require_folder_or_hub_id
from liteframe.system.installation import install_hint
from liteframe.system.listening import bound_socket, http_url, is_loopback

_MOST = 10**6


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
    engine: Literal["torch", "torch-compile", "openvino-int8", "torchao-fp8"] = "torch",
    similarity: Literal["dot", "cosine"] = "dot",
    scale: float | None = None,
    saliency: Literal["class_token", "mean_token", "norm"] | None = None,
    max_video_mb: int = 100,
) -> int:
    """Ask about videos on a page in the browser, which shows where the time went.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of
            a base VLM of any family (an InternVL, ...).
        teacher: folder or hub id of a base VLM that answers beside it, with all of its tokens.
        host: address to listen at; by default this machine alone can ask.
        port: to listen at; 0 is any that is free.
        frames: frames to look at before the slider is moved; by default as many as the model was trained on, or 64.
        most_frames: where the slider ends; by default twice as many.
        max_tokens: most tokens of an answer.
        device: cpu, cuda, or auto for a GPU where there is one.
        dtype: of the arithmetic; auto is the faster of float32 and bfloat16 on a CPU, and that of the LLM's weights on
            a GPU.
        engine: that runs the encoder; torch-compile compiles it for a CPU first, which takes a minute or so,
            openvino-int8 is eight bits on a CPU, out of a folder that `liteframe export --calibrate` wrote, torchao-fp8
            float8 on a GPU.
        similarity: of WAP, whose weights over the teacher's frames are shown; as in the run that trained the model.
        scale: of WAP, likewise.
        saliency: of WAP, likewise; by default the class token, or the norm where the encoder has none.
        max_video_mb: most megabytes of a video.
    """
    if find_spec("gradio") is None:
        raise ConfigError(f"the page needs gradio; {install_hint('demo')}")
    require_whole("--port", port, 2**16 - 1, least=0)
    require_whole("--max_tokens", max_tokens, _MOST)
    require_whole("--max_video_mb", max_video_mb, _MOST)
    require_whole("--most_frames", 1 if most_frames is None else most_frames, _MOST)
    require_whole("--frames", 1 if frames is None else frames, most_frames or _MOST)
    for source in (model, teacher):
        if source is not None:
            require_folder_or_hub_id(source)
    listening = bound_socket(host, port)
    models = {"liteframe": load_for_command(model, device, dtype, engine)}
    if teacher is not None:
        models["teacher, all tokens"] = load_for_command(teacher, device, dtype, "torch")

    from liteframe.demo.answers import Subject, Watcher, usual_saliency
    from liteframe.demo.server import serve, upload_folder
    from liteframe.models.backbone import WAP

    subjects = [Subject(title, loaded) for title, loaded in models.items()]
    wap = WAP(similarity=similarity, scale=scale, saliency=saliency or usual_saliency(subjects))
    watcher = Watcher(subjects, wap, max_tokens)
    first = frames or min(watcher.usual_frames, most_frames or watcher.usual_frames)
    listening.listen()  # whoever comes at once waits for the page
    print(f"liteframe: the demo is at {http_url(listening)}/, Ctrl-C ends it", flush=True)
    if not is_loopback(listening):
        print("liteframe: whoever reaches this address may ask and upload; there is no password", flush=True)
    with upload_folder():
        serve(watcher, listening, first, most_frames or 2 * first, max_video_mb)
    return 0
