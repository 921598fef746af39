"""How many tokens WAP averages over is told from its weights, said where it is one or all, and chosen by a scale."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liteframe.command import cli
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP, VisionTokens
from liteframe.models.teachers import VJEPA2, VJEPA2Teacher
from liteframe.ops.wap import effective_tokens, saliency_weights, scale_for
from liteframe.stages.cache import CacheStage
from liteframe.stages.wap_report import report_effective_tokens
from liteframe.stages.wap_scale import importance_of
from small_teachers import vjepa2_folder
from tiny_world import WAP_SETTINGS, InProcessPool, decoding_in_process, host_folder, make_trainer, manifest, video_data


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


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("score", ["class_token", "mean_token", "norm"])
def test_importance_is_what_the_weights_are_the_softmax_of(similarity: str, score: str) -> None:
    wap = WAP((4, 2, 2), similarity, 0.7, score)
    weights = saliency_weights(wap.importance(vision()), wap.block, 0.7)
    torch.testing.assert_close(weights, wap.weights(vision()))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("effective", [1.5, 8.0, 15.0])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_scale_gives_the_tokens_that_were_asked_for(similarity: str, effective: float, size: float) -> None:
    tokens = vision()
    assert tokens.cls_BTC is not None
    tokens = VisionTokens(tokens.tokens_BTHWC * size, tokens.cls_BTC * size)
    scale = scale_for(WAP((4, 2, 2), similarity).importance(tokens), effective)
    found = effective_tokens(WAP((4, 2, 2), similarity, scale).weights(tokens)).mean()
    assert float(found) == pytest.approx(effective, rel=0.01)


def test_no_scale_tells_equal_tokens_apart() -> None:
    with pytest.raises(ConfigError, match="equally important"):
        scale_for(torch.ones(1, 4, 2, 2), 8.0)
    pairs = torch.arange(8.0).repeat_interleave(2).reshape(1, 4, 2, 2)
    with pytest.raises(ConfigError, match=r"no scale leaves 1\.5"):
        scale_for(pairs, 1.5)  # the two most important ones are equal
    with pytest.raises(ConfigError, match="above 1 and below the 16"):
        scale_for(vision().tokens_BTHWC[..., 0], 16.0)


def test_importance_is_that_of_the_video_and_of_nothing_that_fills_up_its_clip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a teacher whose tokens span 2 frames, and whose clip has 8: 4 frames are 2 tokens in time."""
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    vjepa2_folder(tmp_path)
    source, wap = VJEPA2(str(tmp_path), clip_frames=8), WAP((2, 2, 2), saliency="norm")
    assert importance_of(source, wap, str(manifest()), count=2, frames=4).shape == (1, 4, 4, 4)


def test_a_scale_is_proposed_from_a_few_videos(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    words = ["saliency", str(host_folder()), "--videos", str(manifest())]
    more = ["--similarity", "cosine", "--frames", "8", "--count", "2", "--effective", "6"]
    assert cli.main([*words, *more]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said if line[:1].isdigit()][2] == "6.0"
    assert said[-1].startswith("proposed: --model.similarity=cosine --model.scale=") and "mean of 6 tokens" in said[-1]
    assert cli.main([*words, "--out", "x.json"]) == 1
    assert "leave out --videos" in capsys.readouterr().err
    assert cli.main(["saliency", "run", "--effective", "6"]) == 1
    assert "give --videos too" in capsys.readouterr().err


def test_a_scale_for_a_teacher_of_clips_is_of_whole_clips(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    vjepa2_folder(tmp_path)
    seen: list[torch.Tensor] = []
    forward = VJEPA2Teacher.forward
    monkeypatch.setattr(VJEPA2Teacher, "forward", lambda self, frames: (seen.append(frames), forward(self, frames))[1])
    words = ["saliency", str(tmp_path), "--videos", str(manifest()), "--count", "2", "--saliencies", "norm"]
    for more, frames, raised in (
        (["--frames", "8"], 16, True),
        (["--frames", "8", "--clip_frames", "4"], 8, False),
        (["--frames", "5", "--clip_frames", "4"], 8, True),
    ):
        seen.clear()
        assert cli.main([*words, "--teacher_class", "VJEPA2", *more]) == 0
        assert {batch.shape[1] for batch in seen} == {frames}
        assert all((batch[0, -1] != batch[0, -2]).any() for batch in seen), "no stills at the end"
        assert (f"{frames} frames of each video in place of" in capsys.readouterr().err) == raised
    assert cli.main([*words, "--clip_frames", "4"]) == 1
    assert "--clip_frames is 4, and teachers of class InternVL see no clips" in capsys.readouterr().err
    assert cli.main(["saliency", "run", "--clip_frames", "4"]) == 1
    assert "--clip_frames propose a scale: give --videos too" in capsys.readouterr().err
