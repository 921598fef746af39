"""CTD: the same loss from a store or with the teacher on the fly, for the student alone; raw features in the end."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy

from liteframe.data.sampling import UniformMidpoints
from liteframe.data.store.feature_store import FeatureStore
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage, encoder_config
from liteframe.stages.optim import parameter_groups
from liteframe.stages.stage import OptimizerSettings
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    decoding_in_process,
    home,
    host_folder,
    make_trainer,
    manifest,
    store_folder,
    video_data,
)


class Watch(Callback):
    """Losses of all steps, and gradients of the last one."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.gradients: dict[str, torch.Tensor | None] = {}

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.gradients = {n: None if p.grad is None else p.grad.clone() for n, p in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def stage(**settings: Any) -> CTDStage:
    optimizer = OptimizerSettings(lr=1e-3)
    defaults: dict[str, Any] = {"encoder": ENCODER, "optimizer": optimizer, "picture_every": 0, **WAP_SETTINGS}
    return CTDStage(**{**defaults, **settings})


def fit(folder: Path, module: CTDStage, steps: int = 4, **videos: Any) -> Watch:
    watch = Watch()
    make_trainer(folder, max_steps=steps, callbacks=[watch]).fit(module, video_data(**videos))
    return watch


@lru_cache
def midpoint_store(dtype: str) -> str:
    """A store of the frames that training with the same sampler sees."""
    folder = home() / "midpoints"
    cache = CacheStage(str(host_folder()), str(folder / dtype), **WAP_SETTINGS, dtype=dtype)  # type: ignore[arg-type]
    videos = video_data(predict=str(manifest()), sampler=UniformMidpoints())
    make_trainer(folder).predict(cache, videos, return_predictions=False)
    return str(folder / dtype)


@pytest.mark.parametrize("clip_sigma", [None, 3.0])
def test_the_loss_from_a_store_is_that_with_the_teacher_on_the_fly(clip_sigma: float | None, tmp_path: Path) -> None:
    live = {"train": str(manifest()), "train_sampler": UniformMidpoints()}
    found: dict[str, list[float]] = {}
    for dtype in ("float32", "bfloat16"):
        store = midpoint_store(dtype)
        settings = {"standardise": True, "clip_sigma": clip_sigma}
        stored = fit(tmp_path, stage(**settings), store=store)
        teacher = {"teacher": str(host_folder()), "statistics": store, "target_dtype": dtype}
        flown = fit(tmp_path, stage(**settings, **teacher), **live)
        assert len(stored.losses) == 4
        assert stored.losses == pytest.approx(flown.losses, rel=1e-6, abs=1e-6)
        found[dtype] = stored.losses
    assert found["float32"] != pytest.approx(found["bfloat16"], rel=1e-6), "rounding the targets is seen in the loss"


def test_chunks_and_checkpoints_train_the_same_student(tmp_path: Path) -> None:
    plain = fit(tmp_path, stage(), 2, store=str(store_folder()))
    module = stage(encoder_chunk_clips=2, checkpoint_encoder=True)
    sizes: list[int] = []
    module.encoder.patch_embedding.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    saving = fit(tmp_path, module, 2, store=str(store_folder()))
    # A batch of 3 videos of 2 clips, twice for each step.
    assert sizes == [8] * 3 * 2 * 2
    assert saving.losses == pytest.approx(plain.losses, rel=1e-5)


def test_gradients_reach_every_weight_of_the_student_and_none_of_the_teacher(tmp_path: Path) -> None:
    module = stage(teacher=str(host_folder()))
    watch = fit(tmp_path, module, 2, train=str(manifest()))
    assert module.teacher is not None
    before = module.teacher.weights_sha256()
    for name, gradient in watch.gradients.items():
        if name.startswith("teacher."):
            assert gradient is None, name
        else:
            assert gradient is not None and gradient.abs().sum() > 0, name
    names = {name.split(".")[0] for name in watch.gradients}
    assert names == {"encoder", "teacher"}
    fit(tmp_path, module, 2, train=str(manifest()))
    assert module.teacher.weights_sha256() == before
    optimised = {id(p) for group in module.optimizers().optimizer.param_groups for p in group["params"]}  # type: ignore[union-attr]
    assert optimised == {id(parameter) for parameter in module.encoder.parameters()}


def test_the_export_gives_raw_features(tmp_path: Path) -> None:
    module = stage(standardise=True, clip_sigma=None, out=str(tmp_path / "export"))
    fit(tmp_path, module, 6, store=str(store_folder()))
    store = FeatureStore.open(store_folder())
    mean_C, std_C = store.statistics
    assert not torch.allclose(mean_C, torch.zeros(128), atol=0.05) and std_C.std() > 0.01
    exported = LiteFrameEncoder.from_pretrained(tmp_path / "export").eval()
    from liteframe.data.transforms import normalize

    frames = normalize(torch.stack([store.frames(0), store.frames(1)]))  # type: ignore[list-item]
    with torch.no_grad():
        trained = module.encoder.eval()(frames).last_hidden_state
        raw = exported(frames).last_hidden_state
    torch.testing.assert_close(raw, trained * std_C + mean_C, rtol=1e-4, atol=1e-4)
    targets = torch.stack([store.targets(0), store.targets(1)])
    assert (raw - targets).square().mean() < (trained - targets).square().mean()
    plain = stage(standardise=False)
    assert torch.equal(plain.finished_encoder().head.weight, plain.encoder.head.weight)


def test_what_pads_a_batch_does_nothing(tmp_path: Path) -> None:
    """A second clip that is not there, and a third video that is blank, hold garbage."""
    module = stage()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(3, 8, 3, 112, 112, generator=generator)
    targets = torch.randn(3, 2, 4, 4, 128, generator=generator)

    def gradients(batch: dict[str, Any]) -> tuple[float, list[torch.Tensor]]:
        module.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        return float(loss.detach()), [p.grad.clone() for p in module.encoder.parameters() if p.grad is not None]

    valid = torch.tensor([8, 3, 0])
    loss, grads = gradients({"frames_BTCHW": frames, "targets_BTHWC": targets, "valid_frames_B": valid})
    frames[1, 4:], targets[1, 1:] = 50.0, torch.nan
    frames[2], targets[2] = -50.0, torch.inf
    batch = {"frames_BTCHW": frames, "targets_BTHWC": targets, "valid_frames_B": valid}
    other_loss, others = gradients(batch)
    assert loss == other_loss and all(torch.equal(a, b) for a, b in zip(grads, others, strict=True))

    first = {name: value[:1] for name, value in batch.items()}
    second = {"frames_BTCHW": frames[1:2, :4], "targets_BTHWC": targets[1:2, :1], "valid_frames_B": valid[1:2]}
    module.clip_sigma = None
    loss, _ = gradients(batch)
    expected = (2 * gradients(first)[0] + gradients(second)[0]) / 3
    assert loss == pytest.approx(expected, rel=1e-5), "a mean over three clips that count"
    blank = {name: value[2:] for name, value in batch.items()}
    loss, grads = gradients(blank)
    assert loss == 0.0 and not any(grad.any() for grad in grads)


def test_the_same_seed_starts_from_the_same_weights() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = stage(seed=3).encoder.head.weight
    assert torch.equal(torch.rand(2), expected), "the global chance is left alone"
    assert torch.equal(first, stage(seed=3).encoder.head.weight)
    assert not torch.equal(first, stage(seed=4).encoder.head.weight)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.encoder has unknown fields depth; known are .*hidden_size"):
        encoder_config({"depth": 3})
    with pytest.raises(ConfigError, match=r"data\.store.*model\.teacher"):
        fit(tmp_path, stage(), train=str(manifest()))
    for settings, name in (({"statistics_batches": 0}, "statistics_batches"),):
        with pytest.raises(ConfigError, match=rf"model\.{name} is"):
            stage(**settings)
    with pytest.raises(StoreMismatch, match=r"compressor\.scale: stored 20\.0, this run wants 5\.0"):
        fit(tmp_path, stage(scale=5.0), store=str(store_folder()))
    with pytest.raises(StoreMismatch, match=r"geometry\.image_size"):
        fit(tmp_path, stage(), store=str(store_folder()), image_size=56)
    with pytest.raises(ConfigError, match=r"no model folder 'nobody/nothing'|cannot be asked"):
        stage(teacher="nobody/nothing").check_sources()


@pytest.mark.parametrize("source", ["store", "teacher"])
def test_a_student_that_does_not_fit_the_targets_is_refused(source: str, tmp_path: Path) -> None:
    made = {"store": ({}, {"store": str(store_folder())}), "teacher": ({"teacher": str(host_folder())}, {})}
    model, videos = made[source]
    one_stride = {"downsample_after": [1], "downsample_strides": [[2, 2, 2]]}
    for changes, message in (
        ({"output_size": 64}, r"width of 128, model\.encoder\.output_size is 64"),
        (one_stride, r"\(4, 28, 28\) frames, pixels and pixels, a token of model\.encoder for \(2, 28, 28\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            module = stage(encoder={**ENCODER, **changes}, standardise=source == "store", **model)
            fit(tmp_path, module, 1, **(videos or {"train": str(manifest())}))


def test_validation_measures_with_the_teacher(tmp_path: Path) -> None:
    module = stage(teacher=str(host_folder()), standardise=False)
    videos = video_data(val=str(manifest("test")), train=str(manifest()))
    found = make_trainer(tmp_path).validate(module, videos, verbose=False)
    assert found[0]["val/loss"] > 0 and -1 <= found[0]["val/centred_cosine"] <= 1


def test_broken_videos_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 99)
    rows = manifest().read_text().replace('"path": "', f'"path": "{manifest().parent}/').splitlines()
    (tmp_path / "m.jsonl").write_text("\n".join([*rows[:2], '{"path": "broken.mp4"}']))
    live = {"train": str(tmp_path / "m.jsonl"), "on_error": "skip", "max_skip_fraction": 0.5}
    with decoding_in_process():
        watch = fit(tmp_path, stage(teacher=str(host_folder())), 3, **live, batch_size=1)
    assert len(watch.losses) == 3 and sorted(watch.losses)[0] == 0.0 < sorted(watch.losses)[1]
    assert "broken.mp4" in (tmp_path / "skipped.jsonl").read_text()


@pytest.mark.parametrize("mixer", ["depthwise", "attention", "none"])
def test_earlier_blocks_learn_slower_with_layer_decay(mixer: str) -> None:
    module = stage(encoder={**ENCODER, "temporal_mixer": mixer}, layer_decay=0.5)
    groups = parameter_groups(module, 1e-3, 0.0, module.module_lrs())
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    depth = len(module.encoder.blocks)
    for name, parameter in module.named_parameters():
        if "blocks." in name and ".temporal." not in name:
            expected = 1e-3 * 0.5 ** (depth - 1 - int(name.split(".")[2]))
        else:
            expected = 1e-3 * (0.5**depth if "patch_embedding" in name else 1)
        assert rates[id(parameter)] == pytest.approx(expected), name
    with pytest.raises(ConfigError, match=r"layer_decay is 1\.5"):
        stage(layer_decay=1.5)


def test_ranks_that_would_each_learn_by_themselves_are_refused(tmp_path: Path) -> None:
    module = stage(teacher=str(host_folder()))
    module.trainer = make_trainer(tmp_path, strategy=ModelParallelStrategy(1, 1))
    with pytest.raises(ConfigError, match="CTDStage does not share its weights out.*trainer/gpu8.yaml"):
        module.prepare_data()
