"""Texts at which an answer stops."""

from __future__ import annotations

import random

from liteframe.serving.stop_text import StopText


def shown(text: str, stops: list[str], chance: random.Random) -> tuple[str, bool]:
    stop, out, left = StopText(stops), "", text
    while left and not stop.met:
        size = chance.randint(0, 3)
        out, left = out + stop.push(left[:size]), left[size:]
    return out + stop.finish(), stop.met


def test_pieces_end_where_the_whole_text_would() -> None:
    chance = random.Random(0)
    for _ in range(500):
        text = "".join(chance.choice("ab") for _ in range(chance.randint(0, 12)))
        stops = ["".join(chance.choice("ab") for _ in range(chance.randint(1, 4))) for _ in range(chance.randint(0, 2))]
        # Piece by piece, the stop that is whole first counts.
        ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
        out, met = shown(text, stops, chance)
        assert met == bool(ends)
        if not ends:
            assert out == text
        else:
            assert text.startswith(out) and not any(stop in out for stop in stops)
            assert any(text.startswith(stop, len(out)) for stop in stops)


def test_nothing_of_a_stop_is_shown_early() -> None:
    stop = StopText(["END"])
    assert [stop.push(piece) for piece in ("a E", "N", "x E", "ND b", "c")] == ["a ", "", "ENx ", "", ""]
    assert stop.met and stop.finish() == ""
