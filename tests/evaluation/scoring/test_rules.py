from __future__ import annotations

import itertools
import math
from string import ascii_uppercase

import pytest

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import BENCHMARKS
from liteframe.evaluation.scoring import lmms_eval, vlmevalkit
from liteframe.evaluation.scoring.likelihood import likeliest
from liteframe.evaluation.scoring.reading import Rule
from liteframe.evaluation.scoring.rules import rules_for
from liteframe.evaluation.scoring.strict import strict

OPTIONS = ("a red ball", "a blue box", "The man walks.", "none")


def asked(*options: str) -> Question:
    return Question("q", "v.mp4", "What?", options or OPTIONS, 0, {}, "w")


def said(rule: Rule, answer: str, *options: str) -> str:
    """Letters of the options that an answer counts as; a dash where the rule found none."""
    reading = rule(answer, asked(*options))
    return "".join(ascii_uppercase[index] for index in sorted(reading.chosen)) if reading.parsed else "-"


def bracketed(answer: str, question: Question) -> object:
    return lmms_eval.shared(answer, question.letters)


@pytest.mark.parametrize(
    ("answer", "ours", "lmms", "kit"),
    [
        # Measured on both harnesses.
        ("A man is walking, so the answer is C", "C", "A", "A"),
        ("The answer is D. because A is wrong", "D", "A", "D"),
        ("Best option: (C", "C", "C", "B"),
        ("Best option: C", "C", "C", "B"),
        ("E", "-", "-", "-"),
        ("F) foo", "-", "-", "-"),
        ("Based on the video, it must be C", "-", "C", "B"),
        # Plain ones.
        ("C", "C", "C", "C"),
        ("c", "C", "-", "-"),
        (" (B) ", "B", "B", "B"),
        ("D.", "D", "D", "D"),
        ("C. The man walks", "C", "C", "C"),
        ("The correct answer is (B).", "B", "B", "B"),
        ("**Answer:** B", "-", "B", "B"),
        ("", "-", "-", "-"),
        ("I do not know.", "-", "-", "-"),
    ],
)
def test_tricky_answers(answer: str, ours: str, lmms: str, kit: str) -> None:
    rules = rules_for("video-mme")
    assert [said(rules[name], answer) for name in ("strict", "lmms-eval", "vlmevalkit")] == [ours, lmms, kit]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("(C) since he walks", "C"),
        ("Answer: C", "C"),
        ("Option B", "B"),
        ("The man walks", "C"),
        ("A RED BALL.", "A"),
        ("B. a blue box", "B"),
        ("B. a red ball", "-"),  # letter and text say two things
        ("The answer is B, or else the answer is C.", "-"),
        ("The answer is B. I said: answer is B!", "B"),
        ("(A) is wrong, the answer is B", "-"),
        ("(B) it is. The answer is B.", "B"),
        ("Not option B, nor C", "-"),
        ("The answer is A man", "-"),
        ("The answer is Blue", "-"),
        ("The answer is E.", "-"),
        ("(Box) no", "-"),
        ("A man", "-"),
        ('The answer is "D".', "D"),
        ("The best choice is:\n(A)", "A"),
        ("\u0130. kedi", "-"),
        ("\u212a", "-"),
    ],
)
def test_strict_reads_what_is_said_without_doubt(answer: str, expected: str) -> None:
    assert said(strict, answer) == expected


def test_a_letter_is_the_letter_where_options_are_letters() -> None:
    assert said(strict, "A", "B", "A", "D") == "A"
    assert said(strict, "D", "B", "A", "D") == "-"
    assert said(strict, "C. D", "B", "A", "D") == "C"


def test_a_question_of_six_is_cut_to_four_letters_by_lmms_eval_alone() -> None:
    six = ("1", "2", "3", "4", "5", "6")
    assert said(rules_for("mlvu")["lmms-eval"], "F", *six) == "-"
    assert said(rules_for("mlvu")["strict"], "F", *six) == "F"
    assert said(rules_for("hlvid")["lmms-eval"], "F", *six) == "F"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The answer is a man, D) or (B).", "B"),  # brackets are worth more
        ("so B. and then C: D", "D"),  # the end is worth more
        ("A: x, B: y, and no more", "A"),  # a letter alone at the start is worth most
        ("so A: x, B: y, and no more", "B"),  # the last of the same worth
        ("I choose the Big one", "B"),  # behind a phrase even the start of a word
        ("答案是C吧", "C"),
        ("eAt", "A"),
        ("'B'", "B"),
    ],
)
def test_the_ranks_of_lmms_eval(answer: str, expected: str) -> None:
    assert said(lmms_eval.first_four, answer) == expected


