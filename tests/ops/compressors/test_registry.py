"""What holds for every method, so that a new one is tested by its line in the registry."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from compressor_loops import make_features, slow_scene

from liteframe.errors import ConfigError
from liteframe.ops.compressors import registry
from liteframe.ops.compressors.features import Compressed, Features
from liteframe.ops.compressors.registry import METHODS, method

OPTIONAL = ("cls_TC", "keys_THWK", "cls_attention_THW")
POOLINGS = ("average", "max", "subsample", "wap")
# By their definition these look at the order of tokens in a frame: blocks, alternation, even steps.
BY_RASTER = (*POOLINGS, "tome", "prumerge+", "visionzip")

every_method = pytest.mark.parametrize("name", METHODS)


def compress(name: str, features: Features, keep: int, **settings) -> Compressed:
    return METHODS[name].function(features, keep, **settings)


def cast(features: Features, dtype: torch.dtype) -> Features:
    return Features(*(tensor.to(dtype) for tensor in vars(features).values()))


def assert_equal(one: Compressed, other: Compressed) -> None:
    assert torch.equal(one.places_M, other.places_M)
    assert torch.equal(one.tokens_MC, other.tokens_MC)


@every_method
@pytest.mark.parametrize("grid", [(8, 3, 4), (5, 2, 2), (1, 4, 4), (6, 1, 1)])
def test_every_budget_is_met_or_what_is_given_is_said(name, grid):
    features = make_features(*grid, channels=64)
    for keep in range(1, features.count + 1):
        result = compress(name, features, keep)
        assert result.asked == keep
        assert result.given == len(result.places_M) == len(result.tokens_MC)
        assert result.tokens_MC.shape[1:] == features.tokens_THWC.shape[3:]
        assert result.tokens_MC.isfinite().all()
        assert result.places_M.dtype == torch.int64
        assert (result.places_M.diff() > 0).all()
        assert result.places_M[0] >= 0 and result.places_M[-1] < features.count
        if name not in POOLINGS:
            whole = {"dycoke": -(-grid[0] // 4), "evs": 1}.get(name, 0)
            assert result.given == max(keep, whole * grid[1] * grid[2])


@every_method
def test_the_same_input_gives_the_same_output(name):
    features = slow_scene()
    assert_equal(compress(name, features, 24), compress(name, features, 24))


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_dtype_gives_its_own_and_chooses_as_float32_does(name, dtype):
    features = cast(slow_scene(), dtype)
    result = compress(name, features, 24)
    assert result.tokens_MC.dtype == dtype
    wide = compress(name, cast(features, torch.promote_types(dtype, torch.float32)), 24)
    assert torch.equal(result.places_M, wide.places_M)
    torch.testing.assert_close(result.tokens_MC, wide.tokens_MC.to(dtype), rtol=2e-2, atol=2e-2)


@every_method
def test_autocast_changes_nothing(name):
    features = cast(slow_scene(), torch.float32)
    expected = compress(name, features, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(compress(name, features, 24), expected)


@every_method
def test_tensors_are_made_where_the_features_lie(name):
    """Whatever is made without naming the device lies on meta here, and fails beside the features."""
    features = slow_scene()
    expected = compress(name, features, 24)
    torch.set_default_device("meta")
    try:
        assert_equal(compress(name, features, 24), expected)
    finally:
        torch.set_default_device(None)


@every_method
def test_the_features_are_not_written_to(name):
    features = slow_scene()
    before = [tensor.clone() for tensor in vars(features).values()]
    compress(name, features, 24).tokens_MC.zero_()
    assert all(torch.equal(one, other) for one, other in zip(before, vars(features).values(), strict=True))


@every_method
def test_channels_have_no_order(name):
    features = cast(slow_scene(), torch.float64)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = dataclasses.replace(
        features, tokens_THWC=features.tokens_THWC[..., order], cls_TC=features.cls_TC[..., order]
    )
    result, other = compress(name, features, 24), compress(name, shuffled, 24)
    assert torch.equal(other.places_M, result.places_M)
    torch.testing.assert_close(other.tokens_MC, result.tokens_MC[:, order])


@pytest.mark.parametrize("name", [name for name in METHODS if name not in BY_RASTER])
def test_places_in_a_frame_have_no_order(name):
    features = slow_scene(rows=5, columns=6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))

    def shuffle(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flatten(1, 2)[:, order].reshape(tensor.shape)

    shuffled = Features(
        shuffle(features.tokens_THWC),
        features.cls_TC,
        shuffle(features.keys_THWK),
        shuffle(features.cls_attention_THW),
    )
    result, other = compress(name, features, 80), compress(name, shuffled, 80)
    came_from = other.places_M // 30 * 30 + order[other.places_M % 30]
    places, back = came_from.sort()
    assert torch.equal(places, result.places_M)
    torch.testing.assert_close(other.tokens_MC[back], result.tokens_MC)


@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith("prumerge")])
def test_a_budget_of_all_tokens_of_a_video_that_moves_changes_nothing(name):
    features = make_features(channels=64)
    result = compress(name, features, features.count)
    torch.testing.assert_close(result.tokens_MC, features.tokens_THWC.flatten(0, 2))


@every_method
@pytest.mark.parametrize("missing", OPTIONAL)
def test_what_is_missing_is_named_and_what_is_not_needed_may_be_missing(name, missing):
    features = dataclasses.replace(make_features(), **{missing: None})
    if missing in METHODS[name].needs:
        with pytest.raises(ConfigError, match=f"needs .*{missing}.*have none"):
            compress(name, features, 12)
    else:
        assert compress(name, features, 12).given == 12


@every_method
@pytest.mark.parametrize("keep", [0, 49])
def test_a_budget_out_of_range_is_refused(name, keep):
    with pytest.raises(ConfigError, match="keep must be a whole number of tokens from 1 to 48"):
        compress(name, make_features(), keep)


@every_method
def test_every_method_has_the_same_signature_and_names_its_source(name):
    function = METHODS[name].function
    first, second, *settings = inspect.signature(function).parameters.values()
    assert (first.name, second.name) == ("features", "keep")
    assert all(setting.default is not inspect.Parameter.empty for setting in settings)
    module = inspect.getmodule(function)
    assert module is not None and module.__doc__ is not None
    assert "arXiv" in module.__doc__ or "liteframe.ops.pooling" in module.__doc__


def test_an_unknown_name_is_refused_with_those_there_are():
    assert method("tome") is METHODS["tome"]
    with pytest.raises(ConfigError, match="'tomme' is unknown; choose one of average, max.*holitom"):
        method("tomme")


def test_the_registry_is_all_there_is():
    assert all(registry.method(name) is entry for name, entry in METHODS.items())
