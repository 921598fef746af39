"""Targets whose channels have large means are learnt: from a store, or measured on the first batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from liteframe.data.sampling import RandomSegment
from liteframe.data.transforms import normalize
from liteframe.errors import CheckpointError, ConfigError, StoreMismatch
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.means import ChannelMoments
from liteframe.stages.stage import OptimizerSettings
from liteframe.stages.target_statistics import TargetStatistics
from liteframe.tiny.models import MASSIVE, build_tiny_base_vlm
from literal_ctd import LiteralCTD
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    decoding_in_process,
    make_trainer,
    manifest,
    store_folder,
    video_data,
)


@pytest.fixture(scope="module")
def hard_host(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny base VLM whose image encoder has no final norm, but channels of large mean, as large ones have."""
    folder = tmp_path_factory.mktemp("host")
    host, processor = build_tiny_base_vlm(seed=1, hard=True)
    host.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def hard_store(hard_host: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its targets for the training videos, with the frames: training on them runs and decodes nothing else."""
    folder = tmp_path_factory.mktemp("hard")
    cache = CacheStage(hard_host, str(folder / "store"), **WAP_SETTINGS, dtype="float32", store_frames=True)
    with decoding_in_process():
        videos = video_data(predict=str(manifest()), sampler=RandomSegment())
        make_trainer(folder).predict(cache, videos, return_predictions=False)
    return str(folder / "store")


class SaveAtEnd(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)


def stage(host: str | None, out: Path, kind: type[CTDStage] = CTDStage, **settings: Any) -> CTDStage:
    optimizer = OptimizerSettings(lr=3e-3, warmup_fraction=0.2)
    shared: dict[str, Any] = {"picture_every": 0, "seed": 0, **WAP_SETTINGS, **settings}
    return kind(ENCODER, host, optimizer=optimizer, out=str(out), **shared)


def fit(folder: Path, module: CTDStage, steps: int = 30, store: str | None = None, **more: Any) -> dict[str, float]:
    trainer = make_trainer(folder, max_steps=steps, **more)
    with decoding_in_process():
        trainer.fit(module, video_data(store=store) if store else video_data(train=str(manifest())))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def tokens_of(student: Path, hard_host: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of an exported student and its teacher's targets, (N, C)."""
    teacher = InternVLTeacher.from_pretrained(hard_host)
    frames = normalize(next(iter(video_data(train=str(manifest())).loader("train", batch_size=4)))["frames_BTCHW"])
    with torch.no_grad():
        given = LiteFrameEncoder.from_pretrained(student).eval()(frames).last_hidden_state
        wanted = WAP((4, 2, 2), **WAP_SETTINGS)(teacher(frames))
    return given.flatten(0, 3), wanted.flatten(0, 3)


@pytest.mark.parametrize(
    ("standardise", "clip", "stored"),
    [(True, "drop", False), (True, "clamp", True), (False, "drop", True), (False, "clamp", True)],
)
def test_channels_of_large_mean_are_learnt(
    hard_host: str, hard_store: str, standardise: bool, clip: Any, stored: bool, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"standardise": standardise, "clip": clip, "statistics_batches": 4}
    module = stage(None if stored else hard_host, tmp_path / "out", **settings)
    logged = fit(tmp_path, module, store=hard_store if stored else None)
    given, wanted = tokens_of(tmp_path / "out", hard_host)
    massive = wanted.mean(0).abs() > 50
    assert massive.sum() == len(MASSIVE)
    assert ((given.mean(0) - wanted.mean(0)).abs()[massive] < 1).all()
    if not standardise:  # in the units of the targets, what is logged is what the export does
        assert logged["train/mse"] == pytest.approx(float((given - wanted).square().mean()), rel=0.3)


def test_to_the_letter_of_the_paper_they_are_not(hard_host: str, hard_store: str, tmp_path: Path) -> None:
    module = stage(None, tmp_path / "out", kind=LiteralCTD, standardise=False)
    logged = fit(tmp_path, module, store=hard_store)
    given, wanted = tokens_of(tmp_path / "out", hard_host)
    massive = wanted.mean(0).abs() > 50
    assert (given.mean(0).abs()[massive] < 10).all(), "they stay where the head began"
    assert logged["train/loss"] < 0.2 * float((given - wanted).square().mean()), "and the loss does not show it"


def test_they_are_those_of_the_batches_that_are_trained_on(
    hard_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stage(hard_host, tmp_path / "out", statistics_batches=2)
    make, seen = module._raw_targets, []

    def noted(batch: dict[str, Any]) -> torch.Tensor:
        raw = make(batch)
        seen.append(raw[module._weights(batch, raw.shape[1]) > 0].float())
        return raw

    monkeypatch.setattr(module, "_raw_targets", noted)
    fit(tmp_path / "run", module, 2)
    assert len(seen) == 4 and all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:], strict=True))
    trained_on = torch.cat([raw.reshape(-1, raw.shape[-1]) for raw in seen[2:]])
    torch.testing.assert_close(module.target_statistics.mean_C, trained_on.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module.target_statistics.std_C, trained_on.std(0, correction=0), rtol=1e-3, atol=1e-4)


