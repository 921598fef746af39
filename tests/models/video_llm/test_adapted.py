"""What LMA exports is read back as the same model, wherever the run folder has gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from liteframe.errors import ConfigError
from liteframe.models.video_llm.adapted import load_adapted, save_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from tiny_world import adapted_model, host_folder

QUESTIONS = [["color of the star", "color of the ball"]]


def frames() -> torch.Tensor:
    return torch.randn(1, 8, 3, 112, 112, generator=torch.Generator().manual_seed(0))


def logits(model: VideoLLM) -> torch.Tensor:
    with torch.no_grad():
        return model.first_answer_logits(model.project(model.encode(frames())), QUESTIONS)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A run folder with a host and what LMA made of it, and the logits before saving."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(host_folder(), folder / "pretrain" / "export")
    model = adapted_model(folder / "pretrain" / "export")
    export = folder / "lma" / "export"
    export.mkdir(parents=True)
    assert isinstance(model.backbone, LiteFrameBackbone)
    save_adapted(
        export, str(folder / "pretrain" / "export"), model.backbone.encoder, model.language_model, model.projector
    )
    return folder, logits(model)


def test_the_merged_model_answers_as_the_one_that_was_trained(run: tuple[Path, torch.Tensor]) -> None:
    folder, expected = run
    model = load_adapted(folder / "lma" / "export", "eager")
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert not any(module.training for module in model.modules())
    assert model.frames_per_group == 4
    host, processor = load_base_vlm(str(host_folder()), "eager")
    plain = VideoLLM(host, processor, model.backbone, frames_per_group=4).eval()
    assert not torch.allclose(logits(plain), expected, atol=0.1), "the adapters and the projector do something"


def test_the_base_llm_of_the_host_is_not_saved_again(run: tuple[Path, torch.Tensor]) -> None:
    export = run[0] / "lma" / "export"
    names = set(load_file(export / "adapter" / "adapter_model.safetensors"))
    assert names and all("lora_" in name for name in names)
    assert not list(export.rglob("*.bin")) and not list(export.rglob("*.pt"))


def test_a_run_that_was_moved_finds_its_host(run: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    folder, expected = run
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "deep"))
    shutil.rmtree(moved / "ctd", ignore_errors=True)
    text = (moved / "lma" / "export" / "liteframe.json").read_text()
    assert json.loads(text)["host"] == "../../pretrain/export"
    torch.testing.assert_close(logits(load_adapted(moved / "lma" / "export", "eager")), expected, rtol=1e-4, atol=1e-4)


def test_a_host_outside_of_a_linked_run_folder_is_found(tmp_path: Path) -> None:
    host = Path(shutil.copytree(host_folder(), tmp_path / "a" / "models" / "host"))
    (tmp_path / "disk" / "deep" / "runs").mkdir(parents=True)
    (tmp_path / "a" / "runs").symlink_to(tmp_path / "disk" / "deep" / "runs")
    export = tmp_path / "a" / "runs" / "lma"
    export.mkdir()
    model = adapted_model(host)
    assert isinstance(model.backbone, LiteFrameBackbone)
    save_adapted(export, str(host), model.backbone.encoder, model.language_model, model.projector)
    torch.testing.assert_close(logits(load_adapted(export, "eager")), logits(model), rtol=1e-4, atol=1e-4)


def test_what_is_missing_or_does_not_fit_is_named(run: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no liteframe\.json; give the export folder of an LMA run"):
        load_adapted(tmp_path)
    for broken, message in (
        ("projector.safetensors", "projector"),
        ("adapter/adapter_model.safetensors", "adapter"),
        ("encoder/model.safetensors", "encoder"),
    ):
        moved = Path(shutil.copytree(run[0], tmp_path / message))
        (moved / "lma" / "export" / broken).unlink()
        with pytest.raises(ConfigError, match=message):
            load_adapted(moved / "lma" / "export")
    moved = Path(shutil.copytree(run[0], tmp_path / "odd"))
    path = moved / "lma" / "export" / "projector.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "odd.weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match=r"projector\.safetensors.*odd\.weight"):
        load_adapted(moved / "lma" / "export")
    save_file({name: tensor[..., :1].contiguous() for name, tensor in tensors.items()}, path)
    with pytest.raises(ConfigError, match=r"projector\.safetensors"):
        load_adapted(moved / "lma" / "export")
    path = moved / "lma" / "export" / "adapter" / "adapter_model.safetensors"
    save_file(tensors, moved / "lma" / "export" / "projector.safetensors")
    adapter = load_file(path)
    del adapter[sorted(adapter)[0]]
    save_file(adapter, path)
    with pytest.raises(ConfigError, match="adapter.*lora_"):
        load_adapted(moved / "lma" / "export")


def test_frames_are_of_the_size_that_lma_had(tmp_path: Path) -> None:
    model = adapted_model(host_folder())
    assert isinstance(model.backbone, LiteFrameBackbone)
    save_adapted(tmp_path, str(host_folder()), model.backbone.encoder, model.language_model, model.projector, (56, 168))
    assert load_adapted(tmp_path).backbone.image_size == (56, 168)


def test_a_host_in_bfloat16_takes_the_features_of_an_encoder_in_float32() -> None:
    host, processor = load_base_vlm(str(host_folder()), "eager")
    expected = VideoLLM(host, processor, adapted_model(host_folder()).backbone, frames_per_group=4).eval()
    with torch.no_grad():
        close = expected.project(expected.encode(frames()))
        expected.projector.to(torch.bfloat16)
        found = expected.project(expected.encode(frames()))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), close, rtol=0.05, atol=0.05)
