"""`liteframe serve` on loopback: answers are those of chat, and what cannot be answered is told by HTTP."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
import torch

pytest.importorskip("aiohttp")
pytest.importorskip("pydantic")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import uvicorn

import liteframe
from liteframe.chat.answer import Answer
from liteframe.chat.model import ChatModel
from liteframe.command import cli
from liteframe.data.decoding.processes.pool import DecodePool
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.generation import answer_prompt
from liteframe.models.video_llm.model import VideoLLM
from liteframe.serving.app import build_app
from liteframe.serving.fetch import FetchPolicy
from liteframe.serving.media import MediaPolicy
from liteframe.serving.service import AnswerService, Limits
from liteframe.tiny.models import build_tiny_base_vlm
from tiny_world import InProcessPool, encoder_folder, home, manifest

ASKED, NEXT = "color of the star", "color of the box"
KEY = "open sesame"


@lru_cache
def model() -> str:
    """What LMA leaves behind, with weights that are the same in every run, and answers that differ."""
    base, folder = home() / "base-for-serving", home() / "lma-for-serving"
    folder.mkdir()
    base_vlm, processor = build_tiny_base_vlm(seed=1)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in base_vlm.named_parameters():
            weight += (0.3 if "projector" in name else 0.1) * torch.randn(weight.shape, generator=generator)
    base_vlm.save_pretrained(base)
    processor.save_pretrained(base)
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    save_adapted(folder, str(base), encoder, None, base_vlm.model.multi_modal_projector)
    return str(folder)


@lru_cache
def chat() -> ChatModel:
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        return liteframe.load(model())


@lru_cache
def videos() -> list[Path]:
    return [manifest().parent / json.loads(line)["path"] for line in manifest().read_text().splitlines()]


class Server:
    """A server in a thread of this process, and what it answers."""

    def __init__(self, port: int, service: Any = None, loop: Any = None) -> None:
        self.port, self.service, self.loop = port, service, loop

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def send(self, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and what a body is answered."""
        connection = self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body)
        connection.request("POST", "/v1/chat/completions", content, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), json.loads(answer.read())

    def ask(self, messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        status, _, answer = self.send({"messages": messages, "max_tokens": 5, **fields})
        assert status == 200, answer
        return answer

    def text(self, messages: list[dict[str, Any]], **fields: Any) -> str:
        return str(self.ask(messages, **fields)["choices"][0]["message"]["content"])

    def events(self, messages: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
        connection = self.connect()
        body = json.dumps({"messages": messages, "max_tokens": 5, "stream": True, **fields})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        *events, done, end = answer.read().decode().split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def refused(self, status: int, said: str, messages: list[dict[str, Any]], **fields: Any) -> None:
        found, _, answer = self.send({"messages": messages, **fields})
        assert found == status and said in answer["error"]["message"], answer


@contextmanager
def serving(
    api_key: str | None = None,
    body_timeout_s: float = 60.0,
    answers: ChatModel | None = None,
    watchers: int = 2,
    **limits: Any,
) -> Iterator[Server]:
    remote = FetchPolicy(("https",), None, False, 10**6, 10.0)
    service = AnswerService(answers or chat(), MediaPolicy(manifest().parent, remote), Limits(**limits), watchers)
    app = build_app(service, "tiny", api_key, 2 * 10**6, body_timeout_s, local=True)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([listening])), daemon=True)
    thread.start()
    try:
        yield Server(listening.getsockname()[1], service, loop)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()
    loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def user(question: str, *shown: Path) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "video_url", "video_url": {"url": f"file://{path}"}} for path in shown]
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def slow_answer(text: str, shown: list[Path], frames: int, max_tokens: int) -> str:
    """The answer to a prompt that was written by hand; all of it goes through the LLM for each token."""
    llm, prompts = chat().model, chat().model.prompts
    with torch.no_grad():
        visuals = [chat().watch(path, frames=frames).visual_BTNC for path in shown]
        for visual in visuals:
            text = text.replace("<video>", prompts.video_text(*visual.shape[1:3]), 1)
        ids = prompts.tokenizer(text, add_special_tokens=False).input_ids
        count = len(ids)
        for _ in range(max_tokens):
            embeds = llm.embed(torch.tensor([ids]), torch.cat(visuals, dim=1) if visuals else None)
            ids.append(int(llm.lm_head(llm.hidden_states(embeds)[:, -1]).argmax()))
            if ids[-1] in llm.end_ids:
                break
    return str(prompts.tokenizer.decode(ids[count:], skip_special_tokens=True))


