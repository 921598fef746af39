"""A program of torch.export as an ONNX model, and the run of one by onnxruntime on a CPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from liteframe.hf.encoder_program import INPUT, OUTPUT, Encode


def to_onnx(program: Any) -> Any:
    """An `onnx.ModelProto` of what `backbone_program` gives."""
    exported: Any = torch.onnx.export(
        program,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: "batch", 1: "frames"},),
        dynamo=True,
        verbose=False,
    )
    exported.rename_axes({exported.model.graph.outputs[0].shape[1]: "groups"})
    return exported.model_proto


def onnxruntime_session(model: Any) -> Encode:
    """What an `onnx.ModelProto` gives, with as many threads as torch has."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frames_BTCHW: torch.from_numpy(session.run([OUTPUT], {INPUT: frames_BTCHW.numpy()})[0])
