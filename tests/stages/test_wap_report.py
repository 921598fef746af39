"""How many tokens WAP averages over is told from its weights, and said where it is one or all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liteframe.models.backbone import WAP, VisionTokens
from liteframe.ops.wap import effective_tokens
from liteframe.stages.cache import CacheStage
from liteframe.stages.wap_report import report_effective_tokens
from tiny_world import WAP_SETTINGS, decoding_in_process, host_folder, make_trainer, manifest, video_data


def vision() -> VisionTokens:
    generator = torch.Generator().manual_seed(0)
    return VisionTokens(torch.randn(1, 4, 4, 4, 8, generator=generator), torch.randn(1, 4, 8, generator=generator))


def test_effective_tokens_are_those_of_a_slow_reference() -> None:
    weights = WAP((4, 2, 2), "cosine", 5.0).weights(vision())
    found = effective_tokens(weights, (4, 2, 2))
    assert found.shape == (1, 1, 2, 2)
    for row in range(2):
        for column in range(2):
            block = weights[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().double()
            assert found[0, 0, row, column] == pytest.approx(float((-(block * block.log()).sum()).exp()), rel=1e-5)
    assert effective_tokens(torch.full((1, 4, 2, 2), 1 / 16)).item() == pytest.approx(16)
    one = torch.zeros(1, 4, 2, 2)
    one[0, 2, 1, 0] = 1
    assert effective_tokens(one).item() == 1


@pytest.mark.parametrize(
    ("scale", "said"),
    [(1e-3, "nearly average pooling: raise model.scale"), (1e4, "nearly one token of each block: lower"), (4.0, "")],
)
def test_the_ends_are_warned_of(scale: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    mean = report_effective_tokens(WAP((4, 2, 2), "cosine", scale), vision(), torch.tensor([[True]]))
    out = capsys.readouterr().out
    assert f"WAP: {mean:.1f} effective tokens a block of 16" in out
    assert said in out and ("warning" in out) == bool(said)


def test_what_fills_up_does_not_count() -> None:
    wap, one = WAP((4, 2, 2), "cosine", 4.0), vision()
    assert one.cls_BTC is not None
    two = VisionTokens(torch.cat([one.tokens_BTHWC] * 2), torch.cat([one.cls_BTC, torch.zeros(1, 4, 8)]))
    alone = report_effective_tokens(wap, one, torch.tensor([[True]]))
    assert report_effective_tokens(wap, two, torch.tensor([[True], [False]])) == pytest.approx(alone)
    assert report_effective_tokens(wap, two, torch.tensor([[False], [False]])) is None


def test_caching_says_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = CacheStage(str(host_folder()), str(tmp_path / "store"), **WAP_SETTINGS)
    with decoding_in_process():
        make_trainer(tmp_path).predict(stage, video_data(predict=str(manifest())), return_predictions=False)
    assert capsys.readouterr().out.count("effective tokens a block of 16") == 1
