"""Float8: where it is refused, which layers it changes, and how near its tokens are."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from liteframe.errors import ConfigError
from liteframe.hf.int8_export import likeness
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.float8 import quantise_float8, require_float8


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")


def encoder() -> LiteFrameEncoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"image_size": 56, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    made = LiteFrameEncoder(LiteFrameConfig(**sizes, output_size=32, downsample_after=[1, 2])).eval()
    return made.bfloat16()


def test_a_device_without_float8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="float8 runs on GPUs alone, and the device is 'cpu'"):
        require_float8("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="float8 runs on GPUs alone, and the device is 'cuda'"):
        require_float8("cuda")
    gpu(monkeypatch, (8, 0))
    with pytest.raises(ConfigError, match=r"a GPU has compute capability 8\.0, and float8 needs 8\.9 or newer"):
        require_float8("cuda:1")


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0)])
def test_the_extra_that_is_missing_is_named(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, capability)
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ConfigError, match=r"torchao cannot be imported .*; pip install 'liteframe-video\[fp8\]'"):
        require_float8("cuda")


def test_it_is_the_linear_layers_of_the_blocks() -> None:
    chosen: list[nn.Module] = []

    def quantize(model: nn.Module, config: Any, filter_fn: Any) -> None:
        assert config == {"granularity": "per row"}
        chosen.extend(module for name, module in model.named_modules() if filter_fn(module, name))

    torchao = SimpleNamespace(
        quantize_=quantize, PerRow=lambda: "per row", Float8DynamicActivationFloat8WeightConfig=lambda **given: given
    )
    model = encoder()
    quantise_float8(model, torchao)
    assert chosen == [
        layer for block in model.blocks for layer in (block.attn.qkv, block.attn.proj, block.fc1, block.fc2)
    ]


@torch.no_grad()
def test_its_tokens_are_nearly_those_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, which multiplies float8 slowly: only torchao's look at the hardware is passed over."""
    torchao = pytest.importorskip("torchao.quantization")
    monkeypatch.setattr("torchao.quantization.quant_api._check_hardware_support", lambda *_: None)
    exact = encoder()
    near = copy.deepcopy(exact)
    quantise_float8(near, torchao)
    assert type(near.blocks[0].fc1.weight) is not nn.Parameter and type(near.head.weight) is nn.Parameter
    frames_BTCHW = torch.randn(1, 8, 3, 56, 56).bfloat16()
    found, wanted = (model(frames_BTCHW).last_hidden_state for model in (near, exact))
    assert 1e-3 < likeness([found], [wanted]).relative_error < 0.1
