"""The encoder alone as a file that others load without liteframe: ONNX, OpenVINO IR, or a program of torch.export."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from liteframe.data.transforms import describe_geometry
from liteframe.errors import ConfigError
from liteframe.hf.calibration import CalibrationClips
from liteframe.hf.encoder_program import encoder_program
from liteframe.hf.engine import encoder_sha256
from liteframe.hf.int8_export import Likeness, quantised_encoder
from liteframe.hf.onnx import onnxruntime_session, to_onnx
from liteframe.hf.openvino import PRECISION, Compiled, require, to_openvino
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.system.atomic import atomic_open

ONNX, OPENVINO, TORCH_EXPORT = ".onnx", ".xml", ".pt2"
FORMATS = (ONNX, OPENVINO, TORCH_EXPORT)
"""How the name of such a file ends, which says what it is."""

_WEIGHTS = ".bin"
"""Of the second file of an OpenVINO IR."""

_LARGEST_ONNX = 2**31
"""Bytes that a protobuf, which an ONNX file is, may have."""


def require_format(path: Path, dtype: str | None = None, quantised: bool = False) -> None:
    """Raises ConfigError where a file cannot be written so: not in its format, a package is missing, or it is there."""
    suffix = path.suffix
    if dtype not in (None, "float32") and (suffix, dtype, quantised) != (OPENVINO, "float16", False):
        raise ConfigError(
            f"{path}: --dtype {dtype} is not for this file; weights are float32, or in {OPENVINO} float16, or with"
            " --calibrate int8"
        )
    if quantised and suffix == TORCH_EXPORT:
        raise ConfigError(f"{path}: --calibrate is for {ONNX} and {OPENVINO}; a program of torch.export is float32")
    if suffix == ONNX:
        require("onnx", "onnx")
        require("onnxscript", "onnx")
        if quantised:
            require("onnxruntime", "onnx")
            require("nncf", "onnx-export")
    elif suffix == OPENVINO:
        require("openvino", "openvino")
        if quantised:
            require("nncf", "openvino-export")
        if path.with_suffix(_WEIGHTS).exists():
            raise ConfigError(f"{path.with_suffix(_WEIGHTS)} exists; remove it, or name another place")


def export_encoder(
    encoder: LiteFrameEncoder,
    path: Path,
    size: tuple[int, int] | None = None,
    dtype: str | None = None,
    clips: CalibrationClips | None = None,
) -> Likeness | None:
    """Writes the encoder with input ``frames_BTCHW``, output ``tokens_BTHWC``, and a note on what frames it takes.

    Both are float32. Batch and frames may be of any size, frames a multiple of `clip_frames`; height and width are
    fixed.

    Args:
        encoder: the student.
        path: of the file, see `FORMATS`; beside an OpenVINO IR its weights get the same name and ``.bin``.
        size: height and width in pixels; None is `image_size` of the encoder's config.
        dtype: of the weights; "float16" is for OpenVINO alone, None is float32.
        clips: to quantise it to eight bits with, of that size; None leaves it in float.

    Returns:
        How near the features in eight bits are to those in float32; None where there are none.

    Raises:
        ConfigError: see `require_format`; the encoder is too large; features in eight bits differ too much; or the file
            cannot be written, which is tried before the work.
    """
    require_format(path, dtype, clips is not None)
    weights = 4 * sum(weight.numel() for weight in encoder.parameters())
    if path.suffix == ONNX and weights >= _LARGEST_ONNX:
        raise ConfigError(
            f"{path}: an ONNX file holds 2 GiB, and this encoder's weights are {weights / 2**30:.1f} GiB; name a file"
            f" that ends in {OPENVINO} or {TORCH_EXPORT}"
        )
    paths = [path, path.with_suffix(_WEIGHTS)] if path.suffix == OPENVINO else [path]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            files = [stack.enter_context(atomic_open(each)) for each in paths]
            contents, found = _contents(encoder, path.suffix, size, dtype, clips)
            for file, content in zip(files, contents, strict=True):
                file.write(content)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or give another folder"
        ) from error
    return found


def _contents(
    encoder: LiteFrameEncoder,
    suffix: str,
    size: tuple[int, int] | None,
    dtype: str | None,
    clips: CalibrationClips | None,
) -> tuple[Sequence[bytes], Likeness | None]:
    """Of each file, and how near the features in eight bits are."""
    config = encoder.config
    size = size or (config.image_size, config.image_size)
    model, found = encoder_program(encoder, size), None
    record: dict[str, Any] = {"encoder_sha256": encoder_sha256(encoder)}
    if suffix == ONNX:
        model = to_onnx(model)
    elif suffix == OPENVINO:
        model = to_openvino(model, (config.num_channels, *size))
    if clips is not None:
        runtime, run = ("onnxruntime", onnxruntime_session) if suffix == ONNX else ("openvino", _compiled)
        quantised = quantised_encoder(encoder, model, run, clips, (runtime, "nncf", "torch"))
        model, found, record = quantised.model, quantised.likeness, quantised.record
    about = json.dumps({**describe_geometry(size), "clip_frames": config.clip_frames, **record})
    if suffix == ONNX:
        model.metadata_props.add(key="liteframe", value=about)
        return [model.SerializeToString()], found
    if suffix == OPENVINO:
        model.set_rt_info(about, "liteframe")
        with TemporaryDirectory() as folder:
            graph = Path(folder) / f"encoder{OPENVINO}"
            require("openvino", "openvino").save_model(model, graph, compress_to_fp16=dtype == "float16")
            return [graph.read_bytes(), graph.with_suffix(_WEIGHTS).read_bytes()], found
    buffer = io.BytesIO()
    torch.export.save(model, buffer, extra_files={"liteframe.json": about})
    return [buffer.getvalue()], found


def _compiled(model: Any) -> Compiled:
    return Compiled(model, **PRECISION)
