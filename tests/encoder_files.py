"""Encoders in files of other formats, run by what others run them with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def loaded(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """``frames_BTCHW`` to ``tokens_BTHWC`` by onnxruntime, OpenVINO or torch."""
    if path.suffix == ".pt2":
        program: Any = torch.export.load(path).module(check_guards=False)
        return program
    if path.suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda frames: torch.from_numpy(session.run(["tokens_BTHWC"], {"frames_BTCHW": frames.numpy()})[0])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = pytest.importorskip("openvino").Core().compile_model(path, "CPU", settings)
    return lambda frames: torch.from_numpy(compiled({"frames_BTCHW": frames.numpy()})["tokens_BTHWC"].copy())