def reads_back(answer: Answer) -> bool:
    """Whether an answer's text has the tokens that the model gave, special ones left out of texts among them."""
    tokenizer = chat().model.prompts.tokenizer
    return len(tokenizer(answer.text, add_special_tokens=False).input_ids) == answer.answer_tokens


def test_a_conversation_is_answered_as_chat_does(server: Server) -> None:
    answers, turns = set(), 0
    for video in videos()[:5]:
        talk = chat().chat(video)
        first = talk.ask(ASKED, 5)
        answer = server.ask([user(ASKED, video)])
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": first.text}
        assert answer["usage"]["prompt_tokens"] == first.prompt_tokens
        assert answer["usage"]["completion_tokens"] == first.answer_tokens
        answers.add(first.text)
        if not reads_back(first):
            continue
        second = talk.ask(NEXT, 5)
        history = [user(ASKED, video), assistant(first.text), user(NEXT)]
        answer = server.ask(history)
        assert answer["choices"][0]["message"]["content"] == second.text
        assert answer["usage"]["prompt_tokens"] == second.prompt_tokens + second.cached_tokens
        turns += 1
        if reads_back(second):
            assert server.text([*history, assistant(second.text), user(ASKED)]) == talk.ask(ASKED, 5).text
            turns += 1
    assert len(answers) > 3 and turns > 1, "answers that are all the same would show nothing"


def test_prompts_that_chat_does_not_write(server: Server) -> None:
    one, two = videos()[:2]
    frames = {"mm_processor_kwargs": {"num_frames": 8}}
    written = {
        f"<video>\n<video>\n{ASKED} ": ([user(ASKED, one, two)], [one, two]),
        f"<video>\n<video>\n{NEXT} ": ([user(NEXT, two, one)], [two, one]),
        f"{NEXT} <video>\n{ASKED} ": ([{"role": "system", "content": NEXT}, user(ASKED, one)], [one]),
        f"<video>\n{ASKED} box<|im_end|>\n<video>\n{NEXT} ": (
            [user(ASKED, one), assistant("box"), user(NEXT, two)],
            [one, two],
        ),
        f"{ASKED} ": ([user(ASKED)], []),
    }
    for text, (messages, shown) in written.items():
        with mock.patch("liteframe.serving.service.answer_prompt", side_effect=answer_prompt) as asked:
            assert server.text(messages, **frames) == slow_answer(text, shown, 8, 5)
        visuals = asked.call_args.args[2]
        assert len(visuals) == len(shown)
        for visual, video in zip(visuals, shown, strict=True):
            assert torch.equal(visual, chat().watch(video, frames=8).visual_BTNC)


def test_events_are_the_answer_piece_by_piece(server: Server) -> None:
    whole = server.ask([user(ASKED, videos()[0])])
    first, *pieces, last, usage = server.events([user(ASKED, videos()[0])], stream_options={"include_usage": True})
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [piece["choices"][0]["delta"]["content"] for piece in pieces]
    assert len(texts) > 1 and "".join(texts) == whole["choices"][0]["message"]["content"]
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    assert len({event["id"] for event in (first, *pieces, last, usage)}) == 1
    assert [event["usage"] for event in (first, *pieces, last)] == [None] * (len(pieces) + 2)
    assert all("usage" not in event for event in server.events([user(ASKED, videos()[0])]))


def test_an_answer_stops_where_it_is_told_to(server: Server) -> None:
    text = server.text([user(ASKED, videos()[0])])
    words = text.split()
    answer = server.ask([user(ASKED, videos()[0])], stop=[words[1]])
    assert answer["choices"][0]["message"]["content"] == text[: text.index(words[1])]
    assert answer["choices"][0]["finish_reason"] == "stop" and answer["usage"]["completion_tokens"] < 5


def test_sampling_follows_its_seed(server: Server) -> None:
    def sampled(**fields: Any) -> str:
        return server.text([user(ASKED)], temperature=1.5, **fields)

    assert sampled(seed=1) == sampled(seed=1)
    assert len({sampled(seed=seed) for seed in range(4)}) > 1
    assert sampled(seed=3, top_k=1) == sampled(top_p=1e-6) == server.text([user(ASKED)])


