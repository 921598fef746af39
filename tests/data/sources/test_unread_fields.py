"""Fields that change what a row's texts mean and are not read: refused by name, and metadata of the same name not."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import choices_of, turns_of
from liteframe.data.sources.list_root import ListRoot
from liteframe.data.sources.video_row import parse_row
from liteframe.errors import ManifestError


def asked(**of_answer: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat.", **of_answer}]


TALK, QUESTION = {"conversations": asked()}, {"question": "What?", "answer": "A cat."}


@pytest.mark.parametrize("name", ["image", "images", "audio", "audios"])
def test_a_conversation_about_other_media_is_named(name: str) -> None:
    for value in ("x.jpg", ["x.jpg"], {"path": "x.jpg"}):
        with pytest.raises(ManifestError, match=f"field {name}: the row has "):
            turns_of({"path": "a.mp4", "conversations": asked(), name: value})
    for value in (None, "", [], True):
        assert turns_of({"conversations": asked(), name: value}) == [("What?", "A cat.")]
    assert turns_of({"question": "q", "answer": "a", name: "thumb.jpg"}) == [("q", "a")]


@pytest.mark.parametrize("share", [{"loss": False}, {"weight": 0}, {"loss_scale": 0.5}, {"train": False}])
def test_an_answer_that_is_not_to_be_learnt_is_named(share: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="field conversations: turn 2 has '") as error:
        turns_of({"path": "a.mp4", "conversations": asked(**share)})
    assert next(iter(share)) in str(error.value)
    whole = asked(loss=True, weight=1, loss_scale=None)
    whole[0]["loss"] = False
    assert turns_of({"conversations": whole}) == [("What?", "A cat.")]


@pytest.mark.parametrize(
    ("of_answer", "named"),
    [
        ({"loss_weight": 0.0}, "'loss_weight': 0.0"),
        ({"training": False}, "'training': False"),
        ({"train_on_turn": False}, "'train_on_turn': False"),
        ({"mask": True}, "'mask': True"),
        ({"loss_mask": 0}, "'loss_mask': 0"),
        ({"loss_mask": [0, 1, 1]}, "'loss_mask': [0, 1, 1]"),
        ({"train": "false"}, "'train': 'false'"),
        ({"supervise": "No"}, "'supervise': 'No'"),
        ({"learn": "0"}, "'learn': '0'"),
        ({"weight": "0.5"}, "'weight': '0.5'"),
        ({"masked": "true"}, "'masked': 'true'"),
        ({"kto_tag": "false"}, "'kto_tag': \"false\""),
        ({"label": False}, "'label': false"),
        ({"reasoning_content": "Hm."}, "'reasoning_content': 'Hm.'"),
        ({"tool_calls": [{"id": "1"}]}, "'tool_calls': [{"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "'tool_calls': [{"),
        ({"content": None, "refusal": "No."}, "'refusal': 'No.'"),
    ],
)
def test_an_answer_that_is_not_its_text_alone_is_named(of_answer: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=r"field conversations: turn 2 has ") as error:
        turns_of({"path": "a.mp4", "conversations": asked(**of_answer)})
    assert named in str(error.value)


def test_what_an_answer_leaves_empty_is_not_asked_for() -> None:
    empty = {"loss_weight": 1.0, "mask": 0, "reasoning_content": None, "tool_calls": [], "refusal": None, "think": ""}
    empty |= {"loss_mask": [1, 1], "train": "true", "weight": "1.0", "learn": "x", "masked": "no", "label": "cat"}
    assert turns_of({"conversations": asked(**empty)}) == [("What?", "A cat.")]


@pytest.mark.parametrize("said", [TALK, QUESTION, {"questions": [QUESTION]}])
def test_rows_whose_turns_are_not_all_that_is_meant_are_named(said: dict[str, Any]) -> None:
    for name, value in (
        ("kto_tag", False),
        ("kto_tag", "false"),
        ("kto_tag", 0),
        ("label", "undesirable"),
        ("is_desirable", False),
        ("weight", 0),
        ("weight", "0"),
        ("loss_weight", 0.5),
        ("train", "false"),
        ("loss", False),
        ("loss_mask", 0),
        ("loss_mask", [0, 0]),
        ("history", [["Who?", "A man."]]),
        ("history", [{"role": "user", "content": "Who?"}]),
        ("history", '[["Who?", "A man."]]'),
        ("tools", '[{"name": "zoom", "parameters": {}}]'),
        ("tools", [{"type": "function", "function": {"name": "zoom"}}]),
        ("functions", {"name": "zoom", "parameters": {}}),
    ):
        with pytest.raises(ManifestError, match=rf"^a\.mp4 \(id x\): field {name}: "):
            turns_of({"path": "a.mp4", "id": "x", **said, name: value})
    own = {"label": True, "kto_tag": None, "history": [], "tools": "[]", "rejected_response": "A dog."}
    own |= {"weight": 70, "loss": 0.31, "loss_mask": 1, "train": "train", "learn": "to cook", "desirable": "true"}
    assert turns_of({**said, **own}) == [("What?", "A cat.")]
    for name, value in (
        *(("label", 0), ("label", "cat"), ("label", "no"), ("loss_mask", [1, 1]), ("weight", 1.0)),
        *(
            ("tools", ["knife", "board"]),
            ("tools", [{"name": "knife", "description": "sharp"}]),
            ("tools", "knife, board"),
            ("tools", "[a]"),
        ),
        *(("history", "none"), ("history", ["a burn", "a cut"]), ("history", [{"year": 2020}]), ("history", "[x")),
    ):
        assert turns_of({**said, name: value}) == [("What?", "A cat.")]


def test_what_only_a_conversation_means_by_a_field_is_a_questions_own() -> None:
    for name, value in (("label", False), ("label", "false"), ("weight", 0.35), ("mask", True), ("masked", "true")):
        assert turns_of({**QUESTION, name: value}) == [("What?", "A cat.")]
        with pytest.raises(ManifestError, match=rf"^a\.mp4 \(id x\): field {name}: "):
            turns_of({"path": "a.mp4", "id": "x", **TALK, name: value})
    with pytest.raises(ManifestError, match="field questions: item 2: weight: 0 would have the answer learnt less"):
        turns_of({"path": "a.mp4", "questions": [QUESTION, {**QUESTION, "weight": 0}]})


def test_a_mask_of_all_turns_may_leave_out_the_questions() -> None:
    assert turns_of({**TALK, "loss_mask": [0, 1]}) == [("What?", "A cat.")]
    system = {"role": "system", "content": "Be brief."}
    assert turns_of({"conversations": [system, *asked()], "loss_mask": [0, 0, 1]})
    with pytest.raises(ManifestError, match=r"field loss_mask: \[1, 0\]"):
        turns_of({**TALK, "loss_mask": [1, 0]})
    with pytest.raises(ManifestError, match=r"field loss_mask: \[0, 0, 1, 1\]"):
        turns_of({**TALK, "loss_mask": [0, 0, 1, 1]})


def test_metadata_beside_a_question_is_no_matter_of_its_evaluation() -> None:
    asked_of = {"path": "a.mp4", "question": "Which?", "options": ["a", "b"], "answer": "a"}
    for own in ({"tools": ["knife"]}, {"history": "none"}, {"label": False}):
        assert choices_of({**asked_of, **own})[0]["answer"] == "a"
    with pytest.raises(ManifestError, match="field history: turns of before"):
        choices_of({**asked_of, "history": [["Who?", "A man."]]})


@pytest.mark.parametrize("name", ["image", "images", "audio", "audios"])
def test_a_turn_with_media_of_its_own_is_named(name: str) -> None:
    talk = asked()
    with pytest.raises(ManifestError, match=f"field conversations: turn 1 has '{name}': "):
        turns_of({"path": "a.mp4", "conversations": [{**talk[0], name: ["x.jpg"]}, talk[1]]})
    assert turns_of({"conversations": [{**talk[0], name: [None]}, talk[1]]}) == [("What?", "A cat.")]


def test_no_number_is_no_weight() -> None:
    assert turns_of({"conversations": asked(loss="nan"), "loss_weight": float("nan")}) == [("What?", "A cat.")]
    row = {"path": "a.mp4", "questions": [{**QUESTION, "loss_mask": float("nan")}]}
    assert turns_of(parse_row(row, "x.jsonl:1", ListRoot("/")).row.as_dict()) == [("What?", "A cat.")]


@pytest.mark.parametrize("said", [TALK, QUESTION, {"questions": [QUESTION]}])
def test_media_of_nothing_or_of_the_video_itself_are_no_others(said: dict[str, Any]) -> None:
    row = {"path": "/videos/x/a.mp4", "id": "a", **said}
    for own in (
        {"images": [None], "image": {"bytes": None, "path": None}},
        {"audio": "a.wav", "audios": ["sounds/A.WAV"]},
        {"reference_video": "a.mp4", "query_video": ["x/a.mp4"]},
    ):
        assert turns_of({**row, **own}) == [("What?", "A cat.")]
    for name, other in (("audio", "b.wav"), ("audios", ["a.wav", "b.wav"]), ("target_video", "edited/a.mp4")):
        with pytest.raises(ManifestError, match=f"field {name}: the row has "):
            turns_of({**row, name: other})
    assert turns_of({**row, **QUESTION, "conversations": None, "image": "a.jpg"}) == [("What?", "A cat.")]
    with pytest.raises(ManifestError, match="field image: the row has "):
        turns_of({**row, **TALK, "image": "a.jpg"})
