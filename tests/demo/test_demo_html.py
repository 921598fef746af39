"""What the page shows of an answer: its milliseconds as a bar and as words, and nothing that a question smuggles in."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import torch

from liteframe.chat.answer import STAGES, Answer
from liteframe.demo.answers import Reply, Shown, Weights
from liteframe.demo.html import frame_shares, results_html
from liteframe.demo.time_parts import REST, beside_parts, first_token_ms, time_parts

MOST = 10
MS = {"prefill": 24.0, "wait": 40.0, "preprocess": 5.0, "encode": 30.0, "project": 0.5, "other": 0.5, "token": 2.0}


def answer(tokens: int = 4, visual: int = 16, **ms: float) -> Answer:
    return Answer("red", 16, visual, visual + 9, 0, tokens, {**MS, **ms})


class Spans(HTMLParser):
    """Widths in per cent of the pieces of each bar, what is said of it, and all the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.bars: list[list[float]] = []
        self.said: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if values.get("role") == "img":
            self.bars.append([])
            self.said.append(values["aria-label"] or "")
        elif tag == "span" and (width := re.match(r"width:([\d.]+)%", values.get("style") or "")):
            self.bars[-1].append(float(width[1]))


def test_the_parts_are_the_whole_time_in_the_order_of_the_stages() -> None:
    parts = time_parts(answer(), MOST)
    assert [part.stage for part in parts] == [*(stage for stage in STAGES if stage in MS), REST]
    assert sum(part.ms for part in parts) == pytest.approx(100 + 4 * 2), "4 tokens follow, the one that ends it is one"
    assert first_token_ms(parts) == pytest.approx(100)


def test_an_answer_that_was_cut_off_has_no_end_that_took_time() -> None:
    assert time_parts(answer(tokens=MOST), MOST)[-1].ms == pytest.approx((MOST - 1) * 2)


def test_what_goes_on_beside_is_not_in_the_sum() -> None:
    busy = answer(decode=500.0)
    assert time_parts(busy, MOST) == time_parts(answer(), MOST)
    assert [part.ms for part in beside_parts(busy)] == [500]
    assert "Beside it, in another process: decode the video 500 ms" in results_html(
        Shown([Reply("a", "b", busy)]), MOST
    )


def test_two_bars_have_one_scale_and_each_says_what_it_shows() -> None:
    replies = [Reply("student", "red", answer()), Reply("teacher", "blue", answer(visual=256, encode=330.0))]
    text = results_html(Shown(replies), MOST)
    page = Spans(text)
    assert [sum(bar) for bar in page.bars] == pytest.approx([100 * 108 / 408, 100], abs=0.1)
    assert page.bars[1][2] == pytest.approx(100 * 330 / 408, abs=0.1)
    assert page.said[0].startswith("108 ms in all: wait for frames 40.0 ms, resize 5.0 ms, encode the frames 30.0 ms")
    assert "first token <b>4.0 times sooner</b>, <b>16.0 times fewer tokens</b>" in text
    assert "sees 16 tokens of 16 frames, 1 a frame" in text and "sees 256 tokens of 16 frames, 16 a frame" in text
    slower = results_html(Shown(replies[::-1]), MOST)
    assert "4.0 times later" in slower and "16.0 times more tokens" in slower


def test_an_answer_without_words_says_so() -> None:
    assert "no words" in results_html(Shown([Reply("a", "", answer(tokens=0))]), MOST)
    assert "no words" not in results_html(Shown([Reply("a")]), MOST)


def test_words_of_others_are_no_html() -> None:
    bad = '<img src=x onerror="alert(1)">'
    text = results_html(Shown([Reply(bad, bad), Reply("b", error=bad)], note=bad, error=bad), MOST)
    assert Spans(text).tags <= {"div", "section", "h3", "p", "span"} and text.count("&lt;img") == 5
    assert text.count('role="alert"') == 2


def test_a_frame_has_its_share_of_its_own_block() -> None:
    weights_THW = torch.tensor([3.0, 1.0, 2.0, 2.0]).view(4, 1, 1).expand(4, 2, 2)
    assert frame_shares(weights_THW, 2).tolist() == pytest.approx([0.75, 0.25, 0.5, 0.5])
    weights = Weights(
        torch.zeros(4, 28, 28, 3, dtype=torch.uint8), weights_THW / 16, [0.0, 0.5, 1.0, 1.5], (2, 2, 2), 7
    )
    text = results_html(Shown(weights=weights), MOST)
    assert re.findall(r'alt="([^"]*)"', text) == [
        f"Frame at {when} s: {share} % of the weight" for when, share in ((0.0, 75), (0.5, 25), (1.0, 50), (1.5, 50))
    ]
    assert "2 of 7 such blocks are shown" in text and text.count("data:image/jpeg;base64,/9j/") == 4