def test_frames_are_the_models_own_unless_asked(server: Server) -> None:
    video = videos()[0]
    for asked, watch in (
        ({}, {}),
        ({"num_frames": 8}, {"frames": 8}),
        ({"fps": 2.0}, {"fps": 2.0}),
        ({"num_frames": 4, "start": 1.0, "end": 3.0}, {"frames": 4, "start": 1.0, "end": 3.0}),
    ):
        expected = chat().answer(video, ASKED, 3, **watch)  # type: ignore[arg-type]
        for fields in ({"mm_processor_kwargs": asked}, {"media_io_kwargs": {"video": asked}}):
            answer = server.ask([user(ASKED, video)], max_tokens=3, **fields)
            assert answer["usage"]["prompt_tokens"] == expected.prompt_tokens
            assert answer["choices"][0]["message"]["content"] == expected.text
    with serving(frames=4, fps=None) as few:
        assert few.text([user(ASKED, video)]) == chat().answer(video, ASKED, 5, frames=4).text
        assert few.text([user(ASKED, video)], mm_processor_kwargs={"num_frames": 8}) == (
            chat().answer(video, ASKED, 5, frames=8).text
        )


def test_a_video_may_be_in_the_request(server: Server) -> None:
    coded = base64.b64encode(videos()[1].read_bytes()).decode()
    message = user(ASKED)
    message["content"].insert(0, {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{coded}"}})
    assert server.text([message]) == server.text([user(ASKED, videos()[1])])


def test_requests_side_by_side_keep_their_own_answers(server: Server) -> None:
    asked = [(video, question) for video in videos()[:4] for question in (ASKED, NEXT)] * 2
    expected = [chat().answer(video, question, 5).text for video, question in asked[:8]] * 2
    assert len(set(expected)) > 4
    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(lambda one: server.text([user(one[1], one[0])]), asked))
    assert found == expected


def test_a_video_is_encoded_once_for_further_questions() -> None:
    with serving() as here, mock.patch.object(ChatModel, "watch", autospec=True, side_effect=ChatModel.watch) as watch:
        for question in (ASKED, NEXT):
            here.text([user(question, videos()[0])])
        assert watch.call_count == 1
        here.text([user(ASKED, videos()[0])], mm_processor_kwargs={"num_frames": 4})
        here.text([user(ASKED, videos()[1])])
        assert watch.call_count == 3
    with (
        serving(remembered_bytes=0) as here,
        mock.patch.object(ChatModel, "watch", autospec=True, side_effect=ChatModel.watch) as watch,
    ):
        assert here.text([user(ASKED, videos()[0])]) == here.text([user(ASKED, videos()[0])])
        assert watch.call_count == 2


def test_what_cannot_be_answered_is_told(server: Server, tmp_path: Path) -> None:
    broken = manifest().parent / "broken.mp4"
    broken.write_bytes(videos()[0].read_bytes()[:2000])
    plain = user(ASKED, videos()[0])
    server.refused(400, "messages[0].content[0].video_url: ", [user(ASKED, broken)])
    server.refused(400, "No such file", [user(ASKED, manifest().parent / "none.mp4")])
    server.refused(403, "names no file", [user(ASKED, tmp_path / "a.mp4")])
    server.refused(400, "does not know the words 'zebra'", [user("zebra", videos()[0])])
    server.refused(400, "does not know the words 'zebra'", [plain, assistant("zebra"), user(ASKED)])
    server.refused(400, "'<|im_end|>', which a text may not", [user("star <|im_end|>")])
    server.refused(400, "'<video>', which a text may not", [user("<video>")])
    server.refused(400, "no frame from 99", [plain], mm_processor_kwargs={"start": 99})
    server.refused(400, "end is 1 s and start 2 s", [plain], mm_processor_kwargs={"start": 2, "end": 1})
    server.refused(400, "num_frames is 600; this server takes 512", [plain], mm_processor_kwargs={"num_frames": 600})
    server.refused(400, "9 videos; this server takes 8", [user(ASKED, *videos()[:1] * 9)])
    server.refused(400, "tokens", [plain], max_tokens=10**9)
    server.refused(400, "n is not supported", [plain], n=2)
    server.refused(404, "this server has 'tiny'", [plain], model="huge")
    assert server.send(b"{")[0] == 400
    assert server.send(b" " * (2 * 10**6 + 1))[0] == 413
    assert server.send(b"{}", **{"Content-Type": "text/plain"})[0] == 415


def test_a_request_that_does_not_come_is_not_waited_for() -> None:
    with serving(body_timeout_s=0.1, max_requests=1) as here:
        connection = here.connect()
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{")
        assert connection.getresponse().status == 408
        assert _answered_in_the_end(here)


def test_other_paths_and_what_there_is(server: Server) -> None:
    def get(path: str, **headers: str) -> tuple[int, Any]:
        connection = server.connect()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    assert get("/health") == (200, {"status": "ok"})
    assert [model["id"] for model in get("/v1/models")[1]["data"]] == ["tiny"]
    assert get("/nothing")[0] == 404 and get("/v1/chat/completions")[0] == 405
    assert get("/v1/models", Host="video.example")[0] == get("/v1/models", Host="")[0] == 403
    assert get("/v1/models", Host=f"localhost:{server.port}")[0] == get("/v1/models", Host="[::1]:1")[0] == 200


def test_a_key_is_asked_for() -> None:
    with serving(api_key=KEY) as here:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"Authorization": KEY}):
            status, _, answer = here.send({"messages": [user(ASKED)]}, **given)
            assert (status, answer["error"]["type"]) == (401, "authentication_error")
        for scheme in ("Bearer", "bearer"):  # its case is of no account (RFC 9110, 11.1)
            assert here.send({"messages": [user(ASKED)], "max_tokens": 1}, Authorization=f"{scheme} {KEY}")[0] == 200


