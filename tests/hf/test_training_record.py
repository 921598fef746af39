"""An export says itself how it was trained; what lies around it is somebody else's word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor

import liteframe
from liteframe.command import cli
from liteframe.command.export import export_command
from liteframe.data.sampling import FpsCapped, FrameSampler, RandomSegment, UniformMidpoints
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.hf.loading import load_video_llm
from liteframe.hf.run_folder import RunFolder
from liteframe.models.folders.training_record import RECORD, TeacherName, TrainingRecord
from liteframe.models.video_llm.adapted import load_adapted
from liteframe.stages.ctd import CTDStage
from liteframe.stages.lma import LMAStage, LoraSettings
from liteframe.system.own_folder import LISTING, list_files, require_unchanged
from tiny_world import (
    ENCODER,
    WAP_SETTINGS,
    encoder_folder,
    host_folder,
    lma_run_folder,
    make_trainer,
    manifest,
    store_folder,
    video_data,
)

SECRET = "sk-live-0123456789abcdef"


def train_lma(run: Path, **data: Any) -> Path:
    """One step of LMA on two kinds of batches; its export."""
    from liteframe.data.loading.batching import BatchShape

    stage = LMAStage(
        str(host_folder()), str(encoder_folder()), LoraSettings(2, 4, ["q_proj"]), attention="eager", llm_lr=1e-3
    )
    shapes = [BatchShape(4, 2), BatchShape(12, 1)]
    videos = video_data(train=str(manifest()), shapes=shapes, train_sampler=FpsCapped(2.0), **data)
    make_trainer(run, max_steps=1).fit(stage, videos)
    return run / "export"


def test_lma_leaves_its_own_record_in_the_export(tmp_path: Path) -> None:
    export = train_lma(tmp_path / "lma")
    record = TrainingRecord.read(export)
    assert record is not None
    assert (record.stage, record.steps, record.precision) == ("LMAStage", 1, "32-true")
    assert record.frames == FrameSpec((112, 112), 4, FpsCapped(2.0), 12)
    assert record.model["lora"] == {"rank": 2, "alpha": 4, "targets": ["q_proj"]} and record.model["llm_lr"] == 1e-3
    assert record.data["samples"] == 9 and [shape["frames"] for shape in record.data["shapes"]] == [4, 12]
    assert {(shape["sampler"], shape["by"]) for shape in record.data["shapes"]} == {("FpsCapped", "time")}
    text = (export / RECORD).read_text()
    assert str(tmp_path) not in text and str(host_folder().parent) not in text
    assert RECORD in json.loads((export / LISTING).read_text())["files"]
    assert TrainingRecord.read(export / "encoder") is not None, "the encoder may be adapted again"


def test_the_folder_exported_and_the_model_loaded_follow_it(tmp_path: Path) -> None:
    export = train_lma(tmp_path / "lma")
    export_command(str(tmp_path / "lma"), str(tmp_path / "out"), merge=True)
    require_unchanged(tmp_path / "out")
    for folder in (export, tmp_path / "out"):
        model = load_video_llm(folder, "eager")
        assert model.frames == FrameSpec((112, 112), 4, FpsCapped(2.0), 12)
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert (processor.num_frames, processor.image_size) == (12, [112, 112])
    assert processor.frame_sampler() == FpsCapped(2.0)
    chat = liteframe.load(export)
    video = str(manifest().parent / json.loads(manifest().read_text().splitlines()[0])["path"])
    assert chat.watch(video).frames == 12 and chat.watch(video, end=2.0).frames == 4, "two frames of each second"


def test_what_lies_beside_an_export_says_nothing_of_it(tmp_path: Path) -> None:
    run = Path(shutil.copytree(lma_run_folder().parent, tmp_path / "run"))
    settings = {"host": "evil/host", "api_key": SECRET}
    foreign = {"model": {"init_args": settings}, "data": {"init_args": {"frames": 64, "image_size": 224}}}
    (run / "lma" / "config.yaml").write_text(json.dumps(foreign))
    (run / "lma" / "done.json").write_text(json.dumps({"seconds": 77777.0, "export_sha256": "0" * 64}))
    report = json.loads((run / "report.json").read_text())
    report["settings"]["exports"]["liteframe-lma"] = "0" * 64
    (run / "report.json").write_text(json.dumps(report))
    export_command(str(run / "lma"), str(tmp_path / "out"), host=str(host_folder()))
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert (processor.num_frames, processor.image_size) == (32, [112, 112])
    written = "".join(path.read_text() for path in (tmp_path / "out").glob("*.[jm]*") if path.suffix != ".safetensors")
    assert SECRET not in written and "evil" not in written and "77,777" not in written
    assert "Results of the run" not in written


def test_a_record_that_is_not_of_the_export_is_none(tmp_path: Path) -> None:
    run = Path(shutil.copytree(lma_run_folder().parent, tmp_path / "run")) / "lma"
    path = run / "export" / RECORD
    whole = path.read_text()
    path.unlink()
    list_files(run / "export")
    path.write_text(whole)
    assert RunFolder.open(run).record is None, "it lies there, but liteframe did not write it with the export"
    (run / "export" / LISTING).unlink()
    path.write_text(json.dumps({"notes": SECRET}))
    assert RunFolder.open(run).record is None, "a file of somebody else's"
    fields = json.loads(whole)
    fields["model"] |= {"api_key": SECRET, "optimizer": {"token": SECRET}, "lora": {"targets": [f"Bearer {SECRET}"]}}
    path.write_text(json.dumps({**fields, "note": SECRET}))
    export_command(str(run), str(tmp_path / "out"), host=str(host_folder()))
    for name in ("README.md", RECORD):
        assert SECRET not in (tmp_path / "out" / name).read_text()


def test_an_export_of_before_there_were_records_still_loads(tmp_path: Path) -> None:
    run = Path(shutil.copytree(lma_run_folder().parent, tmp_path / "run")) / "lma"
    (run / "export" / RECORD).unlink()
    (run / "export" / LISTING).unlink()
    path = run / "export" / "liteframe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": str_relative(run / "export")}))
    assert load_adapted(run / "export", "eager").frames == FrameSpec((112, 112), 4)
    export_command(str(run), str(tmp_path / "out"), host=str(host_folder()))
    assert "the export has no record of it" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / RECORD).exists()


def str_relative(export: Path) -> str:
    """The tiny host as seen from an export that was copied elsewhere."""
    import os

    return os.path.relpath(host_folder().resolve(), export.resolve())


class Secretive(FrameSampler):
    """A sampler of a user's own, with settings of which nobody knows what they are."""

    def indices(self, total: int, count: int, *_: Any) -> Any:
        return UniformMidpoints().indices(total, count, *_)

    def describe(self) -> dict[str, Any]:
        return {"name": "Secretive", "key": SECRET}


