"""Exported models behind vLLM's own server answer as `liteframe chat`; skipped without vLLM (`make vllm-env`)."""

from __future__ import annotations

import ast
import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import liteframe
from liteframe.chat.loading import load as load_chat
from liteframe.chat.model import ChatModel
from liteframe.command.export import export_command
from liteframe.data.sampling import InnerPoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.hf import LiteFrameForConditionalGeneration, LiteFrameProcessor
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.system.own_folder import list_files
from liteframe.tiny.synthetic import FPS
from liteframe.tiny.synthetic_files import write_video
from tiny_world import ENCODER, host_folder
from vllm_agreement import Tokens, ask_chat, ask_server, compare, tokens_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUESTION, OTHER_QUESTION = "color of the star", "color of the box"
NEW_TOKENS = 20
NOISE = 0.1
VIDEOS = {"long": 96, "medium": 37, "short": 6, "one": 1}
START_S = 900


def test_the_entry_point_names_a_function_that_there_is() -> None:
    package = Path(liteframe.__file__).parent
    project = package.parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not a checkout")
    named = tomllib.loads(project.read_text())["project"]["entry-points"]["vllm.general_plugins"]["liteframe"]
    module, _, name = named.partition(":")
    tree = ast.parse((package.parent / f"{module.replace('.', '/')}.py").read_text())
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.fixture(scope="module")
def there() -> None:
    pytest.importorskip("vllm.exceptions", reason="vLLM is not installed: make vllm-env")


