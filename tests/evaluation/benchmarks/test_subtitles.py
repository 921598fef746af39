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
    interleaved_as_lmms_eval,
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


@pytest.mark.parametrize("hours", ["9" * 12, "9" * 400, "9" * 5000])
def test_a_time_that_no_video_lasts_to_is_named(hours: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.srt: line 5: .*; repair it"):
        srt(tmp_path / "a.srt", f"1\n00:00:01,000 --> 00:00:02,000\na\n\n00:00:02,000 --> {hours}:00:00,000\nb\n")
    for item in (
        {"start": "0:0:0", "end": f"{hours}:0:0", "line": "a"},
        {"timestamp": [0.0, int(hours[:400])], "text": "a"},
        {"timestamp": [0.0, float("nan")], "text": "a"},
        {"start": "0:0:nan", "end": "0:0:1", "line": "a"},
    ):
        (tmp_path / "a.json").write_text(json.dumps([item]))
        with pytest.raises(DataError, match=r"a.json: item 1: "):
            read_json(tmp_path / "a.json", 0.0, 1.0)


def test_both_forms_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    items = [([3.0, 4.5], "a\nb"), ([5, None], "c"), ([6.0, 9], "d")]
    path.write_text(json.dumps([{"timestamp": span, "text": text} for span, text in items]))
    assert [(item.start_s, item.end_s, item.raw) for item in read_json(path, 2.0, 60.0)] == [
        *((1.0, 2.5, "a\nb"), (3.0, 60.0, "c"), (4.0, 7.0, "d"))
    ]
    # LongVideoBench's loader takes the end of a video for any that is no number with a fraction, on the other clock.
    assert [item.end_s for item in read_json(path, 2.0, 60.0, as_loader=True)] == [2.5, 58.0, 58.0]
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


def seen(*indices: int, total: int) -> SeenFrames:
    """At ten frames a second."""
    return SeenFrames(indices, tuple(index / 10 for index in indices), 10.0, total)


def test_overlapping_takes_each_that_a_frame_falls_in() -> None:
    frames = seen(0, 10, 20, 30, total=40)
    spans = [(0.5, 0.9), (1.0, 1.5), (0.2, 3.0), (1.5, 2.0), (2.0, 9.0), (3.5, 4.0)]
    assert overlapping(said(*spans), frames) == ["s2", "s1", "s4"]


def test_lmms_eval_looks_at_frames_of_its_own_and_needs_its_font_tag() -> None:
    few, spans = seen(0, total=101), [(0.0, 1.0), (4.0, 6.0), (9.5, 20.0), (2.0, 3.0)]
    assert as_lmms_eval(said(*spans), few, 3) == ["s0", "s1", "s2"]
    assert as_lmms_eval(said(*spans), few, 101) == ["s0", "s1", "s2", "s3"]
    assert as_lmms_eval(said(*spans, tag=False), few, 3) == []


def test_vlmevalkit_takes_one_a_frame_and_repeats_it() -> None:
    frames = seen(5, 10, 11, 19, 30, total=40)
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


def test_lmms_eval_interleaves_by_moments_of_its_own() -> None:
    """What its own functions give for such a file, with `max_num_frames` 4 and 16."""
    spans = [(0.5, 3.0), (5.9, 6.4), (9.0, 9.3), (14.0, 15.8), (19.5, 19.9)]
    at_ends = SeenFrames((25, 75, 125, 175), (2.5, 7.5, 12.5, 17.5), 10.0, 200)
    made = list(interleaved_as_lmms_eval(said(*spans, tag=False), at_ends, 4, 20.0))
    assert made == [0, 1, 2, "s3", 3]  # at 0, 5, 10 and 15 s, whatever is shown there
    assert list(interleaved(said(*spans, tag=False), at_ends.times_s)) == ["s0", 0, 1, 2, 3]
    short = SeenFrames((0, 10, 20), (0.0, 1.0, 2.0), 10.0, 39)
    assert list(interleaved_as_lmms_eval(said((0.9, 1.4), tag=False), short, 16, 3.9)) == [0, 1, "s0", 2]


def test_other_frames_than_lmms_evals_stand_at_their_times_among_its_subtitles() -> None:
    spans = [(0.5, 0.9), (1.6, 2.2), (2.6, 2.8)]
    six = SeenFrames(tuple(range(6)), tuple(0.5 * place for place in range(6)), 2.0, 6)
    made = list(interleaved_as_lmms_eval(said(*spans, tag=False), six, 16, 3.0))
    assert made == [0, 1, "s0", 2, 3, "s1", 4, 5]


def test_our_rules_go_by_the_time_on_screen_and_harnesses_by_the_told_rate() -> None:
    """Ten frames in the first second, and then one a second: index / rate is not when a frame is shown."""
    times = (*(0.1 * place for place in range(10)), 1.0, 2.0, 3.0, 4.0)
    varying = SeenFrames((0, 9, 11, 13), tuple(times[index] for index in (0, 9, 11, 13)), 14 / 5, 14)
    spans = [(0.8, 1.5), (1.8, 2.4), (3.8, 4.4)]
    assert overlapping(said(*spans), varying) == ["s0", "s1", "s2"]
    assert as_vlmevalkit(said((3.0, 3.5), (0.8, 1.5)), varying) == ["s0"]  # 9 / 2.8 = 3.2 s
    assert as_lmms_eval(said((3.0, 3.5), (0.8, 1.5)), varying, 14) == ["s0", "s1"]
