"""`liteframe serve` under load: clients side by side for minutes, with every answer compared to that of chat.

python benchmarks/serve.py --seconds 300 --output benchmarks/records/serve.json

Without --model and --videos the server has the tiny base VLM and an encoder of the demo's size, both with random
weights, and videos of the tiny world. Each client asks again as soon as it has its answer: whole or as events, a first
question or a second one with the first answer before it, by a `file:` or a `data:` URL. The server keeps no encoded
videos unless --remember_mb says so, so each request is decoded and encoded. Memory is what is resident, of the server
and of its children, every few seconds.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import liteframe
from liteframe.bench.environment import environment
from liteframe.bench.records import write_record

_QUESTIONS = ("color of the star", "color of the box")
_MEMORY_EVERY_S = 5.0
_ENCODER = {"image_size": 112, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "output_size": 128}


def make_world(folder: Path, videos: int) -> tuple[Path, Path]:
    """A model with random weights, and videos of the tiny world."""
    import torch

    from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
    from liteframe.models.video_llm.adapted import save_adapted
    from liteframe.tiny.models import build_tiny_base_vlm
    from liteframe.tiny.synthetic_files import make_row

    base_vlm, processor = build_tiny_base_vlm(seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # fresh weights answer much the same about every video
        for name, weight in base_vlm.named_parameters():
            weight += (0.3 if "projector" in name else 0.1) * torch.randn(weight.shape, generator=generator)
    base_vlm.save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    torch.manual_seed(2)
    encoder = LiteFrameEncoder(LiteFrameConfig(**_ENCODER, downsample_after=[1, 2], initializer_range=0.06))
    (folder / "model").mkdir()
    save_adapted(folder / "model", str(folder / "base"), encoder, None, base_vlm.model.multi_modal_projector)
    (folder / "world" / "val").mkdir(parents=True)
    for index in range(videos):
        make_row(str(folder / "world"), "val", index, seed=5)
    return folder / "model", folder / "world"


def expected_answers(model: Path, videos: list[Path], max_tokens: int) -> dict[tuple[Path, bool], str]:
    """What chat answers about each video: to the first question, and to the second one after it.

    The second one is left out where the first answer holds special tokens, which its text does not tell the server.
    """
    chat = liteframe.load(model)
    tokenizer = chat.model.prompts.tokenizer
    answers: dict[tuple[Path, bool], str] = {}
    for video in videos:
        talk = chat.chat(video)
        first = talk.ask(_QUESTIONS[0], max_tokens)
        answers[video, False] = first.text
        if len(tokenizer(first.text, add_special_tokens=False).input_ids) == first.answer_tokens:
            answers[video, True] = talk.ask(_QUESTIONS[1], max_tokens).text
    return answers


class Server:
    """`liteframe serve` in a process of its own.

    Args:
        model: folder.
        videos: folder that `file:` URLs may name.
        options: further words of the command.
    """

    def __init__(self, model: Path, videos: Path, options: list[str]) -> None:
        words = ["serve", str(model), "--port", "0", "--allowed_local_media_path", str(videos), *options]
        command = [sys.executable, "-m", "liteframe", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if "answers at" not in said:
            raise SystemExit(f"the server did not start: {said}")
        self.port = int(said.strip().removesuffix("/v1").rpartition(":")[2])
        while not self._listens():
            time.sleep(0.05)

    def _listens(self) -> bool:
        try:
            self._send("GET", "/health", None)
        except ConnectionRefusedError:
            return False
        return True

    def _send(self, method: str, path: str, body: str | None) -> tuple[http.client.HTTPResponse, float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        began = time.perf_counter()
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse(), began

    def ask(self, messages: list[dict[str, Any]], max_tokens: int, stream: bool) -> dict[str, Any]:
        """Status and text of an answer, the seconds to its end and, of events, those to its first piece."""
        body = json.dumps({"messages": messages, "max_tokens": max_tokens, "stream": stream})
        answer, began = self._send("POST", "/v1/chat/completions", body)
        if answer.status != 200 or not stream:
            content = json.loads(answer.read())
            text = content["choices"][0]["message"]["content"] if answer.status == 200 else json.dumps(content)
            return {"status": answer.status, "text": text, "s": time.perf_counter() - began}
        text, first = "", None
        for line in answer:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    piece = choice["delta"].get("content", "")
                    first = time.perf_counter() - began if piece and first is None else first
                    text += piece
        return {"status": 200, "text": text, "s": time.perf_counter() - began, "first_s": first}

    def memory(self) -> tuple[float, float]:
        """Megabytes resident: of the server, and of all its children."""
        process = psutil.Process(self.process.pid)
        children = 0
        for child in process.children(recursive=True):
            try:
                children += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return round(process.memory_info().rss / 1e6, 1), round(children / 1e6, 1)

    def stop(self) -> tuple[int, float]:
        """Exit code and seconds after SIGTERM."""
        began = time.perf_counter()
        self.process.terminate()
        return self.process.wait(60), round(time.perf_counter() - began, 2)


def conversation(video: Path, second: bool, in_request: bool, first_answer: str) -> list[dict[str, Any]]:
    """The messages that ask the first question about a video, or the second one after its answer."""
    coded = base64.b64encode(video.read_bytes()).decode() if in_request else ""
    url = f"data:video/mp4;base64,{coded}" if in_request else f"file://{video}"
    shown = {"type": "video_url", "video_url": {"url": url}}
    asked = {"role": "user", "content": [shown, {"type": "text", "text": _QUESTIONS[0]}]}
    if not second:
        return [asked]
    return [asked, {"role": "assistant", "content": first_answer}, {"role": "user", "content": _QUESTIONS[1]}]


def load(server: Server, expected: dict[tuple[Path, bool], str], options: argparse.Namespace) -> dict[str, Any]:
    """Samples of every answer, and memory as it went."""
    ways = [(*asked, *how) for asked in sorted(expected) for how in itertools.product((False, True), (False, True))]
    began = time.perf_counter()
    end, samples, memory, lock = began + options.seconds, [], [], threading.Lock()

    def client(number: int) -> None:
        order = np.random.default_rng(number)
        while time.perf_counter() < end:
            video, second, in_request, stream = ways[order.integers(len(ways))]
            messages = conversation(video, second, in_request, expected[video, False])
            at = time.perf_counter() - began
            answer = server.ask(messages, options.max_tokens, stream)
            text, status = answer.pop("text"), answer.pop("status")
            right = status == 200 and text == expected[video, second]
            with lock:
                samples.append({"at_s": at, "status": status, "equal": right, "stream": stream, **answer})
                if not right:
                    print(f"{status}, not what chat answers: {text[:200]!r}", file=sys.stderr)

    with ThreadPoolExecutor(options.clients) as clients:
        running = [clients.submit(client, number) for number in range(options.clients)]
        while time.perf_counter() < end:
            memory.append((round(time.perf_counter() - began, 1), *server.memory()))
            time.sleep(max(0.0, min(_MEMORY_EVERY_S, end - time.perf_counter())))
        for one in running:
            one.result()
    memory.append((round(time.perf_counter() - began, 1), *server.memory()))
    return {"samples": samples, "memory_mb": memory}


def summary(samples: list[dict[str, Any]], memory: list[tuple[float, float, float]]) -> dict[str, Any]:
    """Percentiles in seconds, and memory at a fifth of the time and at its end."""
    seconds = [sample["s"] for sample in samples if sample["status"] == 200]
    first = [sample["first_s"] for sample in samples if sample.get("first_s") is not None]
    early = min(memory, key=lambda one: abs(one[0] - memory[-1][0] / 5))
    return {
        "answers": len(samples),
        "not_equal": sum(not sample["equal"] for sample in samples),
        "p50_s": round(float(np.percentile(seconds, 50)), 4),
        "p95_s": round(float(np.percentile(seconds, 95)), 4),
        "first_piece_p50_s": round(float(np.percentile(first, 50)), 4) if first else None,
        "first_piece_p95_s": round(float(np.percentile(first, 95)), 4) if first else None,
        "memory_mb_at": {str(early[0]): early[1:], str(memory[-1][0]): memory[-1][1:]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder; with --videos, and questions of the tiny world")
    parser.add_argument("--videos", type=Path, help="folder of .mp4 files")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--most_videos", type=int, default=16)
    parser.add_argument("--max_tokens", type=int, default=8, help="of an answer")
    parser.add_argument("--remember_mb", type=int, default=0, help="of encoded videos, that the server keeps")
    parser.add_argument("--output", help="file of the record")
    options = parser.parse_args()
    if (options.model is None) != (options.videos is None):
        parser.error("give --model and --videos, or neither")
    with tempfile.TemporaryDirectory() as folder:
        made = options.model is None
        model, world = make_world(Path(folder), options.most_videos) if made else (options.model, options.videos)
        videos = sorted(path.resolve() for path in world.rglob("*.mp4"))[: options.most_videos]
        expected = expected_answers(model, videos, options.max_tokens)
        server = Server(model, world.resolve(), ["--remember_mb", str(options.remember_mb)])
        try:
            server.ask(
                conversation(videos[0], False, False, ""), options.max_tokens, False
            )  # the first one starts much
            data = load(server, expected, options)
        finally:
            code, stop_s = server.stop()
    data = {**summary(data["samples"], data["memory_mb"]), "exit_code": code, "stop_s": stop_s, **data}
    for sample in data["samples"]:
        sample.update(
            {name: round(sample[name], 4) for name in ("at_s", "s", "first_s") if sample.get(name) is not None}
        )
    print(json.dumps({name: value for name, value in data.items() if name not in ("samples", "memory_mb")}, indent=2))
    if options.output:
        names = ("clients", "seconds", "max_tokens", "remember_mb")
        settings = {**{name: getattr(options, name) for name in names}, "videos": len(videos), "random_weights": made}
        settings["different_answers"] = len(set(expected.values()))
        settings["second_questions"] = sum(second for _, second in expected)
        print(write_record(options.output, "serve", environment(), settings, data))
    if data["not_equal"]:
        raise SystemExit(f"{data['not_equal']} of {data['answers']} answers are not those of chat")


if __name__ == "__main__":
    main()
