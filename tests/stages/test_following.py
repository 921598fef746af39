"""Frames are of the size, clips and sampler that the model was made for, unless the data say otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule

from liteframe.command import cli
from liteframe.data.loading.batching import BatchShape
from liteframe.data.sampling import FpsCapped, Linspace, RandomSegment, UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError, StoreMismatch
from liteframe.models.backbone import WAP
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.teachers import Siglip
from liteframe.models.video_llm.adapted import save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.stages.teaching import teacher_frames
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage, VisionPretrainStage
from small_teachers import siglip_folder
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    decoding_in_process,
    encoder_folder,
    host_folder,
    lma_run_folder,
    make_trainer,
    manifest,
    store_folder,
    video_data,
)

QUIET: dict[str, Any] = {**WAP_SETTINGS, "picture_every": 0}


class Shapes(Callback):
    """Height and width of the frames in each training batch."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()

    def on_train_batch_start(self, trainer: Any, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen.add(tuple(batch["frames_BTCHW"].shape[-2:]))


def sizes_of(stage: LightningModule, folder: Path, **data: Any) -> set[tuple[int, int]]:
    """One step of training."""
    seen = Shapes()
    make_trainer(folder, max_steps=1, callbacks=[seen]).fit(stage, video_data(**{"image_size": None, **data}))
    return seen.seen


def evaluate(folder: Path, source: Path, **data: Any) -> dict[str, Any]:
    stage = EvaluateStage(str(source), choices="words", attention="eager")
    settings = {"test": str(manifest("test")), "image_size": None, "frames": 6, **data}
    with decoding_in_process():
        make_trainer(folder).test(stage, video_data(**settings), verbose=False)
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


@pytest.mark.parametrize("kind", ["host", "lma"])
def test_evaluation_reads_what_the_model_was_made_for(kind: str, tmp_path: Path) -> None:
    source = host_folder() if kind == "host" else lma_run_folder() / "export"
    followed = evaluate(tmp_path / "followed", source)
    assert followed["image_size"] == [112, 112] and followed["made_for_other"] == {}
    assert followed["clip_frames"] == (1 if kind == "host" else 4)
    assert followed == {**evaluate(tmp_path / "given", source, image_size=112), "clip_frames": followed["clip_frames"]}


def test_what_is_given_otherwise_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = lma_run_folder() / "export"
    found = evaluate(tmp_path, source, image_size=56, sampler=Linspace())
    assert found["image_size"] == [56, 56] and found["sampler"] == "Linspace"
    assert found["made_for_other"] == {"image_size": "112 x 112", "sampler": "UniformMidpoints()"}
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("liteframe: data.")]
    assert lines == [
        f"liteframe: data.sampler is Linspace(), but {source} was made for UniformMidpoints(); leave data.sampler out"
        " to follow it",
        f"liteframe: data.image_size is 56 x 56, but {source} was made for 112 x 112; leave data.image_size out to"
        " follow it",
    ]


def test_frames_of_another_size_are_asked_only_where_the_command_itself_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, config = lma_run_folder() / "export", tmp_path / "mine.yaml"
    data = {"test": str(manifest("test")), "frames": 4, "batch_size": 1, "image_size": 56}
    model = {"class_path": "EvaluateStage", "init_args": {"source": str(source), "choices": "words"}}
    trainer = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    settings = {"model": model, "data": {"class_path": "VideoDataModule", "init_args": data}, "trainer": trainer}
    config.write_text(json.dumps(settings))

    def test(out: str, *words: object) -> int:
        place = ["--trainer.default_root_dir", tmp_path / out]
        with decoding_in_process():
            return cli.main(["test", *map(str, words), *map(str, place)])

    refused = (
        f"data.image_size is 56 x 56, but {source} was made for 112 x 112; leave it out, or, to ask the model at"
        " 56 x 56 all the same, end the command with --data.image_size 56"
    )
    for words in (["--config", config], ["--data.image_size", 56, "--config", config]):
        assert test("refused", *words) == 1
        assert refused in capsys.readouterr().err and not (tmp_path / "refused" / "evaluation.json").exists()
    ways = (["--data.image_size", 56], ["--data.image_size=56"], ["--data.init_args.image_size=56"])
    for number, told in enumerate(ways):
        assert test(f"told{number}", "--config", config, *told) == 0
        found = json.loads((tmp_path / f"told{number}" / "evaluation.json").read_text())
        assert (found["image_size"], found["image_size_made_for"]) == ([56, 56], [112, 112])
        assert found["made_for_other"] == {"image_size": "112 x 112"}
    # What that run saved of itself is a config's file for the next.
    (saved,) = (tmp_path / "told0").glob("*.yaml")
    assert test("again", "--config", saved) == 1 and refused in capsys.readouterr().err
    for own in ("112", "null"):
        assert test(own, "--config", config, f"--data.image_size={own}") == 0
        found = json.loads((tmp_path / own / "evaluation.json").read_text())
        assert found["image_size"] == found["image_size_made_for"] == [112, 112] and found["made_for_other"] == {}
    assert test("oblong", "--config", config, "--data.image_size=[56,112]") == 0


