"""From a list as LLaVA writes it to the loss: answer tokens, and no others, are learnt."""

from __future__ import annotations

import json
from pathlib import Path

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
from liteframe.models.video_llm.prompts import IGNORE, PromptBuilder
from liteframe.tiny.models import tiny_processor


def test_only_answers_are_learnt_wherever_the_placeholder_stands(tmp_path: Path) -> None:
    asked = ["color of the star <image>", "color of the ball", "<video>\ncolor of the box"]
    answers = ["red", "left", "blue"]
    said = [turn for pair in zip(asked, answers, strict=True) for turn in pair]
    talk = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(said)]
    (tmp_path / "x.json").write_text(json.dumps([{"id": "a", "video": "a.mp4", "conversations": talk}]))
    (row,) = read_manifest(tmp_path / "x.json")
    builder = PromptBuilder(tiny_processor(16))
    ids, labels = builder.conversation(turns_of(row.as_dict()), groups=3, tokens_per_group=16)
    learnt = [label for label in labels if label != IGNORE]
    assert learnt == [token for token, label in zip(ids, labels, strict=True) if label != IGNORE]
    words = builder.tokenizer.decode(learnt, skip_special_tokens=True).split()
    assert words == answers
    text = builder.tokenizer.decode(ids)
    assert text.count(builder.processor.image_token) == 3 * 16, "one video, whatever the placeholders"
    assert text.index(builder.processor.image_token) < text.index("color of the star")
