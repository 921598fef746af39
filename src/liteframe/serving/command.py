"""``liteframe serve``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from liteframe.chat.command_model import load_for_command
from liteframe.data.limits import most_processes, require_seconds, require_whole
from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import require_folder_or_hub_id
from liteframe.system.installation import install_hint
from liteframe.system.listening import bound_socket, http_url, is_loopback

_PACKAGES = ("aiohttp", "pydantic", "starlette", "uvicorn")
_MOST = 10**6
_KEY = "LITEFRAME_API_KEY"


def serve_command(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    served_model_name: str | None = None,
    allowed_local_media_path: str | None = None,
    allowed_media_domains: list[str] | None = None,
    any_address: bool = False,
    frames: int | None = None,
    fps: float | None = None,
    max_frames: int = 512,
    max_videos: int = 8,
    max_video_mb: int = 100,
    max_tokens: int = 256,
    max_requests: int = 64,
    remember_mb: int = 256,
    watchers: int = 2,
    fetch_timeout_s: float = 60.0,
    decode_deadline_s: float = 30.0,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    engine: Literal["torch", "torch-compile", "openvino-int8", "torchao-fp8"] = "torch",
) -> int:
    """Answer questions about videos over HTTP, as OpenAI's chat completions.

    Args:
        model: export folder of an LMA run, what `liteframe export` made of it, or a folder or hub id of
            a base VLM of any family (an InternVL, ...).
        host: address to listen at; by default this machine alone can ask.
        port: to listen at; 0 is any that is free.
        api_key: that requests must bear; also from the environment variable LITEFRAME_API_KEY.
        served_model_name: that requests name the model by; by default as it is given here.
        allowed_local_media_path: folder whose files `file:` URLs may name; by default no such URL is followed.
        allowed_media_domains: hosts that videos are fetched from; by default all with public addresses.
        any_address: fetch from private addresses and by http:, too; only where all who may ask are trusted.
        frames: frames to look at; with fps, the most. By default as many as the model was trained on, or 64.
        fps: frames to take of each second; by default they are chosen as in training, or evenly.
        max_frames: most frames of a video that a request may ask for.
        max_videos: most videos of a request.
        max_video_mb: most megabytes of a video that is fetched or comes in the request.
        max_tokens: most tokens of an answer, where a request does not say.
        max_requests: most requests that are answered or wait; others are told to come later.
        remember_mb: megabytes of encoded videos that are kept for further questions about them; 0 keeps none.
        watchers: videos that are decoded and encoded at a time.
        fetch_timeout_s: seconds that fetching a video, or the sending of a request, may take.
        decode_deadline_s: seconds without progress after which decoding a video is given up.
        device: cpu, cuda, or auto for a GPU where there is one.
        dtype: of the arithmetic; auto is the faster of float32 and bfloat16 on a CPU, and that of the LLM's weights on
            a GPU.
        engine: that runs the encoder; torch-compile compiles it for a CPU first, which takes a minute or so,
            openvino-int8 is eight bits on a CPU, out of a folder that `liteframe export --calibrate` wrote, torchao-fp8
            float8 on a GPU.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"serving needs {', '.join(missing)}; {install_hint('serve')}")
    require_folder_or_hub_id(model)
    require_whole("--port", port, 2**16 - 1, least=0)
    require_whole("--max_frames", max_frames, _MOST)
    require_whole("--max_videos", max_videos, _MOST)
    require_whole("--max_video_mb", max_video_mb, _MOST)
    require_whole("--max_tokens", max_tokens, _MOST)
    require_whole("--max_requests", max_requests, _MOST)
    require_whole("--remember_mb", remember_mb, _MOST, least=0)
    require_whole("--watchers", watchers, most_processes())
    require_seconds("--fetch_timeout_s", fetch_timeout_s)
    require_seconds("--decode_deadline_s", decode_deadline_s)
    if frames is not None:
        require_whole("--frames", frames, max_frames)
    if fps is not None and not fps > 0:
        raise ConfigError(f"--fps is {fps}; give a rate above 0")
    folder = None if allowed_local_media_path is None else Path(allowed_local_media_path)
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--allowed_local_media_path: {folder} is no folder")
    api_key = os.environ.get(_KEY) if api_key is None else api_key
    api_key = api_key and api_key.strip()  # a file or a secret often ends in a new line
    if api_key is not None and not api_key:
        raise ConfigError(f"--api_key (or {_KEY}) is empty; give a key, or none")
    listening = bound_socket(host, port)
    loaded = load_for_command(model, device, dtype, engine, decode_deadline_s=decode_deadline_s)

    from liteframe.serving.app import build_app
    from liteframe.serving.fetch import FetchPolicy
    from liteframe.serving.media import MediaPolicy
    from liteframe.serving.server import run_server
    from liteframe.serving.service import AnswerService, Limits

    most_bytes = max_video_mb * 10**6
    domains = None if allowed_media_domains is None else tuple(name.lower() for name in allowed_media_domains)
    schemes = ("https", "http") if any_address else ("https",)
    media = MediaPolicy(folder, FetchPolicy(schemes, domains, any_address, most_bytes, fetch_timeout_s))
    limits = Limits(frames, fps, max_frames, max_videos, max_tokens, max_requests, remember_mb * 10**6)
    service = AnswerService(loaded, media, limits, watchers)
    name = served_model_name or model
    local = is_loopback(listening)
    # In base64 four bytes are three of a video; the rest is for what is said.
    app = build_app(service, name, api_key, most_bytes * 4 // 3 + 10**6, fetch_timeout_s, local)
    print(f"liteframe: {name} answers at {http_url(listening)}/v1", flush=True)
    if not local and api_key is None:
        print("liteframe: whoever reaches this address may ask; --api_key KEY asks for a key", flush=True)
    run_server(app, service, listening)
    return 0
