"""The encoder as a file of another format gives what it gives in torch, and is loaded as the docs say, by strangers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoder_files import loaded
from liteframe.command.export import export_command
from liteframe.errors import ConfigError
from liteframe.hf.encoder_file import FORMATS, ONNX, OPENVINO, TORCH_EXPORT, export_encoder
from liteframe.hf.encoder_program import backbone_program
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher
from liteframe.tiny.models import build_tiny_base_vlm
from tiny_world import ENCODER, home

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
PACKAGES = {ONNX: ("onnxruntime", "onnxscript"), OPENVINO: ("openvino",), TORCH_EXPORT: ()}
"""That each format needs here."""
HERE = [
    pytest.param(name, marks=pytest.mark.skipif(not all(map(find_spec, packages)), reason=f"no {packages}"))
    for name, packages in PACKAGES.items()
]


@lru_cache
def encoder_folder() -> Path:
    """An encoder with fresh weights, two groups of tokens a clip."""
    folder = home() / "encoder-of-groups"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        settings = {**ENCODER, "downsample_after": [1], "downsample_strides": [[2, 2, 2]]}
        LiteFrameEncoder(LiteFrameConfig(**settings)).save_pretrained(folder)
    return folder


@lru_cache
def exported(suffix: str) -> Path:
    path = home() / f"encoder{suffix}"
    assert export_command(str(encoder_folder()), str(path)) == 0
    return path


def note(path: Path) -> dict[str, Any]:
    """What the file says of itself."""
    if path.suffix == TORCH_EXPORT:
        extra = {"liteframe.json": ""}
        torch.export.load(path, extra_files=extra)
        found: Any = extra["liteframe.json"]
    elif path.suffix == ONNX:
        model = pytest.importorskip("onnx").load(path)
        found = {entry.key: entry.value for entry in model.metadata_props}["liteframe"]
    else:
        model = pytest.importorskip("openvino").Core().read_model(path)
        found = model.get_rt_info("liteframe").astype(str)
    fields: dict[str, Any] = json.loads(found)
    return fields


@pytest.mark.parametrize("suffix", HERE)
def test_it_gives_the_same_tokens_of_any_number_of_videos_and_clips(suffix: str) -> None:
    run = loaded(exported(suffix))
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    for batch, frames in ((1, 4), (2, 8), (3, 20), (1, 64), (5, 4)):
        frames_BTCHW = torch.randn(batch, frames, 3, 112, 112, generator=torch.Generator().manual_seed(frames))
        with torch.no_grad():
            found, expected = run(frames_BTCHW), encoder(frames_BTCHW).last_hidden_state
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_teacher_is_a_program_of_any_number_of_frames() -> None:
    teacher = InternVLTeacher.from_host(build_tiny_base_vlm()[0])
    run = backbone_program(teacher, (1, 3, 112, 112)).module(check_guards=False)
    for batch, frames in ((1, 1), (2, 3)):
        frames_BTCHW = torch.randn(batch, frames, 3, 112, 112, generator=torch.Generator().manual_seed(frames))
        with torch.no_grad():
            torch.testing.assert_close(run(frames_BTCHW), teacher(frames_BTCHW).tokens_BTHWC, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", HERE)
@pytest.mark.parametrize(
    "shape",
    [(1, 6, 3, 112, 112), (2, 6, 3, 112, 112), (1, 4, 3, 140, 112), (1, 4, 3, 56, 224)],
    ids=["part of a clip", "parts of two videos that make a clip", "another size", "as many pixels"],
)
def test_frames_that_it_cannot_take_are_refused(suffix: str, shape: tuple[int, ...]) -> None:
    run = loaded(exported(suffix))
    with pytest.raises(Exception, match=r"[Rr]eshape|[Ii]nvalid dimensions|of the form 4\*|to be equal to 112|shape"):
        run(torch.zeros(shape))


@pytest.mark.parametrize("suffix", HERE)
def test_it_says_which_frames_it_takes(suffix: str) -> None:
    fields = note(exported(suffix))
    assert (fields["image_size"], fields["clip_frames"], fields["resize"]) == ([112, 112], 4, "bicubic, antialias")
    assert (fields["mean"][0], fields["std"][2], len(fields["encoder_sha256"])) == (0.485, 0.225, 64)


@pytest.mark.skipif(find_spec("openvino") is None, reason="no openvino")
def test_weights_of_two_bytes_take_half_the_place_and_give_nearly_the_same(tmp_path: Path) -> None:
    assert export_command(str(encoder_folder()), str(tmp_path / "half.xml"), dtype="float16") == 0
    half, whole = tmp_path / "half.bin", exported(OPENVINO).with_suffix(".bin")
    assert 0.4 < half.stat().st_size / whole.stat().st_size < 0.6
    frames_BTCHW = torch.randn(1, 8, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    near, exact = loaded(tmp_path / "half.xml")(frames_BTCHW), loaded(exported(OPENVINO))(frames_BTCHW)
    assert 1e-6 < (near - exact).norm() / exact.norm() < 2e-3


def test_a_stranger_loads_it_as_the_docs_say(tmp_path: Path) -> None:
    first, *blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    video_THWC = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", video_THWC)
    lines, suffixes = ["import sys", 'sys.modules["liteframe"] = None', first], []
    for suffix, packages in PACKAGES.items():
        (block,) = (text for text in blocks if f'"encoder{suffix}"' in text)
        if all(map(find_spec, packages)):
            for part in exported(suffix).parent.glob("encoder.*"):
                (tmp_path / part.name).write_bytes(part.read_bytes())
            lines += [block, f'np.save("tokens{suffix}.npy", tokens_BTHWC)']
            suffixes.append(suffix)
    subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, check=True, timeout=300)
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    with torch.no_grad():
        expected = encoder(torch.from_numpy(video_THWC).permute(0, 3, 1, 2)[None]).last_hidden_state.numpy()
    assert len(blocks) == len(FORMATS) and TORCH_EXPORT in suffixes
    for suffix in suffixes:
        np.testing.assert_allclose(np.load(tmp_path / f"tokens{suffix}.npy"), expected, rtol=1e-4, atol=1e-4)


def test_weights_in_a_program_of_torch_are_no_pickles() -> None:
    with zipfile.ZipFile(exported(TORCH_EXPORT)) as archive:
        weights = [entry for entry in archive.infolist() if "/weights/" in entry.filename]
        contents = [archive.read(entry) for entry in weights if not entry.filename.endswith(".json")]
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    assert sum(map(len, contents)) == 4 * sum(weight.numel() for weight in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("encoder.onnx", "onnxscript", "onnx"),
        ("encoder.xml", "openvino", "openvino"),
    ],
)
def test_what_is_not_installed_is_named(
    name: str, missing: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf"{missing} cannot be imported .*'liteframe-video\[{extra}\]'"):
        export_command(str(encoder_folder()), str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("encoder.pt2", {"calibrate": "videos"}, r"encoder.pt2: --calibrate is for .onnx and .xml"),
        ("encoder.pt2", {"dtype": "float16"}, r"encoder.pt2: --dtype float16 is not for this file"),
        ("encoder.onnx", {"dtype": "bfloat16"}, r"encoder.onnx: --dtype bfloat16 is not for this file"),
        ("encoder.xml", {"dtype": "float16", "calibrate": "videos"}, r"encoder.xml: --dtype float16 is not for this"),
        ("encoder.pt2", {"host": "host"}, r"encoder.pt2: --merge and --host are for folders"),
    ],
)
def test_settings_that_do_not_go_with_the_format_are_refused(
    name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        export_command(str(encoder_folder()), str(tmp_path / name), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("openvino") is None, reason="no openvino")
def test_somebody_s_file_beside_the_graph_stays(tmp_path: Path) -> None:
    (tmp_path / "encoder.bin").write_text("years")
    with pytest.raises(ConfigError, match=r"encoder\.bin exists; remove it"):
        export_command(str(encoder_folder()), str(tmp_path / "encoder.xml"))
    assert (tmp_path / "encoder.bin").read_text() == "years" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="no onnxscript")
def test_an_encoder_too_large_for_onnx_is_named_before_the_work(tmp_path: Path) -> None:
    with torch.device("meta"):
        encoder = LiteFrameEncoder(LiteFrameConfig(hidden_size=2048, num_hidden_layers=12, num_attention_heads=16))
    with pytest.raises(ConfigError, match=r"holds 2 GiB, and this encoder's weights are 2\.\d GiB; name a file that"):
        export_encoder(encoder, tmp_path / "encoder.onnx")
    assert list(tmp_path.iterdir()) == []
