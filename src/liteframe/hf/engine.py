"""What runs an encoder: torch, or torch with the encoder compiled on a CPU; for the student also OpenVINO in eight bits
on a CPU, out of what `liteframe export` wrote, or torch in float8 on a GPU, by torchao."""

from __future__ import annotations

import hashlib
import sys
import threading
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalized_for
from liteframe.errors import ConfigError, GeometryError
from liteframe.hf.encoder_program import INPUT
from liteframe.hf.openvino import OVERFLOW_FIX, PRECISION, Compiled, require
from liteframe.models.acceleration.compiled_layers import compile_layers
from liteframe.models.acceleration.frozen_graphs import FrozenGraphs
from liteframe.models.backbone import VisionTokens
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks, filled_up
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.folders.model_folder import read_json_file
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.float8 import quantise_float8, require_float8
from liteframe.models.teachers import Teacher, weights_sha256
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.models.video_llm.reading import chunk_frames
from liteframe.system.own_folder import LISTING, is_foreign, is_own, read_listed

TORCH, COMPILED, INT8, FLOAT8 = "torch", "torch-compile", "openvino-int8", "torchao-fp8"
ENGINES = (TORCH, COMPILED, INT8, FLOAT8)
GRAPH, WEIGHTS, RECORD = (f"{INT8}/{name}" for name in ("encoder.xml", "encoder.bin", "record.json"))
"""Files of an exported folder. The graph and its weights are OpenVINO's; the record says what they were made of."""


def require_engine(engine: str, device: str = "auto") -> str:
    """The device for an engine: `device` itself for torch, a GPU for torchao, the CPU for others.

    Args:
        engine: one of `ENGINES`.
        device: "cpu", "cuda", ...; "auto" is the engine's choice.

    Raises:
        ConfigError: no such engine, a device that it does not run on, or it cannot run here.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    if engine == TORCH:
        return device
    if engine == FLOAT8:
        device = "cuda" if device == "auto" else device
        try:
            require_float8(device)
        except ConfigError as error:
            raise ConfigError(f"engine {engine}: {error}") from error
        return device
    if device not in ("auto", "cpu"):
        raise ConfigError(f"engine {engine} runs on CPUs alone, and the device is {device!r}; leave one of them out")
    if engine == COMPILED:
        return "cpu"
    core = require("openvino", "openvino").Core()
    if "CPU" not in core.available_devices or "INT8" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ConfigError(f"engine {engine}: OpenVINO computes no eight bits on this CPU; leave the engine out")
    return "cpu"


def encoder_sha256(encoder: LiteFrameEncoder) -> str:
    """Hash of an encoder's weights, in whichever dtype they are loaded."""
    return weights_sha256(deepcopy(encoder).float())


def recorded_sha256(folder: Path) -> str:
    """Hash of the weights (see `encoder_sha256`) that the graph in an exported folder was made from.

    Raises:
        ConfigError: there is no record of one that liteframe wrote, it is damaged, or the graph is right on some CPUs
            alone.
    """
    if not is_own(folder) or is_foreign(folder, RECORD) or not (folder / RECORD).is_file():
        raise ConfigError(
            f"{folder}: holds no encoder for the engine {INT8} that liteframe wrote ({LISTING} lists {RECORD} where"
            f" there is one); make a folder with one: liteframe export RUN OUT --calibrate VIDEOS"
        )
    record = read_json_file(folder / RECORD)
    digest, settings = record.get("encoder_sha256"), record.get("settings")
    if not isinstance(digest, str):
        raise ConfigError(f"{folder / RECORD}: lacks `encoder_sha256`; export the run again")
    if not isinstance(settings, dict) or settings.get("overflow_fix") != OVERFLOW_FIX:
        raise ConfigError(
            f"{folder / RECORD}: its weights fill all eight bits, which gives wrong features on CPUs without VNNI;"
            " export the run again"
        )
    return digest


def freeze_encoder(model: VideoLLM) -> None:
    """Has the encoder of a Video LLM compiled for as many clips at a time as answers on a CPU encode.

    Raises:
        ConfigError: an encoder that is neither the student nor a teacher.
    """
    backbone, size = model.backbone, model.frames.image_size
    assert size is not None, "every encoder of a Video LLM has a size"
    clips = chunk_frames(model, size, torch.device("cpu")) // model.clip_frames
    if isinstance(backbone, LiteFrameBackbone):
        backbone.encoder.freeze_chunks(clips)
    elif isinstance(backbone, Teacher):
        backbone.freeze_frames(clips)
    else:
        raise ConfigError(f"engine {COMPILED} compiles the student and teachers, not a {type(backbone).__name__}")


def frozen_graphs(backbone: nn.Module) -> FrozenGraphs | None:
    """What `freeze_encoder` has put in a backbone."""
    graphs = getattr(backbone.encoder if isinstance(backbone, LiteFrameBackbone) else backbone, "_graphs", None)
    return graphs if isinstance(graphs, FrozenGraphs) else None


@torch.inference_mode()
def compile_ahead(model: VideoLLM, dtype: torch.dtype | None) -> None:
    """Where the encoder is to be compiled, compiles it now, for frames of the size that the model was made for.

    Args:
        model: where it answers, in its precision.
        dtype: of autocast; None is none.
    """
    graphs, size = frozen_graphs(model.backbone), model.frames.image_size
    if graphs is None or size is None:
        return
    print("liteframe: compiles the encoder, which takes a minute or so", file=sys.stderr, flush=True)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        model.encode(torch.zeros(1, graphs.batch * model.clip_frames, 3, *size, dtype=torch.uint8))


