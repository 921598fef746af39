"""The same questions about the same files to chat and to three servers of one model: are the words the same?

liteframe pipeline tiny --seed 4
python benchmarks/servers.py runs/tiny-seed4/lma/export runs/tiny-seed4/world/val/*.mp4 --question "color of the star"

`liteframe serve`, vLLM's server and `liteframe demo` are started one after the other, on a port that is free, asked as
their users' programs and browsers do, and ended; all compute in float32. An adapter is merged first, as vLLM needs it.
A server that is not installed is listed as missing, and is a failure only where --require names it. Blanks around an
answer do not count: where a tokenizer has words with the blank before them, vLLM leaves that before the first.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from os import environ, killpg, path
from pathlib import Path
from typing import Any

import liteframe
from liteframe.bench.environment import environment
from liteframe.bench.records import write_record
from liteframe.command.export import export_command
from liteframe.models.video_llm.adapted import is_adapted
from liteframe.system.installation import install_hint
from liteframe.system.tables import aligned
from vllm_agreement import ask_server

_START_S = 900
_LIMITS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Asked:
    """What all are asked with.

    Attributes:
        model: folder.
        videos: folder that holds them all.
        frames: of a video.
        max_tokens: of an answer.
    """

    model: str
    videos: str
    frames: int
    max_tokens: int


@dataclass(frozen=True)
class Server:
    """A server: the package that it needs beside liteframe, its command, and how it is asked.

    Attributes:
        module: that must be there.
        extra: of liteframe that brings it.
        health: path that is answered when it is ready.
        words: of the command behind `python -m`, for what is asked and a port.
        ask: address, what is asked, video and question to the words of the answer.
    """

    module: str
    extra: str
    health: str
    words: Callable[[Asked, int], list[str]]
    ask: Callable[[str, Asked, Path, str], str]


def serve_words(asked: Asked, port: int) -> list[str]:
    words = ["liteframe", "serve", asked.model, "--port", str(port), "--dtype", "float32"]
    return [*words, "--allowed_local_media_path", asked.videos]


def vllm_words(asked: Asked, port: int) -> list[str]:
    words = ["vllm.entrypoints.openai.api_server", "--model", asked.model, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--dtype", "float32", "--enforce-eager", "--generation-config", "vllm", "--trust-request-mm-kwargs"]
    return [*words, "--max-num-seqs", "1", "--allowed-local-media-path", asked.videos]


def demo_words(asked: Asked, port: int) -> list[str]:
    words = ["liteframe", "demo", asked.model, "--port", str(port), "--dtype", "float32"]
    return [*words, "--most_frames", str(asked.frames), "--max_tokens", str(asked.max_tokens)]


def ask_openai(address: str, asked: Asked, video: Path, question: str) -> str:
    frames = {"video": {"num_frames": asked.frames}}
    reply = ask_server(address, video.as_uri(), question, asked.max_tokens, tokens=False, media_io_kwargs=frames)
    return str(reply["choices"][0]["message"]["content"])


def ask_demo(address: str, asked: Asked, video: Path, question: str) -> str:
    """As the page in a browser does: uploads the video, joins Gradio's queue, and waits for the last of its events."""
    api, boundary = f"{address}/gradio_api", uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{video.name}"\r\n\r\n'
    body = head.encode() + video.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    (uploaded,) = _json(f"{api}/upload", body, f"multipart/form-data; boundary={boundary}")
    calls = _json(f"{address}/config")["dependencies"]
    call = next(index for index, call in enumerate(calls) if len(call["inputs"]) == 3)
    file = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
    session = uuid.uuid4().hex
    joined = {"data": [file, question, asked.frames], "fn_index": call, "session_hash": session}
    _json(f"{api}/queue/join", json.dumps(joined).encode())
    with urllib.request.urlopen(f"{api}/queue/data?session_hash={session}", timeout=600) as events:
        for line in events:
            event = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
            if event.get("msg") == "process_completed":
                page = event["output"]["data"][0]
                said = re.search(r'<p class="lf-answer"[^>]*>(.*?)</p>', page, re.DOTALL)
                assert said is not None and 'class="lf-error"' not in page, page
                return html.unescape(said[1])
    raise SystemExit("the demo's events ended before its answer")


SERVERS = {
    "serve": Server("uvicorn", "serve", "/health", serve_words, ask_openai),
    "vllm": Server("vllm", "vllm", "/health", vllm_words, ask_openai),
    "demo": Server("gradio", "demo", "/", demo_words, ask_demo),
}


def _json(url: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


@contextmanager
def running(words: Callable[[int], list[str]], health: str) -> Iterator[str]:
    """Address of a server that is ready; it and its children are ended behind it.

    Args:
        words: of its command behind `python -m`, for a port.
        health: path that is answered when it is ready.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", *words(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**environ, **_LIMITS}, start_new_session=True)
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(address + health):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} does not start:\n{log.read()[-4000:]}")
                time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            finally:
                with suppress(ProcessLookupError):  # no child outlived it
                    killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder that chat takes")
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--question", action="append", required=True, help="in words that the model knows; repeatable")
    parser.add_argument("--max_tokens", type=int, default=16, help="of an answer")
    parser.add_argument("--frames", type=int, help="of a video; by default as the model was trained")
    parser.add_argument("--require", nargs="*", default=[], choices=sorted(SERVERS), help="servers that must be there")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    videos = [video.resolve() for video in options.videos]
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if is_adapted(model):
            export_command(str(model), f"{folder}/model", merge=True)
            model = Path(folder, "model")
        chat = liteframe.load(model, "cpu", "float32")
        frames = options.frames or chat.model.frames.most_frames or 64
        asked = Asked(str(model), path.commonpath([video.parent for video in videos]), frames, options.max_tokens)
        pairs = list(product(videos, options.question))
        expected = [chat.answer(*pair, options.max_tokens, frames=frames).text.strip() for pair in pairs]
        said: dict[str, list[str]] = {}
        for name, server in SERVERS.items():
            if find_spec(server.module) is not None:
                with running(partial(server.words, asked), server.health) as address:
                    said[name] = [server.ask(address, asked, *pair) for pair in pairs]
    said = {name: [answer.strip() for answer in answers] for name, answers in said.items()}
    rows = [["chat", f"{len(pairs)} answers, {len(set(expected))} of them different"]]
    for name, server in SERVERS.items():
        if name in said:
            same = sum(one == other for one, other in zip(said[name], expected, strict=True))
            rows.append([name, f"{same} of {len(pairs)} the same"])
        else:
            rows.append([name, f"missing: {install_hint(server.extra)}"])
    print(aligned(["server", "answers"], rows))
    different = [
        [name, video.name, question, other, one]
        for name, answers in said.items()
        for (video, question), one, other in zip(pairs, answers, expected, strict=True)
        if one != other
    ]
    for name, video, question, other, one in different:
        print(f"{name} about {video}, {question!r}: {one!r}, and chat: {other!r}")
    if options.output:
        settings = {"model": options.model.name, "frames": frames, "max_tokens": options.max_tokens}
        asked_about = [[video.name, question, words] for (video, question), words in zip(pairs, expected, strict=True)]
        data = {"chat": asked_about, "said": said, "missing": [name for name in SERVERS if name not in said]}
        print(write_record(options.output, "servers", environment(), settings, data))
    missing = [name for name in options.require if name not in said]
    return 1 if different or missing else 0


if __name__ == "__main__":
    sys.exit(main())
