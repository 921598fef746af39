from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.subtitles import (
    SeenFrames,
    Subtitle,
    as_lmms_eval,
    as_vlmevalkit,
    interleaved,
    lmms_eval_times_s,
    overlapping,
    read_json,
    read_srt,
)

PLAIN = "1\n00:00:01,000 --> 00:00:02,500\nHello\nthere\n\n2\n00:01:02,050 --> 01:00:00,000\n42\n"
SAID = [(1.0, 2.5, "Hello there"), (62.05, 3600.0, "42")]


def srt(path: Path, text: str | bytes) -> list[tuple[float, float, str]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(item.start_s, item.end_s, item.text) for item in read_srt(path)]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", "."),
        PLAIN.replace("00:00:01", "00:01").replace("00:00:02", "0:02"),
        PLAIN.replace("\n\n", "\n"),
        PLAIN.replace("\n\n", "\n\n\n \n"),
        PLAIN.rstrip(),
        PLAIN.replace("1\n00", "00").replace("\n2\n", "\n"),
        "WEBVTT\n\n" + PLAIN.replace("02,500", "02,500 align:start"),
        PLAIN.replace("Hello", "<i>Hello</i>").replace("there", "{\\an8}there"),
        PLAIN.replace("Hello\nthere", '<font color="white" size=".72c">Hello\nthere</font>'),
        PLAIN.encode("utf-16"),
    ],
)
def test_odd_files_say_the_same(text: str | bytes, tmp_path: Path) -> None:
    assert srt(tmp_path / "a.srt", text) == SAID


def test_other_letters_entities_and_signs_stay(tmp_path: Path) -> None:
    assert srt(tmp_path / "a.srt", "00:01 --> 00:02\ncaf\xe9\n".encode("latin-1")) == [(1.0, 2.0, "café")]
    assert srt(tmp_path / "a.srt", "00:01 --> 00:02\n1 &lt; 2 < 3, a > b &amp; c\n") == [
        (1.0, 2.0, "1 < 2 < 3, a > b & c")
    ]


def test_overlaps_keep_their_order_in_the_file(tmp_path: Path) -> None:
    text = "00:05 --> 00:09\nlate\n\n00:01 --> 00:06\nearly\n"
    assert [said for *_, said in srt(tmp_path / "a.srt", text)] == ["late", "early"]


def test_what_is_no_subtitles_is_refused(tmp_path: Path) -> None:
    assert srt(tmp_path / "a.srt", "") == []
    with pytest.raises(DataError, match=r"a.srt: not one line of times"):
        srt(tmp_path / "a.srt", "<html>not found</html>")
    with pytest.raises(DataError, match="cannot be read"):
        read_srt(tmp_path / "none.srt")


def test_both_forms_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"timestamp": [3.0, 4.5], "text": "a\nb"}, {"timestamp": [5, None], "text": "c"}]))
    assert [(item.start_s, item.end_s, item.raw) for item in read_json(path, 2.0, 60.0)] == [
        (1.0, 2.5, "a\nb"),
        (3.0, 58.0, "c"),
    ]
    path.write_text(json.dumps([{"start": "00:01:03.5", "end": "1:00:00", "line": "x"}]))
    (item,) = read_json(path, 0.5, 60.0)
    assert (item.start_s, item.end_s, item.text) == (63.0, 3599.5, "x")


@pytest.mark.parametrize(
    "value", [{}, [3], [{"timestamp": [1.0], "text": "a"}], [{"start": "1", "end": "2", "line": "a"}], [{"text": 1}]]
)
def test_json_of_another_form_is_refused(value: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"a.json: "):
        read_json(tmp_path / "a.json", 0.0, 1.0)


def said(*spans: tuple[float, float], tag: bool = True) -> list[Subtitle]:
    made = []
    for number, (start, end) in enumerate(spans):
        raw = f'<font color="white" size=".72c">s{number}</font>' if tag else f"s{number}"
        made.append(Subtitle(start, end, f"s{number}", raw))
    return made


def test_overlapping_takes_each_that_a_frame_falls_in() -> None:
    frames = SeenFrames((0, 10, 20, 30), fps=10.0, total=40)
    spans = [(0.5, 0.9), (1.0, 1.5), (0.2, 3.0), (1.5, 2.0), (2.0, 9.0), (3.5, 4.0)]
    assert overlapping(said(*spans), frames) == ["s2", "s1", "s4"]


def test_lmms_eval_looks_at_frames_of_its_own_and_needs_its_font_tag() -> None:
    few, spans = SeenFrames((0,), fps=10.0, total=101), [(0.0, 1.0), (4.0, 6.0), (9.5, 20.0), (2.0, 3.0)]
    assert as_lmms_eval(said(*spans), few, 3) == ["s0", "s1", "s2"]
    assert as_lmms_eval(said(*spans), few, 101) == ["s0", "s1", "s2", "s3"]
    assert as_lmms_eval(said(*spans, tag=False), few, 3) == []


def test_vlmevalkit_takes_one_a_frame_and_repeats_it() -> None:
    frames = SeenFrames((5, 10, 11, 19, 30), fps=10.0, total=40)
    assert as_vlmevalkit(said((1.0, 2.0), (1.0, 3.5), (0.0, 1.0)), frames) == ["s2", "s0", "s0", "s1"]


def test_subtitles_stand_between_the_frames_that_they_are_said_at() -> None:
    times = [0.0, 5.0, 10.0, 15.0]
    spans = [(4.0, 5.5), (5.2, 5.4), (6.0, 9.0), (9.0, 14.0), (14.9, 15.0), (40.0, 50.0)]
    assert list(interleaved(said(*spans, tag=False), times)) == [0, "s0", 1, "s1", 2, "s3", "s4", 3]


def test_a_subtitle_that_ends_or_begins_with_a_frame_is_left_out() -> None:
    assert list(interleaved(said((1.0, 5.0), (4.0, 5.5), (5.0, 7.0), tag=False), [0.0, 5.0])) == [0, "s1", 1]


def test_interleaving_drops_and_doubles_no_frame() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = np.sort(rng.uniform(0, 100, 16)).tolist()
        starts = np.sort(rng.uniform(0, 110, 40))
        spans = [(float(start), float(start + rng.uniform(0, 8))) for start in starts]
        parts = list(interleaved(said(*spans, tag=False), times))
        assert [part for part in parts if isinstance(part, int)] == list(range(16))
        words = [int(part[1:]) for part in parts if isinstance(part, str)]
        assert words == sorted(words)
        for number in words:
            start, end = spans[number]
            assert any(start - 0.5 < time < end + 0.5 for time in times)


def test_frame_times_of_lmms_eval() -> None:
    assert lmms_eval_times_s(32.0, 16) == [2.0 * place for place in range(16)]
    assert lmms_eval_times_s(3.9, 16) == [0.0, 1.0, 2.0]
