from __future__ import annotations

import random
from typing import Any

import pytest

from liteframe.errors import DataError
from liteframe.evaluation.answering import count_answers
from liteframe.evaluation.benchmarks.question import Question, Unusable, questions_of
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.bootstrap import bootstrap_over_videos
from liteframe.evaluation.multiple_choice import MultipleChoiceAccuracy
from liteframe.evaluation.scoring.scores import Answer, paper_average, scores
from liteframe.lmms_eval import task


def asked(number: int, task: str, answer: int | None = 0, video: str | None = None) -> Question:
    options = ("one", "two", "three", "four")
    return Question(f"q{number}", video or f"v{number}.mp4", "What?", options, answer, {"task": task}, "w")


def test_figures_by_hand() -> None:
    rows = [
        asked(0, "count"),
        asked(1, "count"),
        asked(2, "count"),
        asked(3, "ego", 1),
        asked(4, "ego", None),
        asked(5, "ego"),
        Unusable("q6", "w", "no such file"),
    ]
    texts = {"q0": "A", "q1": "B", "q2": "The answer is one of these", "q3": "two", "q4": "A"}
    found = scores(benchmark("mlvu"), rows, {name: Answer(text) for name, text in texts.items()})
    counts = {name: value for name, value in found.items() if name != "scores"}
    assert counts == {"rows": 7, "left_out": 1, "answered": 5, "unanswered": 1, "without_key": 1}
    assert set(found["scores"]) == {"strict", "lmms-eval", "vlmevalkit"}
    table = found["scores"]["strict"]
    assert (table["questions"], table["videos"]) == (4, 4)
    assert table["accuracy"] == pytest.approx(2 / 4)
    assert table["unparsed"] == pytest.approx(1 / 4)
    assert table["by"]["task"] == {
        "count": {"accuracy": pytest.approx(1 / 3), "questions": 3},
        "ego": {"accuracy": 1.0, "questions": 1},
    }
    assert table["macro"]["task"] == table["headline"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["scores"]["vlmevalkit"]["accuracy"] == pytest.approx(3 / 4)  # reads the text of an option anywhere


def test_the_headline_is_the_mean_over_questions_where_its_authors_say_so() -> None:
    rows = [Question(f"q{n}", "v", "?", ("a", "b"), 0, {"category": "av" if n else "x"}, "w") for n in range(3)]
    answers = {"q0": Answer("B"), "q1": Answer("A"), "q2": Answer("A")}
    table = scores(benchmark("hlvid"), rows, answers)["scores"]["strict"]
    assert table["headline"] == table["accuracy"] == pytest.approx(2 / 3)
    assert table["macro"]["category"] == pytest.approx(1 / 2)


def test_an_option_that_reads_like_the_answer_is_right_but_for_the_harness_of_a_benchmark() -> None:
    row = {"id": "r", "path": "v.mp4", "question": "Which?", "options": ["red", "red", "blue"], "answer": "red"}
    (own,) = questions_of(row)
    for text, logits, right in [("B", (0.0, 1.0, 0.5), True), ("C", (0.0, 0.5, 1.0), False)]:
        answers = {own.id: Answer(text, logits)}
        accuracy = MultipleChoiceAccuracy()
        count_answers(accuracy, row, [own], ["ABC".index(text)])
        assert accuracy.compute()["accuracy"] == right
        tables = scores(benchmark("own"), [own], answers)["scores"]
        assert {rule: table["accuracy"] for rule, table in tables.items()} == dict.fromkeys(tables, right)
        assert {"strict", "lmms-eval", "likelihood"} == set(tables)
        doc = {"id": own.id, "video": "v.mp4", "benchmark": "own", "question": own.text, "options": own.options}
        found = task.results({**doc, "target": "A", "groups": {}}, [text])
        assert found["strict"]["score"] == found["lmms_eval"]["score"] == right
    published = Question("q", "v", "Which?", own.options, 0, dict.fromkeys(benchmark("video-mme").groups, "x"), "w")
    tables = scores(benchmark("video-mme"), [published], {"q": Answer("B")})["scores"]
    assert [tables[rule]["accuracy"] for rule in ("strict", "lmms-eval", "vlmevalkit")] == [1, 0, 0]


def test_intervals_are_clustered_by_file() -> None:
    rng = random.Random(1)
    rows = [asked(number, "ego", video=f"v{number // 5}.mp4") for number in range(200)]
    right = {f"v{video}.mp4": rng.random() < 0.5 for video in range(40)}
    answers = {row.id: Answer("A" if right[row.video] else "B") for row in rows}
    table = scores(benchmark("mlvu"), rows, answers, seed=4, samples=500)["scores"]["strict"]
    expected = bootstrap_over_videos([row.video for row in rows], [right[row.video] for row in rows], 500, 4)
    assert (table["accuracy_low"], table["accuracy_high"]) == expected
    alone = bootstrap_over_videos([row.id for row in rows], [right[row.video] for row in rows], 500, 4)
    assert expected[1] - expected[0] > 1.5 * (alone[1] - alone[0])


def test_likelihood_stands_beside_the_rules_and_needs_no_text() -> None:
    rows = [asked(number, "ego", number) for number in range(4)]
    answers = {row.id: Answer(option_logits=(0.0, 1.0, 2.0, -1.0)) for row in rows}
    answers["q0"] = Answer("A", (5.0, 1.0, 1.0, 1.0))
    tables = scores(benchmark("mlvu"), rows, answers)["scores"]
    assert tables["likelihood"]["accuracy"] == pytest.approx(2 / 4)
    assert (tables["likelihood"]["questions"], tables["strict"]["questions"]) == (4, 1)


def test_answers_to_nothing_and_logits_of_another_number_are_refused() -> None:
    with pytest.raises(DataError, match="1 answers are to no question of mlvu, such as 'q9'"):
        scores(benchmark("mlvu"), [asked(0, "ego")], {"q9": Answer("A")})
    with pytest.raises(DataError, match="q0: 2 logits for 4 options"):
        scores(benchmark("mlvu"), [asked(0, "ego")], {"q0": Answer(option_logits=(1.0, 2.0))})


def test_without_answers_or_keys_there_is_no_figure() -> None:
    unkeyed: list[Any] = [asked(0, "ego", None)]
    assert scores(benchmark("mlvu"), unkeyed, {})["scores"] == {}
    assert scores(benchmark("mlvu"), unkeyed, {"q0": Answer("A")})["scores"] == {}


def test_the_average_of_the_four() -> None:
    four = {"video-mme": 0.6, "video-mme with subtitles": 0.7, "mlvu": 0.5, "longvideobench": 0.4}
    assert paper_average({**four, "hlvid": 1.0}) == pytest.approx(0.55)
    for name in four:
        assert paper_average({other: value for other, value in four.items() if other != name}) is None