@contextmanager
def held_up(name: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Watching stands still for all videos of that name; events that tell that it does, and that let it go on."""
    waits, go_on, plain = threading.Event(), threading.Event(), ChatModel.watch

    def watch(self: ChatModel, video: Path, *given: Any, **settings: Any) -> Any:
        if video.name == name:
            waits.set()
            assert go_on.wait(60)
        return plain(self, video, *given, **settings)

    with mock.patch.object(ChatModel, "watch", watch):
        try:
            yield waits, go_on
        finally:
            go_on.set()


def test_more_than_there_is_room_for_is_turned_away() -> None:
    with serving(max_requests=1) as here, held_up(videos()[0].name) as (waits, go_on), ThreadPoolExecutor(1) as client:
        first = client.submit(here.text, [user(ASKED, videos()[0])])
        assert waits.wait(60)
        status, headers, answer = here.send({"messages": [user(ASKED)]})
        assert (status, answer["error"]["type"]) == (503, "overloaded_error") and int(headers["retry-after"]) > 0
        go_on.set()
        assert first.result(60) == chat().answer(videos()[0], ASKED, 5).text
        assert here.text([user(ASKED)])


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_place(stream: bool) -> None:
    with serving(max_requests=1) as here, held_up(videos()[0].name) as (waits, _):
        connection = here.connect()
        body = json.dumps({"messages": [user(ASKED, videos()[0])], "stream": stream})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        assert waits.wait(60)
        connection.close()
        assert _answered_in_the_end(here)


def test_a_client_that_goes_away_ends_its_decoding() -> None:
    bad = manifest().parent / "bad.mp4"
    bad.write_bytes(videos()[0].read_bytes())
    pool = DecodePool(deadline_s=600, decoder="slow_decoders:sleeps_for_ever_on_bad")
    with mock.patch("liteframe.chat.model.DecodePool", lambda **_: pool), pool:
        slow = ChatModel(chat().model)
        with serving(answers=slow, watchers=1) as here:
            connection = here.connect()
            body = json.dumps({"messages": [user(ASKED, bad)]})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            while not pool.children():
                time.sleep(0.01)
            (child,) = pool.children()
            connection.close()
            assert here.text([user(ASKED, videos()[1])]) == chat().answer(videos()[1], ASKED, 5).text
            assert not psutil.pid_exists(child)


def test_a_client_that_goes_away_ends_the_reading_of_its_prompt() -> None:
    reads, has_left = threading.Event(), threading.Event()
    hidden_states, calls = VideoLLM.hidden_states, 0

    def slow(self: VideoLLM, *given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        reads.set()
        assert has_left.wait(60)
        return hidden_states(self, *given, **more)

    with serving() as here:
        with (
            mock.patch.object(VideoLLM, "hidden_states", slow),
            mock.patch("liteframe.models.video_llm.prefill._PREFILL_TOKENS", 4),
        ):
            connection = here.connect()
            body = json.dumps({"messages": [user(ASKED, videos()[0])]})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            assert reads.wait(60)
            connection.close()
            while here.service._places:
                time.sleep(0.01)
            has_left.set()
            answerer = here.service._answerer
            asyncio.run_coroutine_threadsafe(answerer.run(lambda: None), here.loop).result(60)
            assert calls == 1
        assert here.text([user(ASKED)])


def test_a_client_that_goes_away_ends_its_answer() -> None:
    said: list[int] = []

    def endless(*_: Any) -> Iterator[int]:
        token = chat().model.prompts.tokenizer.convert_tokens_to_ids("star")
        while True:
            said.append(token)
            time.sleep(0.001)
            yield token

    with serving(max_requests=1) as here:
        with mock.patch("liteframe.serving.service.answer_prompt", endless):
            connection = here.connect()
            body = json.dumps({"messages": [user(ASKED)], "stream": True})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            assert connection.getresponse().read(400)
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
            while here.service._places:
                time.sleep(0.01)
        assert _answered_in_the_end(here)
        count = len(said)
        assert here.text([user(ASKED)]) and len(said) == count


def _answered_in_the_end(here: Server) -> bool:
    """Whether another request gets an answer; that the first client has gone, the server may learn a little later."""
    while True:
        status, _, _ = here.send({"messages": [user(ASKED)], "max_tokens": 1})
        if status != 503:
            return status == 200
        time.sleep(0.02)


def test_what_is_under_way_when_the_server_stops_is_told() -> None:
    def endless(*_: Any) -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield chat().model.prompts.tokenizer.convert_tokens_to_ids("star")

    patched = mock.patch("liteframe.serving.service.answer_prompt", endless)
    with serving() as here, patched, held_up(videos()[0].name) as (waits, _), ThreadPoolExecutor(1) as client:
        watching = client.submit(here.send, {"messages": [user(ASKED, videos()[0])]})
        connection = here.connect()
        body = json.dumps({"messages": [user(ASKED)], "stream": True})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.read(400) and waits.wait(60)
        here.loop.call_soon_threadsafe(here.service.stop)
        assert watching.result(60)[0] == 503
        assert b"the server stops" in answer.read()


def test_a_failure_of_the_server_is_one(server: Server) -> None:
    with mock.patch("liteframe.serving.service.answer_prompt", side_effect=RuntimeError("a secret of the server")):
        status, _, answer = server.send({"messages": [user(ASKED)]})
    assert (status, answer["error"]["type"]) == (500, "server_error") and "secret" not in answer["error"]["message"]

    def breaks(*_: Any) -> Iterator[int]:
        yield chat().model.prompts.tokenizer.convert_tokens_to_ids("star")
        raise RuntimeError("a secret of the server")

    with mock.patch("liteframe.serving.service.answer_prompt", breaks):
        *_, last = server.events([user(ASKED)])
    assert last["error"]["type"] == "server_error" and "secret" not in last["error"]["message"]
    assert server.text([user(ASKED)])


def _serve(folder: str, port: int, said: str) -> None:
    with open(said, "w", buffering=1) as file:
        sys.stdout = sys.stderr = file  # pytest has its own in their place
        code = cli.main(["serve", folder, "--port", str(port), "--served_model_name", "tiny"])
    os._exit(code)


def test_the_command_answers_until_sigterm(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    said = tmp_path / "said"
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(model(), port, str(said)))
    process.start()
    try:
        while "answers at" not in (said.read_text() if said.exists() else ""):
            assert process.is_alive(), said.read_text()
            time.sleep(0.05)
        here = Server(port)
        while True:
            try:
                assert here.text([user(ASKED)], model="tiny") == slow_answer(f"{ASKED} ", [], 1, 5)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        here.refused(403, "--allowed_local_media_path", [user(ASKED, videos()[0])])
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(60)
        assert process.exitcode == 128 + signal.SIGTERM
    finally:
        process.kill()
    assert f"liteframe: tiny answers at http://127.0.0.1:{port}/v1" in said.read_text()
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "99999999"], "--port is 99999999"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1"),
        (["--frames", "600"], "--frames is 600"),
        (["--fps", "0"], "--fps is 0"),
        (["--max_requests", "0"], "--max_requests is 0"),
        (["--allowed_local_media_path", "/no/such/folder"], "/no/such/folder is no folder"),
        (["--api_key", ""], "is empty"),
    ],
)
def test_settings_are_refused_before_the_model_is_loaded(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", model(), *words]) == 1
    assert told in capsys.readouterr().err
