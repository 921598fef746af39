"""The page's results as HTML: answers, bars of time, tokens, and frames under WAP's weights."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from math import prod

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from liteframe.chat.answer import Answer
from liteframe.demo.answers import Reply, Shown, Weights
from liteframe.demo.time_parts import REST, Part, beside_parts, first_token_ms, time_parts
from liteframe.stages.pictures import heat

_COLOURS = {
    "wait": "#0072B2",
    "preprocess": "#56B4E9",
    "encode": "#E69F00",
    "project": "#F0E442",
    "prefill": "#009E73",
    REST: "#CC79A7",
}
"""Okabe and Ito's, which people who are colour-blind tell apart."""
_OTHER_COLOUR = "#999999"
_THUMBNAIL_PX = 160


def results_html(shown: Shown, max_tokens: int) -> str:
    """Everything that is known of a question so far.

    Args:
        shown: answers, weights, errors.
        max_tokens: that an answer was allowed.
    """
    answers = [reply.answer for reply in shown.replies if reply.answer is not None]
    parts = [time_parts(answer, max_tokens) for answer in answers]
    longest = max((sum(part.ms for part in each) for each in parts), default=0.0)
    cards = "".join(_card(reply, max_tokens, longest) for reply in shown.replies)
    text = f'<div class="lf-cards">{cards}</div>' if cards else ""
    if len(answers) == 2:
        own_ms, other_ms = map(first_token_ms, parts)
        text += _against(answers[0], answers[1], own_ms, other_ms, shown.replies[1].title)
    if shown.note:
        text += f'<p class="lf-note">{escape(shown.note)}</p>'
    if shown.error:
        text += _error(shown.error)
    if shown.weights is not None:
        text += _weights(shown.weights)
    return text


def _card(reply: Reply, max_tokens: int, longest: float) -> str:
    text = f'<section class="lf-card"><h3>{escape(reply.title)}</h3>'
    waiting = "" if reply.text or reply.error else f'<span class="lf-note">{"no words" if reply.answer else "…"}</span>'
    text += f'<p class="lf-answer" tabindex="0">{escape(reply.text)}{waiting}</p>'
    if reply.error:
        text += _error(reply.error)
    if reply.answer is not None:
        text += _bar(time_parts(reply.answer, max_tokens), longest) + _counts(reply.answer)
        if beside := beside_parts(reply.answer):
            words = ", ".join(f"{part.words} {_ms(part.ms)}" for part in beside)
            text += f'<p class="lf-note">Beside it, in another process: {escape(words)}</p>'
    return f"{text}</section>"


def _error(words: str) -> str:
    return f'<p class="lf-error" role="alert">{escape(words)}</p>'


def _bar(parts: Sequence[Part], longest: float) -> str:
    """The parts as a bar, on the scale of the longest beside it, and as a table."""
    whole = sum(part.ms for part in parts)
    pieces = "".join(
        f'<span style="width:{100 * part.ms / longest:.3f}%;background:{_colour(part.stage)}"'
        f' title="{escape(part.words)}: {_ms(part.ms)}"></span>'
        for part in parts
        if longest > 0
    )
    rows = "".join(
        f'<tr><th scope="row"><span class="lf-swatch" style="background:{_colour(part.stage)}"></span>'
        f"{escape(part.words)}</th><td>{_ms(part.ms)}</td><td>{_share(part.ms, whole)}</td></tr>"
        for part in parts
    )
    said = escape(", ".join(f"{part.words} {_ms(part.ms)}" for part in parts))
    return (
        f'<div class="lf-bar" role="img" aria-label="{_ms(whole)} in all: {said}">{pieces}</div>'
        f'<table class="lf-parts"><tbody>{rows}</tbody><tfoot>'
        f"{_total('first token after', first_token_ms(parts))}{_total('whole answer after', whole)}</tfoot></table>"
    )


def _total(words: str, ms: float) -> str:
    return f'<tr><th scope="row">{words}</th><td>{_ms(ms)}</td><td></td></tr>'


def _colour(stage: str) -> str:
    return _COLOURS.get(stage, _OTHER_COLOUR)


