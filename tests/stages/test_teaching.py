"""CTD distils from any teacher by another `class_path` and folder; geometry, pixels and the store's key follow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.command import cli
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.decode import read_frames
from liteframe.data.loading.batching import BatchShape
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_uint8
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import (
    VJEPA2,
    InternVL,
    QwenVL,
    Siglip,
    SiglipTeacher,
    TeacherSource,
    TimmViT,
    VideoPrism,
)
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from small_teachers import qwen_folder, siglip_folder, timm_folder, videoprism_folder, vjepa2_folder
from tiny_world import decoding_in_process, host_folder, make_trainer, manifest, video_data

STUDENT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "downsample_after": [1, 2],
}
KINDS: dict[str, tuple[Any, Callable[[str], TeacherSource], str, dict[str, Any]]] = {
    "siglip": (siglip_folder, Siglip, "attention_pool", {"output_size": 32, "image_size": 56}),
    "qwen": (qwen_folder, QwenVL, "norm", {"output_size": 24, "image_size": 448}),
    "timm": (timm_folder, TimmViT, "class_token", {"output_size": 32, "image_size": 56}),
    "vjepa2": (vjepa2_folder, partial(VJEPA2, clip_frames=4), "norm", {"output_size": 48, "image_size": 56}),
    "videoprism": (videoprism_folder, VideoPrism, "norm", {"output_size": 32, "image_size": 56}),
}
BLOCKS = {"qwen": (2, 1, 1), "vjepa2": (2, 2, 2)}
"""Of 4 frames and 2 x 2 patches, in tokens that span more than one."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def made(kind: str, folder: Path) -> TeacherSource:
    KINDS[kind][0](folder / kind)
    return KINDS[kind][1](str(folder / kind))


def spec_of(source: Any) -> dict[str, Any]:
    """A teacher as a config names it."""
    return {"class_path": type(source).__name__, "init_args": asdict(source)}


def run(verb: str, folder: Path, class_path: str, model: dict[str, Any], **data: Any) -> int:
    """The command, with a config as a user writes it."""
    size = {"image_size": 56, "frames": 8, "batch_size": 3, "decoder": "pyav"}
    config = {
        "model": {"class_path": class_path, "init_args": model},
        "data": {"class_path": "VideoDataModule", "init_args": {**size, **data}},
        "trainer": {"accelerator": "cpu", "devices": 1, "default_root_dir": str(folder), "logger": False},
    }
    if verb == "fit":
        config["trainer"]["max_steps"] = 2
    path = folder / f"{class_path}.yaml"
    path.write_text(json.dumps(config))
    with decoding_in_process():
        return cli.main([verb, "--config", str(path)])


def test_ctd_distils_from_another_class_path_and_folder(kind: str, tmp_path: Path) -> None:
    source = made(kind, tmp_path)
    saliency, followed = KINDS[kind][2:]
    teacher = spec_of(source)
    model = {"teacher": teacher, "saliency": saliency, "encoder": STUDENT}
    assert run("fit", tmp_path, "CTDStage", model, train=str(manifest())) == 0
    student = LiteFrameEncoder.from_pretrained(tmp_path / "export")
    assert {name: getattr(student.config, name) for name in followed} == followed
    assert (student.config.patch_size, student.config.stride) == (14, (4, 2, 2))
    with torch.no_grad():
        assert student(torch.zeros(1, 8, 3, 56, 56)).last_hidden_state.shape == (1, 2, 2, 2, followed["output_size"])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    assert all(name.startswith("encoder.") for name in checkpoint["state_dict"]), "nothing of the teacher is saved"


