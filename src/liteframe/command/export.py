"""``liteframe export``; apart from `liteframe.hf`, which loads transformers."""

from __future__ import annotations

from pathlib import Path

from liteframe.errors import ConfigError


def export_command(
    run: str,
    out: str,
    merge: bool = False,
    host: str | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    calibrate: str | None = None,
) -> int:
    """Writes a finished run as a folder that transformers loads after `import liteframe.hf`, or its encoder as a file.

    Args:
        run: run folder of LMA or CTD, or the `export` folder in it; with CTD the encoder goes into the base VLM as it
            is.
        out: folder to write, which must not exist; a name that ends in .onnx (ONNX), .xml (OpenVINO, with its weights
            in .bin) or .pt2 (torch.export) is a file for the encoder alone, which is loaded without liteframe.
        merge: merge the LoRA adapter into the LLM; otherwise it lies apart in the folder and is put on when loaded.
        host: folder or hub id of the base VLM; by default the one that LMA was run with, or the teacher of CTD if it
            made the targets on the fly.
        dtype: of all weights, float32, bfloat16 or float16; that of the base VLM by default. A file is float32, but
            .xml may be float16.
        max_shard_size: weights are split into files of at most this size.
        calibrate: videos, or a list of them, like those that will be asked about, for an encoder in eight bits: a file
            (.onnx or .xml) is in eight bits then, and a folder has it besides, for chat, evaluate and `liteframe.load`
            with the engine openvino-int8. Ranges of activations are taken from up to 64 of their clips, and the export
            fails where features differ too much on others. Needs pip install 'liteframe-video[openvino-export]', or
            'liteframe-video[onnx-export]' for .onnx.
    """
    if not Path(run).is_dir():
        raise ConfigError(f"{run}: no such folder; give the run folder of a stage that has finished")
    if Path(out).exists():
        raise ConfigError(f"{out} exists; remove it, or name another place")
    from liteframe.hf.export import export

    return export(run, out, merge, host, dtype, max_shard_size, calibrate)
