"""Feature maps of timm as tokens on a grid: timm's own values, colours, sizes, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.rivals.timm_backbone import TimmBackbone
from small_teachers import randomise, timm_model

SMALL: dict[str, Any] = {"layers": (1, 1, 1, 1, 1), "embed_dims": (8, 16, 32, 32, 32)}


def frames(height: int = 64, width: int = 128) -> torch.Tensor:
    pixels = torch.randint(0, 256, (2, 3, 3, height, width), generator=torch.Generator().manual_seed(0))
    return pixels.to(torch.uint8)


@torch.no_grad()
def test_tokens_are_timms_features_of_each_frame() -> None:
    torch.manual_seed(0)
    model: Any = randomise(timm.create_model("fastvit_mci3", num_classes=0, **SMALL))
    colours = resolve_model_data_config(model)
    mean, std = (torch.tensor(colours[name]).view(3, 1, 1) for name in ("mean", "std"))
    backbone = TimmBackbone(model, (64, 64), colours["mean"], colours["std"])
    tokens_BTHWC = backbone(frames()).tokens_BTHWC
    assert tokens_BTHWC.shape == (2, 3, 1, 2, backbone.width)
    torch.testing.assert_close(backbone(normalize(frames())).tokens_BTHWC, tokens_BTHWC, rtol=1e-4, atol=1e-4)
    pixels = frames()[1, 2].float() / 255
    expected_CHW = model.forward_features(((pixels - mean) / std)[None])[0]
    torch.testing.assert_close(tokens_BTHWC[1, 2].permute(2, 0, 1), expected_CHW, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_folded_branches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = timm.create_model("fastvit_mci3", num_classes=0, **SMALL).eval()
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: copy.deepcopy(model))
    folded = TimmBackbone.create("fastvit_mci3", (64, 64)).eval()
    plain = TimmBackbone(model, (64, 64), folded.mean, folded.std)
    torch.testing.assert_close(folded(frames()).tokens_BTHWC, plain(frames()).tokens_BTHWC, rtol=1e-3, atol=1e-4)
    assert len(list(folded.parameters())) < len(list(plain.parameters()))


def test_sizes_of_the_real_encoders() -> None:
    with torch.device("meta"):
        fastvit = TimmBackbone(timm.create_model("fastvit_mci3", num_classes=0))
        mobilenet = TimmBackbone(timm.create_model("mobilenetv5_300m_enc", num_classes=0))
        assert fastvit(torch.empty(1, 1, 3, 448, 448)).tokens_BTHWC.shape == (1, 1, 7, 7, 3072)
        assert fastvit(torch.empty(1, 1, 3, 1024, 1024)).tokens_BTHWC.shape == (1, 1, 16, 16, 3072)
        assert mobilenet(torch.empty(1, 1, 3, 448, 448)).tokens_BTHWC.shape == (1, 1, 16, 16, 2048)
    assert (fastvit.size_multiple, mobilenet.size_multiple) == (64, 32)
    assert (fastvit.image_size, mobilenet.image_size) == ((256, 256), (768, 768))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 1, 3, 60, 64), "height 60 is not a multiple of 64 px"), ((1, 3, 64, 64), r"axes \(B, T, C, H, W\)")],
)
def test_frames_that_do_not_fit_are_named(shape: tuple[int, ...], message: str) -> None:
    backbone = TimmBackbone.create("fastvit_mci3", (64, 64), **SMALL)
    with pytest.raises(GeometryError, match=message):
        backbone(torch.zeros(shape))


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="no_such_model: timm cannot make this model"):
        TimmBackbone.create("no_such_model")
    with pytest.raises(ConfigError, match="take it as a teacher"):
        TimmBackbone(timm_model())
    with pytest.raises(ConfigError, match="says nothing of its feature maps"):
        TimmBackbone(nn.Linear(2, 2))
    with pytest.raises(GeometryError, match="width 100 is not a multiple of 64 px"):
        TimmBackbone.create("fastvit_mci3", (64, 100), **SMALL)
