"""The paper's configs are the paper's model, built without memory, and say in one line which weights are missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml

from built_stages import build_stage
from liteframe.command import cli
from liteframe.command.configs import shipped_configs
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling import RandomSegment
from liteframe.data.sampling.frame_times import FrameTimes
from liteframe.errors import ConfigError
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.student.encoder_config import PRESETS
from liteframe.models.student.init_from_timm import load_timm_weights
from liteframe.planning.build import BuildOnly
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage
from tiny_world import manifest

HUB_ID = "OpenGVLab/InternVL3-8B-hf"
VERBS = {"cache": "predict", "ctd": "fit", "lma": "fit", "eval": "test"}
READS_A_RUN = {"eval"}


def build(name: str, *more: str) -> BuildOnly:
    made = build_stage(VERBS[name], f"{name}.yaml", *more)
    assert isinstance(made.datamodule, VideoDataModule)
    return made


def shape(name: str) -> Any:
    return yaml.safe_load((shipped_configs() / f"{name}.yaml").read_text())


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "paper"])
def test_a_preset_is_a_config_behind_that_of_ctd_and_starts_from_a_vit_of_timm_that_has_its_blocks(preset: str) -> None:
    stage = build("ctd", "--config", f"students/{preset}.yaml").model
    assert isinstance(stage, CTDStage)
    assert stage.encoder_config.to_dict() == LiteFrameConfig.preset(preset, residual_in_fp32=True).to_dict()
    assert stage.encoder_config.stride == (4, 2, 2)
    if stage.encoder_config.early_hidden_sizes is not None:
        assert stage.timm_weights is None
        return
    assert timm.is_model_pretrained(stage.timm_weights)
    with torch.device("meta"):
        load_timm_weights(LiteFrameEncoder(stage.encoder_config), stage.timm_weights)


def test_every_preset_has_its_config() -> None:
    assert {path.stem for path in (shipped_configs() / "students").iterdir()} == set(PRESETS) - {"paper"}
    with pytest.raises(ConfigError, match="fastest"):
        LiteFrameConfig.preset("fastest")


def test_ctd_is_the_papers_student() -> None:
    made = build("ctd", "--config", "trainer/cpu.yaml")
    stage = made.model
    assert isinstance(stage, CTDStage)
    parameters = list(stage.parameters())
    assert all(parameter.is_meta for parameter in parameters), "it takes no memory"
    assert 86e6 <= sum(parameter.numel() for parameter in parameters) <= 88e6
    config = stage.encoder_config
    assert (config.image_size, config.patch_size, config.num_hidden_layers, config.hidden_size) == (448, 14, 12, 768)
    assert (config.output_size, config.stride, config.downsample_after) == (1024, (4, 2, 2), [4, 8])
    assert stage.compressor == WAP((4, 2, 2), "dot", None) and stage.clip_sigma == 3.0
    assert stage.target_statistics.is_standardising
    assert timm.is_model_pretrained(stage.timm_weights), "timm publishes its weights"
    assert isinstance(stage.encoder, LiteFrameEncoder)
    with torch.device("meta"):
        load_timm_weights(LiteFrameEncoder(config), stage.timm_weights)
        out = stage.encoder(torch.empty(1, 6, 3, 448, 448)).last_hidden_state
    assert out.shape == (1, 2, 16, 16, 1024) and out.is_meta
    assert stage.source == HUB_ID


def test_ctd_to_the_letter_of_the_paper() -> None:
    made = build("ctd", "--config", "ablations/ctd_paper.yaml")
    stage = made.model
    assert isinstance(stage, CTDStage)
    assert (stage.optimizer_settings.lr, stage.optimizer_settings.warmup_fraction) == (4e-5, 0.05)
    assert (stage.timm_weights, stage.clip_sigma, stage.clip) == (None, 3.0, "drop")
    assert made.datamodule.train_sampler == RandomSegment([1, 2, 4, 8, 16]) and not stage.encoder.residual_in_fp32
    scratch = build("ctd", "--config", "ablations/ctd_scratch.yaml").model
    assert isinstance(scratch, CTDStage) and scratch.timm_weights is None


def test_cache_and_lma_are_those_of_the_same_teacher() -> None:
    cache, lma = build("cache").model, build("lma").model
    assert isinstance(cache, CacheStage) and isinstance(lma, LMAStage)
    assert (cache.source, lma.host_source) == (HUB_ID, HUB_ID)
    assert cache.compressor == WAP((4, 2, 2), "dot", None) and cache.target_dtype == "bfloat16"
    assert lma.train_llm and lma.train_encoder and lma.train_projector
    assert lma.checkpoint_llm and lma.checkpoint_encoder and lma.encoder_chunk_clips, "or 512 frames do not fit"
    assert (lma.llm_lr, lma.encoder_lr, lma.projector_lr) == (2e-4, None, 2e-5)
    assert lma.encoder_source == shape("ctd")["trainer"]["default_root_dir"] + "/export", "what CTD exports"


@pytest.mark.parametrize("name", VERBS)
def test_data_are_at_the_papers_size(name: str) -> None:
    data = build(name).datamodule
    assert data.settings.image_size == (448, 448) and data.settings.clip_frames == 4
    assert data.settings.on_error == "skip" and data.max_skip_fraction == 0.05
    assert all(shape.frames % 4 == 0 for shape in data.shapes)
    if name == "lma":
        assert max(shape.frames for shape in data.shapes) == 512
    if name == "eval":
        assert (data.frames, data.batch_size) == (512, 1)


def test_training_sees_the_spacings_of_use() -> None:
    """512 uniform frames of an hour are 7 s apart, of half a minute 0.06 s."""
    cached, trained = build("cache").datamodule, build("ctd").datamodule
    (batches,) = trained.shapes
    assert cached.sampler == batches.sampler and batches.sampler is not None
    for seconds in (30.0, 3600.0):
        times = FrameTimes.constant(round(30 * seconds), 30.0)
        apart = [
            np.diff(batches.sampler.indices(len(times), batches.frames, 30.0, np.random.default_rng(seed), {}, times))
            for seed in range(200)
        ]
        spacing_N = np.array([np.mean(each) for each in apart]) / 30
        assert spacing_N.min() < seconds / 512 < spacing_N.max() and spacing_N.max() > 0.8 * seconds / batches.frames


def test_evaluation_asks_what_lma_exports() -> None:
    stage = build("eval").model
    assert isinstance(stage, EvaluateStage) and stage.choices == "letters"
    assert stage.source == shape("lma")["trainer"]["default_root_dir"] + "/export"


def test_ctd_reads_the_store_of_the_cache_with_two_words_more() -> None:
    store = shape("cache")["model"]["init_args"]["store"]
    made = build("ctd", "--data.train=null", f"--data.store={store}")
    assert (made.datamodule.store_path, made.datamodule.sources["train"]) == ("runs/cache/store", [])
    assert shape("cache")["data"]["init_args"]["frames"] == shape("ctd")["data"]["init_args"]["frames"]


@pytest.mark.parametrize("name", VERBS)
def test_without_weights_the_command_ends_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = shape(name)["data"]["init_args"]
    split = {"cache": "predict", "eval": "test"}.get(name, "train")
    (tmp_path / "data").mkdir()
    rows = [json.loads(line) for line in manifest().read_text().splitlines()]
    for row in rows:
        row["path"] = str(manifest().parent / row["path"])
    (tmp_path / source[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--config", f"{name}.yaml", "--config", "trainer/cpu.yaml", "--data.num_workers=0", "--data.frames=4"]
    if name == "ctd":
        # The smallest student: what is missing is said after it is built.
        words.append("--model.encoder={num_hidden_layers: 1, downsample_after: [1], downsample_strides: [[4, 2, 2]]}")
    assert cli.main([VERBS[name], *words]) == 1
    shown = capsys.readouterr()
    said = [line for line in shown.err.splitlines() if "error" in line.lower()]
    assert len(said) == 1 and said[0].startswith("liteframe: error: ")
    missing = "runs/lma/export" if name in READS_A_RUN else HUB_ID
    assert missing in said[0] and "give a folder" in said[0]
    assert "Traceback" not in shown.err + shown.out
    assert os.getcwd() == str(tmp_path)


def test_a_trainer_or_a_teacher_that_cannot_be_built_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", "ctd.yaml", "--config", "trainer/cpu.yaml"]
    assert cli.main([*words, "--trainer.devices=two"]) == 1
    assert "liteframe: error: trainer (accelerator cpu, devices two)" in capsys.readouterr().err
    teacher = tmp_path / "teacher.yaml"
    teacher.write_text("model: {init_args: {teacher: {class_path: Siglip, init_args: {source: ./nowhere}}}}")
    for verb in ("fit", "plan"):
        assert cli.main([verb, *words[1:], "--config", str(teacher)]) == 1
        said = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
        assert len(said) == 1 and said[0].startswith("liteframe: error: no model folder './nowhere'")
