"""What is timed: the same work in every method's prefill, whatever drops tokens in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from liteframe.bench.real_size.runs import PipelineRun, prompt_ids
from liteframe.bench.real_size.shapes import shapes
from liteframe.bench.real_size.subjects import Llm, Subject, build_subject
from liteframe.models.video_llm.model import VideoLLM

CPU = torch.device("cpu")


class Stages:
    """Notes the stage that is running."""

    running = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.running = name
        yield
        self.running = ""


def subject(name: str) -> Subject:
    torch.manual_seed(0)
    tiny = shapes("tiny", "")
    return build_subject(name, tiny, Llm.build(tiny, CPU, torch.float32), CPU, torch.float32)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["teacher+fastv", "teacher+pyramiddrop"])
def test_the_timed_prefill_of_a_pruned_llm_is_its_prefill(name: str) -> None:
    method = subject(name)
    run = PipelineRun(method, method.pixels(4))
    run(Stages())
    visual_BTNC = torch.randn(1, 4, 4, method.video_llm.language_model.config.hidden_size)
    expected_BV = method.model.prefill(visual_BTNC, prompt_ids(method.video_llm.image_token_id, 4, 16))
    torch.testing.assert_close(run.prefill(visual_BTNC), expected_BV)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["teacher", "teacher+fastv", "teacher+dycoke"])
def test_no_prompt_is_made_and_no_positions_are_counted_while_prefill_is_timed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, timer = subject(name), Stages()
    run = PipelineRun(method, method.pixels(4))
    made, given, counted = torch.tensor, [], []
    embed, last_state = VideoLLM.embed, getattr(type(method.model), "last_state", None)

    def make(*args: Any, **kwargs: Any) -> Any:
        # A cache of keys and values begins with an empty tensor.
        assert timer.running != "prefill" or not args[0], "a prompt is copied from Python while prefill is timed"
        return made(*args, **kwargs)

    def watched_embed(self: VideoLLM, *args: Any, **kwargs: Any) -> Any:
        given.append((timer.running, kwargs.get("visual_count")))
        return embed(self, *args, **kwargs)

    def watched_state(self: Any, embeds_1LC: Any, visual_L: Any, visual_tokens: int | None = None) -> Any:
        assert last_state is not None
        counted.append(visual_tokens)
        return last_state(self, embeds_1LC, visual_L, visual_tokens)

    monkeypatch.setattr(torch, "tensor", make)
    monkeypatch.setattr(VideoLLM, "embed", watched_embed)
    if last_state is not None:
        monkeypatch.setattr(type(method.model), "last_state", watched_state)
    run(timer)
    run(timer)
    assert given == [("prefill", run.counts.llm)] * 2
    assert counted == ([run.counts.llm] * 2 if last_state is not None else [])
