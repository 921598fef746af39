"""The encoder as ONNX gives what it gives in torch, for any number of videos and clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from liteframe.command.export import export_command
from liteframe.errors import ConfigError
from liteframe.hf import onnx
from liteframe.models.student.encoder import LiteFrameEncoder
from tiny_world import encoder_folder


def test_onnxruntime_gives_the_same_tokens(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "encoder.onnx"
    assert export_command(str(encoder_folder()), str(path)) == 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "weights are in the one file"
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    encoder = LiteFrameEncoder.from_pretrained(encoder_folder())
    for batch, frames in ((1, 4), (2, 8), (3, 20), (1, 64)):
        pixels = torch.randn(batch, frames, 3, 112, 112, generator=torch.Generator().manual_seed(frames))
        (found,) = session.run(["tokens_BTHWC"], {"frames_BTCHW": pixels.numpy()})
        with torch.no_grad():
            expected = encoder(pixels).last_hidden_state.numpy()
        assert found.shape == expected.shape and expected.std() > 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx and onnxscript not installed; pip install 'liteframe-video\[onnx\]'"):
        export_command(str(encoder_folder()), str(tmp_path / "encoder.onnx"))
