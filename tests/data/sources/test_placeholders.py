"""What stands for the video in a question, and for moments in any text."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import choices_of, placeholders_of_questions, turns_of
from liteframe.errors import ManifestError


def talk(question: str, answer: str = "A cat.", **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"path": "a.mp4", "id": "x", "conversations": turns, **fields}


@pytest.mark.parametrize(
    "frames",
    [
        "Frame1: <image>\nFrame2: <image>\nFrame3: <image>\n",
        "Frame 1: <image>\nFrame 2: <image>\n",
        "frame-0: <image> frame-1: <image> ",
        "<image>\n<image>\n",
        "<video>\n",
    ],
)
def test_frames_with_their_numbers_are_one_video(frames: str) -> None:
    assert turns_of(talk(f"{frames}What happens?")) == [("What happens?", "A cat.")]
    if "rame" in frames:
        assert placeholders_of_questions(talk(f"{frames}What happens?")) == [1]


def test_words_about_frames_stay() -> None:
    assert turns_of(talk("<video>What is in Frame 3: a cat?")) == [("What is in Frame 3: a cat?", "A cat.")]


@pytest.mark.parametrize(
    "question",
    [
        "Compare <video> with <video>",
        "<video><video>What?",
        "Compare <image> with <image>",
        "0.5s: <image>\n1.0s: <image>\nWhat?",
        "Image-1: <image>\nImage-2: <image>\nWhich?",
    ],
)
def test_a_question_about_several_videos_or_pictures_is_named(question: str) -> None:
    with pytest.raises(ManifestError, match=r"^a\.mp4 \(id x\): field conversations: the question has several places"):
        turns_of(talk(question))
    asked = {"question": question, "answer": "a", "options": ["a", "b"]}
    for row in (asked, {"questions": [asked]}):
        with pytest.raises(ManifestError, match="the question has several places"):
            turns_of(row)
        with pytest.raises(ManifestError, match="field question: the question has several places"):
            choices_of(row)


@pytest.mark.parametrize("name", ["image", "images", "audio", "audios"])
def test_a_question_about_other_media_is_named(name: str) -> None:
    asked = {"path": "a.mp4", "question": "Is this object seen?", "answer": "yes", "options": ["yes", "no"]}
    for value in ("ref.jpg", ["ref.jpg"], {"path": "ref.jpg"}, {"bytes": "AAAA"}, "thumbs/ref.jpg"):
        for read in (turns_of, choices_of):
            with pytest.raises(ManifestError, match=f"field {name}: the row has .* a question is read about one video"):
                read({**asked, name: value})
            with pytest.raises(ManifestError, match=f"field questions: item 1: {name}: it has"):
                read({"path": "a.mp4", "questions": [{**asked, name: value}]})
    for value in (None, "", [], True, "a_thumbnail.jpg", ["poster.png"], {"path": "x/thumb.jpg"}, "vi/x/hqdefault.jpg"):
        assert turns_of({**asked, name: value}) == [("Is this object seen?", "yes")]


@pytest.mark.parametrize(
    "name", ["query_image", "reference_video", "ref-img", "video2", "image_b", "second_video_path"]
)
def test_a_second_medium_is_named_whatever_it_is_called(name: str) -> None:
    asked = {"path": "a.mp4", "question": "Is it the same?", "answer": "yes"}
    with pytest.raises(ManifestError, match=f"field {name}: the row has 'b.mp4' beside its video"):
        turns_of({**asked, name: "b.mp4"})
    with pytest.raises(ManifestError, match=f"field {name}: the row has"):
        turns_of(talk("Is it the same?", **{name: "b.mp4"}))
    for own in ({name: None}, {name: 3}, {"video_id": "b"}, {"target": "b.mp4"}, {"image_size": "2"}):
        assert turns_of({**asked, **own}) == [("Is it the same?", "yes")]


@pytest.mark.parametrize("mark", ["<s0>", "<e12>", "<timestamp>", "<time>", "<stamp>", "<TIME_ONE>"])
def test_what_stands_for_a_moment_is_named(mark: str) -> None:
    for question, answer in ((f"What from {mark} on?", "A cat."), ("When?", f"From {mark} on.")):
        with pytest.raises(ManifestError, match=f"field conversations: holds '{mark}'"):
            turns_of(talk(question, answer))
        with pytest.raises(ManifestError, match=f"holds '{mark}'"):
            turns_of({"question": question, "answer": answer})
    with pytest.raises(ManifestError, match=f"field question: holds '{mark}'"):
        choices_of({"question": f"What at {mark}?", "answer": "a", "options": ["a", "b"]})
    closed = f"From {mark}3.5</{mark[1:]} on."
    assert turns_of(talk("When?", closed)) == [("When?", closed)]


def test_moments_that_a_row_names_itself_are_named() -> None:
    """As VTimeLLM's lists have them."""
    meta = {"duration": 82.7, "token": {"[t1]": 12.1, "[t2]": 30.4}}
    with pytest.raises(ManifestError, match=r"field conversations: holds '\[t2\]'.* of turn 2"):
        turns_of(talk("<video>\nWhen?", "Until [t2].", meta=meta))
    for other in (meta, {"token": 5}, "x", None):
        assert turns_of(talk("<video>\nWhen?", "At noon.", meta=other)) == [("When?", "At noon.")]


def test_tags_and_placeholders_without_end_take_linear_time() -> None:
    assert turns_of(talk("When?", "<time>" * 20_000 + "</time>" + "x" * 200_000 + "<bbox>" * 20_000 + "</bbox>"))
    with pytest.raises(ManifestError, match="field conversations: the question has placeholders inside of"):
        turns_of(talk("<vid" * 20_000 + "<video>" + "eo>" * 20_000))


def test_the_first_tag_that_nothing_closes_is_named() -> None:
    for answer in ("<time>3</time> <S1> <bbox1>", "<s1>1</s1> <bbox>", "</time> <time>"):
        with pytest.raises(ManifestError, match="holds '<(S1|bbox1?|time)>'"):
            turns_of(talk("When?", answer))
    assert turns_of(talk("When?", "<TIME>3</time> <bbox1>a</bbox2>"))


def test_plain_letters_in_the_meta_of_a_row_are_words() -> None:
    assert turns_of(talk("When?", "At a time.", meta={"token": {"a": 1, "": 2, "<>": 3}}))
    with pytest.raises(ManifestError, match="holds '<a>'"):
        turns_of(talk("When?", "At <a>.", meta={"token": {"a": 1, "<a>": 2}}))