def describe_engine(backbone: nn.Module) -> dict[str, Any] | None:
    """What runs an encoder, for a record; None where torch does as it is."""
    if isinstance(backbone, OpenVINOBackbone | Float8Backbone):
        return backbone.describe()
    graphs = frozen_graphs(backbone)
    return None if graphs is None or graphs.failed else {"name": COMPILED, "chunk": graphs.batch}


class OpenVINOBackbone(nn.Module):
    """The student in eight bits as a backbone, on the CPU; see `LiteFrameBackbone`.

    Args:
        folder: that `liteframe export --calibrate` wrote.
        student: the encoder in that folder, whose place it takes.

    Attributes:
        only_size: height and width of the frames that it takes.
        ir_sha256: of graph and weights.

    Raises:
        ConfigError: the folder has no encoder for this engine, or one made of other weights, or one whose files are
            not those that liteframe wrote; openvino is not installed.
    """

    def __init__(self, folder: Path, student: LiteFrameBackbone) -> None:
        super().__init__()
        if encoder_sha256(student.encoder) != recorded_sha256(folder):
            raise ConfigError(
                f"{folder / GRAPH}: was made of other weights than the encoder beside it has; export the run again with"
                " --calibrate VIDEOS"
            )
        self.frames_per_group, self.clip_frames = student.frames_per_group, student.clip_frames
        self.frame_wise, self.size_multiple = student.frame_wise, student.size_multiple
        graph, weights = read_listed(folder, GRAPH), read_listed(folder, WEIGHTS)
        self.ir_sha256 = hashlib.sha256(graph + weights).hexdigest()
        with named_errors(f"{folder / GRAPH}: OpenVINO cannot read it", "export the run again"):
            model = require("openvino", "openvino").Core().read_model(graph, weights)
            height, width = (side.get_length() for side in list(model.input(INPUT).partial_shape)[-2:])
            self._run = Compiled(model, **PRECISION)
        self.image_size = self.only_size = (height, width)

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Tokens of frames, uint8 or normalised as ImageNet is; the last clip is filled up with the last frame.

        Raises:
            GeometryError: frames of another size than it was exported for.
        """
        frames, (height, width) = frames_BTCHW.shape[1], frames_BTCHW.shape[-2:]
        if (height, width) != self.only_size:
            raise GeometryError(f"frames of {height} x {width} px; the engine {INT8} takes {self.only_size} alone")
        frames_BTCHW = normalized_for(frames_BTCHW, IMAGENET_MEAN, IMAGENET_STD)
        tokens_BTHWC = encode_chunks(self._encode, frames_BTCHW, self.clip_frames, CLIPS_AT_ONCE)
        return VisionTokens(tokens_BTHWC[:, : -(-frames // self.frames_per_group)])

    def _encode(self, frames_BTCHW: Tensor) -> Tensor:
        whole_BTCHW = filled_up(frames_BTCHW, -frames_BTCHW.shape[1] % self.clip_frames, axis=1)
        tokens_NTHWC = self._run(whole_BTCHW.unflatten(1, (-1, self.clip_frames)).flatten(0, 1))
        return tokens_NTHWC.unflatten(0, (len(frames_BTCHW), -1)).flatten(1, 2)

    def describe(self) -> dict[str, Any]:
        """For a record."""
        return {"name": INT8, "ir_sha256": self.ir_sha256, "openvino": require("openvino", "openvino").__version__}


class Float8Backbone(nn.Module):
    """The student with its blocks in float8 as a backbone, on a GPU; see `LiteFrameBackbone`.

    The first frames turn the weights into float8, on the device where the frames are; the blocks are compiled, as else
    it is slower than bfloat16.

    Args:
        student: whose place it takes; all of it that is not in float8 becomes bfloat16.
    """

    def __init__(self, student: LiteFrameBackbone) -> None:
        super().__init__()
        self.frames_per_group, self.clip_frames = student.frames_per_group, student.clip_frames
        self.frame_wise, self.size_multiple = student.frame_wise, student.size_multiple
        self.image_size = student.image_size
        self.encoder_sha256 = encoder_sha256(student.encoder)
        # No part of this module, so that no change of its dtype, which float8 does not survive, gets to the weights.
        self._student = (student,)
        self._quantised, self._quantising = False, threading.Lock()

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Tokens, in bfloat16, of frames, uint8 or normalised as ImageNet is.

        Raises:
            ConfigError: the device of the frames multiplies no float8.
        """
        (student,) = self._student
        with self._quantising:
            if not self._quantised:
                torchao = require_float8(frames_BTCHW.device)
                student.to(frames_BTCHW.device, torch.bfloat16)
                quantise_float8(student.encoder, torchao)
                compile_layers(student.encoder.blocks, dynamic=True)
                student.encoder.save_memory(CLIPS_AT_ONCE)
                self._quantised = True
        with torch.no_grad(), torch.autocast(frames_BTCHW.device.type, enabled=False):
            bytes_or_half = frames_BTCHW if frames_BTCHW.dtype == torch.uint8 else frames_BTCHW.to(torch.bfloat16)
            tokens: VisionTokens = student(bytes_or_half)
        return tokens

    def describe(self) -> dict[str, Any]:
        """For a record."""
        return {"name": FLOAT8, "encoder_sha256": self.encoder_sha256, "torchao": version("torchao")}