def _ms(ms: float) -> str:
    return f"{ms / 1000:.2f} s" if ms >= 9999.5 else f"{ms:,.0f} ms" if ms >= 99.95 else f"{ms:.1f} ms"


def _share(ms: float, whole: float) -> str:
    return f"{100 * ms / whole:.0f} %" if whole > 0 else ""


def _counts(answer: Answer) -> str:
    each = answer.visual_tokens / answer.frames
    return (
        f'<p class="lf-note">The LLM sees {_count(answer.visual_tokens, "token")} of {_count(answer.frames, "frame")},'
        f" {each:.3g} a frame; with the question and all around it {answer.prompt_tokens:,}."
        f" Its answer has {_count(answer.answer_tokens, 'token')}.</p>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _against(own: Answer, other: Answer, own_ms: float, other_ms: float, title: str) -> str:
    time = _times(other_ms, own_ms, "sooner", "later", "at the same time")
    tokens = _times(other.visual_tokens, own.visual_tokens, "fewer tokens", "more tokens", "as many tokens")
    return (
        f'<p class="lf-against">Against the {escape(title)}: the first token <b>{time}</b>,'
        f" <b>{tokens}</b> for the LLM.</p>"
    )


def _times(theirs: float, ours: float, less: str, more: str, same: str) -> str:
    """`theirs` over `ours`, both above 0, in words."""
    ratio = f"{max(theirs, ours) / min(theirs, ours):.1f}"
    return same if ratio == "1.0" else f"{ratio} times {less if theirs > ours else more}"


def _weights(weights: Weights) -> str:
    t, shown = weights.block[0], len(weights.frames_THWC) // weights.block[0]
    of = "" if shown == weights.blocks_in_all else f" {shown} of {weights.blocks_in_all} such blocks are shown."
    return (
        '<section class="lf-weights"><h3>WAP\'s weights over the teacher\'s tokens</h3><p class="lf-note">'
        f"WAP makes one token of {' x '.join(map(str, weights.block))} (frames, rows, columns): their mean by these"
        f" weights. Bright tokens count more, and below each frame is its share of the weight of its {t}.{of}</p>"
        f'<div class="lf-blocks">{"".join(_blocks(weights))}</div></section>'
    )


def _blocks(weights: Weights) -> Iterator[str]:
    t = weights.block[0]
    share_T = frame_shares(weights.weights_THW, t)
    pictures = _overlays(weights)
    for first in range(0, len(pictures), t):
        figures = "".join(
            _figure(pictures[place], float(share_T[place]), weights, place) for place in range(first, first + t)
        )
        yield f'<div class="lf-block" style="grid-template-columns:repeat({t},minmax(0,1fr))">{figures}</div>'


def _figure(picture: str, share: float, weights: Weights, place: int) -> str:
    when = "" if weights.times_s is None else f"{weights.times_s[place]:.1f} s"
    said = f"{when + ': ' if when else ''}{100 * share:.0f} % of the weight"
    return (
        f'<figure><img src="{picture}" alt="Frame at {said}">'
        '<div class="lf-bar lf-thin" aria-hidden="true">'
        f'<span style="width:{100 * share:.1f}%;background:#E69F00"></span></div>'
        f"<figcaption>{when}<br>{100 * share:.0f} %</figcaption></figure>"
    )


def frame_shares(weights_THW: Tensor, frames: int) -> Tensor:
    """Share of each frame in the weight of the `frames` that are pooled together, (T,)."""
    sums = weights_THW.sum(dim=(1, 2)).view(-1, frames)
    return (sums / sums.sum(dim=1, keepdim=True)).flatten()


def _overlays(weights: Weights) -> list[str]:
    """The frames under their weights, as addresses of data; bright is four times the mean weight or more."""
    frames_TCHW = weights.frames_THWC.permute(0, 3, 1, 2).float() / 255
    height, width = frames_TCHW.shape[-2:]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = functional.interpolate(frames_TCHW, size=size, mode="area")
    mixed = 0.5 * small + 0.5 * heat(weights.weights_THW * prod(weights.block) / 4, size)
    bytes_THWC = (255 * mixed).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return [_jpeg(Image.fromarray(frame_HWC.numpy())) for frame_HWC in bytes_THWC]


def _jpeg(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
