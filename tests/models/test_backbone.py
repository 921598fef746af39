"""Compressors are the pure functions of `ops`, with the number of frames that they make one group of."""

from __future__ import annotations

import json

import pytest
import torch

from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, Compressor, Dense, Pool, VisionTokens
from liteframe.ops.pooling import average_pool, max_pool, subsample
from liteframe.ops.saliency import mean_token, token_norms
from liteframe.ops.wap import saliency_pool, weighted_average_pool


@pytest.fixture
def vision() -> VisionTokens:
    generator = torch.Generator().manual_seed(0)
    return VisionTokens(torch.randn(2, 8, 4, 6, 5, generator=generator), torch.randn(2, 8, 5, generator=generator))


def test_compressors_are_the_functions_of_ops(vision: VisionTokens) -> None:
    tokens, cls = vision.tokens_BTHWC, vision.cls_BTC
    assert cls is not None
    assert Dense()(vision) is tokens
    for kind, function in (("average", average_pool), ("max", max_pool), ("subsample", subsample)):
        assert torch.equal(Pool(kind, (2, 2, 3))(vision), function(tokens, (2, 2, 3)))
    cosine = WAP((4, 2, 2), "cosine", 20.0)
    assert torch.equal(cosine(vision), weighted_average_pool(tokens, cls, (4, 2, 2), similarity="cosine", scale=20.0))
    assert torch.equal(WAP()(vision), weighted_average_pool(tokens, cls))
    assert not torch.allclose(cosine(vision), WAP()(vision))


@pytest.mark.parametrize("compressor", [Dense(), Pool("max", (4, 2, 2)), WAP((2, 2, 2))])
def test_frames_per_group_is_what_the_output_shows(compressor: Compressor, vision: VisionTokens) -> None:
    assert compressor(vision).shape[1] * compressor.frames_per_group == 8
    assert json.loads(json.dumps(compressor.describe())) == compressor.describe()


def test_descriptions_tell_compressors_apart() -> None:
    many = [
        Dense(),
        Pool(),
        Pool("max"),
        WAP(),
        WAP(similarity="cosine"),
        WAP(scale=2.0),
        WAP((2, 2, 2)),
        WAP(saliency="norm"),
    ]
    assert len({json.dumps(compressor.describe()) for compressor in many}) == len(many)


def test_what_cannot_work_is_refused(vision: VisionTokens) -> None:
    with pytest.raises(ConfigError, match="class token"):
        WAP()(VisionTokens(vision.tokens_BTHWC))
    with pytest.raises(ConfigError, match=r"median.*average, max, subsample"):
        Pool("median")


def test_each_saliency_is_the_function_of_ops(vision: VisionTokens) -> None:
    tokens, query = vision.tokens_BTHWC, torch.randn(5, generator=torch.Generator().manual_seed(1))
    pooled = VisionTokens(tokens, vision.cls_BTC, query)
    block = (2, 2, 3)
    for similarity, scale in (("dot", None), ("dot", 3.0), ("cosine", None), ("cosine", 20.0)):
        queries = {"mean_token": mean_token(tokens), "attention_pool": query.expand(2, 8, 5)}
        for name, asked in queries.items():
            expected = weighted_average_pool(tokens, asked, block, similarity, scale)
            assert torch.equal(WAP(block, similarity, scale, name)(pooled), expected)
        default = 5**-0.5 if similarity == "dot" else 1.0
        norms = token_norms(tokens, relative=similarity == "cosine")
        expected = saliency_pool(tokens, norms, block, default if scale is None else scale)
        assert torch.equal(WAP(block, similarity, scale, "norm")(pooled), expected)
        for name in pooled.saliencies:
            wap = WAP(block, similarity, scale, name)
            weighed = average_pool(wap.weights(pooled)[..., None] * tokens, block) * 12
            torch.testing.assert_close(wap(pooled), weighed)
    places = torch.tensor([1, 6, 6])
    part = pooled.at(places)
    assert torch.equal(part.tokens_BTHWC, tokens[:, places]) and part.saliencies == pooled.saliencies
    with pytest.raises(ConfigError, match=r"'cls' is unknown; choose one of class_token"):
        WAP(saliency="cls")


def test_wap_is_what_its_description_says_or_an_error() -> None:
    wap = WAP((2, 2, 1), "cosine", 20.0, "mean_token")
    assert WAP.from_description(json.loads(json.dumps(wap.describe())), "store") == wap


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"compressor": "max"}, "no WAP"),
        ({"block": [4, 2]}, "block"),
        ({"block": [4, 2, 0]}, "block"),
        ({"block": 4}, "block"),
        ({"scale": "20"}, "scale"),
        ({"saliency": "mood"}, "saliency"),
        ({"more": 1}, "fields"),
    ],
)
def test_a_description_of_others_names_what_is_wrong(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=rf"^store: .*{named}"):
        WAP.from_description({**WAP().describe(), **change}, "store")