@pytest.fixture(scope="module")
def model_folder(there: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose clips hold two groups of frames, which takes 24 frames of a video, not at the usual places."""
    folder = tmp_path_factory.mktemp("served")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = LiteFrameEncoder(LiteFrameConfig(**ENCODER, clip_frames=8, downsample_strides=[[2, 2, 2], [2, 1, 1]]))
        for parameter in encoder.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    encoder.save_pretrained(folder / "encoder")
    TrainingRecord("CTDStage", 350, "32-true", FrameSpec((112, 112), 8, InnerPoints(), 24)).write(folder / "encoder")
    list_files(folder / "encoder")
    assert export_command(str(folder / "encoder"), str(folder / "model"), host=str(host_folder())) == 0
    model = LiteFrameForConditionalGeneration.from_pretrained(folder / "model")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as it is, the answers are too much alike
        for parameter in [*model.projector.parameters(), *model.language_model.layers.parameters()]:
            parameter += NOISE * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name, frames in VIDEOS.items():
        shades_T = rng.integers(0, 255, (frames, 7, 7, 3), np.uint8)
        write_video(folder / f"{name}.mp4", shades_T.repeat(16, axis=1).repeat(16, axis=2))
    (folder / "broken.mp4").write_bytes((folder / "long.mp4").read_bytes()[:2000])
    Image.fromarray(rng.integers(0, 255, (80, 60, 3), np.uint8)).save(folder / "picture.png")
    return folder


@pytest.fixture(scope="module")
def server(model_folder: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of vLLM's server, with prefix caching in small blocks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_folder)]
    command += ["--served-model-name", "liteframe", "--port", str(port), "--host", "127.0.0.1", "--enforce-eager"]
    command += ["--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "8", "--block-size", "32"]
    command += [
        "--allowed-local-media-path",
        str(videos),
        "--enable-prompt-tokens-details",
        "--trust-request-mm-kwargs",
    ]
    cpu = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    environment = {**os.environ, **cpu, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM's server does not start:\n{log.read_text()[-4000:]}")
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        for blow in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, blow)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def chat(model_folder: Path) -> ChatModel:
    return load_chat(model_folder, device="cpu")


def ask(server: str, url: str, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    return ask_server(server, url, question, NEW_TOKENS, **more)


def refusal(server: str, url: str, **more: Any) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, url, **more)
    return caught.value.code, caught.value.read().decode()


def expected(chat: ChatModel, video: Path, question: str = QUESTION, **watch: Any) -> Tokens:
    return ask_chat(chat, video, question, NEW_TOKENS, **watch)


@pytest.mark.timeout(START_S + 300)
class TestServer:
    @pytest.mark.parametrize("name", VIDEOS)
    def test_an_answer_is_that_of_chat(self, server: str, chat: ChatModel, videos: Path, name: str) -> None:
        video = videos / f"{name}.mp4"
        assert tokens_of(ask(server, video.as_uri()), chat) == expected(chat, video)

    def test_answers_differ_and_are_long(self, chat: ChatModel, videos: Path) -> None:
        answers = [expected(chat, videos / f"{name}.mp4")[1] for name in VIDEOS]
        assert len({tuple(answer) for answer in answers}) == len(VIDEOS)
        assert sum(len(set(answer)) for answer in answers) > 10 * len(VIDEOS)

    @pytest.mark.parametrize(
        ("settings", "watch"),
        [
            ({"num_frames": 5}, {"frames": 5}),
            ({"num_frames": 70}, {"frames": 70}),
            ({"fps": 2}, {"fps": 2.0}),
            ({"fps": 8, "num_frames": 9}, {"fps": 8.0, "frames": 9}),
        ],
    )
    def test_a_request_says_how_many_frames(
        self, server: str, chat: ChatModel, videos: Path, settings: dict[str, Any], watch: dict[str, Any]
    ) -> None:
        video = videos / "long.mp4"
        reply = ask(server, video.as_uri(), media_io_kwargs={"video": settings})
        assert tokens_of(reply, chat) == expected(chat, video, **watch)

    def test_eight_at_once_of_different_lengths(self, server: str, chat: ChatModel, videos: Path) -> None:
        asked = [(videos / f"{name}.mp4", words) for name in VIDEOS for words in (QUESTION, OTHER_QUESTION)]
        record = compare(server, chat, asked, at_once=len(asked))
        assert record["different"] == [] and record["same_prompts"] == record["same_answers"] == len(asked) == 8

    def test_a_cached_prefix_is_of_the_same_frames(self, server: str, chat: ChatModel, videos: Path) -> None:
        video = videos / "long.mp4"
        spread, dense = {"num_frames": 40}, {"num_frames": 40, "fps": FPS}
        seen = [expected(chat, video, frames=40), expected(chat, video, frames=40, fps=FPS)]
        assert seen[0][0] == seen[1][0] and seen[0][1] != seen[1][1], "as many frames, but others"
        for settings, answer in zip((spread, dense), seen, strict=True):
            first = ask(server, video.as_uri(), media_io_kwargs={"video": settings})
            again = ask(server, video.as_uri(), OTHER_QUESTION, media_io_kwargs={"video": settings})
            assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= 32
            watch = {"frames": 40, **({"fps": FPS} if "fps" in settings else {})}
            assert tokens_of(first, chat) == answer
            assert tokens_of(again, chat) == expected(chat, video, OTHER_QUESTION, **watch)

    def test_videos_come_over_http_and_within_the_request(self, server: str, chat: ChatModel, videos: Path) -> None:
        video = videos / "medium.mp4"
        encoded = base64.b64encode(video.read_bytes()).decode()
        assert tokens_of(ask(server, f"data:video/mp4;base64,{encoded}"), chat) == expected(chat, video)
        handler = partial(SimpleHTTPRequestHandler, directory=str(videos))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
            threading.Thread(target=files.serve_forever, daemon=True).start()
            reply = ask(server, f"http://127.0.0.1:{files.server_port}/medium.mp4")
            files.shutdown()
        assert tokens_of(reply, chat) == expected(chat, video)

    def test_a_picture_is_seen_as_transformers_see_it(
        self, server: str, chat: ChatModel, model_folder: Path, videos: Path
    ) -> None:
        reply = ask(server, (videos / "picture.png").as_uri(), kind="image")
        model = LiteFrameForConditionalGeneration.from_pretrained(model_folder)
        processor = LiteFrameProcessor.from_pretrained(model_folder)
        content = [{"type": "image", "image": str(videos / "picture.png")}, {"type": "text", "text": QUESTION}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)[0].tolist()
        prompt = inputs["input_ids"][0].tolist()
        answer = [token for token in ids[len(prompt) :] if token not in chat.model.end_ids]
        assert tokens_of(reply, chat) == (prompt, answer)

    def test_what_cannot_be_done_is_said_and_the_server_goes_on(
        self, server: str, chat: ChatModel, videos: Path
    ) -> None:
        video = (videos / "short.mp4").as_uri()
        code, text = refusal(server, (videos / "broken.mp4").as_uri())
        assert code == 422 and "the video cannot be used" in text and "tmp" not in text
        code, text = refusal(server, video, media_io_kwargs={"video": {"image_size": [8, 8]}})
        assert code == 400 and "image_size" in text and "num_frames" in text
        for settings in ({"num_frames": 0}, {"num_frames": None}, {"fps": -1}):
            code, text = refusal(server, video, media_io_kwargs={"video": settings})
            assert code == 400 and text, settings
        code, text = refusal(server, video, mm_processor_kwargs={"num_frames": 8})
        assert code == 400 and "media_io_kwargs" in text
        code, text = refusal(server, video, question="color of <video> star")
        assert code == 400 and "2 <video> for 1 videos" in text
        code, text = refusal(server, (videos / "long.mp4").as_uri(), question="color of <IMG_CONTEXT> star")
        assert code == 400 and "1 <IMG_CONTEXT> for 0 images" in text
        assert tokens_of(ask(server, video), chat) == expected(chat, videos / "short.mp4")


def test_an_adapter_apart_is_refused_before_anything_is_loaded(there: None) -> None:
    from types import SimpleNamespace

    from liteframe.errors import ConfigError
    from liteframe.vllm.plugin import LiteFrameServing

    with pytest.raises(ConfigError, match="--merge"):
        LiteFrameServing.verify_and_update_model_config(
            SimpleNamespace(model="somewhere", hf_config=SimpleNamespace(adapter="adapter"))
        )


def test_vllm_is_not_told_to_drop_tokens_that_it_would_keep(there: None) -> None:
    from types import SimpleNamespace

    from vllm.config import MultiModalConfig

    from liteframe.errors import ConfigError
    from liteframe.vllm.plugin import LiteFrameServing

    asked = MultiModalConfig(video_pruning_rate=0.5)
    with pytest.raises(ConfigError, match="leave --video-pruning-rate and --video-retention-ratio out"):
        LiteFrameServing.verify_and_update_model_config(
            SimpleNamespace(model="somewhere", hf_config=SimpleNamespace(adapter=None), multimodal_config=asked)
        )
