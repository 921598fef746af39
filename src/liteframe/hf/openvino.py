"""A backbone as an OpenVINO model: converted, quantised to eight bits by NNCF, and run on a CPU.

NNCF quantises OpenVINO's own graph, so it needs no torch of any version.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError
from liteframe.system.installation import install_hint

INPUT, OUTPUT = "frames_BTCHW", "tokens_BTHWC"
SETTINGS = {"preset": "mixed", "model_type": "transformer", "fast_bias_correction": True}
"""Of `nncf.quantize`; by its model type it applies SmoothQuant."""

PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Of all that is not in eight bits, so that every CPU computes what was compared when it was exported."""


def require(name: str, extra: str) -> Any:
    """The package of that name, without its reports of use.

    Raises:
        ConfigError: it is not installed.
    """
    # Both packages would report each use to their makers, and write an identity into the home folder, unasked.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} cannot be imported ({error}); {install_hint(extra)}") from error


class TokensOnly(nn.Module):
    """A backbone, ``frames_BTCHW`` to `VisionTokens`, that gives ``tokens_BTHWC`` alone, as exports need it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        return self.backbone(frames_BTCHW).tokens_BTHWC


def to_openvino(backbone: nn.Module, shape: Sequence[int]) -> Any:
    """An `openvino.Model`, ``frames_BTCHW`` to ``tokens_BTHWC``, both float32, for any number of clips.

    Args:
        backbone: ``frames_BTCHW`` to `VisionTokens`, in float32 and eval mode; any attention but the eager one, which
            holds uninitialised memory.
        shape: (T, C, H, W) of a clip.

    Raises:
        ConfigError: openvino is not installed.
    """
    openvino = require("openvino", "openvino")
    batch: Any = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(TokensOnly(backbone), (torch.zeros(2, *shape),), dynamic_shapes=({0: batch},))
    model = openvino.convert_model(program)
    model.reshape(openvino.PartialShape([-1, *shape]))
    model.input().set_names({INPUT})
    model.output().set_names({OUTPUT})
    return model


def quantise(model: Any, clips: Sequence[Tensor]) -> Any:
    """The model with weights and activations of its linear layers, convolutions and attention in int8 (static,
    SmoothQuant).

    Args:
        model: of `to_openvino`.
        clips: uint8 (T, C, H, W), from which the ranges of activations are taken.

    Raises:
        ConfigError: nncf is not installed.
    """
    nncf = require("nncf", "openvino-export")
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # its progress
        return nncf.quantize(
            model,
            nncf.Dataset(clips, lambda clip_TCHW: normalize(clip_TCHW)[None].numpy()),
            preset=nncf.QuantizationPreset(SETTINGS["preset"]),
            model_type=nncf.ModelType(SETTINGS["model_type"]),
            fast_bias_correction=SETTINGS["fast_bias_correction"],
            subset_size=len(clips),
        )


class Compiled:
    """An OpenVINO model on the CPU, with as many threads as torch has: ``frames_BTCHW`` to ``tokens_BTHWC``.

    Args:
        model: of `to_openvino` or `quantise`.
        settings: of OpenVINO's CPU plugin.
    """

    def __init__(self, model: Any, **settings: Any) -> None:
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads(), **settings}
        self._run = require("openvino", "openvino").Core().compile_model(model, "CPU", options)
        self._alone = threading.Lock()  # it refuses a second thread while one is in there

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        with self._alone:
            tokens_BTHWC = self._run([frames_BTCHW.detach().float().contiguous().numpy()])[0]
        return torch.from_numpy(tokens_BTHWC)
