"""The page itself, in Gradio: what is asked on the left, what came of it below or beside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import gradio as gr

from liteframe.demo.answers import Watcher
from liteframe.demo.html import results_html
from liteframe.system.cancellation import Cancellation, Cancelled
from liteframe.system.daemon_workers import DaemonWorkers

_HINT = '<p class="lf-note">The answer, where its time went, and what the LLM saw appear here.</p>'
_ANNOUNCE = "() => { document.getElementById('results').setAttribute('aria-live', 'polite'); }"
"""Has screen readers say what comes."""
_KEPT_S, _LOOK_S = 3600, 600
"""Uploads older than this are deleted, by looks this far apart."""


def page(watcher: Watcher, frames: int, most_frames: int) -> gr.Blocks:
    """The page.

    Args:
        watcher: answers.
        frames: where the slider begins.
        most_frames: where it ends.
    """
    # The arithmetic has one thread: no two questions share the cores, and no new thread has to wake threads of its own.
    at_work = DaemonWorkers(1, "liteframe-demo")

    under_way: dict[str | None, Cancellation] = {}

    async def answer(video: str | None, question: str, count: float, request: gr.Request) -> AsyncIterator[str]:
        cancellation = under_way[request.session_hash] = Cancellation()
        steps = watcher.ask(video, question, int(count), cancellation)
        try:
            with suppress(Cancelled):
                while (shown := await at_work.run(lambda: next(steps, None))) is not None:
                    yield results_html(shown, watcher.max_tokens)
        finally:
            if under_way.get(request.session_hash) is cancellation:  # Gradio may close an answer after the next began
                del under_way[request.session_hash]

    def leave(request: gr.Request) -> None:
        # Gradio forgets what a closed page has waiting, but ends what is asked of it from step to step alone.
        if (cancellation := under_way.get(request.session_hash)) is not None:
            cancellation.cancel()

    with gr.Blocks(analytics_enabled=False, title="liteframe", delete_cache=(_LOOK_S, _KEPT_S)) as blocks:
        gr.Markdown("# liteframe\nAsk about a video, and see where the milliseconds go.")
        with gr.Row():
            with gr.Column(min_width=280):
                video = gr.Video(
                    label="Video",
                    elem_id="video",
                    sources=["upload", "webcam"],
                    include_audio=True,  # as it comes: without it every upload would be written anew
                    webcam_options=gr.WebcamOptions(mirror=False, constraints={"audio": False}),
                    height=260,
                    buttons=[],
                )
            with gr.Column(min_width=280):
                question = gr.Textbox(
                    label="Question", placeholder="What happens in the video?", max_length=2000, lines=1, max_lines=4
                )
                count = gr.Slider(1, most_frames, frames, step=1, label="Frames to look at")
                ask = gr.Button("Ask", variant="primary")
        results = gr.HTML(_HINT, elem_id="results")
        gr.on(
            [ask.click, question.submit],
            answer,
            [video, question, count],
            results,
            concurrency_limit=1,
            concurrency_id="model",
            show_progress="minimal",
            api_visibility="private",
        )
        blocks.load(None, js=_ANNOUNCE)
        blocks.unload(leave)
    return blocks


THEME = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
THEME.set(button_primary_background_fill="*primary_600", button_primary_background_fill_dark="*primary_600")
STYLE = Path(__file__).with_name("style.css")
