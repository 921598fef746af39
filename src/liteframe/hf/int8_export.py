"""The student's encoder in eight bits, written into an exported folder, and what that cost in its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

import liteframe
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError
from liteframe.hf.calibration import CalibrationClips, Clip
from liteframe.hf.engine import GRAPH, INT8, RECORD, encoder_sha256
from liteframe.hf.onnx import float_copy
from liteframe.hf.openvino import PRECISION, SETTINGS, Compiled, quantise, require, to_openvino
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.model import LiteFrameBackbone
from liteframe.system.atomic import atomic_write_json

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
    backbone = LiteFrameBackbone(float_copy(encoder))
    shape = tuple(clips.calibration[0].frames_TCHW.shape)
    model = quantise(to_openvino(backbone, shape), [clip.frames_TCHW for clip in clips.calibration])
    held_out = [normalize(clip.frames_TCHW)[None] for clip in clips.held_out]
    run = Compiled(model, **PRECISION)
    with torch.no_grad():
        found = likeness([run(clip) for clip in held_out], [backbone(clip).tokens_BTHWC for clip in held_out])
    if not found.relative_error <= MOST_ERROR:  # nor is a NaN
        raise ConfigError(
            f"--engine {INT8}: on {len(held_out)} clips held out, features differ by {found.relative_error:.1%} from"
            f" those in float32 (cosine {found.cosine:.4f}), and {MOST_ERROR:.0%} is the most; give --calibrate more"
            " videos, like those that will be asked about"
        )
    (folder / GRAPH).parent.mkdir()
    require("openvino", "openvino").save_model(model, folder / GRAPH, compress_to_fp16=False)
    versions = {name: version(name) for name in ("openvino", "nncf", "torch")}
    record = {
        "written_by": "liteframe",
        "engine": INT8,
        "encoder_sha256": encoder_sha256(encoder),
        "settings": SETTINGS,
        "versions": {"liteframe": liteframe.__version__, **versions},
        "likeness": asdict(found),
        "calibration": _listed(clips.calibration),
        "held_out": _listed(clips.held_out),
    }
    atomic_write_json(folder / RECORD, record)
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(
            f"\n## In eight bits\n\n`{GRAPH}` is the encoder for OpenVINO on CPUs, int8, calibrated on"
            f" {len(clips.calibration)} clips: `liteframe chat FOLDER VIDEO --engine {INT8}`. On {len(held_out)} others"
            f" its features differ by {found.relative_error:.1%} from those in float32 (cosine {found.cosine:.4f}).\n"
        )


def _listed(clips: Sequence[Clip]) -> list[dict[str, object]]:
    return [{"video": clip.video, "frames": list(clip.indices)} for clip in clips]
