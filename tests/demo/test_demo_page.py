"""`liteframe demo` as people meet it: in a browser, on a phone, by keyboard, in the dark, and ended by a signal."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import liteframe
from liteframe.command import cli
from tiny_world import host_folder, lma_run_folder, manifest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
needs_browser = pytest.mark.skipif(
    bool(MISSING) or CHROMIUM is None,
    reason=f"not installed: {', '.join([*MISSING, *([] if CHROMIUM else ['chromium'])])}",
)
QUESTION, SHOWN_MS = "color of the star", 120_000
CONTRAST = """(query) => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length === 3 ? [...n, 1] : n; };
  return [...document.querySelectorAll(query)].map((element) => {
    const style = getComputedStyle(element), ink = rgba(style.color);
    let behind = element;
    while (rgba(getComputedStyle(behind).backgroundColor)[3] < 1 && behind.parentElement) behind = behind.parentElement;
    const paper = rgba(getComputedStyle(behind).backgroundColor), opacity = Number(style.opacity) * ink[3];
    const mixed = [0, 1, 2].map((i) => opacity * ink[i] + (1 - opacity) * paper[i]);
    const [low, high] = [luminance(mixed), luminance(paper)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""


def video() -> str:
    return str(manifest().parent / json.loads(manifest().read_text().splitlines()[0])["path"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The process, its address, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("uploads")
    words = ["demo", str(lma_run_folder() / "export"), "--teacher", str(host_folder()), "--port", "0"]
    words += ["--frames", "8", "--max_tokens", "4", "--max_video_mb", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "liteframe", *words],
        env={**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://\S+", line):
            break
    else:
        raise AssertionError("".join(said))
    yield process, found[0].rstrip(","), folder
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])


def opened(browser: Any, url: str, **settings: Any) -> Any:
    page = browser.new_page(**settings)
    page.set_default_timeout(SHOWN_MS)
    page.goto(url)
    page.get_by_label("Question").wait_for()
    return page


def upload(page: Any, file: str) -> None:
    page.locator("input[type=file]").first.set_input_files(file)


def ask(page: Any, question: str) -> None:
    """By the keyboard alone."""
    page.get_by_label("Question").focus()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


@needs_browser
def test_both_answer_as_chat_does_and_nobody_else_is_asked(server: Any, browser: Any) -> None:
    page = opened(browser, server[1])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.get_by_label("Question").wait_for()
    upload(page, video())
    page.locator("video").first.wait_for()
    ask(page, QUESTION)
    page.locator(".lf-weights img").first.wait_for()
    texts = [text.strip() for text in page.locator(".lf-answer").all_inner_texts()]
    for text, model in zip(texts, (lma_run_folder() / "export", host_folder()), strict=True):
        assert text == liteframe.load(model).answer(video(), QUESTION, 4, frames=8).text.strip()
    said = [bar.get_attribute("aria-label") for bar in page.locator(".lf-bar[role=img]").all()]
    assert len(said) == 2 and all("ms in all" in words and "encode the frames" in words for words in said)
    assert page.locator(".lf-weights img").count() == 8
    assert page.get_by_label("Trim video to selection").is_hidden(), "its code would come from elsewhere"
    assert {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))} == {server[1].split("/")[2]}


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_too_wide_and_all_is_legible(server: Any, browser: Any, scheme: str) -> None:
    page = opened(browser, server[1], viewport={"width": 390, "height": 844}, color_scheme=scheme)
    upload(page, video())
    page.locator("video").first.wait_for()
    ask(page, QUESTION)
    page.locator(".lf-weights img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for query in (
        ".lf-card h3, .lf-answer, .lf-note, .lf-parts th, .lf-parts td, .lf-against, figcaption",
        "button.primary",
    ):
        contrasts = page.evaluate(CONTRAST, query)
        assert contrasts and min(contrasts) >= 4.5, (scheme, query, contrasts)


@needs_browser
def test_by_keyboard_alone_all_is_reached(server: Any, browser: Any) -> None:
    page = opened(browser, server[1])
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(e => e.getAttribute('aria-label') || e.innerText || e.tagName)(document.activeElement)")
        )
    assert {"Upload file", "Capture from camera", "TEXTAREA", "range slider for Frames to look at", "Ask"} <= reached


@needs_browser
def test_a_recording_of_the_camera_is_answered(server: Any, browser: Any) -> None:
    page = opened(browser, server[1])
    page.get_by_label("Capture from camera").click()
    page.locator("#video [title='grant webcam access'] button").click()
    record = page.locator("#video button[aria-label='start recording']")
    record.click()
    page.wait_for_timeout(5000)  # on a busy machine the first seconds have no picture
    record.click()
    page.locator("video[src], video source").first.wait_for(state="attached")
    page.get_by_label("Clear").first.wait_for()
    ask(page, QUESTION)
    page.locator(".lf-weights img").first.wait_for()
    assert page.locator(".lf-error").count() == 0 and page.locator(".lf-bar[role=img]").count() == 2


@needs_browser
def test_faults_are_said_in_words(server: Any, browser: Any, tmp_path: Path) -> None:
    page = opened(browser, server[1])
    ask(page, QUESTION)
    page.get_by_text("Choose a video").wait_for()
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_200_000))
    upload(page, str(large))
    page.get_by_text(re.compile("exceeds|too large|maximum", re.I)).first.wait_for()
    assert not list(server[2].rglob("large.mp4"))
    broken = tmp_path / "holiday.mp4"
    broken.write_bytes(b"no film" * 100)
    upload(page, str(broken))
    page.locator("video").first.wait_for(state="attached")
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("holiday.mp4: ").wait_for()