def test_lmms_eval_draws_where_longvideobench_and_egoschema_find_nothing() -> None:
    question = asked("a", "b", "c", "d", "e")
    for rule in (lmms_eval.longvideobench, lmms_eval.egoschema):
        drawn = [rule("no idea", question, seed) for seed in range(200)]
        assert {index for reading in drawn for index in reading.chosen} == set(range(5))
        assert not any(reading.parsed for reading in drawn)
        assert rule("no idea", question, 3) == rule("", question, 3)  # of seed and question alone
        assert rule("D", question, 3).parsed
    assert (
        rules_for("longvideobench", 5)["lmms-eval"]("", question).chosen
        == lmms_eval.longvideobench("", question, 5).chosen
    )
    assert said(lmms_eval.longvideobench, "The best answer is C, not A") == "C"
    assert said(vlmevalkit.longvideobench, "no idea") == "-"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("(B) and C.", "B"), ("(A) then (B) then (A) x", "B"), ("I think that the man walks. so it is", "C")],
)
def test_egoschema_as_lmms_eval_reads_it(answer: str, expected: str) -> None:
    assert said(lmms_eval.egoschema, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("B. x", "B"), ("it is a ball", "A"), ("(C", "C"), ("the (d) one", "D"), ("Best", "-"), ("x-b", "B"), ("E", "E")],
)
def test_mvbench_as_lmms_eval_reads_it(answer: str, expected: str) -> None:
    assert said(lmms_eval.mvbench, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "ABCD"),
        (".", "ABCD"),
        ("(B) x", "B"),
        ("b", "B"),
        ("(", "ABCD"),
        ("I saw the man walks.", "C"),
        ("It must be B", "B"),
        ("I can't process this file.", "-"),
    ],
)
def test_mvbench_as_vlmevalkit_reads_it(answer: str, expected: str) -> None:
    assert said(vlmevalkit.mvbench, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("B) x", "B"), ("B", "B"), ("B) but the answer is C, in the end, so I think", "BC"), ("x)", "-"), (")", "-")],
)
def test_mlvu_as_vlmevalkit_reads_it(answer: str, expected: str) -> None:
    assert said(vlmevalkit.mlvu, answer) == expected


@pytest.mark.parametrize("benchmark", [*BENCHMARKS])
def test_a_letter_alone_is_that_option_by_every_rule(benchmark: str) -> None:
    letters = BENCHMARKS[benchmark].letters[:4]
    for name, rule in rules_for(benchmark).items():
        for index, letter in enumerate(letters):
            for spelt in (letter, f"({letter})"):
                assert rule(spelt, asked()).chosen == {index}, name


def test_other_orders_of_the_options_give_other_letters_and_the_same_option() -> None:
    answers = ["a red ball", "The man walks", "B. a blue box", "The answer is a blue box", "none"]
    told = {answer: strict(answer, asked()) for answer in answers}
    for order in itertools.permutations(range(4)):
        moved = asked(*(OPTIONS[index] for index in order))
        for answer in answers:
            if answer[0] == "B" and moved.options[1] != OPTIONS[1]:
                assert not strict(answer, moved).parsed  # its letter is another's now
                continue
            assert {order[index] for index in strict(answer, moved).chosen} == told[answer].chosen
        logits = [0.1, 0.7, -2.0, 0.3]
        assert order[likeliest([logits[index] for index in order])] == 1


def test_the_likeliest_option() -> None:
    assert likeliest([-3.0, -1.0, -math.inf]) == 1
    assert likeliest([2.0, 2.0]) == 0
    for logits in ([], [1.0, math.nan]):
        with pytest.raises(DataError, match="numbers are needed"):
            likeliest(logits)


@pytest.mark.parametrize(("answer", "expected"), [("A", "A"), ("B", "B"), ("C", "AC"), ("D", "BD")])
def test_options_that_are_letters_are_mixed_up_as_vlmevalkit_mixes_them_up(answer: str, expected: str) -> None:
    """It renames the first option, where it is the answer, to A, and then, as the third option is called A, to C."""
    for rule in (vlmevalkit.mlvu, vlmevalkit.mvbench):
        assert said(rule, answer, "The door.", "C", "A", "B") == expected