@pytest.mark.parametrize("kind", ["host", "lma"])
def test_a_size_that_the_model_cannot_take_is_refused(kind: str, tmp_path: Path) -> None:
    source = host_folder() if kind == "host" else lma_run_folder() / "export"
    with pytest.raises(ConfigError, match=r"data\.image_size: frames of 120 x 120 px.*nearest legal"):
        evaluate(tmp_path, source, image_size=120)
    if kind == "lma":  # its patches fill it, its strides and the pixel shuffle do not
        with pytest.raises(ConfigError, match=r"height 84 is not a multiple of 56 px"):
            evaluate(tmp_path, source, image_size=(84, 112))


def adapted(folder: Path, side: int, frames: FrameSpec | None) -> Path:
    """What LMA would leave of an encoder whose config says `side`, with a record of `frames`."""
    host, _ = load_base_vlm(str(host_folder()))
    encoder = LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, "image_size": side}))
    folder.mkdir()
    save_adapted(folder, str(host_folder()), encoder, None, host.model.multi_modal_projector)
    if frames is not None:
        TrainingRecord("LMAStage", 1, "32-true", frames).write(folder)
    return folder


def test_the_record_of_training_goes_before_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = FrameSpec((112, 56), 4, FpsCapped(1.0), 6)
    found = evaluate(tmp_path / "a", adapted(tmp_path / "model", 448, spec))
    assert (found["image_size"], found["sampler"]) == ([112, 56], "FpsCapped")
    assert (found["sampler_settings"], found["most_frames_trained_on"]) == ({"fps": 1.0, "by": "time"}, 6)
    assert found["made_for_other"] == {}
    found = evaluate(tmp_path / "more", tmp_path / "model", frames=7)
    assert found["made_for_other"] == {"frames": "at most 6"}
    assert f"data.frames is 7, but {tmp_path / 'model'} was made for at most 6" in capsys.readouterr().err
    found = evaluate(tmp_path / "b", adapted(tmp_path / "older", 56, None))
    assert (found["image_size"], found["sampler"]) == ([56, 56], "UniformMidpoints")


def test_training_with_chance_is_not_followed(tmp_path: Path) -> None:
    found = evaluate(tmp_path / "a", adapted(tmp_path / "model", 112, FrameSpec(sampler=RandomSegment([2]))))
    assert (found["sampler"], found["made_for_other"]) == ("UniformMidpoints", {})


def lma(encoder: Path) -> LMAStage:
    return LMAStage(str(host_folder()), str(encoder), LoraSettings(2, 4, ["q_proj"]), attention="eager")


def test_lma_follows_its_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = {"train": str(manifest()), "batch_size": 2}
    assert sizes_of(lma(encoder_folder()), tmp_path / "a", **live) == {(112, 112)}
    large = tmp_path / "large"
    LiteFrameEncoder(LiteFrameConfig(**{**ENCODER, "image_size": 448})).save_pretrained(large)
    TrainingRecord("CTDStage", 1, "32-true", FrameSpec((56, 112))).write(large)
    assert sizes_of(lma(large), tmp_path / "b", **live) == {(56, 112)}, "what CTD showed it, not what its config says"
    assert "was made for" not in capsys.readouterr().err
    assert sizes_of(lma(large), tmp_path / "c", **live, image_size=112) == {(112, 112)}
    assert "data.image_size is 112 x 112, but" in capsys.readouterr().err
    record = TrainingRecord.read(tmp_path / "c" / "export")
    assert record is not None and record.frames.image_size == (112, 112) and record.data["differs"] == ["image_size"]
    with pytest.raises(ConfigError, match=r"data\.image_size: .*height 84"):
        sizes_of(lma(large), tmp_path / "d", **live, image_size=84)