@needs_browser
def test_another_site_cannot_pass_for_this_one(server: Any) -> None:
    from http.client import HTTPConnection

    answers = []
    for host in ("127.0.0.1", "evil.example"):
        connection = HTTPConnection(server[1].split("/")[2])
        connection.request("GET", "/", headers={"Host": host})
        answers.append(connection.getresponse())
    assert [answer.status for answer in answers] == [200, 400]
    assert "default-src 'self'" in str(answers[0].headers["Content-Security-Policy"])


class StandsStill:
    """In place of a `Watcher`: it says that it is at work, and then waits until it is cancelled."""

    max_tokens = 4

    def __init__(self) -> None:
        self.asked, self.ended = threading.Event(), threading.Event()
        self.questions: list[str] = []

    def ask(self, video: str | None, question: str, frames: int, cancellation: Any) -> Iterator[Any]:
        from liteframe.demo.answers import Reply, Shown

        self.questions.append(question)
        yield Shown([Reply(question)])
        if question == "wait":
            with cancellation.ending(self.ended.set):
                self.asked.set()
                self.ended.wait(SHOWN_MS / 1000)


@needs_browser
def test_who_leaves_the_page_ends_the_work_for_it(browser: Any) -> None:
    from liteframe.demo.server import serve, upload_folder
    from liteframe.system.listening import bound_socket, http_url

    listening, watcher = bound_socket("127.0.0.1", 0), StandsStill()
    listening.listen()
    with upload_folder():
        arguments: Any = (watcher, listening, 8, 8, 1)
        threading.Thread(target=serve, args=arguments, daemon=True).start()
        page = opened(browser, http_url(listening))
        ask(page, "wait")
        page.get_by_role("heading", name="wait").wait_for()
        assert watcher.asked.wait(60) and not watcher.ended.is_set()
        page.close()
        assert watcher.ended.wait(60)
        page = opened(browser, http_url(listening))
        ask(page, "another")
        page.get_by_role("heading", name="another").wait_for()


@needs_browser
def test_who_leaves_while_waiting_is_not_answered(browser: Any) -> None:
    from liteframe.demo.server import serve, upload_folder
    from liteframe.system.listening import bound_socket, http_url

    listening, watcher = bound_socket("127.0.0.1", 0), StandsStill()
    listening.listen()
    with upload_folder():
        arguments: Any = (watcher, listening, 8, 8, 1)
        threading.Thread(target=serve, args=arguments, daemon=True).start()
        at_work, waiting, behind = (opened(browser, http_url(listening)) for _ in range(3))
        ask(at_work, "wait")
        assert watcher.asked.wait(60)
        for page, question in ((waiting, "left"), (behind, "behind")):
            ask(page, question)
            page.get_by_text("queue").wait_for()
        waiting.close()
        at_work.close()
        behind.get_by_role("heading", name="behind").wait_for()
        assert watcher.questions == ["wait", "behind"]


@pytest.mark.skipif("gradio" in MISSING, reason="not installed: gradio")
def test_an_answer_that_is_closed_late_leaves_the_next_one_to_be_cancelled() -> None:
    from liteframe.demo.page import page

    cancellations: list[Any] = []

    class Asked(StandsStill):
        def ask(self, video: str | None, question: str, frames: int, cancellation: Any) -> Iterator[Any]:
            cancellations.append(cancellation)
            return super().ask(video, question, frames, cancellation)

    watcher: Any = Asked()
    functions = {each.name: each.fn for each in page(watcher, 8, 8).fns.values()}
    answer: Any = functions["answer"]
    leave: Any = functions["leave"]
    visitor = SimpleNamespace(session_hash="visitor")

    async def ask_twice() -> None:
        first, second = (answer(None, "what", 8, visitor) for _ in range(2))
        await anext(first)
        await anext(second)
        await first.aclose()
        leave(visitor)
        assert [each.is_set for each in cancellations] == [False, True]
        await second.aclose()
        leave(visitor)  # nothing is asked any more

    with ThreadPoolExecutor(1) as other:  # as the browser's driver has a loop in this thread
        other.submit(asyncio.run, ask_twice()).result(60)


@needs_browser
def test_ctrl_c_ends_it_while_a_video_is_decoded_and_uploads_are_gone(server: Any, browser: Any) -> None:
    process, url, folder = server
    page = opened(browser, url)  # a browser that is still there does not hold it
    upload(page, video())
    page.locator("video").first.wait_for()
    children = psutil.Process(process.pid).children()
    decoding = [child for child in children if any("decoding.processes.worker" in word for word in child.cmdline())]
    assert decoding and list(folder.glob("liteframe-demo-*/**/*.mp4"))
    for child in decoding:
        child.suspend()
    ask(page, QUESTION)
    page.locator(".lf-card").first.wait_for()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT, "a decode process has 120 s"
    assert "Traceback" not in process.stdout.read()
    assert not psutil.wait_procs(decoding, timeout=30)[1]
    assert not list(folder.glob("liteframe-demo-*")) and not list(folder.rglob("*.mp4"))


def test_what_cannot_be_is_said_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteframe.demo.command.find_spec", lambda name: None)
    assert cli.main(["demo", "."]) == 1
    assert "the page needs gradio; pip install 'liteframe-video[demo]'" in capsys.readouterr().err
    monkeypatch.setattr("liteframe.demo.command.find_spec", lambda name: object())
    for words, said in (
        (["/no/such/model"], "no model folder"),
        ([".", "--teacher", "/no/such/model"], "no model folder"),
        ([".", "--frames", "0"], "--frames is 0; give a whole number from 1"),
        ([".", "--frames", "9", "--most_frames", "8"], "--frames is 9; give a whole number from 1 to 8"),
        ([".", "--port", "65536"], "--port is 65536"),
    ):
        assert cli.main(["demo", *words]) == 1
        assert said in capsys.readouterr().err
