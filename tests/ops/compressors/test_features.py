from __future__ import annotations

import dataclasses

import pytest
import torch
from compressor_loops import make_features

from liteframe.errors import ConfigError, GeometryError
from liteframe.ops.compressors.features import Features, check_keep, compressed

TOKENS = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("cls_TC", (3, 5)),
        ("cls_TC", (2,)),
        ("cls_TC", (2, 0)),
        ("keys_THWK", (2, 12, 6)),
        ("keys_THWK", (2, 4, 3, 6)),
        ("cls_attention_THW", (2, 12)),
        ("cls_attention_THW", (2, 3, 4, 1)),
    ],
)
def test_what_does_not_fit_the_tokens_is_named(field, shape):
    with pytest.raises(GeometryError, match=f"{field} has shape .*does not fit"):
        Features(TOKENS, **{field: torch.zeros(shape)})


@pytest.mark.parametrize("shape", [(2, 12, 5), (1, 2, 3, 4, 5), (0, 3, 4, 5), (2, 3, 4, 0)])
def test_tokens_without_four_axes_are_refused(shape):
    with pytest.raises(GeometryError, match="tokens_THWC must have four axes"):
        Features(torch.zeros(shape))


def test_class_tokens_and_keys_may_have_any_width():
    features = Features(TOKENS, cls_TC=torch.zeros(2, 7), keys_THWK=torch.zeros(2, 3, 4, 1))
    assert features.grid == (2, 3, 4)
    assert features.count == 24


@pytest.mark.parametrize("field", ["tokens_THWC", "cls_TC"])
def test_whole_numbers_are_refused(field):
    tensors = {"tokens_THWC": TOKENS, "cls_TC": TOKENS[:, 0, 0], field: torch.ones(2, 3, 4, 5, dtype=torch.int64)}
    if field == "cls_TC":
        tensors[field] = torch.ones(2, 5, dtype=torch.int64)
    with pytest.raises(ConfigError, match=f"{field} must be floating point, got torch.int64"):
        Features(**tensors)


def test_two_devices_are_refused():
    with pytest.raises(ConfigError, match="cls_TC lies on meta, tokens_THWC on cpu"):
        Features(TOKENS, cls_TC=torch.zeros(2, 5, device="meta"))


@pytest.mark.parametrize("keep", [0, -1, 25, 3.0, True])
def test_a_budget_out_of_range_is_refused(keep):
    with pytest.raises(ConfigError, match="from 1 to 24"):
        check_keep(Features(TOKENS), keep)


def test_the_result_is_in_the_order_of_the_video_and_the_dtype_of_its_tokens():
    features = dataclasses.replace(make_features(), tokens_THWC=make_features().tokens_THWC.bfloat16())
    result = compressed(features, 5, torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([7, 0, 3]))
    assert result.places_M.tolist() == [0, 3, 7]
    assert result.tokens_MC.tolist() == [[2.0], [3.0], [1.0]]
    assert result.tokens_MC.dtype == torch.bfloat16
    assert (result.asked, result.given) == (5, 3)
