"""The engine openvino-int8: what is refused, what it is calibrated on, and that it gives what torch gives."""

from __future__ import annotations

import json
import shutil
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import liteframe
from encoder_files import loaded
from liteframe.command import cli
from liteframe.command.export import export_command
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError, GeometryError
from liteframe.evaluation.subject import EvaluatedModel
from liteframe.evaluation.subject_loading import load_subject
from liteframe.hf import calibration, int8_export
from liteframe.hf.calibration import clip_places, read_clips
from liteframe.hf.encoder_program import encoder_program
from liteframe.hf.engine import GRAPH, INT8, RECORD, WEIGHTS, OpenVINOBackbone, encoder_sha256, require_engine
from liteframe.hf.int8_export import likeness
from liteframe.hf.loading import load_video_llm
from liteframe.hf.openvino import Compiled, require, to_openvino
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.system.own_folder import list_files, read_listed
from tiny_world import InProcessPool, encoder_folder, home, host_folder, lma_run_folder, manifest

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "DecodePool", Pool)


class Pool(InProcessPool):
    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@lru_cache
def exported() -> Path:
    folder = home() / "exported-int8"
    assert export_command(str(lma_run_folder()), str(folder), calibrate=str(manifest())) == 0
    return folder


@lru_cache
def exported_for_torch() -> Path:
    folder = home() / "exported-torch"
    assert export_command(str(lma_run_folder()), str(folder)) == 0
    return folder


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported(), tmp_path / "copy"))


# What can be said without OpenVINO.


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"openvino cannot be imported .*; pip install 'liteframe-video\[openvino\]'"):
        liteframe.load(exported_for_torch(), engine=INT8)


def test_an_export_names_the_extra_that_has_both_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigError, match=r"cannot be imported .*; pip install 'liteframe-video\[openvino-export\]'"):
        export_command(str(lma_run_folder()), str(tmp_path / "out"), calibrate=str(manifest()))
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_and_an_engine_that_there_is_not_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="engine openvino-int8 runs on CPUs alone, and the device is 'cuda'"):
        liteframe.load(exported_for_torch(), device="cuda", engine=INT8)
    with pytest.raises(ConfigError, match="engine 'tpu' is unknown; choose one of torch, torch-compile, openvino-int8"):
        load_video_llm(exported_for_torch(), engine="tpu")
    assert require_engine("torch", "cuda:1") == "cuda:1"
    assert cli.main(["chat", "model", "video.mp4", "who?", "--engine", "tpu"]) == 2
    assert "tpu" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["not listed", "changed", "link", "missing", "no listing"])