def test_a_store_of_another_teacher_is_its_compressed_features(kind: str, tmp_path: Path) -> None:
    source = made(kind, tmp_path)
    saliency = KINDS[kind][2]
    spec = spec_of(source)
    model = {"teacher": spec, "store": str(tmp_path / "store"), "saliency": saliency, "dtype": "float32"}
    sampler = {"class_path": "UniformMidpoints"}
    assert run("predict", tmp_path, "CacheStage", model, predict=str(manifest()), frames=6, sampler=sampler) == 0
    store = FeatureStore.open(tmp_path / "store", verify="full")
    teacher = source.load()
    entry = store.entry(1)
    frames = normalize(resize_uint8(read_frames(entry["path"], entry["frame_indices"][:6], "pyav"), (56, 56)))
    padded = torch.cat([frames, frames[-1:].expand(2, -1, -1, -1)])[None]
    block = BLOCKS.get(kind, (4, 2, 2))
    expected = WAP(block, saliency=saliency)(teacher(padded))[0]
    assert store.targets(1).shape == (2, 2, 2, teacher.hidden_size), "two clips, the second filled up"
    torch.testing.assert_close(store.targets(1), expected, rtol=1e-4, atol=1e-4)
    key = store.key
    assert key.teacher["class"] == type(teacher).__name__ and key.teacher["weights"] == teacher.weights_sha256()
    assert key.teacher.get("mean", [0.485, 0.456, 0.406]) == list(teacher.mean)
    assert key.compressor["saliency"] == saliency and key.compressor["block"] == list(block)
    with pytest.raises(StoreMismatch, match=rf"compressor\.saliency: stored '{saliency}', this run wants 'mean_token'"):
        store.key.require({"compressor": WAP(block, saliency="mean_token").describe()}, "store")
    train = {"teacher": spec, "saliency": saliency, "encoder": STUDENT}
    assert run("fit", tmp_path, "CTDStage", train, store=str(tmp_path / "store"), frames=6) == 0


def test_a_text_is_an_internvl_and_so_is_its_class(tmp_path: Path) -> None:
    same = {"similarity": "cosine", "scale": 20.0, "encoder": {**STUDENT, "image_size": 112, "output_size": 128}}
    by_text = CTDStage(teacher=str(host_folder()), **same)
    by_class = CTDStage(teacher=InternVL(str(host_folder())), **{**same, "encoder": STUDENT})
    assert by_text.encoder_config.to_dict() == by_class.encoder_config.to_dict()
    assert by_text.compressor == by_class.compressor == WAP((4, 2, 2), "cosine", 20.0)
    keys = []
    for teacher in (str(host_folder()), InternVL(str(host_folder()))):
        stage = CacheStage(teacher, str(tmp_path / "store"))
        make_trainer(tmp_path).predict(
            stage, video_data(predict=str(manifest()), sampler=UniformMidpoints()), return_predictions=False
        )
        keys.append(stage.store_key())
    assert keys[0] == keys[1]


def test_fields_that_are_given_are_kept_and_then_nothing_is_read() -> None:
    nowhere = Siglip("nowhere/at-all")
    cell = {"clip_frames": 4, "downsample_strides": [[2, 2, 2], [2, 1, 1]]}
    fields = {**STUDENT, **cell, "patch_size": 16, "output_size": 48, "image_size": 64}
    stage = CTDStage(teacher=nowhere, block=(4, 2, 2), encoder=fields)
    assert (stage.encoder_config.patch_size, stage.encoder_config.output_size) == (16, 48)
    for settings in ({"encoder": fields}, {"encoder": {**fields, **dict.fromkeys(cell)}, "block": (4, 2, 2)}):
        settings["encoder"] = {name: value for name, value in settings["encoder"].items() if value is not None}
        with pytest.raises(ConfigError, match="nowhere/at-all"):
            CTDStage(teacher=nowhere, **settings)


