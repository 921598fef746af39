"""The engine torchao-fp8: what is refused, and what becomes of an encoder that is loaded for it."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

import liteframe
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.hf import engine
from liteframe.hf.engine import FLOAT8, Float8Backbone, require_engine
from liteframe.hf.loading import load_video_llm
from liteframe.models.acceleration.compiled_layers import compile_layers
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.model import LiteFrameBackbone
from tiny_world import encoder_folder, host_folder, lma_run_folder


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A GPU that multiplies float8, where the weights stay as they are."""
    quantised: list[Any] = []
    monkeypatch.setattr(engine, "require_float8", lambda device: None)
    monkeypatch.setattr(engine, "quantise_float8", lambda encoder, torchao: quantised.append(encoder))
    monkeypatch.setattr(engine, "compile_layers", partial(compile_layers, backend="eager"))
    monkeypatch.setattr(engine, "version", lambda name: f"{name} of a test")
    return quantised


def test_a_machine_without_such_a_gpu_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(ConfigError, match="engine torchao-fp8: float8 runs on GPUs alone"):
            liteframe.load("no/such/model", device=device, engine=FLOAT8)
    with pytest.raises(ConfigError, match="engine torchao-fp8: float8 runs on GPUs alone"):
        load_video_llm("no/such/model", engine=FLOAT8)


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed")
def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(ConfigError, match=r"torchao cannot be imported .*; pip install 'liteframe-video\[fp8\]'"):
        require_engine(FLOAT8, "cuda")


def test_an_encoder_of_another_kind_is_refused(pretended: list[Any]) -> None:
    with pytest.raises(
        ConfigError, match="the engine torchao-fp8 runs liteframe's encoder, and this model has another"
    ):
        load_video_llm(host_folder(), engine=FLOAT8)
    assert require_engine(FLOAT8) == "cuda" and require_engine(FLOAT8, "cuda:1") == "cuda:1"


@torch.no_grad()
def test_weights_are_quantised_once_where_the_first_frames_are(pretended: list[Any]) -> None:
    def student() -> LiteFrameBackbone:
        return LiteFrameBackbone(LiteFrameEncoder.from_pretrained(encoder_folder()))

    inner = student()
    backbone, exact = Float8Backbone(inner), student().bfloat16()
    assert pretended == [] and list(backbone.parameters()) == []
    backbone.float()
    for frames in (8, 5):
        frames_BTCHW = torch.randn(1, frames, 3, 112, 112, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone(frames_BTCHW).tokens_BTHWC
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, exact(frames_BTCHW.bfloat16()).tokens_BTHWC, rtol=0.05, atol=0.05)
    assert pretended == [inner.encoder] and {weight.dtype for weight in inner.parameters()} == {torch.bfloat16}


def test_a_loaded_model_answers_and_records_name_the_engine(pretended: list[Any]) -> None:
    model = load_video_llm(lma_run_folder() / "export", engine=FLOAT8)
    subject = EvaluatedModel(model, "cpu")
    assert subject.engine["engine"]["name"] == FLOAT8 and len(subject.engine["engine"]["encoder_sha256"]) == 64
    assert subject.engine["engine"]["torchao"] == "torchao of a test"
    exact = load_video_llm(lma_run_folder() / "export")
    pixels_BTCHW = torch.randint(256, (1, 4, 3, 112, 112), generator=torch.Generator().manual_seed(0)).byte()
    assert (model.frames, model.clip_frames) == (exact.frames, exact.clip_frames)
    with torch.no_grad():
        wanted = exact.project(exact.encode(pixels_BTCHW))
        for frames_BTCHW in (pixels_BTCHW, normalize(pixels_BTCHW)):
            found = model.project(model.encode(frames_BTCHW))
            assert (found - wanted).norm() < 0.05 * wanted.norm()
