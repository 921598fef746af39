"""A program of torch.export as an OpenVINO model, and the run of one on a CPU."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.hf.encoder_program import INPUT, OUTPUT
from liteframe.system.installation import install_hint

OVERFLOW_FIX = "enable"
"""Of NNCF: weights fill half of the int8 range.

CPUs without VNNI add pairs of products in int16, where those of weights of the full range saturate: what is right on
the CPU that made it would be wrong on another.
"""

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


def to_openvino(program: Any, shape: Sequence[int]) -> Any:
    """An `openvino.Model` of what `backbone_program` gives.

    Args:
        program: with any number of videos and frames.
        shape: (C, H, W) of a frame, or (T, C, H, W) of a clip where the model is for clips alone.

    Raises:
        ConfigError: openvino is not installed.
    """
    model = require("openvino", "openvino").convert_model(program)
    # It takes all axes for unknown, and would take frames of another size with as many pixels.
    model.reshape([*[-1] * (5 - len(shape)), *shape])
    model.input().set_names({INPUT})
    model.output().set_names({OUTPUT})
    return model


class Compiled:
    """An OpenVINO model on the CPU, with as many threads as torch has: ``frames_BTCHW`` to ``tokens_BTHWC``.

    Args:
        model: an `openvino.Model`.
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
