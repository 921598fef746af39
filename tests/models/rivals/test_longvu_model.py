"""LongVU in a Video LLM, against its steps taken frame by frame and the plain model's answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.evaluation.subject_loading import load_subject
from liteframe.models.rivals.longvu import LongVUVideo, LongVUVideoLLM
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors.longvu import coarser
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle", "color of the box"]
CENTRES = [0, 2, 3, 8, 10, 11, 12, 14, 15]
"""Of 4 x 4 positions, those that the centres of 3 x 3 lie in."""
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@lru_cache
def inner() -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return VideoLLM(model.eval(), processor).eval()


def longvu(**settings: Any) -> LongVUVideoLLM:
    return LongVUVideoLLM(inner(), **settings).eval()


def scenes(*lengths: int) -> Tensor:
    """A film of scenes, each of which stands still."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.randn(len(lengths), 3, 112, 112, generator=random) * 2
    return pictures.repeat_interleave(torch.tensor(lengths), dim=0)[None]


def moving(count: int) -> Tensor:
    """A film whose frames drift away from its first."""
    random = torch.Generator().manual_seed(0)
    steps = torch.randn(1, count, 3, 112, 112, generator=random) * 0.5
    return torch.randn(1, 1, 3, 112, 112, generator=random) * 2 + steps.cumsum(dim=1)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def shown_frame(frames: Tensor, number: int, few: bool) -> Tensor:
    """What the LLM sees of one frame, in full or with fewer rows and columns."""
    grid = pixel_shuffle(inner().backbone(frames[:, number : number + 1]).tokens_BTHWC[0], 0.5)
    return inner().projector((coarser(grid) if few else grid).flatten(1, 2))[0]


def text_behind(question: str) -> Tensor:
    ids = inner().prompt_ids(torch.zeros(1, 1, 1, 1), question)
    last = max(place for place, token in enumerate(ids) if token == inner().image_token_id)
    text = inner().prompts.processor.tokenizer.decode(ids[last + 1 :])
    assert question in text and "Frame" not in text
    return inner().language_model.get_input_embeddings()(torch.tensor(ids[last + 1 :]))


def plain_answer(tokens: Tensor, lines: list[tuple[int, int]], question: str) -> Tensor:
    before, after = inner().prompts.question_ids_of_lines(question, lines)
    return inner().prefill(tokens[None, None], [*before, *after])[0]


def test_where_all_fits_it_is_the_model_itself() -> None:
    model = longvu(ratio=1)
    ours = model.first_answer_logits(model.project(model.encode(moving(4))), [QUESTIONS])
    theirs = inner().first_answer_logits(inner().project(inner().encode(moving(4))), [QUESTIONS])
    torch.testing.assert_close(ours[0], theirs[0], **CLOSE)


def test_too_many_frames_keep_what_differs_from_the_first_of_their_chunk() -> None:
    frames = moving(8)
    shown = [shown_frame(frames, number, few=True) for number in range(8)]
    likeness = [torch.cosine_similarity(shown[number], shown[number // 4 * 4], dim=-1) for number in range(8)]
    threshold = float(torch.stack(likeness).quantile(0.6))
    model = longvu(ratio=4, distinct=1.0, threshold=threshold, chunk=4)
    (video,) = visual = model.project(model.encode(frames))
    chunks: list[list[int]] = [[], []]
    for number in range(8):
        for place, centre in enumerate(CENTRES):
            if number % 4 == 0 or likeness[number][place] < threshold:
                chunks[number // 4].append(number * 16 + centre)
    assert 32 < sum(map(len, chunks)) < 72, "some are alike, and too many are not"
    while sum(map(len, chunks)) > 32:
        for own in chunks:
            own[:] = own[:-1] if sum(map(len, chunks)) > 32 else own
    assert isinstance(video, LongVUVideo) and not video.finer
    assert video.compressed.given <= video.compressed.asked == 32
    assert video.compressed.places_M.tolist() == [*chunks[0], *chunks[1]]
    tokens = [shown[place // 16][CENTRES.index(place % 16)] for place in video.compressed.places_M.tolist()]
    torch.testing.assert_close(video.compressed.tokens_MC, torch.stack(tokens), **CLOSE)
    answer = plain_answer(torch.stack(tokens), video.lines, QUESTIONS[0])
    ours = model.first_answer_logits(visual, [QUESTIONS])[0]
    torch.testing.assert_close(ours[0], answer, **CLOSE)
    torch.testing.assert_close(model.prefill(visual, model.prompt_ids(visual, QUESTIONS[0]))[0], answer, **CLOSE)


def test_a_question_chooses_the_frames_that_are_shown_in_full() -> None:
    frames = scenes(16, 16, 16)
    model = longvu(ratio=48 * 16 / (3 * 9 + 7), distinct=0.83)
    encoded = model.encode(frames)
    (video,) = visual = model.project(encoded)
    assert isinstance(video, LongVUVideo)
    assert video.lines == [(9, 9), (25, 9), (41, 9)] and video.finer == 1
    assert model.token_counts(encoded, visual).llm == 34 and video.compressed.asked == 34
    coarse, chosen = [shown_frame(frames, number, few=True) for number in (8, 24, 40)], set()
    for question, ours in zip(QUESTIONS, model.first_answer_logits(visual, [QUESTIONS])[0], strict=True):
        text = text_behind(question)
        best = max(range(3), key=lambda frame: float((coarse[frame] @ text.T).mean()))
        chosen.add(best)
        tokens = [*coarse]
        tokens[best] = shown_frame(frames, (8, 24, 40)[best], few=False)
        lines = [(number, len(own)) for number, own in zip((9, 25, 41), tokens, strict=True)]
        expected = plain_answer(torch.cat(tokens), lines, question)
        torch.testing.assert_close(ours, expected, **CLOSE)
        others = [*coarse]
        others[best - 1] = shown_frame(frames, (8, 24, 40)[best - 1], few=False)
        lines[best], lines[best - 1] = lines[best - 1], lines[best]
        assert not torch.allclose(ours, plain_answer(torch.cat(others), lines, question), **CLOSE)
        assert model.prompt_ids(visual, question).count(inner().image_token_id) == 34
    with pytest.raises(GeometryError, match="2 videos"):
        model.prefill(visual * 2, model.prompt_ids(visual, QUESTIONS[0]))


def test_settings_and_refusals() -> None:
    assert longvu().describe() == {
        "compressor": "longvu",
        "ratio": 16.0,
        "on": "tokens before the projector",
        **{"window": 16, "distinct": 0.9, "threshold": 0.65, "chunk": 8},
    }
    for setting, value in {"window": 0, "chunk": 0, "distinct": 2.0, "threshold": -2.0}.items():
        with pytest.raises(ConfigError, match=setting):
            longvu(**{setting: value})
    with pytest.raises(ConfigError, match="liteframe bench"):
        load_subject(str(host_folder()), "longvu")
