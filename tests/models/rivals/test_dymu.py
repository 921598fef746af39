"""DyMU in the encoder against a walk through its layers frame by frame, and in the LLM against attention in full."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError
from liteframe.evaluation.subject_loading import load_subject
from liteframe.models.rivals.dymu import DyMUTeacher
from liteframe.models.rivals.dymu_llm import DyMUVideo, DyMUVideoLLM
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from tiny_world import host_folder

QUESTIONS = ["color of the star", "color of the first triangle"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@lru_cache
def host() -> VideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return VideoLLM(model.eval(), processor).eval()


def plain() -> InternVLTeacher:
    backbone = host().backbone
    assert isinstance(backbone, InternVLTeacher)
    return backbone


def dymu(ratio: float = 16.0) -> DyMUVideoLLM:
    model, processor = load_base_vlm(str(host_folder()), "sdpa")
    return DyMUVideoLLM(VideoLLM(model.eval(), processor, DyMUTeacher(plain(), ratio))).eval()


def frames(count: int = 6, batch: int = 2) -> Tensor:
    """Films of which some frames are simpler than others: only a corner of them is not plain."""
    random = torch.Generator().manual_seed(0)
    films = torch.randn(batch, count, 3, 112, 112, generator=random)
    films[:, ::2, :, 40:] = 0.1
    return films


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_merging_nothing_is_the_model_itself() -> None:
    encoded, expected = DyMUTeacher(plain(), 1)(frames()), plain()(frames())
    torch.testing.assert_close(encoded.tokens_BTHWC, expected.tokens_BTHWC, **CLOSE)
    torch.testing.assert_close(encoded.cls_BTC, expected.cls_BTC, **CLOSE)
    ours, theirs = (
        model.first_answer_logits(model.project(model.encode(frames())), [QUESTIONS, QUESTIONS])
        for model in (dymu(1), host())
    )
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), **CLOSE)


SQUARES = [[8 * r + c, 8 * r + c + 1, 8 * r + c + 8, 8 * r + c + 9] for r in range(0, 8, 2) for c in range(0, 8, 2)]
"""Patches of each square of 8 x 8 patches, as the pixel shuffle has them."""


def walked(video: Tensor, totals: list[int]) -> tuple[Tensor, list[list[list[int]]]]:
    """Tokens (T, 64, C) of all patches, and which squares each merged token holds, frame by frame."""
    tower: Any = plain().vision_tower
    embedded = tower.embeddings(video)
    classes = [tokens[:1] for tokens in embedded]
    films = [[(tokens[1:][square], [number]) for number, square in enumerate(SQUARES)] for tokens in embedded]
    for layer, total in zip(tower.encoder.layer, totals, strict=True):
        pairs = []
        for f, film in enumerate(films):
            tokens = torch.cat([classes[f], *(values for values, _ in film)])
            normed, attention = layer.layernorm_before(tokens), layer.attention
            heads = attention.num_heads
            queries, keys, values = (
                project(normed).unflatten(-1, (heads, -1)).transpose(0, 1)
                for project in (
                    lambda x, a=attention: a.q_norm(a.q_proj(x)),
                    lambda x, a=attention: a.k_norm(a.k_proj(x)),
                    attention.v_proj,
                )
            )
            sizes = torch.tensor([1.0, *(float(len(owned)) for _, owned in film for _ in range(4))])
            weights = (queries @ keys.transpose(-1, -2) * attention.scale + sizes.log()).softmax(dim=-1)
            mixed = attention.projection_layer((weights @ values).transpose(0, 1).flatten(1))
            tokens = tokens + layer.lambda_1 * mixed
            classes[f] = tokens[:1]
            films[f] = [(tokens[1 + 4 * i : 5 + 4 * i], owned) for i, (_, owned) in enumerate(film)]
            by_square = keys[:, 1:].mean(dim=0).unflatten(0, (-1, 4)).mean(dim=1)
            for a in range(0, len(film), 2):
                likeness = [
                    (float(torch.cosine_similarity(by_square[a], by_square[b], dim=0)), -b)
                    for b in range(1, len(film), 2)
                ]
                if likeness:
                    best, b = max(likeness)
                    pairs.append((-best, f, a, -b))
        for _, f, a, b in sorted(pairs)[: sum(map(len, films)) - total]:
            films[f][b] = (*films[f][b], films[f][a])
            films[f][a] = ()  # type: ignore[call-overload]
        for f, film in enumerate(films):
            left = [film[a] for a in range(0, len(film), 2) if film[a]] + film[1::2]
            films[f] = []
            for token in left:
                members = [(token[0], token[1]), *token[2:]]
                count = sum(len(owned) for _, owned in members)
                value = sum(values * len(owned) for values, owned in members) / count
                films[f].append((value, [square for _, owned in members for square in owned]))
            tokens = torch.cat([classes[f], *(values for values, _ in films[f])])
            tokens = tokens + layer.lambda_2 * layer.mlp(layer.layernorm_after(tokens))
            classes[f] = tokens[:1]
            films[f] = [(tokens[1 + 4 * i : 5 + 4 * i], owned) for i, (_, owned) in enumerate(films[f])]
    whole = torch.zeros(len(films), 64, embedded.shape[-1])
    for f, film in enumerate(films):
        for values, owned in film:
            for square in owned:
                whole[f, SQUARES[square]] = tower.layernorm(values)
    return whole, [[owned for _, owned in film] for film in films]


@pytest.mark.parametrize(("ratio", "totals"), [(2, [84, 72, 60, 48]), (4, [78, 60, 42, 24])])
def test_squares_merge_between_the_layers_as_a_walk_does(ratio: float, totals: list[int]) -> None:
    assert len(plain().vision_tower.encoder.layer) == 4
    encoded = DyMUTeacher(plain(), ratio)(frames())
    for number, video in enumerate(frames()):
        tokens, owned = walked(video, totals)
        torch.testing.assert_close(encoded.tokens_BTHWC[number].flatten(1, 2), tokens, **CLOSE)
        for frame, tokens_of_frame in enumerate(owned):
            owner = {square: token for token, squares in enumerate(tokens_of_frame) for square in squares}
            assert encoded.owners[number][frame].tolist() == [owner[square] for square in range(16)]  # type: ignore[attr-defined]
        assert len({len(of_frame) for of_frame in owned}) > 1, "simple frames are left with fewer"


def attended_in_full(model: Any, embeds: Tensor, groups: list[list[int]]) -> Tensor:
    """Last hidden state of a prompt in which the positions of a group are one token, its attention by hand."""
    length = embeds.shape[0]
    angle_LK = model.rotary_emb(embeds[None], torch.arange(length)[None])
    cos, sin = (part[0] for part in angle_LK)
    hidden = torch.stack([embeds[group[0]] for group in groups])

    def turned(x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin

    for layer in model.layers:
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        states = torch.zeros(length, hidden.shape[-1])
        for token, group in enumerate(groups):
            states[group] = normed[token]
        queries, keys, values = (
            project(states).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        queries, keys, mixed = turned(queries), turned(keys), []
        for head in range(len(queries)):
            shared = head // attention.num_key_value_groups
            logits = queries[head] @ keys[shared].T * attention.scaling
            logits = logits.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
            mixed.append(logits.softmax(dim=-1) @ values[shared])
        mixed_LC = torch.cat(mixed, dim=-1)
        hidden = hidden + attention.o_proj(torch.stack([mixed_LC[group].mean(dim=0) for group in groups]))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.norm(hidden[-1:])


def test_the_llm_attends_from_all_positions_of_a_merged_token() -> None:
    model = dymu(4)
    vision = model.encode(frames(batch=1))
    (video,) = visual = model.project(vision)
    assert isinstance(video, DyMUVideo)
    ids = model.prompt_ids(visual, QUESTIONS[1])
    assert ids == host().prompt_ids(torch.zeros(1, 6, 16, 1), QUESTIONS[1]), "a position for every token there was"
    places = [place for place, token in enumerate(ids) if token == host().image_token_id]
    owners = vision.owners[0]  # type: ignore[attr-defined]
    merged: dict[tuple[int, int], list[int]] = {}
    for position, place in enumerate(places):
        merged.setdefault((position // 16, int(owners[position // 16, position % 16])), []).append(place)
    assert len(merged) == video.compressed.given == video.compressed.asked == 24
    dense = host().projector(pixel_shuffle(vision.tokens_BTHWC[0], 0.5).flatten(0, 2)[None])
    embeds = host().embed(torch.tensor([ids]), dense[None])[0]
    groups = [*merged.values(), *([place] for place in range(len(ids)) if place not in places)]
    expected = host().lm_head(attended_in_full(host().language_model, embeds, sorted(groups)))
    torch.testing.assert_close(model.prefill(visual, ids), expected, **CLOSE)
    torch.testing.assert_close(model.first_answer_logits(visual, [QUESTIONS])[0][1:], expected, **CLOSE)
    assert not torch.allclose(host().prefill(dense.view(1, 6, 16, -1), ids), expected, **CLOSE)
    counts = model.token_counts(vision, visual)
    assert (counts.encoder, counts.llm, counts.asked) == (4 * 24, 24, 24)


def test_a_budget_that_its_layers_cannot_meet_is_met_behind_them() -> None:
    for ratio, left in ((16, 6), (40, 6), (8, 12)):
        model = dymu(ratio)
        (video,) = model.project(model.encode(frames(batch=1)))
        assert video.compressed.given == left, "one a frame at least"


def test_thresholds_that_were_found_on_frames_merge_the_same_again() -> None:
    films = frames(6, 1)
    found = DyMUTeacher(plain(), 4).find_thresholds([films])
    assert len(found) == 4 and all(0 < threshold < 1 for threshold in found)
    fixed, ranked = DyMUTeacher(plain(), thresholds=found), DyMUTeacher(plain(), 4)
    assert torch.equal(fixed(films).owners[0], ranked(films).owners[0])  # type: ignore[attr-defined]
    plainer = fixed(films * 0.01)
    assert plainer.owners[0].amax() < fixed(films).owners[0].amax(), "of simpler frames fewer are left"  # type: ignore[attr-defined]
    both = DyMUTeacher(plain(), 4).find_thresholds([films, frames(4, 1)])
    other = DyMUTeacher(plain(), 4).find_thresholds([frames(4, 1)])
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(found, other, strict=True)])


def test_settings_and_refusals() -> None:
    described = dymu().describe()
    assert described == {
        "compressor": "dymu",
        "inside": "dymu",
        "ratio": 16.0,
        "thresholds": "the video",
        "on": "the encoder's layers",
    }
    with pytest.raises(ConfigError, match="ratio is 0.5"):
        DyMUTeacher(plain(), 0.5)
    with pytest.raises(ConfigError, match="thresholds has 2"):
        DyMUTeacher(plain(), thresholds=[0.5, 0.5])
    with pytest.raises(ConfigError, match="needs a DyMUTeacher"):
        DyMUVideoLLM(host())
    with pytest.raises(ConfigError, match="liteframe bench"):
        load_subject(str(host_folder()), "dymu")
    model = dymu()
    visual = model.project(model.encode(frames()))
    with pytest.raises(GeometryError, match="2 videos"):
        model.prefill(visual, model.prompt_ids(visual, QUESTIONS[0]))
