"""``liteframe export``; apart from `liteframe.hf`, which loads transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from liteframe.errors import ConfigError
from liteframe.system.shown_url import shown_url


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
        out: folder to write, which must not exist, or the address of one in a bucket (s3://...); a name that ends in
            .onnx (ONNX), .xml (OpenVINO, with its weights in .bin) or .pt2 (torch.export) is a file for the encoder
            alone, which is loaded without liteframe.
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
    from liteframe.data.remote.file import is_url

    if is_url(out):
        return _export_to_address(
            run, out, lambda folder: export_command(run, folder, merge, host, dtype, max_shard_size, calibrate)
        )
    if Path(out).exists():
        raise ConfigError(f"{out} exists; remove it, or name another place")
    from liteframe.hf.export import export

    return export(run, out, merge, host, dtype, max_shard_size, calibrate)


def _export_to_address(run: str, address: str, export: Callable[[str], int]) -> int:
    """Exports into a folder beside the run, and copies that to a bucket."""
    from liteframe.command.upload import upload_command
    from liteframe.data.remote.objects import objects_below

    name = PurePosixPath(shown_url(address)).name
    if "." in name and PurePosixPath(name).suffix in (".onnx", ".xml", ".pt2"):
        raise ConfigError(f"--out {shown_url(address)}: give a file here, and copy its folder with `liteframe upload`")
    if found := objects_below(address):
        raise ConfigError(f"{shown_url(address)} holds {next(iter(found))}; remove it, or name another place")
    with TemporaryDirectory(prefix=".export-", dir=run) as folder:
        export(str(Path(folder, name)))
        return upload_command(str(Path(folder, name)), address)