def test_they_are_kept_in_the_checkpoint(hard_host: str, hard_store: str, tmp_path: Path) -> None:
    module = stage(hard_host, tmp_path / "out", statistics_batches=2)
    checkpoint = tmp_path / "two.ckpt"
    fit(tmp_path, module, 2, callbacks=[SaveAtEnd(checkpoint)])
    mean_C, std_C = module.target_statistics.mean_C.clone(), module.target_statistics.std_C.clone()

    def go_on(name: str, path: Path = checkpoint, **settings: Any) -> CTDStage:
        again = stage(hard_host, tmp_path / name, statistics_batches=1, **settings)
        trainer = make_trainer(tmp_path / f"{name} run", max_steps=4)
        with decoding_in_process():
            trainer.fit(again, video_data(train=str(manifest())), ckpt_path=str(path))
        return again

    again = go_on("later")
    assert torch.equal(again.target_statistics.mean_C, mean_C) and torch.equal(again.target_statistics.std_C, std_C)
    record = json.loads((tmp_path / "later" / "trained.json").read_text())
    assert record["model"]["standardise"] is True and record["model"]["clip"] == "drop"
    with pytest.raises(ConfigError, match="standardise is False, the checkpoint was trained with True"):
        go_on("raw", standardise=False)
    with pytest.raises(ConfigError, match="other statistics of its targets"):
        go_on("store", statistics=hard_store)
    with pytest.raises(StoreMismatch, match=r"teacher\.weights: stored"):
        go_on("other", statistics=str(store_folder()))
    for damage in ({"std_C": std_C[:4]}, {"std_C": 0 * std_C}, {"mean_C": mean_C / 0}, {"standardise": "yes"}):
        damaged = torch.load(checkpoint, weights_only=True)
        damaged["targets"] |= damage
        torch.save(damaged, tmp_path / "damaged.ckpt")
        with pytest.raises(CheckpointError, match="`targets` are no mean and deviation of 128 channels"):
            go_on("damaged", tmp_path / "damaged.ckpt")
    older = torch.load(checkpoint, weights_only=True)
    del older["targets"]
    torch.save(older, tmp_path / "older.ckpt")
    with pytest.raises(ConfigError, match=r"model\.standardise to false or true"):
        go_on("unsaid", tmp_path / "older.ckpt")
    go_on("said", tmp_path / "older.ckpt", standardise=False)


def test_validation_needs_them(hard_host: str, tmp_path: Path) -> None:
    videos = video_data(val=str(manifest("test")), train=str(manifest()))
    with decoding_in_process(), pytest.raises(ConfigError, match="needs the statistics of the targets"):
        make_trainer(tmp_path).validate(stage(hard_host, tmp_path / "out"), videos, verbose=False)


def test_moments_are_those_of_all_values_together() -> None:
    values = torch.randn(40, 3) * torch.tensor([1.0, 9.0, 0.0]) + torch.tensor([0.0, 500.0, -2.0])
    moments = ChannelMoments(3, torch.device("cpu"))
    for part in values.split([1, 30, 9]):
        moments.add(part.reshape(-1, 1, 3))
    mean_C, std_C = moments.over_ranks()
    torch.testing.assert_close(mean_C, values.mean(0))
    torch.testing.assert_close(std_C, values.std(0, correction=0).clamp(min=1e-6), rtol=1e-4, atol=1e-6)


def test_a_channel_that_is_constant_but_for_rounding_does_not_outweigh_all_others() -> None:
    values = 1 + torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    values[:, 5] = 200 + 0.05 * values[:, 5]
    values[:, 9] = 0.0
    stored = values.bfloat16()
    assert len(stored[:, 5].unique()) == 1, "which rounding took the variance from"
    moments = ChannelMoments(64, torch.device("cpu"))
    moments.add(stored)
    statistics = TargetStatistics(64, True)
    statistics.take(*moments.over_ranks(), torch.bfloat16)
    assert statistics.raised_C.nonzero().flatten().tolist() == [5, 9]
    stored[0, 5], stored[1, 9] = 201, 0.001
    assert float(statistics(stored).abs().max()) < 6, "one other value is no outlier beyond all others"
    torch.testing.assert_close(statistics.std_C[:5], values[:, :5].std(0), rtol=1e-2, atol=0)


def test_statistics_that_were_raised_agree_with_those_of_earlier_checkpoints() -> None:
    mean_C, std_C = torch.tensor([0.0, 200.0, 1.0]), torch.tensor([1.0, 1e-6, 2.0])
    earlier = {"targets": {"standardise": True, "mean_C": mean_C, "std_C": std_C}}
    statistics = TargetStatistics(3, True)
    statistics.take(mean_C, std_C, torch.bfloat16, given=True)
    assert statistics.std_C[1] > 0.5
    statistics.from_checkpoint(earlier)
    assert torch.equal(statistics.std_C, std_C), "its weights were trained with them"
    statistics.take(mean_C, std_C, torch.bfloat16, given=True)
    with pytest.raises(ConfigError, match="other statistics"):
        statistics.from_checkpoint({"targets": {**earlier["targets"], "std_C": std_C * torch.tensor([1.0, 1.0, 0.5])}})
