"""The Triton kernel of the temporal mixer, in Triton's interpreter: the sums that the convolution is defined by."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.temporal import DepthwiseTemporalConv

MODULE = "liteframe.models.student.temporal_triton"
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    sys.modules.pop(MODULE, None)
    yield import_module(MODULE).depthwise_temporal_add
    sys.modules.pop(MODULE, None)


def by_hand(tokens_BTNC: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One frame and one tap at a time, in float64."""
    tokens, taps, frames = tokens_BTNC.double(), weight.shape[-1], tokens_BTNC.shape[1]
    out = tokens + bias.double()
    for frame in range(frames):
        for tap in range(taps):
            source = frame + tap - taps // 2
            if 0 <= source < frames:
                out[:, frame] += tokens[:, source] * weight[:, 0, tap].double()
    return out


@pytest.mark.parametrize(("frames", "taps", "channels"), [(4, 3, 48), (2, 3, 7), (1, 3, 8), (4, 5, 400), (3, 1, 8)])
def test_it_sums_what_the_convolution_is_defined_by(kernel: Kernel, frames: int, taps: int, channels: int) -> None:
    torch.manual_seed(0)
    tokens, weight, bias = torch.randn(2, frames, 5, channels), torch.randn(channels, 1, taps), torch.randn(channels)
    torch.testing.assert_close(
        kernel(tokens, weight, bias).double(), by_hand(tokens, weight, bias), rtol=1e-5, atol=1e-5
    )


def test_half_precision_is_rounded_once(kernel: Kernel) -> None:
    torch.manual_seed(0)
    tokens, weight, bias = (torch.randn(shape).half() for shape in ((1, 3, 4, 16), (16, 1, 3), (16,)))
    found = kernel(tokens.transpose(1, 2), weight, bias)  # nor need they lie one after another
    wanted = by_hand(tokens.transpose(1, 2), weight, bias)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), wanted, rtol=2**-11, atol=1e-6)


@torch.no_grad()
def test_an_encoder_runs_it_where_asked_and_gives_the_same_tokens(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    small = {"image_size": 28, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "output_size": 8}
    encoder = LiteFrameEncoder(LiteFrameConfig(**small, downsample_after=[1, 2])).eval()  # type: ignore[arg-type]
    for parameter in encoder.parameters():
        parameter.normal_(std=0.2)
    frames_BTCHW, runs = torch.randn(1, 5, 3, 28, 28), []
    wanted = encoder(frames_BTCHW).last_hidden_state

    def noted(*args: Tensor) -> Tensor:
        runs.append(args[0].shape[1])
        return kernel(*args)

    monkeypatch.setattr(sys.modules[MODULE], "depthwise_temporal_add", noted)
    encoder.fuse_temporal()
    torch.testing.assert_close(encoder(frames_BTCHW).last_hidden_state, wanted)
    assert runs == [], "not on a CPU"
    monkeypatch.setattr(DepthwiseTemporalConv, "_fuses", lambda self, tokens_BTNC: self.fused)
    torch.testing.assert_close(encoder(frames_BTCHW).last_hidden_state, wanted, rtol=1e-4, atol=1e-5)
    assert runs == [4, 2], "after each block of a clip that has more than one frame"
    encoder.fuse_temporal(False)
    encoder(frames_BTCHW)
    assert len(runs) == 2


def test_it_runs_on_cuda_where_no_gradient_is_wanted() -> None:
    mixer = DepthwiseTemporalConv(4)
    mixer.fused = True

    class OnCuda:
        is_cuda = True

    assert not mixer._fuses(OnCuda())  # type: ignore[arg-type]
    with torch.no_grad():
        assert mixer._fuses(OnCuda()) and not mixer._fuses(torch.zeros(1))  # type: ignore[arg-type]


def test_without_triton_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs Triton"):
        LiteFrameEncoder(
            LiteFrameConfig(num_hidden_layers=1, downsample_after=[], downsample_strides=[])
        ).fuse_temporal()
