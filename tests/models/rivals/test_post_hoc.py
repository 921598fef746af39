"""Compressors that break the grid: on projected tokens, in `Frame` lines of unequal length, inside the same host."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import WAP
from liteframe.models.rivals.post_hoc import PostHocVideoLLM
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.ops.compressors import registry
from liteframe.ops.compressors.features import Compressed, Features, compressed
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
TOKENS = 16  # a projected frame of 112 px


@lru_cache
def inner() -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return VideoLLM(model.eval(), processor).eval()


def frames(count: int = 4, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, count, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_keeping_everything_is_the_model_without_a_compressor() -> None:
    whole = PostHocVideoLLM(inner(), "dycoke", ratio=1)
    visual, plain = whole.project(whole.encode(frames())), inner().project(inner().encode(frames()))
    assert visual[0].lines == [(1, TOKENS), (2, TOKENS), (3, TOKENS), (4, TOKENS)]
    ids = whole.prompt_ids(visual, QUESTIONS[0])
    assert ids == inner().prompt_ids(plain, QUESTIONS[0])
    torch.testing.assert_close(whole.prefill(visual[:1], ids), inner().prefill(plain[:1], ids), **CLOSE)
    ours = whole.first_answer_logits(visual, [QUESTIONS, QUESTIONS])
    theirs = inner().first_answer_logits(plain, [QUESTIONS, QUESTIONS])
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **CLOSE)


def pick(places: list[int]) -> registry.Method:
    def function(features: Features, keep: int) -> Compressed:
        place_M = torch.tensor(places)
        return compressed(features, keep, features.tokens_TNC.flatten(0, 1)[place_M], place_M)

    return registry.Method(function)


@pytest.mark.parametrize(
    ("frames_per_line", "lines"), [(1, "Frame1: <2>\nFrame3: <1>\nFrame4: <3>"), (2, "Frame1: <2>\nFrame2: <4>")]
)
def test_lines_hold_what_is_left_of_their_frames(
    monkeypatch: pytest.MonkeyPatch, frames_per_line: int, lines: str
) -> None:
    places = [0, TOKENS - 1, 2 * TOKENS, 3 * TOKENS, 3 * TOKENS + 5, 4 * TOKENS - 1]  # nothing is left of frame 2
    monkeypatch.setitem(registry.METHODS, "picked", pick(places))
    model = PostHocVideoLLM(inner(), "picked", frames_per_line=frames_per_line)
    vision = model.encode(frames(batch=1))
    visual = model.project(vision)
    for count in (1, 2, 3, 4):
        lines = lines.replace(f"<{count}>", "<img>" + "<IMG_CONTEXT>" * count + "</img>")
    tokenizer = inner().prompts.tokenizer
    before, after = inner().prompts._template([], QUESTIONS[0]).split("<video>")
    ids = tokenizer(before + lines + after, add_special_tokens=False).input_ids
    assert model.prompt_ids(visual, QUESTIONS[0]) == ids

    seen = inner().project(inner().encode(frames(batch=1)))[0].flatten(0, 1)
    embeds = inner().language_model.get_input_embeddings()(torch.tensor([ids]))
    spots = [spot for spot, token in enumerate(ids) if token == inner().image_token_id]
    for spot, place in zip(spots, places, strict=True):
        embeds[0, spot] = seen[place]
    expected = inner().lm_head(inner().language_model(inputs_embeds=embeds).last_hidden_state[:, -1])
    torch.testing.assert_close(model.prefill(visual, ids), expected, **CLOSE)
    torch.testing.assert_close(model.first_answer_logits(visual, [QUESTIONS[:1]])[0], expected, **CLOSE)
    counts = model.token_counts(vision, visual)
    assert (counts.encoder, counts.llm, counts.asked) == (4 * 64, 6, 4)


@pytest.mark.parametrize("name", [name for name in registry.METHODS if name not in ("wap", "average", "max")])
def test_every_method_answers_within_its_budget(name: str) -> None:
    model = PostHocVideoLLM(inner(), name, ratio=4)
    vision = model.encode(frames())
    visual = model.project(vision)
    counts = model.token_counts(vision, visual)
    assert counts.asked == 16 and counts.llm <= 16
    assert sum(tokens for _, tokens in visual[0].lines) == counts.llm
    logits = model.first_answer_logits(visual, [QUESTIONS, QUESTIONS])
    assert [tuple(each.shape)[:1] for each in logits] == [(2,), (2,)] and all(each.isfinite().all() for each in logits)
    alone = model.first_answer_logits(model.project(model.encode(frames()[1:])), [QUESTIONS])
    torch.testing.assert_close(alone[0], logits[1], **CLOSE)


def test_keys_and_attention_lie_on_the_projected_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Features] = []

    def watch(features: Features, keep: int) -> Compressed:
        given.append(features)
        return pick([0]).function(features, keep)

    monkeypatch.setitem(registry.METHODS, "watched", registry.Method(watch, ("keys_THWK", "cls_attention_THW")))
    model = PostHocVideoLLM(inner(), "watched")
    vision = model.encode(frames(batch=1))
    model.project(vision)
    features = given[0]
    assert features.grid == (4, 4, 4)
    assert torch.equal(features.cls_TC, vision.cls_BTC[0])  # type: ignore[arg-type, index]
    for t, h, w in [(0, 0, 0), (1, 2, 3), (3, 3, 1)]:
        patches = [(2 * h + i, 2 * w + j) for i in (0, 1) for j in (0, 1)]
        keys = torch.stack([vision.keys_BTHWK[0, t, y, x] for y, x in patches])  # type: ignore[index]
        torch.testing.assert_close(features.keys_THWK[t, h, w], keys.mean(dim=0))  # type: ignore[index]
        attention = sum(vision.cls_attention_BTHW[0, t, y, x] for y, x in patches)  # type: ignore[index]
        torch.testing.assert_close(features.cls_attention_THW[t, h, w], attention)  # type: ignore[index]


def test_what_is_compared_is_averaged_over_heads_where_the_method_can() -> None:
    assert PostHocVideoLLM(inner(), "tome").settings == {"heads": inner().language_model.config.num_attention_heads}
    assert PostHocVideoLLM(inner(), "tome", settings={"by": "keys"}).settings == {"heads": 4, "by": "keys"}
    assert PostHocVideoLLM(inner(), "visionzip", settings={"heads": 1}).settings == {"heads": 1}
    assert PostHocVideoLLM(inner(), "prumerge").settings == PostHocVideoLLM(inner(), "dycoke").settings == {}


def test_a_record_says_all_settings_so_that_a_new_default_is_seen() -> None:
    said = PostHocVideoLLM(inner(), "tome").describe()
    assert (said["scope"], said["clip_frames"], said["by"]) == ("clip", 4, "tokens")
    assert registry.recorded_as("tome", said) == "tome"
    assert registry.recorded_as("tome", {"compressor": "tome", "ratio": 16, "heads": 4}) == "tome-video"
    for name, (method, settings) in registry.VARIANTS.items():
        said = PostHocVideoLLM(inner(), method, settings=settings).describe()
        assert registry.recorded_as(method, said) == name


def test_lines_of_tome_hold_what_each_clip_was_given() -> None:
    """9 frames at 16x: one token a frame, and every clip's tokens in lines of its own frames."""
    model = PostHocVideoLLM(inner(), "tome", ratio=16)
    (visual,) = model.project(model.encode(frames(9, batch=1)))
    for first, last in ((1, 4), (5, 8), (9, 9)):
        assert sum(count for line, count in visual.lines if first <= line <= last) == last - first + 1
    assert [line for line, _ in visual.lines] == sorted({line for line, _ in visual.lines})


def test_what_cannot_be_compressed_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        PostHocVideoLLM(inner(), "nothing")
    with pytest.raises(ConfigError, match=r"ratio is 0\.5"):
        PostHocVideoLLM(inner(), "tome", ratio=0.5)
    with pytest.raises(ConfigError, match=r"compressor=WAP\(\)"):
        PostHocVideoLLM(inner(), "wap")
    model = PostHocVideoLLM(inner(), "dycoke")
    two = model.project(model.encode(frames()))
    with pytest.raises(GeometryError, match="2 videos"):
        model.prefill(two, model.prompt_ids(two, QUESTIONS[0]))
    with pytest.raises(ConfigError, match="frames_per_line"):
        PostHocVideoLLM(inner(), "tome", frames_per_line=0)
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    with pytest.raises(ConfigError, match="spans 4 frames"):
        PostHocVideoLLM(VideoLLM(model, processor, compressor=WAP()), "tome")
    with pytest.raises(ConfigError, match="InternVL"):
        PostHocVideoLLM(VideoLLM(model, processor, torch.nn.Identity()), "visionzip")
    assert PostHocVideoLLM(inner(), "holitom").describe()["absent"] == "merging inside the LLM"
