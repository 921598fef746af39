"""No setting and no option takes an address for a folder whose name begins with `s3:`."""

from __future__ import annotations

import inspect
import typing
from importlib import import_module
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from liteframe.command.addresses import OPTIONS, SETTINGS, require_local_options, require_local_settings
from liteframe.command.cli import FUNCTION_VERBS, dispatch
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.store.block_cache import StoreCache
from liteframe.data.store.clip_store import ClipStore
from liteframe.errors import ConfigError
from liteframe.models.teachers import VJEPA2, InternVL, LlavaOnevision, Qwen3VL, QwenVL, Siglip, TimmViT, VideoPrism
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage
from liteframe.tiny.pretrain import HostPretrainStage, TimmPretrainStage, VisionPretrainStage

ADDRESSES = ("s3://bucket/x", "gs://bucket/x", "s3:/bucket/x", "https://host/x", "file:///x", "simplecache::s3://b/x")
GROUPS = {
    "model": (CacheStage, CTDStage, EvaluateStage, LMAStage, HostPretrainStage, TimmPretrainStage, VisionPretrainStage),
    "model.teacher": (InternVL, LlavaOnevision, Qwen3VL, QwenVL, Siglip, TimmViT, VJEPA2, VideoPrism),
    "data": (VideoDataModule,),
    "data.remote_cache": (RemoteCache,),
    "data.clip_store": (ClipStore,),
    "data.store_cache": (StoreCache,),
    "trainer": (Trainer,),
    "trainer.callbacks": (ModelCheckpoint,),
    "trainer.logger": (TensorBoardLogger, CSVLogger),
}


def texts(function: typing.Any) -> list[str]:
    """Parameters that a text may be given for."""
    hints = typing.get_type_hints(function)
    names = inspect.signature(function).parameters
    return [name for name in names if "str" in str(hints.get(name)) or "Path" in str(hints.get(name))]


def all_settings() -> list[str]:
    named = (f"{group}.{name}" for group, kinds in GROUPS.items() for kind in kinds for name in texts(kind.__init__))
    return sorted({*named, "trainer.profiler.dirpath"})


def all_options() -> list[tuple[str, str]]:
    options = []
    for verb, (_, place) in FUNCTION_VERBS.items():
        module, _, function = place.partition(":")
        options += [(verb, name) for name in texts(getattr(import_module(module), function))]
    return options


def test_the_walk_finds_what_is_known() -> None:
    assert {"trainer.default_root_dir", "model.store", "model.out", "data.clip_store.folder"} < {*all_settings()}
    assert {*SETTINGS} - {*all_settings()} <= {f"data.{s}.{f}" for s in SPLITS for f in ("path", "root")}
    assert {f"{verb} --{name}" for verb, name in all_options()} >= {*OPTIONS}


SPLITS = ("train", "val", "test", "predict")


@pytest.mark.parametrize("setting", all_settings())
def test_every_setting_takes_an_address_or_refuses_it_by_name(setting: str) -> None:
    group, _, name = setting.rpartition(".")
    for address in ADDRESSES:
        value: object = {"class_path": "X", "init_args": {name: [address]}}
        for part in reversed(group.split(".")):
            value = {part: value}
        if setting in SETTINGS:
            require_local_settings({"fit": value})
        else:
            with pytest.raises(ConfigError, match=rf"^{setting} is .*, an address; "):
                require_local_settings({"fit": value})


@pytest.mark.parametrize(("verb", "option"), all_options())
def test_every_option_takes_an_address_or_refuses_it_by_name(verb: str, option: str) -> None:
    taken = f"{verb} --{option}" in OPTIONS or option in ("config", "allowed_media_domains")
    for address in ADDRESSES:
        if taken:
            require_local_options(verb, {option: [address]})
        else:
            with pytest.raises(ConfigError, match=rf"^--{option} is .*, an address; "):
                require_local_options(verb, {option: [address]})


@pytest.mark.parametrize("name", ["OpenGVLab/InternVL3-8B", "hf-hub:timm/vit", "C:/x", "a: b", "16:9", "class:Name"])
def test_what_is_no_address_is_left_alone(name: str) -> None:
    require_local_settings({"fit": {"model": {"init_args": {"out": name}}}})


def test_addresses_of_services_are_left_alone() -> None:
    logger = {"init_args": {"tracking_uri": "http://localhost:5000", "base_url": "https://wandb.example"}}
    require_local_settings({"fit": {"trainer": {"logger": [logger]}}})


def test_secrets_in_an_address_are_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        require_local_options("export", {"run": "https://me:secret@host/x?X-Amz-Signature=secret"})
    assert "secret" not in str(caught.value) and "https://host/x" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit", "--config", "tiny/ctd", "--trainer.default_root_dir=s3://b/run"], "liteframe upload RUN ADDRESS"),
        (["fit", "--config", "tiny/ctd", "--data.clip_store.folder=s3://b/c"], "data.clip_store.folder is s3://b/c"),
        (["predict", "--config", "tiny/cache", "--model.store=s3://b/store"], "liteframe upload STORE ADDRESS"),
        (["merge", "s3://b/store"], "--store is s3://b/store, an address"),
        (["synth", "s3://b/world"], "--out is s3://b/world, an address"),
    ],
)
def test_commands_refuse_it_before_they_do_anything(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        dispatch(words)
    assert not list(tmp_path.iterdir())
