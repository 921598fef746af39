"""``liteframe export``; apart from `liteframe.hf`, which loads transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from liteframe.errors import ConfigError


def export_command(
    run: str,
    out: str,
    merge: bool = False,
    host: str | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    engine: Literal["torch", "openvino-int8"] = "torch",
    calibrate: str | None = None,
) -> int:
    """Writes a finished run as a folder that transformers loads after `import liteframe.hf`, or its encoder as ONNX.

    Args:
        run: run folder of LMA or CTD, or the `export` folder in it; with CTD the encoder goes into the base VLM as it
            is.
        out: folder to write, which must not exist; a name that ends in .onnx is a file for the encoder alone.
        merge: merge the LoRA adapter into the LLM; otherwise it lies apart in the folder and is put on when loaded.
        host: folder or hub id of the base VLM; by default the one that LMA was run with, or the teacher of CTD if it
            made the targets on the fly.
        dtype: of all weights, float32, bfloat16 or float16; that of the base VLM by default.
        max_shard_size: weights are split into files of at most this size.
        engine: openvino-int8 puts the encoder in there once more, in eight bits for CPUs (pip install
            'liteframe-video[openvino-export]'), for chat, evaluate and `liteframe.load` with that engine.
        calibrate: videos, or a list of them, like those that will be asked about; openvino-int8 takes the ranges of
            activations from up to 64 of their clips, and the export fails where features differ too much on others.
    """
    if not Path(run).is_dir():
        raise ConfigError(f"{run}: no such folder; give the run folder of a stage that has finished")
    if Path(out).exists():
        raise ConfigError(f"{out} exists; remove it, or name another place")
    from liteframe.hf.export import export

    return export(run, out, merge, host, dtype, max_shard_size, engine, calibrate)
