"""Questions of a benchmark as documents of a task of lmms-eval, and what the task does with them (`tasks/*.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase
from typing import Any

from liteframe.errors import ConfigError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.prompts.prompt import Prompt
from liteframe.evaluation.scoring.rules import rules_for


def document(root: Path, question: Question, prompt: Prompt) -> dict[str, Any]:
    """A question with all that a task needs of it, for JSON.

    Args:
        root: of the benchmark's data.
        question: with an answer.
        prompt: that it is asked by.

    Raises:
        ConfigError: the prompt has a turn of the system or begins the answer, which goes beyond one turn of a user.
    """
    asked = prompt.ask(question)
    if asked.system or asked.answer_start:
        raise ConfigError(f"prompt {prompt.name}: says more than one turn of a user; ask with liteframe evaluate")
    assert question.answer is not None
    return {
        "id": question.id,
        "benchmark": prompt.benchmark,
        "video": str(root / question.video),
        "start_s": question.start_s,
        "end_s": question.end_s,
        "prompt": asked.user,
        "target": question.letters[question.answer],
        "question": question.text,
        "options": list(question.options),
        "groups": dict(question.groups),
    }


def messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The video and the words behind it, for models that take messages."""
    video = {"type": "video", "url": doc["video"], "start_time": doc["start_s"], "end_time": doc["end_s"]}
    return [{"role": "user", "content": [video, {"type": "text", "text": doc["prompt"]}]}]


def visual(doc: Mapping[str, Any]) -> list[str]:
    """The video, for models that take no messages.

    Raises:
        ConfigError: the question is about a part of it, which lmms-eval does not hand on to such models.
    """
    if doc["start_s"] is not None or doc["end_s"] is not None:
        raise ConfigError(
            f"{doc['id']}: is about a part of {doc['video']}, and this model would be shown all of it; ask one of"
            " lmms-eval's chat models, or cut the video"
        )
    return [doc["video"]]


def results(doc: Mapping[str, Any], answers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each rule makes of an answer: whether it is right, and the video, by which errors are clustered."""
    question = Question(
        id=doc["id"],
        video=doc["video"],
        text=doc["question"],
        options=tuple(doc["options"]),
        answer=ascii_uppercase.index(doc["target"]),
        groups=doc["groups"],
        where=doc["id"],
    )
    rules = rules_for(doc["benchmark"])
    strict, lmms = (rules[name](answers[0], question) for name in ("strict", "lmms-eval"))
    scores = {
        "strict": strict.is_right(question),
        "lmms_eval": lmms.is_right(question),
        "unparsed": not strict.parsed,
        "answered": bool(answers[0]),
    }
    return {
        name: {"score": float(score), "id": doc["id"], "video": doc["video"], **doc["groups"]}
        for name, score in scores.items()
    }


def share(items: Sequence[Mapping[str, Any]]) -> float:
    """The mean score over all questions."""
    return fmean(item["score"] for item in items)
