from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from liteframe.errors import ConfigError
from liteframe.evaluation.benchmarks import subtitles
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import BENCHMARKS
from liteframe.evaluation.prompts.prompt import Asked, Prompt, prompt, prompt_names

ASKED = Question("1", "v.mp4", "What {is} it?", ("a {ball}", "two"), 0, {}, "w")
LISTED = replace(ASKED, published="What {is} it?\nA. a {ball}\nB. two", subtitles="v.srt")
BRACKETED = replace(ASKED, published="What {is} it?\n(A) a {ball}\n(B) two")
DIRECTLY = "Answer with the option's letter from the given choices directly."
SELECT = "Select the best answer to the following multiple-choice question based on the video"
ONLY_LETTER = "Respond with only the letter (A, B, C, or D) of the correct option."
MLVU_SYSTEM = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, select the best option "
    "that accurately addresses the question."
)
OPTIONS = "(A) a {ball}\n(B) two"


def every_prompt() -> list[Prompt]:
    return [
        prompt(name, benchmark, split)
        for benchmark, about in BENCHMARKS.items()
        for split in about.splits
        for name in prompt_names(benchmark, split)
    ]


@pytest.mark.parametrize(
    ("name", "benchmark", "split", "question", "expected"),
    [
        (
            "lmms-eval",
            "video-mme",
            "test",
            LISTED,
            f"{SELECT} and the subtitles. {ONLY_LETTER}\nWhat {{is}} it?\nA. a {{ball}}\nB. two\n\n{DIRECTLY}",
        ),
        ("lmms-eval", "mlvu", "dev", BRACKETED, f"{BRACKETED.published}\nOnly give the best option.\nBest option: ("),
        ("lmms-eval", "mlvu", "test", BRACKETED, BRACKETED.published),
        ("lmms-eval", "longvideobench", "val", ASKED, f"{LISTED.published}\n{DIRECTLY}\n"),
        ("lmms-eval", "egoschema", "subset", LISTED, f"{LISTED.published}\n{DIRECTLY}"),
        (
            "lmms-eval",
            "mvbench",
            "test",
            ASKED,
            f"Question:What {{is}} it?\nOption:\n{OPTIONS}\nOnly give the best option.\n",
        ),
        (
            "vlmevalkit",
            "video-mme",
            "test",
            LISTED,
            f"\nThese are the frames of a video. {SELECT}. {ONLY_LETTER}\nQuestion: {LISTED.published}\nAnswer: ",
        ),
        (
            "vlmevalkit-internvl",
            "video-mme",
            "test",
            LISTED,
            f"\nThese are the frames of a video. {SELECT}. {ONLY_LETTER}\nQuestion: {LISTED.published} \n{DIRECTLY}",
        ),
        (
            "vlmevalkit",
            "mlvu",
            "dev",
            BRACKETED,
            f"Question: What {{is}} it?\nOptions:\n{OPTIONS}\nOnly give the best option.",
        ),
        (
            "vlmevalkit-internvl",
            "mlvu",
            "dev",
            ASKED,
            f"{MLVU_SYSTEM}Question: What {{is}} it?\nOptions:\n{OPTIONS}\nOnly give the best option.",
        ),
        ("vlmevalkit", "longvideobench", "val", ASKED, f"{LISTED.published}\n{DIRECTLY}"),
        (
            "nvila",
            "hlvid",
            "test",
            LISTED,
            f"Question: {LISTED.published}\nPlease answer directly with the letter of the correct answer.",
        ),
        ("liteframe", "hlvid", "test", LISTED, f"{LISTED.published}\nAnswer with the letter of the right option."),
        ("liteframe", "tiny-world", "test", ASKED, "What {is} it?"),
    ],
)
def test_texts_letter_for_letter(name: str, benchmark: str, split: str, question: Question, expected: str) -> None:
    assert prompt(name, benchmark, split).ask(question).user == expected


def test_roles_and_the_start_of_an_answer() -> None:
    asked = prompt("vlmevalkit", "mvbench", "test").ask(ASKED)
    assert asked.system.startswith("Carefully watch the video") and asked.system.endswith("question.\n")
    assert asked.answer_start == "Best option:("
    assert prompt("vlmevalkit", "mlvu", "dev").ask(ASKED).system == MLVU_SYSTEM
    assert prompt("lmms-eval", "mlvu", "dev").ask(ASKED) == Asked(
        "", f"{BRACKETED.published}\nOnly give the best option.\nBest option: (", ""
    )


def test_subtitles_stand_where_the_harness_puts_them() -> None:
    lmms = prompt("lmms-eval", "video-mme", "test")
    assert lmms.ask(LISTED, ["one", "two"]).user == (
        f"This video's subtitles are listed below: \none\ntwo\n{SELECT} and the subtitles. {ONLY_LETTER}\n"
        f"{LISTED.published}\nThe best answer is:"
    )
    without = replace(LISTED, subtitles=None)
    assert "below: \nNo subtitles available\nSelect" in lmms.ask(without, []).user
    assert "below: \n\nSelect" in lmms.ask(LISTED, []).user  # there are some, and no frame falls in one
    kit = prompt("vlmevalkit", "video-mme", "test")
    assert "listed below:\none\nSelect" in kit.ask(LISTED, ["one"]).user
    assert "listed below:\n\nSelect" in kit.ask(without, []).user
    ours = prompt("liteframe", "video-mme", "test")
    assert ours.ask(LISTED, ["one"]).user == f"Subtitles of the video:\none\n\n{ours.ask(LISTED).user}"
    assert ours.ask(LISTED, []) == ours.ask(without, []) == ours.ask(LISTED)
    with pytest.raises(ConfigError, match="asks mlvu without subtitles"):
        prompt("lmms-eval", "mlvu", "dev").ask(ASKED, ["one"])


def test_every_prompt_asks_what_was_asked() -> None:
    for made in every_prompt():
        for question in (ASKED, LISTED):
            text = made.ask(question).user
            assert "What {is} it?" in text
            assert (made.benchmark == "tiny-world") or all(option in text for option in question.options)
            assert not re.search(r"\{(?:question|options|published|subtitles|letter|text)\}", text)


def test_every_prompt_names_its_source_and_a_rule_that_there_is() -> None:
    prompts = every_prompt()
    assert {made.name for made in prompts} == {
        "liteframe",
        "lmms-eval",
        "vlmevalkit",
        "vlmevalkit-internvl",
        "nvila",
    }
    for made in prompts:
        assert made.source and made.version and made.max_new_tokens > 0
        assert made.name == "liteframe" or (made.file and made.source.startswith("https://"))
        assert made.rule is None or callable(getattr(subtitles, made.rule))
        assert (made.subtitled is None) or made.rule is not None
    assert all("liteframe" in prompt_names(name, about.splits[0]) for name, about in BENCHMARKS.items())


@pytest.mark.parametrize("asked", [("lmms-eval", "hlvid", "test"), ("other", "hlvid", "test")])
def test_a_prompt_that_there_is_not_is_named_with_those_that_there_are(asked: Any) -> None:
    with pytest.raises(ConfigError, match=r"no prompt .* for hlvid \(test\); choose one of liteframe, nvila"):
        prompt(*asked)