def test_samplers_of_a_user_and_of_chance_are_not_followed(tmp_path: Path) -> None:
    for sampler in (Secretive(), RandomSegment([3])):
        TrainingRecord("LMAStage", 1, "32-true", FrameSpec(sampler=sampler)).write(tmp_path)
        text, record = (tmp_path / RECORD).read_text(), TrainingRecord.read(tmp_path)
        assert SECRET not in text and record is not None and record.frames.sampler is None


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    odd = FrameSpec((65_536, 1), 10**6, FpsCapped(1e-9), 10**12)
    TrainingRecord("Größe", 0, "transformer-engine", odd, TeacherName("InternVL", "/gone", False)).write(tmp_path)
    record = TrainingRecord.read(tmp_path)
    assert record == TrainingRecord("Größe", 0, "transformer-engine", FrameSpec((65_536, 1), None, FpsCapped(1e-9)))


@pytest.mark.parametrize("kind", ["store", "teacher"])
def test_ctd_says_on_which_frames_it_was_trained(kind: str, tmp_path: Path) -> None:
    live = {"store": {"store": str(store_folder())}, "teacher": {"train": str(manifest()), "image_size": 56}}[kind]
    teacher = {"store": {}, "teacher": {"teacher": str(host_folder())}}[kind]
    stage = CTDStage(ENCODER, **WAP_SETTINGS, **teacher, picture_every=0)  # type: ignore[arg-type]
    data = video_data(**({"image_size": None} | live))
    make_trainer(tmp_path / "ctd", max_steps=1).fit(stage, data)
    record = TrainingRecord.read(tmp_path / "ctd" / "export")
    assert record is not None and record.stage == "CTDStage" and record.model["target"]["compressor"] == "wap"
    assert record.frames.image_size == {"store": (112, 112), "teacher": (56, 56)}[kind]
    assert record.frames.most_frames == 8 and record.data["store"] is (kind == "store")
    assert str(tmp_path) not in (tmp_path / "ctd" / "export" / RECORD).read_text()
    if kind == "teacher":
        assert RunFolder.open(tmp_path / "ctd").host(None) == str(host_folder().resolve())
        export_command(str(tmp_path / "ctd"), str(tmp_path / "out"))
        assert AutoProcessor.from_pretrained(tmp_path / "out").image_size == [56, 56], "not the config's 112"
        card = (tmp_path / "out" / "README.md").read_text()
        assert str(host_folder()) not in card and "source:" not in card, "where the teacher lay is nobody else's"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", None])