def test_only_what_the_listing_names_is_read(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "encoder.bin"
    path.write_bytes(b"weights")
    list_files(folder)
    assert read_listed(folder, "encoder.bin") == b"weights"
    wanted = "changed since liteframe wrote it" if fault == "changed" else "missing, or not in liteframe-files.json"
    if fault == "not listed":
        path = path.rename(folder / "other.bin")
    elif fault == "changed":
        path.write_bytes(b"WEIGHTS")
    elif fault == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif fault == "missing":
        path.unlink()
    else:
        (folder / "liteframe-files.json").unlink()
    with pytest.raises(ConfigError, match=rf"{path.name}: {wanted}"):
        read_listed(folder, path.name)


def test_the_digest_is_of_weights_whatever_their_dtype() -> None:
    encoder = LiteFrameEncoder(LiteFrameConfig.from_pretrained(encoder_folder())).bfloat16()
    digest = encoder_sha256(encoder)
    assert next(encoder.parameters()).dtype == torch.bfloat16
    assert digest == encoder_sha256(encoder.float())
    encoder.blocks[1].fc1.bias.data[3] += 1e-3
    assert digest != encoder_sha256(encoder)


@pytest.mark.parametrize(("frames", "length", "most"), [(128, 4, 4), (128, 4, 80), (9, 4, 8), (3, 4, 8), (5, 1, 3)])
def test_clips_are_of_whole_length_and_of_all_spacings(frames: int, length: int, most: int) -> None:
    clips = [clip for turn in range(8) for clip in clip_places(frames, length, most, turn)]
    assert all(len(clip) == length and clip.min() >= 0 and clip.max() < frames for clip in clips)
    spacings = {int(step) for clip in clips for step in np.diff(clip)}
    assert {1 << power for power in range(6)} == spacings if (frames, most) == (128, 4) else len(spacings) <= 6
    if frames == 3:
        assert all(clip.tolist() == [0, 1, 2, 2] for clip in clips)
    assert len(clip_places(frames, length, most)) == min(most, -(-frames // length))


def test_clips_held_out_are_of_other_videos() -> None:
    clips = read_clips(str(manifest()), FrameSpec(clip_frames=4, most_frames=32), (112, 112))
    kept, held_out = ({clip.video for clip in part} for part in (clips.calibration, clips.held_out))
    assert len(kept) == 8 and len(held_out) == 1 and not kept & held_out
    assert 60 <= len(clips.calibration) + len(clips.held_out) <= 80
    shapes = {(clip.frames_TCHW.shape, clip.frames_TCHW.dtype) for clip in clips.calibration}
    assert shapes == {(torch.Size([4, 3, 112, 112]), torch.uint8)}
    with pytest.raises(ConfigError, match=r"its videos have 9 clips of 4 frames, and 10 are the fewest"):
        read_clips(str(manifest()), FrameSpec(clip_frames=4, most_frames=4), (112, 112))


def test_likeness_is_what_a_loop_over_tokens_says() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = [torch.randn(1, 2, 3, 5, generator=generator) for _ in range(2)]
    found = [part + 0.1 * torch.randn(part.shape, generator=generator) for part in wanted]
    flat = zip(torch.cat(found).reshape(-1, 5).numpy(), torch.cat(wanted).reshape(-1, 5).numpy(), strict=True)
    pairs = list(flat)
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]
    error = np.sqrt(sum((a - b) @ (a - b) for a, b in pairs) / sum(b @ b for _, b in pairs))
    like = likeness(found, wanted)
    assert (like.relative_error, like.cosine, like.lowest_cosine) == pytest.approx(
        (error, np.mean(cosines), min(cosines)), rel=1e-5
    )


# What OpenVINO computes.


@needs_openvino
@pytest.mark.parametrize("source", [exported_for_torch, host_folder, lambda: lma_run_folder() / "export"])
def test_a_folder_without_such_an_encoder_is_named(source: Any) -> None:
    with pytest.raises(ConfigError, match=r"holds no encoder for the engine openvino-int8 .*--calibrate VIDEOS"):
        load_video_llm(source(), engine=INT8)


@needs_openvino
def test_a_cpu_without_eight_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = require("openvino", "openvino")

    class Core:
        available_devices = ("CPU",)

        def get_property(self, *_: object) -> list[str]:
            return ["FP32"]

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(ConfigError, match="OpenVINO computes no eight bits on this CPU; leave the engine out"):
        require_engine(INT8)


@needs_openvino
@pytest.mark.parametrize("mixer", ["depthwise", "attention", "joint"])
def test_in_float32_it_gives_what_torch_gives_and_reports_to_nobody(mixer: str) -> None:
    config = LiteFrameConfig.from_pretrained(encoder_folder(), temporal_mixer=mixer)
    encoder = LiteFrameEncoder(config).eval()
    for parameter in encoder.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    run = Compiled(to_openvino(encoder_program(encoder, (112, 112)), (3, 112, 112)), INFERENCE_PRECISION_HINT="f32")
    for clips in (1, 3):
        frames_BTCHW = torch.randn(clips, 4, 3, 112, 112, generator=torch.Generator().manual_seed(clips))
        with torch.no_grad():
            torch.testing.assert_close(run(frames_BTCHW), encoder(frames_BTCHW).last_hidden_state, rtol=1e-4, atol=1e-4)
    reports = sys.modules["openvino.tools.ovc.telemetry_utils"].tm  # type: ignore[attr-defined]
    assert reports.__name__ == "openvino.tools.ovc.telemetry_stub"


@needs_nncf
def test_eight_bits_give_nearly_what_torch_gives() -> None:
    exact, near = load_video_llm(exported()), load_video_llm(exported(), engine=INT8)
    assert isinstance(near.backbone, OpenVINOBackbone)
    assert (near.frames, near.clip_frames) == (exact.frames, exact.clip_frames)
    pixels = read_clips(str(manifest("test")), FrameSpec(clip_frames=8, most_frames=64), (112, 112)).calibration
    videos_BTCHW = calibration_pixels(pixels[:20])
    for frames_BTCHW in (videos_BTCHW, videos_BTCHW[:1, :3], videos_BTCHW[:2, :5]):
        with torch.no_grad():
            wanted, found = exact.encode(frames_BTCHW), near.encode(frames_BTCHW)
        assert found.shape == wanted.shape and found.dtype == torch.float32
        assert 1e-3 < likeness([found], [wanted]).relative_error < 0.1
    # Of another video's clip no frame is seen, in whichever chunk of the batch a clip lies.
    with torch.no_grad():
        torch.testing.assert_close(near.encode(videos_BTCHW[13:14]), near.encode(videos_BTCHW)[13:14])


def calibration_pixels(clips: list[calibration.Clip]) -> torch.Tensor:
    return int8_export.normalize(torch.stack([clip.frames_TCHW for clip in clips]))


@needs_nncf
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_file_in_eight_bits_gives_nearly_the_same_whatever_the_cpu(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"encoder{suffix}"
    assert export_command(str(lma_run_folder()), str(path), calibrate=str(manifest())) == 0
    weights = int8_weights(path)
    # A pair of products of bytes with these fits into int16, which CPUs without VNNI add them up in. Those of
    # depth-wise convolutions are added up in int32.
    summed = [weight for weight in weights if weight.shape[1] > 1]
    assert len(summed) >= 8 and max(int(np.abs(weight.astype(int)).max()) for weight in summed) == 64
    encoder = LiteFrameEncoder.from_pretrained(lma_run_folder() / "export" / "encoder")
    clips = read_clips(str(manifest("test")), FrameSpec(clip_frames=8, most_frames=64), (112, 112)).calibration[:4]
    videos_BTCHW = calibration_pixels(clips)
    with torch.no_grad():
        found, expected = loaded(path)(videos_BTCHW), encoder(videos_BTCHW).last_hidden_state
    assert found.shape == expected.shape and 1e-3 < likeness([found], [expected]).relative_error < 0.05


def int8_weights(path: Path) -> list[np.ndarray]:
    if path.suffix == ".onnx":
        onnx = pytest.importorskip("onnx")
        tensors = (onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
        return [tensor for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim > 1]
    openvino = require("openvino", "openvino")
    constants = (op for op in openvino.Core().read_model(path).get_ops() if op.get_type_name() == "Constant")
    return [op.data for op in constants if op.get_element_type() == openvino.Type.i8]


@needs_nncf
def test_the_record_says_what_it_was_made_of() -> None:
    record = json.loads((exported() / RECORD).read_text())
    assert {"openvino", "nncf", "torch", "liteframe"} == record["versions"].keys()
    assert (
        f"its features differ by {record['likeness']['relative_error']:.1%}" in (exported() / "README.md").read_text()
    )
    assert 0 < record["likeness"]["relative_error"] < 0.1 and record["likeness"]["cosine"] > 0.99
    assert len(record["calibration"]) > 20 and all(len(clip["frames"]) == 4 for clip in record["held_out"])
    assert str(home()) not in (exported() / RECORD).read_text()
    subject = EvaluatedModel(load_subject(str(exported()), engine=INT8))
    assert subject.engine["engine"]["name"] == INT8 and len(subject.engine["engine"]["ir_sha256"]) == 64
    assert EvaluatedModel(load_subject(str(exported()))).engine == {}


@needs_nncf
def test_frames_of_another_size_are_refused() -> None:
    model = load_video_llm(exported(), engine=INT8)
    with pytest.raises(ConfigError, match="--image_size: the encoder was exported for frames of 112 x 112 px alone"):
        model.require_size((224, 224), "--image_size")
    with pytest.raises(GeometryError, match="frames of 56 x 112 px"):
        model.encode(torch.zeros(1, 4, 3, 56, 112))


@needs_nncf
@pytest.mark.parametrize("fault", ["weights", "graph", "record", "full range", "other encoder", "no graph"])
def test_what_is_of_something_else_is_refused(fault: str, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    if fault in ("weights", "graph"):
        path = folder / (WEIGHTS if fault == "weights" else GRAPH)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        wanted = rf"{path.name}: changed since liteframe wrote it"
    elif fault == "record":
        (folder / RECORD).write_text('{"encoder_sha256": 5}')
        list_files(folder)
        wanted = "record.json: lacks `encoder_sha256`"
    elif fault == "full range":
        record = json.loads((folder / RECORD).read_text())
        record["settings"].pop("overflow_fix")
        (folder / RECORD).write_text(json.dumps(record))
        list_files(folder)
        wanted = "record.json: its weights fill all eight bits, which gives wrong features on CPUs without VNNI"
    elif fault == "other encoder":
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors["encoder.norm.bias"][0] += 1
        save_file(tensors, path, {"format": "pt"})
        list_files(folder)  # as one would who exports anew into the folder
        wanted = "encoder.xml: was made of other weights than the encoder beside it has"
    else:
        (folder / GRAPH).write_text("<net/>")
        list_files(folder)
        wanted = "encoder.xml: OpenVINO cannot read it"
    with pytest.raises(ConfigError, match=wanted):
        load_video_llm(folder, engine=INT8)


@needs_nncf
def test_a_bad_calibration_fails_with_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def black(*args: Any) -> calibration.CalibrationClips:
        clips = read_clips(*args)
        for clip in clips.calibration:
            clip.frames_TCHW.zero_()
        return clips

    monkeypatch.setattr("liteframe.hf.export.read_clips", black)
    with pytest.raises(ConfigError, match=r"held out, features in eight bits differ by \d+\.\d% .*; give more videos"):
        export_command(str(lma_run_folder()), str(tmp_path / "out"), calibrate=str(manifest()))
    assert list(tmp_path.iterdir()) == []