def test_what_does_not_fit_is_said_before_the_first_batch(tmp_path: Path) -> None:
    siglip, qwen = made("siglip", tmp_path), made("qwen", tmp_path)
    videos = {"train": str(manifest())}

    def fit(image_size: int = 56, **settings: Any) -> None:
        stage = CTDStage(**{"encoder": STUDENT, "picture_every": 0, **settings})
        make_trainer(tmp_path, max_steps=1).fit(stage, video_data(**videos, image_size=image_size))

    with pytest.raises(ConfigError, match=r"class token, and .*siglip has none; .*mean_token, attention_pool, norm"):
        fit(teacher=siglip)
    with pytest.raises(ConfigError, match=r"attention pool, and .*qwen has none; .*mean_token, norm"):
        fit(teacher=qwen, saliency="attention_pool")
    with pytest.raises(ConfigError, match=r"data\.image_size: .*height 42 .* 28 or 56.*blocks of 2 x 2"):
        fit(42, teacher=siglip, saliency="norm")
    with pytest.raises(ConfigError, match=r"stands for \(4, 28, 28\) frames.*for \(4, 56, 56\)"):
        fit(112, teacher=siglip, saliency="norm", encoder={**STUDENT, "patch_size": 28})
    with pytest.raises(ConfigError, match=r"model\.block takes 6 frames.*data\.clip_frames 4"):
        stage = CacheStage(qwen, str(tmp_path / "store"), block=(3, 1, 1), saliency="norm")
        videos = video_data(predict=str(manifest()), image_size=56, clip_frames=4)
        make_trainer(tmp_path).predict(stage, videos)


def test_targets_of_other_clips_of_the_teacher_are_not_taken_for_its_own(tmp_path: Path) -> None:
    """Data of a teacher of clips follow them; a store of clips of 8 frames does not serve a run of clips of 4."""
    made("vjepa2", tmp_path)
    folder, shared = str(tmp_path / "vjepa2"), {"saliency": "norm", "attention": "eager"}
    stage = CacheStage(VJEPA2(folder, 8), str(tmp_path / "store"), **shared)
    videos = VideoDataModule(predict=str(manifest()), frames=6, batch_size=3, decoder="pyav")
    make_trainer(tmp_path).predict(stage, videos, return_predictions=False)
    assert (videos.settings.image_size, videos.settings.clip_frames) == ((56, 56), 8)
    assert FeatureStore.open(tmp_path / "store").targets(0).shape == (2, 2, 2, 48), "6 frames are two groups of 4"

    def fit(clip_frames: int) -> None:
        stage = CTDStage(teacher=VJEPA2(folder, clip_frames), saliency="norm", encoder=STUDENT, picture_every=0)
        data = VideoDataModule(store=str(tmp_path / "store"), frames=6, batch_size=3, decoder="pyav")
        make_trainer(tmp_path, max_steps=1).fit(stage, data)

    fit(8)
    with pytest.raises(StoreMismatch, match=r"teacher\.clip_frames: stored 8, this run wants 4"):
        fit(4)
    with pytest.raises(ConfigError, match=r"vjepa2 sees clips of 8 frames.*data\.clip_frames 4"):
        make_trainer(tmp_path).predict(
            CacheStage(VJEPA2(folder, 8), str(tmp_path / "other"), **shared),
            video_data(predict=str(manifest()), image_size=56, clip_frames=4),
        )


def stored(folder: Path, source: TeacherSource, target: str = "average") -> None:
    """A store of a teacher's features, of 8 frames."""
    videos = video_data(predict=str(manifest()), image_size=56, sampler=UniformMidpoints())
    make_trainer(folder).predict(
        CacheStage(source, str(folder / "store"), target=target), videos, return_predictions=False
    )