def test_an_adapter_is_merged_in_float32(dtype: str | None, tmp_path: Path) -> None:
    """Against W + alpha / r * B A, written out, on a host in bfloat16."""
    from liteframe.models.video_llm.base_vlm_loading import load_base_vlm

    host, processor = load_base_vlm(str(host_folder()))
    host.to(torch.bfloat16).save_pretrained(tmp_path / "host")
    processor.save_pretrained(tmp_path / "host")
    export_command(str(lma_run_folder()), str(tmp_path / "out"), merge=True, host=str(tmp_path / "host"), dtype=dtype)
    base = load_file(tmp_path / "host" / "model.safetensors")
    adapter = load_file(lma_run_folder() / "export" / "adapter" / "adapter_model.safetensors")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    prefix = "base_model.model."
    checked = 0
    for name, down in adapter.items():
        if "lora_A" not in name:
            continue
        layer = name.removeprefix(prefix).removesuffix(".lora_A.weight")
        theirs = next(weight for key, weight in base.items() if key.endswith(f"{layer}.weight") and "language" in key)
        assert theirs.dtype == torch.bfloat16
        expected = theirs.float() + 8 / 4 * adapter[name.replace("lora_A", "lora_B")].float() @ down.float()
        found = merged[f"language_model.{layer}.weight"]
        if dtype == "float32":
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(found, expected.bfloat16()), "rounded once"
        checked += 1
    assert checked == 9, "three layers with three adapters"


def test_chat_and_evaluate_in_float32_merge_in_float32(tmp_path: Path) -> None:
    from liteframe.models.video_llm.base_vlm_loading import load_base_vlm

    host, processor = load_base_vlm(str(host_folder()))
    host.to(torch.bfloat16).save_pretrained(tmp_path / "host")
    processor.save_pretrained(tmp_path / "host")
    run = Path(shutil.copytree(lma_run_folder(), tmp_path / "lma"))
    (run / "export" / LISTING).unlink()
    card = run / "export" / "liteframe.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "host": "../../host"}))
    export_command(str(run), str(tmp_path / "out"), merge=True, dtype="float32")
    expected = load_file(tmp_path / "out" / "model.safetensors")
    words = ["evaluate", str(run), "--benchmark", "tiny-world", "--data", str(manifest("test").parent)]
    with mock.patch("liteframe.evaluation.subject.EvaluatedModel", side_effect=ConfigError("enough")) as evaluated:
        assert cli.main([*words, "--device", "cpu", "--dtype", "float32"]) == 1
    chat = liteframe.load(run / "export", device="cpu", dtype="float32")
    for model in (chat.model, evaluated.call_args.args[0].float()):
        for name, weight in model.language_model.state_dict().items():
            assert torch.equal(weight, expected[f"language_model.{name}"]), name
