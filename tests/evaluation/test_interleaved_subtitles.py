"""Subtitles between the groups of frames of a video, in prompts of base VLMs that end videos by a token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.frames import SampledFrames
from liteframe.evaluation.prompts.prompt import Prompt
from liteframe.evaluation.turns import Turns
from liteframe.evaluation.watching import Shown
from liteframe.models.video_llm.hosts.llava_onevision import LlavaOnevisionHost
from liteframe.models.video_llm.prompts import PromptBuilder
from llava_world import llava_processor

_SRT = "1\n00:00:00,500 --> 00:00:00,700\nred\n\n2\n00:00:01,900 --> 00:00:03,300\nblue\n"


@pytest.mark.parametrize("subtitled", [True, False])
def test_a_video_ends_behind_its_last_frame_whatever_is_said_between(subtitled: bool, tmp_path: Path) -> None:
    (tmp_path / "said.srt").write_text(_SRT)
    rule = {"subtitled": "{question}", "rule": "interleaved"} if subtitled else {}
    prompt = Prompt("own", "any", "", "", "", "{question}", 5, **rule)  # type: ignore[arg-type]
    question = Question("1", "v.mp4", "left", ("red", "blue"), 0, {}, "", subtitles="said.srt", duration_s=4.0)
    times_T, places = np.array([0.0, 1.0, 2.0]), {3: np.arange(3)}
    sampled = SampledFrames(torch.zeros(3, 3, 4, 4), places, np.arange(3), times_T, 1.0, 4, 4.0)
    shown = Shown(torch.zeros(1, 1, 6, 4), ((1, 2), (2, 2), (3, 2)), 1, 3, groups=3)
    prompts = PromptBuilder(llava_processor(), host=LlavaOnevisionHost())
    turn = Turns(prompt, prompts, tmp_path, subtitled).turn(question, sampled, 3, shown)
    one = "<video>" * 2
    assert turn.video == (f"{one}\nred\n{one}\n{one}<image>\nblue" if subtitled else f"{one * 3}<image>")
