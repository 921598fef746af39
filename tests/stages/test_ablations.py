"""Ablations by one setting: compression, clip length and kind of target, from the store to a student before an LLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from test_lma import slow_loss

from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP, Dense, Pool
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher, Siglip
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.stage import OptimizerSettings
from small_teachers import siglip_folder
from tiny_world import ENCODER, WAP_SETTINGS, decoding_in_process, host_folder, make_trainer, manifest, video_data

MAKERS: dict[str, Any] = {
    "wap": WAP(**WAP_SETTINGS),
    "average": Pool("average", (4, 2, 2)),
    "max": Pool("max", (4, 2, 2)),
    "dense": Dense(),
}


class Losses(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.values.append(float(trainer.callback_metrics["train/loss"]))


def ctd(**settings: Any) -> CTDStage:
    defaults: dict[str, Any] = {"encoder": ENCODER, "optimizer": OptimizerSettings(lr=1e-3), "picture_every": 0}
    return CTDStage(**{**defaults, **WAP_SETTINGS, **settings})


def fit(folder: Path, module: Any, steps: int = 2, **videos: Any) -> list[float]:
    losses = Losses()
    make_trainer(folder, max_steps=steps, callbacks=[losses]).fit(module, video_data(**videos))
    return losses.values


def cache(folder: Path, frames: int = 8, **settings: Any) -> FeatureStore:
    stage = CacheStage(str(host_folder()), str(folder), **{**WAP_SETTINGS, "dtype": "float32", **settings})
    videos = video_data(predict=str(manifest()), sampler=UniformMidpoints(), frames=frames)
    with decoding_in_process():
        make_trainer(folder).predict(stage, videos, return_predictions=False)
    return FeatureStore.open(folder, verify="full")


def dense_tokens(store: FeatureStore, index: int, span: int) -> Any:
    """The teacher's tokens of an entry's frames, filled up to whole groups by the last."""
    entry = store.entry(index)
    numbers = entry["frame_indices"][: entry["valid_frames"]]
    frames = normalize(resize_uint8(read_frames(entry["path"], numbers, "pyav"), (112, 112)))
    padded = torch.cat([frames, frames[-1:].expand(-len(frames) % span, -1, -1, -1)])
    return InternVLTeacher.from_pretrained(str(host_folder()))(padded[None])


@pytest.mark.parametrize(
    ("frames", "block", "strides", "clip"),
    [
        (6, (1, 2, 2), [[1, 2, 2]], 4),
        (6, (2, 2, 2), [[2, 2, 2]], 4),
        (6, (4, 2, 2), [[2, 2, 2], [2, 1, 1]], 4),
        (6, (8, 2, 2), [[2, 2, 2], [4, 1, 1]], 8),
        (8, (8, 2, 2), [[2, 2, 2], [4, 1, 1]], 8),
    ],
)
def test_the_block_alone_sets_the_compression(
    frames: int, block: tuple[int, int, int], strides: list[list[int]], clip: int, tmp_path: Path
) -> None:
    module = ctd(block=block, standardise=True)
    config = module.encoder_config
    assert (config.downsample_strides, config.clip_frames, config.stride) == (strides, clip, block)
    assert config.downsample_after == [1, 2][: len(strides)]
    store = cache(tmp_path / "store", frames, block=block)
    groups = -(-frames // block[0])
    assert store.targets(0).shape == (groups, 4, 4, 128) and store.key.clip_frames == clip
    padding = groups * block[0] - frames
    assert store.entry(0)["frame_indices"][frames:] == [-1] * padding, "no group of padding alone is stored"
    expected = WAP(block, **WAP_SETTINGS)(dense_tokens(store, 1, block[0]))[0]
    torch.testing.assert_close(store.targets(1), expected, rtol=1e-4, atol=1e-5)

    stored = fit(tmp_path, module, store=store.place, frames=frames)
    live = {"train": str(manifest()), "train_sampler": UniformMidpoints(), "frames": frames}
    fly = ctd(block=block, standardise=True, teacher=str(host_folder()), statistics=store.place)
    assert stored == pytest.approx(fit(tmp_path, fly, **live), rel=1e-5) and len(stored) == 2


@pytest.mark.parametrize(
    ("given", "stride", "after", "clip"),
    [
        ({"downsample_after": [1]}, (4, 2, 2), [1], 4),
        ({"downsample_after": [2]}, (4, 2, 2), [2], 4),
        ({"downsample_after": [2, 3], "num_hidden_layers": 3}, (4, 2, 2), [2, 3], 4),
        ({"clip_frames": 8}, (4, 2, 2), [1, 2], 8),
        ({"downsample_after": [2], "downsample_strides": [[8, 2, 2]]}, (8, 2, 2), [2], 8),
    ],
)
def test_places_and_clips_are_settings_of_their_own(given: Any, stride: Any, after: Any, clip: int) -> None:
    config = ctd(encoder={**ENCODER, **given}).encoder_config
    assert (config.stride, config.downsample_after, config.clip_frames) == (stride, after, clip)


def test_the_paper_is_what_comes_of_nothing() -> None:
    with torch.device("meta"):
        assert CTDStage().encoder_config.to_dict() == LiteFrameConfig().to_dict()
        assert CTDStage(block=(8, 2, 2)).encoder_config.downsample_after == [4, 8]


@pytest.mark.parametrize("target", MAKERS)
def test_targets_are_what_the_setting_says(target: Any, tmp_path: Path) -> None:
    store = cache(tmp_path / "store", target=target)
    maker = WAP(**WAP_SETTINGS) if target == "wap" else MAKERS[target]
    expected = maker(dense_tokens(store, 2, 4))[0]
    torch.testing.assert_close(store.targets(2), expected, rtol=1e-4, atol=1e-5)
    module = ctd(target=target, standardise=True)
    stored = fit(tmp_path, module, store=store.place)
    fly = ctd(target=target, standardise=True, teacher=str(host_folder()), statistics=store.place)
    flown = fit(tmp_path, fly, train=str(manifest()), train_sampler=UniformMidpoints())
    assert stored == pytest.approx(flown, rel=1e-5)
    other = "average" if target == "dense" else "dense"
    message = rf"model\.target: stored '{target}', this run wants '{other}'"
    with pytest.raises(StoreMismatch, match=message):
        fit(tmp_path, ctd(target=other), store=store.place)
    with pytest.raises(StoreMismatch, match=message):
        fly = ctd(target=other, standardise=True, teacher=str(host_folder()), statistics=store.place)
        fit(tmp_path, fly, train=str(manifest()))


def test_keys_of_finished_stores_stay(tmp_path: Path) -> None:
    """Field for field as stores were written before there were other targets and clips."""
    store = cache(tmp_path / "store")
    assert store.key.compressor == {
        "compressor": "wap",
        "block": [4, 2, 2],
        "similarity": WAP_SETTINGS["similarity"],
        "scale": WAP_SETTINGS["scale"],
        "saliency": "class_token",
    }
    assert set(store.key.as_dict()) == {
        *("teacher", "compressor", "geometry", "sampling", "decoder", "dtype", "clip_frames", "data", "frames"),
        "format_version",
    }
    assert (store.key.clip_frames, store.key.format_version) == (4, 1)


def test_a_dense_target_makes_a_plain_vit() -> None:
    module = ctd(target="dense")
    config = module.encoder_config
    assert (config.stride, config.clip_frames, config.downsample_after) == ((1, 1, 1), 1, [])
    assert not any("temporal" in name or "downsample" in name for name in module.encoder.state_dict())
    assert LiteFrameBackbone(module.encoder).frames_per_group == 1
    assert ctd(target="dense", block=(1, 1, 1)).encoder_config.to_dict() == config.to_dict()
    for stage in (ctd, lambda **settings: CacheStage("nowhere", "nowhere", **settings)):
        with pytest.raises(ConfigError, match=r"model\.target is dense.*model\.block is \[4, 2, 2\]; set it to null"):
            stage(target="dense", block=(4, 2, 2))


def test_a_token_of_another_teacher_is_merged_likewise(tmp_path: Path) -> None:
    siglip_folder(tmp_path)
    given = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "downsample_after": [1, 2]}
    teacher = Siglip(str(tmp_path))
    for block, stride, clip in (((8, 2, 2), (8, 2, 2), 8), ((2, 1, 1), (2, 1, 1), 4)):
        config = CTDStage(teacher=teacher, encoder=given, block=block).encoder_config
        assert (config.stride, config.clip_frames) == (stride, clip)
    dense = CTDStage(teacher=teacher, encoder=given, target="dense").encoder_config
    assert (dense.stride, dense.clip_frames, dense.output_size) == ((1, 1, 1), 1, 32)
    with pytest.raises(ConfigError, match=r"downsample_after is empty, but 4 frames, 2 rows and 2 columns"):
        CTDStage(teacher=teacher, encoder={**given, "downsample_after": []})


@pytest.mark.parametrize(
    ("frames", "clip", "block"), [(6, 8, (4, 2, 2)), (6, 4, (2, 2, 2)), (6, 8, (8, 2, 2)), (8, 8, (4, 2, 2))]
)
def test_lma_counts_what_a_token_spans(frames: int, clip: int, block: Any, tmp_path: Path) -> None:
    ctd(block=block, encoder={**ENCODER, "clip_frames": clip}).encoder.save_pretrained(tmp_path / "encoder")
    module = LMAStage(str(host_folder()), str(tmp_path / "encoder"), LoraSettings(4, 8, ["q_proj"]), attention="eager")

    class First(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.expected, _ = slow_loss(pl_module, batch)

    first, losses = First(), Losses()
    videos = video_data(train=str(manifest()), frames=frames)
    make_trainer(tmp_path, max_steps=1, callbacks=[first, losses]).fit(module, videos)
    assert losses.values == pytest.approx([first.expected], rel=1e-4)
    loaded = load_adapted(tmp_path / "export")
    assert (loaded.frames_per_group, loaded.clip_frames) == (block[0], clip)
    assert isinstance(loaded.backbone.encoder, LiteFrameEncoder)
    with torch.no_grad():
        assert loaded.encode(torch.zeros(1, frames, 3, 112, 112)).shape[1] == -(-frames // block[0])


@pytest.mark.parametrize("at_a_time", [1, 4, 9])
def test_evaluation_in_chunks_keeps_clips_whole(at_a_time: int) -> None:
    host, processor = load_base_vlm(str(host_folder()), "eager")
    encoder = ctd(encoder={**ENCODER, "clip_frames": 8}).encoder.eval()
    for block in encoder.blocks[:1]:
        torch.nn.init.normal_(block.temporal.weight, std=0.3)
    model = VideoLLM(host, processor, LiteFrameBackbone(encoder)).eval()
    frames = torch.randn(1, 20, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.project(model.encode(frames))
        read = EvaluateStage("nowhere", encoder_chunk_frames=at_a_time)._read(model, frames)
    assert whole.shape[1] == 5
    torch.testing.assert_close(read, whole, rtol=1e-4, atol=1e-5)


def test_groups_of_a_clip_count_one_by_one() -> None:
    """Of 5 frames in tokens of 2, the third group counts and the fourth does not, though both are of one clip."""
    module = ctd(block=(2, 2, 2), clip_sigma=None)
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 8, 3, 112, 112, generator=generator)
    targets = torch.randn(1, 4, 4, 4, 128, generator=generator)
    batch = {"frames_BTCHW": frames, "targets_BTHWC": targets, "valid_frames_B": torch.tensor([5])}
    with torch.no_grad():
        student = module.encoder(frames).last_hidden_state
        expected = (student[:, :3] - targets[:, :3]).square().mean()
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected), rel=1e-5)
        targets[:, 3] = torch.nan
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected), rel=1e-5)
