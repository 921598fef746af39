"""A row's part of its video, under the names that lists of the field have for it: read, or refused by name."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.manifest import read_manifest
from liteframe.data.sources.moments import say_any
from liteframe.data.sources.video_row import VideoRow
from liteframe.errors import ManifestError

TALK = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A cat."}]
NAN = float("nan")


def read(tmp_path: Path, fields: dict[str, Any], native: bool) -> VideoRow:
    row = {("path" if native else "video"): "a.mp4", "conversations": TALK, **fields}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    (found,) = read_manifest(tmp_path / "x.jsonl")
    return found


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"start": 3, "end": 7.5}, (3.0, 7.5)),
        ({"video_start": 3, "video_end": 7.5}, (3.0, 7.5)),
        ({"video_start": 3}, (3.0, None)),
        ({"start": 0, "start_time": 3, "end_time": 7}, (0.0, None)),
        ({"start": None, "end": None, "video_start": None}, (None, None)),
        ({"start_time": None, "end_time": None}, (None, None)),
        ({"start_time": "in the morning", "end_time": "at night"}, (None, None)),
        ({"end_time": -1}, (None, None)),
        ({"begin": "2021"}, (None, None)),
        ({"stop": 1620000000}, (None, None)),
        ({"start_time": 0}, (None, None)),
        ({"duration": 7, "clip": "a_3", "bound": True}, (None, None)),
        ({"segment": 4, "clip": [1, 2, 3], "video_range": "day - night", "segments": [3, 7]}, (None, None)),
        ({"start_time": 0, "duration": 7}, (None, None)),
        ({"start_time": "00:00", "length": 7}, (None, None)),
        ({"start": 0, "duration": 7}, (0.0, None)),
        ({"start": 3, "end": 7, "duration": 60}, (3.0, 7.0)),
        ({"start": 3, "video_duration": 60}, (3.0, None)),
        ({"start_time": 0, "end_time": None, "stop": ""}, (None, None)),
        ({"start_time": None, "end_time": ""}, (None, None)),
        ({"start_times": [3, 9], "end_times": [7, 12]}, (None, None)),
        ({"start": 0, "stop": "when all is done"}, (0.0, None)),
        ({"clip": "2021-05"}, (None, None)),
        ({"clip": "0001-0002", "time_range": "2009-2011", "video_range": "0001 to 0120"}, (None, None)),
        ({"clip": ["0001", "0002"], "segment": "1-2"}, (None, None)),
        ({"time": "2021-05-01", "clip": "a-b", "segment": "[a, b]"}, (None, None)),
        ({"restart": 1, "weekend": 2, "starter": 1, "ender": 2}, (None, None)),
        ({"start": "3", "end": " 7.50"}, (3.0, 7.5)),
        ({"start": "", "end": " ", "video_start": 3}, (3.0, None)),
        ({"start": NAN, "end": NAN}, (None, None)),
        ({"start": 3, "end": NAN, "start_time": NAN, "end_time": NAN}, (3.0, None)),
        ({"start_time": NAN, "end_time": NAN}, (None, None)),
        ({"from": "youtube", "to": "train", "t0": 3, "out": 7}, (None, None)),
        ({"first_frame": "0.jpg", "last_frame": "9.jpg"}, (None, None)),
        ({"from": "2019", "to": "2021"}, (None, None)),
        ({"offset": 0, "duration": 7}, (None, None)),
        ({"offset": 3, "frame_interval": 4, "interval": 2, "window": 16}, (None, None)),
        ({"meta": {"duration": 60, "fps": 30}, "info": {"start": "2021-05-01", "end": "2021-05-02"}}, (None, None)),
        ({"metadata": {"start_time": "0.000000", "duration": "60.0"}}, (None, None)),
        ({"start": 0, "meta": {"start": 3, "end": 7}}, (0.0, None)),
        ({"meta": {"start": -1, "end": -1}, "info": {"start": NAN, "end": NAN}}, (None, None)),
        ({"start": [], "end": []}, (None, None)),
        ({"start": 3, "end": []}, (3.0, None)),
        ({"questions": [{"question": "What?", "answer": "A cat.", "start": NAN, "end": NAN}]}, (None, None)),
        ({"questions": [{"question": "What?", "answer": "A cat.", "start": [], "end": ""}]}, (None, None)),
        ({"video": {"path": "a.mp4", "start": NAN}}, (None, None)),
        ({"conversations": [TALK[0], {**TALK[1], "start": NAN, "meta": {"end": NAN}}]}, (None, None)),
        ({"window": [1920, 1080], "interval": [5, 2], "segment": [7, 7]}, (None, None)),
        ({"in": 3, "out": 5}, (None, None)),
        ({"conversations": [TALK[0], {**TALK[1], "time": 1.7}]}, (None, None)),
        (
            {
                "conversations": [
                    {"role": "user", "content": "What?"},
                    {"role": "assistant", "content": "A cat.", "time": 1},
                ]
            },
            (None, None),
        ),
        ({"bound": [NAN, NAN], "clip": [NAN, NAN], "timestamp": [NAN, NAN]}, (None, None)),
        ({"time": 1620000000, "timestamp": "2021-05-01 10:30:00", "ask_time": 1620000000000}, (None, None)),
        ({"time": 0, "timestamp": "2021", "time_stamp": "", "realtime": None}, (None, None)),
        ({"start": 0, "end": 190, "time_stamp": "00:03:10"}, (0.0, 190.0)),
        ({"timestamp": 20240101, "time": 2019, "current_time": 202401}, (None, None)),
        ({"timestamp": "20240101", "time": "14:05:33", "times": 3}, (None, None)),
        ({"timestamp": 2019.0, "time": ["201905"]}, (None, None)),
    ],
)
def test_parts_are_read(fields: dict[str, Any], part: tuple[Any, Any], native: bool, tmp_path: Path) -> None:
    row = read(tmp_path, fields, native)
    assert (row.start, row.end) == part


def test_a_clip_is_a_part_in_lists_as_internvl_reads_them(tmp_path: Path) -> None:
    row = read(tmp_path, {"clip": [3, 7.5]}, native=False)
    assert (row.start, row.end, row.extra) == (3.0, 7.5, {})
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'clip': tells a part of the video"):
        read(tmp_path, {"clip": [3, 7.5]}, native=True)
    row = read(tmp_path, {"clip": [3, 7.5], "start": 0}, native=True)
    assert (row.start, row.end, row.extra) == (0.0, None, {"clip": [3, 7.5]})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"start_time": 3, "end_time": 7}, "'start_time': with 'end_time'"),
        ({"start_time": 30}, "'start_time': tells a part"),
        ({"start_seconds": "0:30"}, "'start_seconds': tells a part"),
        ({"end_time": 30}, "'end_time': tells a part"),
        ({"meta": {"end_time": 30}}, "'meta': its 'end_time' tells a part"),
        ({"time_start": 3, "time_end": 7}, "'time_start': with 'time_end'"),
        ({"Start_timestamp": "00:00:03.0", "End_timestamp": "00:00:07"}, "'Start_timestamp'"),
        ({"Start": 3, "End": 7}, "'Start'"),
        ({"start_frame": 90, "end_frame": 210}, "'start_frame'"),
        ({"begin": 3, "end_sec": "7.5s"}, "'begin': with 'end_sec'"),
        ({"segment_start": 3, "segment_end": 7}, "'segment_start'"),
        ({"bound": [3, 7]}, "'bound'"),
        ({"bound": [[3, 7]]}, "'bound'"),
        ({"clip": ["00:03", "00:07,5"]}, "'clip'"),
        ({"clip": {"start": 3, "end": 7}}, "'clip'"),
        ({"segment": [3, 7]}, "'segment'"),
        ({"time_range": "00:03-00:07"}, "'time_range'"),
        ({"video_interval": "3 to 7.5"}, "'video_interval'"),
        ({"start_time": "1m30s", "end_time": "1h 2m"}, "'start_time': with 'end_time'"),
        ({"t_start": 3, "t_end": 7}, "'t_start': with 't_end'"),
        ({"start_t": 3, "end_t": 7}, "'start_t': with 'end_t'"),
        ({"start_time_sec": 3, "end_time_sec": 7}, "'start_time_sec'"),
        ({"start_in_seconds": 3, "end_in_seconds": 7}, "'start_in_seconds'"),
        ({"video_clip_start": 3, "video_clip_end": 7}, "'video_clip_start'"),
        ({"start_time": ["3"], "end_time": ["7"]}, "'start_time': with 'end_time'"),
        ({"start_time": "00:00:03", "end_time": "00:00:07:12"}, "'start_time': with 'end_time'"),
        ({"start_time": "00:00:03:00", "end_time": "00:00:07;12"}, "'start_time': with 'end_time'"),
        ({"start_time": 3, "end_time": "the end"}, "'start_time': with 'end_time'"),
        ({"start_time": {"s": 3}, "end_time": 7}, "'start_time': with 'end_time'"),
        ({"start_time": 3, "end_time": None}, "'start_time': with 'end_time'"),
        ({"start_time": "", "end_time": 7}, "'start_time': with 'end_time'"),
        ({"start_time": 0, "end_time": "the end"}, "'start_time': with 'end_time'"),
        ({"start_time": "3 sec", "end_time": "7 seconds"}, "'start_time': with 'end_time'"),
        ({"start_time": "3000ms", "end_time": "7000 ms"}, "'start_time': with 'end_time'"),
        ({"start": 3, "end_time": "the end"}, "'end_time'"),
        ({"video_clip": [3, 7]}, "'video_clip'"),
        ({"time": [3, 7]}, "'time'"),
        ({"time": "0:03-0:07"}, "'time'"),
        ({"start_end": [3, 7]}, "'start_end'"),
        ({"bound": "[3, 7]"}, "'bound'"),
        ({"clip": "(3.0,7.0)"}, "'clip'"),
        ({"clip": "3s-7s"}, "'clip'"),
        ({"segment": "3.0 -> 7.5"}, "'segment'"),
        ({"time_range": "3-7"}, "'time_range'"),
        ({"clip": ["3", "7"]}, "'clip'"),
        ({"start_time": 3, "duration": 4}, "'start_time': with 'duration'"),
        ({"begin": "00:03", "clip_length": "4s"}, "'begin': with 'clip_length'"),
        ({"timestamp": ["0:00:20.120", "0:00:35.268"]}, "'timestamp': tells a part"),
        ({"timestamps": [[3, 7]]}, "'timestamps'"),
        ({"spans": [[3, 7]]}, "'spans'"),
        ({"time_span": [3, 7]}, "'time_span'"),
        ({"time_interval": "0:03-0:07"}, "'time_interval'"),
        ({"interval": [3, 7]}, "'interval'"),
        ({"frame_range": [90, 210]}, "'frame_range'"),
        ({"first_frame": 90, "last_frame": 210}, "'first_frame': with 'last_frame'"),
        ({"from": 3, "to": 7}, "'from': with 'to'"),
        ({"t0": "0:03", "t1": "0:07"}, "'t0': with 't1'"),
        ({"offset": 3, "duration": 4}, "'offset': with 'duration'"),
        ({"meta": {"start": 3, "end": 7}}, "'meta': its 'start' tells a part"),
        ({"video_info": {"clip": [3, 7]}}, "'video_info': its 'clip' tells a part"),
        ({"clip_info": {"start_sec": 3, "duration": 4}}, "'clip_info': its 'start_sec' tells a part"),
        ({"time_stamp": "00:03:10"}, "'time_stamp': tells when the question is asked"),
        ({"realtime": 12.5}, "'realtime'"),
        ({"query_time": 12.5}, "'query_time'"),
        ({"ask_time": "0:12"}, "'ask_time'"),
        ({"ask_time": "0:12", "conversations": [*TALK, *TALK]}, "'ask_time'"),
        ({"time": 1234}, "'time': tells when"),
        ({"timestamp": 12.5}, "'timestamp': tells when"),
        ({"in": 3.2, "out": 5}, "'in': with 'out'"),
        ({"clip": {"start": 3, "end": 7}, "bound": [7, 3]}, "'clip'"),
        ({"bound": [3, -1]}, "'bound'"),
        ({"time": 5, "realtime": 7.5, "conversations": [*TALK, *TALK]}, "'realtime': tells when"),
        ({"realtime": 1950}, "'realtime': tells when"),
        ({"ask_time": "14:05:33"}, "'ask_time': tells when"),
        ({"time": "09:05:33"}, "'time': tells when"),
        ({"time_s": 3}, "'time_s': tells when"),
        ({"start": -1, "end": -1}, "'start': seconds from 0 on are needed, not -1; drop 'start' and 'end' where"),
        ({"start": "-1", "end": None}, "not '-1'; drop 'start' where the whole"),
        ({"start": 3, "end": -1}, "'end': seconds from 0 on are needed, not -1; drop it where the video is meant to"),
        ({"start_time": -1, "end_time": -1.0}, "'start_time': with 'end_time' is no part of a video; drop both"),
        ({"start": 3, "duration": 4}, "'duration': may end the part that starts at 3.0 s"),
        ({"start": 3, "end_time": 7}, "'end_time'"),
        ({"start_time": 3, "end": 7}, "'start_time'"),
        ({"video_start": 7, "video_end": 3}, "'video_end': 3.0 s is not after the start at 7.0 s"),
        ({"video_start": "00:03", "video_end": 7}, "'video_start': seconds from 0 on are needed"),
        (
            {"questions": [{"question": "q", "answer": "a"}, {"question": "q", "answer": "a", "start": 3}]},
            "item 2 has a",
        ),
        (
            {"questions": [{"question": "q", "answer": "a", "t_start": "0:03", "t_end": "0:00:07:12"}]},
            "'t_start' of its own",
        ),
        ({"questions": [{"question": "q", "answer": "a", "start_time": 3, "end_time": 4}]}, "'start_time' of its own"),
        ({"questions": [{"question": "q", "answer": "a", "timestamp": [3, 4]}]}, "'timestamp' of its own"),
        ({"questions": [{"question": "q", "answer": "a", "time": 1234}] * 2}, "item 1 has a 'time', which tells when"),
        ({"questions": [{"question": "q", "answer": "a", "time_stamp": "00:03:10"}]}, "item 1 has a 'time_stamp'"),
        ({"conversations": [{**TALK[0], "time": 12.5}, TALK[1]]}, "'conversations': turn 1 has a 'time', which"),
        ({"conversations": [TALK[0], {**TALK[1], "start": 3, "end": 7}]}, "'conversations': turn 2 has a 'start'"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_what_is_not_read_is_named(fields: dict[str, Any], named: str, native: bool, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field '") as error:
        read(tmp_path, fields, native)
    assert named in str(error.value)


def test_a_clip_or_a_video_that_cannot_be_a_part_is_named(tmp_path: Path) -> None:
    for fields, named in (
        ({"clip": [7, 3]}, "'clip': 3 s is not after the start at 7 s"),
        ({"clip": [-1, 3]}, "'clip': seconds from 0 on"),
        ({"video": {"path": "a.mp4", "start": 3}}, "'video': has a 'start' of its own"),
        (
            {"video": None, "videos": [{"path": "a.mp4", "start_time": 3, "end_time": 7}]},
            "'videos': has a 'start_time'",
        ),
    ):
        with pytest.raises(ManifestError) as error:
            read(tmp_path, fields, native=False)
        assert named in str(error.value)


def test_a_part_in_a_url_is_named(tmp_path: Path) -> None:
    for url in ("https://x.org/a.mp4#t=10,20", "HTTP://x.org/a.mp4?b=1#x=1&t=npt:0:10"):
        with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'video': its URL asks for a part \(#t="):
            read(tmp_path, {"video": url}, native=False)
    for url in ("https://x.org/a.mp4?t=10", "https://x.org/a.mp4#top", "s3://b/a#t=1.mp4"):
        assert read(tmp_path, {"path": url}, native=True).path == url


def test_moments_of_parquet_are_moments(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    row = {"path": "a.mp4", "start_time": timedelta(seconds=3), "end_time": timedelta(seconds=7)}
    write_table(pyarrow.Table.from_pylist([row]), tmp_path / "x.parquet")
    with pytest.raises(ManifestError, match="row 1: field 'start_time': with 'end_time'"):
        read_manifest(tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["timestamp", "timestamps", "spans", "time_span", "interval"])
def test_moments_that_are_to_be_found_are_no_part(name: str, tmp_path: Path) -> None:
    def talk(answer: str, asked: str = "<video>When?") -> list[dict[str, str]]:
        return [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]

    for said in ("From 24.3 to 30.5 s.", "24.30 - 31", "24 to 30", "00:24 to 00:30", "<24.3> <30.45>"):
        for fields in (
            {"conversations": talk(said)},
            {"conversations": talk("She sits.", f"<video>What happens {said}")},
            {"conversations": None, "question": "When?", "answer": said},
            {"conversations": None, "question": "When?", "options": ["Never.", said], "answer": "B"},
            {"conversations": None, "questions": [{"question": "When?", "answer": said}]},
        ):
            assert read(tmp_path, {**fields, name: [[24.3, 30.45]]}, native=True).start is None, said
    read(tmp_path, {"conversations": None, "questions": [{"question": "When?", "answer": "24", name: [24, 30]}]}, True)
    for unsaid in ("She sits.", "She has 2 dogs and 243 cats.", "From 30.6 to 24.5"):
        with pytest.raises(ManifestError, match=f"field '{name}': tells a part"):
            read(tmp_path, {"conversations": talk(unsaid), name: [24.3, 30.45]}, native=True)


def test_without_a_text_only_what_films_are_cut_by_is_a_part(tmp_path: Path) -> None:
    row = {"conversations": None, "sentence": "A person sits.", "time": 12.5}
    assert read(tmp_path, {**row, "timestamp": [24.3, 30.4]}, native=False).start is None
    with pytest.raises(ManifestError, match="field 'timestamp': tells a part"):
        read(tmp_path, {**row, "timestamp": ["0:00:24.3", "0:00:30.4"]}, native=False)


def test_a_question_that_says_its_moment_is_about_the_whole_video(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<video>What happens at 0:12?"}, TALK[1]]
    assert read(tmp_path, {"conversations": talk, "timestamp": 12.4}, native=True).end is None
    assert read(tmp_path, {"conversations": [*TALK, *TALK], "timestamp": 12.4}, native=True).end is None, "of which?"


def test_letters_of_other_scripts_are_no_units(tmp_path: Path) -> None:
    for told in ("5\u017f", "\u0665", "5 m\u017f", "3\u017f-7\u017f"):
        assert read(tmp_path, {"time": told, "start_time": told, "end_time": told}, native=True).end is None


def test_moments_are_looked_for_in_texts_of_digits_alone_in_linear_time() -> None:
    assert not say_any(["1" * 200_000], [3, 7])


def test_a_moment_that_is_a_number_to_choose_from_is_not_said(tmp_path: Path) -> None:
    asked = {"question": "How many cars?", "options": ["1", "2", "3", "4"], "answer": "C", "realtime": 3}
    shown = [{"from": "human", "value": "<video>How many?\nA. 2\n(B) 3"}, {"from": "gpt", "value": "B"}]
    for fields in (
        asked,
        {**asked, "answer": "3"},
        {**asked, "question": "How many cars, 3 or 4?"},
        {"questions": [asked]},
        {"conversations": shown, "realtime": 3},
    ):
        with pytest.raises(ManifestError, match="tells? when|when the question is asked"):
            read(tmp_path, {"conversations": None, **fields}, native=True)
    for said in ({"question": "How many cars at 0:03?"}, {"question": "How many after 3 seconds?"}, {"realtime": 1.0}):
        asked_at = {**asked, "options": ["2", "3"] if "question" in said else ["At 1 s.", "At 2 s."], **said}
        assert read(tmp_path, {"conversations": None, **asked_at}, native=True).end is None


def test_what_a_turn_is_to_find_may_be_said_by_its_answer(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "When does he run?"}, {"from": "gpt", "value": "From 3 to 7."}]
    for found in ({"timestamps": [3, 7]}, {"time": 3}):
        assert read(tmp_path, {"conversations": [{**talk[0], **found}, talk[1]]}, native=True).end is None
    assert read(tmp_path, {"conversations": [talk[0], {**talk[1], "timestamps": [3, 7]}]}, native=True).end is None
    with pytest.raises(ManifestError, match="turn 1 has a 'timestamps' of its own"):
        read(tmp_path, {"conversations": [{**talk[0], "timestamps": [4, 8]}, talk[1]]}, native=True)


def test_a_single_limit_that_the_texts_say_is_to_be_found(tmp_path: Path) -> None:
    row = {"conversations": None, "question": "When does he run?", "answer": "From 30 s on.", "start_time": 30}
    assert read(tmp_path, row, native=True).start is None
    with pytest.raises(ManifestError, match="item 1 has a 'start_time' of its own"):
        read(tmp_path, {"questions": [{"question": "What?", "answer": "A cat.", "start_time": 3}]}, native=True)