def fit_on(folder: Path, source: TeacherSource, on_the_fly: bool = False) -> None:
    """A step on the store of a folder, or on the fly with its statistics."""
    store = str(folder / "store")
    stage = CTDStage(
        teacher=source,
        target="average",
        encoder=STUDENT,
        picture_every=0,
        statistics=store if on_the_fly else None,
    )
    data = {"train": str(manifest())} if on_the_fly else {"store": store}
    make_trainer(folder, max_steps=1).fit(stage, video_data(image_size=56, **data))


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_a_store_of_other_pixels_or_another_config_is_refused_by_name(tmp_path: Path, on_the_fly: bool) -> None:
    source = made("siglip", tmp_path)
    stored(tmp_path, source)
    fit_on(tmp_path, source, on_the_fly)
    folder = tmp_path / "siglip"
    config, processor = folder / "config.json", folder / "preprocessor_config.json"
    published, settings = json.loads(config.read_text()), json.loads(processor.read_text())
    for pixels, said in (
        (
            {"image_std": [0.4, 0.5, 0.6]},
            r"teacher\.std: stored \[0\.5, .*wants \[0\.4, 0\.5, 0\.6\]",
        ),
        (
            {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)},
            r"teacher\.mean: stored \[0\.5, 0\.5, 0\.5\], this run wants '\(absent\)'",
        ),
    ):
        processor.write_text(json.dumps(settings | pixels))
        with pytest.raises(StoreMismatch, match=said):
            fit_on(tmp_path, source, on_the_fly)
    processor.write_text(json.dumps(settings))
    vision = published["vision_config"] | {"num_attention_heads": 2}
    config.write_text(json.dumps(published | {"vision_config": vision}))
    with pytest.raises(StoreMismatch, match=r"teacher\.config\.num_attention_heads: stored 4, this run wants 2"):
        fit_on(tmp_path, source, on_the_fly)
    if not on_the_fly:
        with pytest.raises(StoreMismatch, match=r"teacher\.config\.num_attention_heads: stored 4, this run wants 2"):
            stored(tmp_path, source)


@pytest.mark.parametrize("more", [None, {"field_of_then": 1}])
def test_older_stores_say_less_of_the_config_and_are_taken(
    tmp_path: Path, more: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores of before the config was kept, and of a version of transformers with another field and without one."""
    source = made("siglip", tmp_path)
    describe = SiglipTeacher.describe

    def before(self: Any) -> dict[str, Any]:
        told = describe(self)
        config = told.pop("config")
        del config["layer_norm_eps"]
        return told if more is None else {**told, "config": {**config, **more}}

    with monkeypatch.context() as then:
        then.setattr(SiglipTeacher, "describe", before)
        stored(tmp_path, source)
    old = FeatureStore.open(tmp_path / "store").key
    for on_the_fly in (False, True):
        fit_on(tmp_path, source, on_the_fly)
    (tmp_path / "store" / "COMPLETE").unlink()
    stored(tmp_path, source)
    assert FeatureStore.open(tmp_path / "store").key == old, "caching goes on with what is there"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"frames": 8}, []),
        ({"frames": 6}, [r"data\.frames is 6, .*clips of 8 frames \(model\.teacher\.clip_frames\).* 2 stills"]),
        ({"shapes": [BatchShape(8, 2), BatchShape(4, 2)]}, [r"a frames of data\.shapes is 4, .* 4 stills"]),
        (
            {"shapes": [BatchShape(5, 2)], "val": "", "frames": 9},
            [r"a frames of data\.shapes is 5, .* 3 stills", r"data\.frames is 9, .* 7 stills"],
        ),
    ],
)
def test_stills_that_a_teacher_of_clips_sees_are_said(
    data: dict[str, Any], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vjepa2", tmp_path)
    settings = {"train": str(manifest()), "image_size": 56, **data}
    if "val" in settings:
        settings["val"] = str(manifest())
    stage = CTDStage(teacher=VJEPA2(str(tmp_path / "vjepa2"), 8), target="average", encoder=STUDENT, picture_every=0)
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.fit(stage, VideoDataModule(decoder="pyav", **settings))
    lines = [line for line in capsys.readouterr().err.splitlines() if "filled up with" in line]
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert re.search(words, line)


def test_caching_says_stills_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("vjepa2", tmp_path)
    stored(tmp_path, VJEPA2(str(tmp_path / "vjepa2"), 16))
    assert capsys.readouterr().err.count("filled up with") == 1
    (tmp_path / "again").mkdir()
    stored(tmp_path / "again", VJEPA2(str(tmp_path / "vjepa2"), 8))
    assert "filled up with" not in capsys.readouterr().err