def test_lma_fills_clips_of_its_encoder(tmp_path: Path) -> None:
    long = tmp_path / "long"
    LiteFrameEncoder(LiteFrameConfig(**ENCODER, clip_frames=8)).save_pretrained(long)
    data = video_data(train=str(manifest()), image_size=None, frames=4, batch_size=2)
    make_trainer(tmp_path, max_steps=1).fit(lma(long), data)
    assert data.settings.clip_frames == 8


def test_ctd_and_the_cache_follow_the_teacher_or_the_store(tmp_path: Path) -> None:
    live = CTDStage({**ENCODER, "image_size": 448}, str(host_folder()), **QUIET)
    assert sizes_of(live, tmp_path / "a", train=str(manifest())) == {(112, 112)}
    assert sizes_of(CTDStage(ENCODER, **QUIET), tmp_path / "b", store=str(store_folder())) == {(112, 112)}
    with pytest.raises(StoreMismatch, match=r"geometry\.image_size: stored \[112, 112\], this run wants \[56, 56\]"):
        sizes_of(CTDStage(ENCODER, **QUIET), tmp_path / "c", store=str(store_folder()), image_size=56)
    cache = CacheStage(str(host_folder()), str(tmp_path / "store"))
    data = video_data(predict=str(manifest()), image_size=None)
    make_trainer(tmp_path / "d").predict(cache, data, return_predictions=False)
    assert cache.store_key().geometry["image_size"] == [112, 112]


@pytest.mark.parametrize("kind", ["vision", "timm", "host"])
def test_pretraining_follows_the_tiny_models(kind: str, tmp_path: Path) -> None:
    made = {
        "vision": VisionPretrainStage,
        "timm": TimmPretrainStage,
        "host": lambda: HostPretrainStage(str(host_folder()), attention="eager"),
    }
    assert sizes_of(made[kind](), tmp_path, train=str(manifest()), frames=4) == {(112, 112)}


def test_a_teacher_s_size_that_blocks_do_not_fill_is_enlarged(tmp_path: Path) -> None:
    siglip_folder(tmp_path / "siglip")
    compressor = WAP((4, 3, 3), saliency="norm")
    assert teacher_frames(Siglip(str(tmp_path / "siglip")).load(), compressor) == FrameSpec((84, 84), 4)


def test_settings_stay_where_nothing_says_otherwise() -> None:
    data = video_data(image_size=None)
    assert data.settings.image_size == (448, 448) and data.settings.clip_frames == 4
    data.follow(FrameSpec(), "nothing")
    assert data.settings.image_size == (448, 448) and data.sampler == UniformMidpoints()
    data.follow(FrameSpec((28, 56), 2, Linspace()), "a model")
    assert data.settings.image_size == (28, 56) and data.settings.clip_frames == 2 and data.sampler == Linspace()
    given = video_data(image_size=28, clip_frames=8, sampler=Linspace())
    given.follow(FrameSpec((28, 28), 4, Linspace()), "a model")
    assert given.differs == {}, "whole clips are whole clips"
    given.follow(FrameSpec(None, 3), "a model")
    assert given.differs == {"clip_frames": "3"} and given.settings.clip_frames == 8


def test_the_record_of_training_data_names_no_file() -> None:
    data = video_data(train=str(manifest()), shapes=[BatchShape(8, 2), BatchShape(16, 1, 2.0, Linspace())])
    data.setup("fit")
    described = data.describe_training()
    assert described["samples"] == 9 and str(manifest().parent) not in json.dumps(described)
    assert data.trained_frames() == FrameSpec((112, 112), 4, None, 16), "two samplers"
