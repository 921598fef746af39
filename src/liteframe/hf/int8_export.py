"""The encoder in eight bits: quantised by NNCF, compared with float32, and written into an exported folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import liteframe
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError
from liteframe.hf.calibration import CalibrationClips, Clip
from liteframe.hf.encoder_program import INPUT, Encode, encoder_program, float_copy
from liteframe.hf.engine import GRAPH, INT8, RECORD, encoder_sha256
from liteframe.hf.openvino import OVERFLOW_FIX, PRECISION, Compiled, require, to_openvino
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.system.atomic import atomic_write_json

SETTINGS = {
    "preset": "mixed",
    "model_type": "transformer",
    "fast_bias_correction": True,
    "overflow_fix": OVERFLOW_FIX,
}
"""Of `nncf.quantize`; by its model type it applies SmoothQuant."""

MOST_ERROR = 0.1
"""Relative error of features on held-out clips above which an export fails."""


@dataclass(frozen=True)
class Likeness:
    """How near the features of a quantised encoder are to those in float32.

    Attributes:
        relative_error: norm of the difference over the norm of the features, over all clips.
        cosine, lowest_cosine: of tokens, mean and lowest.
    """

    relative_error: float
    cosine: float
    lowest_cosine: float


def likeness(tokens: Sequence[Tensor], reference: Sequence[Tensor]) -> Likeness:
    """Of tokens (..., C) of each clip, and of those in float32."""
    found_NC, wanted_NC = (torch.cat([part.double().flatten(0, -2) for part in parts]) for parts in (tokens, reference))
    cosines_N = nn.functional.cosine_similarity(found_NC, wanted_NC, dim=-1)
    error = (found_NC - wanted_NC).norm() / wanted_NC.norm()
    return Likeness(float(error), float(cosines_N.mean()), float(cosines_N.min()))


def quantise(model: Any, clips: Sequence[Tensor]) -> Any:
    """The model with weights and activations of its linear layers, convolutions and attention in int8 (static,
    SmoothQuant).

    NNCF quantises graphs of OpenVINO and ONNX themselves, so it needs no torch of any version.

    Args:
        model: `openvino.Model` or `onnx.ModelProto` of a backbone.
        clips: uint8 (T, C, H, W), from which the ranges of activations are taken.

    Raises:
        ConfigError: nncf is not installed.
    """
    nncf = require("nncf", "openvino-export")
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # its progress
        return nncf.quantize(
            model,
            nncf.Dataset(clips, lambda clip_TCHW: {INPUT: normalize(clip_TCHW)[None].numpy()}),
            preset=nncf.QuantizationPreset(SETTINGS["preset"]),
            model_type=nncf.ModelType(SETTINGS["model_type"]),
            fast_bias_correction=SETTINGS["fast_bias_correction"],
            subset_size=len(clips),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix(OVERFLOW_FIX)),
        )


@dataclass(frozen=True)
class Quantised:
    """An encoder in eight bits.

    Attributes:
        model: `openvino.Model` or `onnx.ModelProto`.
        likeness: to the encoder in float32, on the clips held out.
        record: what it was made of and how.
    """

    model: Any
    likeness: Likeness
    record: dict[str, Any]


def quantised_encoder(
    encoder: LiteFrameEncoder,
    model: Any,
    run: Callable[[Any], Encode],
    clips: CalibrationClips,
    packages: Sequence[str],
) -> Quantised:
    """The encoder in eight bits, compared with itself in float32.

    Args:
        encoder: the student.
        model: of it, see `quantise`.
        run: makes what runs such a model.
        clips: to calibrate on, and to compare on.
        packages: whose versions go into the record.

    Raises:
        ConfigError: nncf is not installed, or the features differ too much on the clips held out.
    """
    model = quantise(model, [clip.frames_TCHW for clip in clips.calibration])
    encode, reference = run(model), float_copy(encoder)
    held_out = [normalize(clip.frames_TCHW)[None] for clip in clips.held_out]
    with torch.no_grad():
        found = likeness([encode(clip) for clip in held_out], [reference(clip).last_hidden_state for clip in held_out])
    if not found.relative_error <= MOST_ERROR:  # nor is a NaN
        raise ConfigError(
            f"--calibrate: on {len(held_out)} clips held out, features in eight bits differ by"
            f" {found.relative_error:.1%} from those in float32 (cosine {found.cosine:.4f}), and {MOST_ERROR:.0%} is"
            " the most; give more videos, like those that will be asked about"
        )
    record = {
        "encoder_sha256": encoder_sha256(encoder),
        "settings": SETTINGS,
        "versions": {"liteframe": liteframe.__version__, **{name: version(name) for name in packages}},
        "likeness": asdict(found),
        "calibration": _listed(clips.calibration),
        "held_out": _listed(clips.held_out),
    }
    return Quantised(model, found, record)


def export_int8(encoder: LiteFrameEncoder, folder: Path, clips: CalibrationClips) -> None:
    """Writes graph, weights and record for the engine openvino-int8 into a folder that is being exported, and a section
    of its model card.

    Args:
        encoder: the student, with the weights that the folder has.
        folder: of the export.
        clips: of the size that the engine will take.

    Raises:
        ConfigError: openvino or nncf is not installed, or the features differ too much on the clips held out.
    """
    shape = clips.calibration[0].frames_TCHW.shape
    model = to_openvino(encoder_program(encoder, (shape[-2], shape[-1])), shape)
    quantised = quantised_encoder(
        encoder, model, lambda graph: Compiled(graph, **PRECISION), clips, ("openvino", "nncf", "torch")
    )
    (folder / GRAPH).parent.mkdir()
    require("openvino", "openvino").save_model(quantised.model, folder / GRAPH, compress_to_fp16=False)
    atomic_write_json(folder / RECORD, {"written_by": "liteframe", "engine": INT8, **quantised.record})
    found = quantised.likeness
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(
            f"\n## In eight bits\n\n`{GRAPH}` is the encoder for OpenVINO on CPUs, int8, calibrated on"
            f" {len(clips.calibration)} clips: `liteframe chat FOLDER VIDEO --engine {INT8}`. On {len(clips.held_out)}"
            f" others its features differ by {found.relative_error:.1%} from those in float32 (cosine"
            f" {found.cosine:.4f}).\n"
        )


def _listed(clips: Sequence[Clip]) -> list[dict[str, object]]:
    return [{"video": clip.video, "frames": list(clip.indices)} for clip in clips]
