"""``liteframe doctor``: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import liteframe
from liteframe.command.configs import shipped_configs
from liteframe.errors import ConfigError
from liteframe.system import fast_dtype
from liteframe.system.runtime import usable_cores

_PACKAGES = (
    *("torch", "torchvision", "lightning", "transformers", "timm", "peft", "torchmetrics", "jsonargparse"),
    *("tensorboard", "av", "numpy", "safetensors", "matplotlib", "tqdm"),
)
_DECORDS = ("decord", "decord2")
# FFmpeg's own "av1" is only a door to hardware; dav1d and aom decode it in software.
_DECODERS = {"H.264": ["h264"], "HEVC": ["hevc"], "VP9": ["vp9", "libvpx-vp9"], "AV1": ["libdav1d", "libaom-av1"]}

_CLIP_FRAMES, _CLIP_SIZE, _GREY = 4, (64, 48), 128


def doctor_command() -> int:
    """Show versions, devices and decoders, and say what is missing and what to do.

    Returns 1 if something that liteframe needs is missing, else 0.
    """
    problems: list[str] = []
    for title, lines in (
        ("versions", _versions(problems)),
        ("devices", _devices(problems)),
        ("decoders", _decoders(problems)),
        ("attention", _attention()),
        ("folders", _folders(problems)),
    ):
        print(title)
        for name, value in lines:
            print(f"  {name:<14} {value}")
    if problems:
        print("missing")
        for problem in problems:
            print(f"  {problem}")
        return 1
    print("nothing is missing")
    return 0


def _versions(problems: list[str]) -> list[tuple[str, str]]:
    lines = [("liteframe", liteframe.__version__), ("python", platform.python_version())]
    lines.append(("system", platform.platform()))
    for name in _PACKAGES:
        found = _version(name)
        lines.append((name, found or "not installed"))
        if found is None:
            problems.append(f"{name}: install it with `pip install {name}`")
    return lines


def _devices(problems: list[str]) -> list[tuple[str, str]]:
    lines = [("cpu cores", f"{usable_cores()} usable of {os.cpu_count()}")]
    if (memory := _memory_gib()) is not None:
        lines.append(("memory", f"{memory:.1f} GiB"))
    try:
        import torch
        import torchvision  # noqa: F401 - a torchvision that does not fit torch fails on import
    except (ImportError, RuntimeError, OSError) as error:
        problems.append(f"torch or torchvision cannot be imported ({error}): install versions that belong together")
        return lines
    lines.append(("torch threads", str(torch.get_num_threads())))
    lines.append(("cpu bf16", _cpu_bf16()))
    lines.append(("cpu dtype", _cpu_dtype(torch.get_num_threads())))
    if not torch.cuda.is_available():
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        lines.append(("cuda", f"no GPU (torch is built {build})"))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        bf16 = (
            "bf16"
            if fast_dtype.fast_dtype(f"cuda:{index}") == "bfloat16"
            else "no bf16: use --trainer.precision 16-mixed"
        )
        lines.append((f"cuda {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {bf16}"))
    if torch.backends.mps.is_available():
        lines.append(("mps", "available"))
    return lines


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def _cpu_bf16() -> str:
    flags = [name for name in ("amx_bf16", "avx512_bf16") if name in fast_dtype.cpu_flags()]
    return f"in hardware ({', '.join(flags)})" if flags else "emulated"


def _cpu_dtype(threads: int) -> str:
    """What `auto` stands for on this CPU, and why."""
    rates = fast_dtype.cpu_rates(threads)
    return f"{rates.fastest} (measured: bfloat16 {rates.bfloat16:.1f} GFLOP/s, float32 {rates.float32:.1f} GFLOP/s)"


def _decoders(problems: list[str]) -> list[tuple[str, str]]:
    lines = [("decord", _decord())]
    try:
        import av
    except ImportError as error:
        problems.append(f"av cannot be imported ({error}): install it with `pip install av`")
        return lines
    reads = [codec for codec, decoders in _DECODERS.items() if _av_has("r", *decoders)]
    lines.append(("pyav", ", ".join(reads) or "no known codec"))
    lines.append(("ffmpeg in pyav", ", ".join(f"{k} {'.'.join(map(str, v))}" for k, v in av.library_versions.items())))
    problems += [f"PyAV reads no {codec}: install a newer `av`" for codec in _DECODERS if codec not in reads]
    lines.append(("reading", _reading(problems)))
    if not _av_has("w", "libx264"):
        problems.append("PyAV has no libx264, which `liteframe synth` writes with: install `av` from its wheel")
    return lines


def _decord() -> str:
    """Which package the module decord is from."""
    if importlib.util.find_spec("decord") is None:
        return "absent, and not needed: PyAV decodes everything"
    packages = [f"{name} {found}" for name in _DECORDS if (found := _version(name))]
    return f"{' and '.join(packages) or 'of no package'}, where the setting data.decoder asks for it"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _reading(problems: list[str]) -> str:
    """Whether a clip that is written here can be read, as all videos are."""
    from liteframe.data.decoding.read_video import read_video

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "clip.mp4")
            _write_grey(path)
            frames_THWC = read_video(path).frames_THWC
    except Exception as error:  # whatever an av of another age lacks, too
        said = " ".join(str(error).split())
        problems.append(f"no video can be read ({type(error).__name__}: {said}): install another `av`, from 14 to 19")
        return "fails"
    if frames_THWC.shape != (_CLIP_FRAMES, *_CLIP_SIZE, 3) or abs(frames_THWC.astype(int) - _GREY).max() > 8:
        problems.append("a video written here is read otherwise: install another `av`, from 14 to 19")
        return "fails"
    return "a clip that was written here"


def _write_grey(path: str) -> None:
    """Grey frames by an encoder that every FFmpeg has."""
    import av
    import numpy as np

    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = _CLIP_SIZE
        stream.pix_fmt = "yuv420p"
        frame_HWC = np.full((*_CLIP_SIZE, 3), _GREY, np.uint8)
        for _ in range(_CLIP_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


def _av_has(mode: Literal["r", "w"], *names: str) -> bool:
    from av.codec import Codec
    from av.error import FFmpegError

    for name in names:
        try:
            Codec(name, mode)
        except (FFmpegError, ValueError):
            continue
        return True
    return False


def _attention() -> list[tuple[str, str]]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    lines = [("sdpa", "yes (torch.nn.functional.scaled_dot_product_attention)")]
    if torch.cuda.is_available():
        cuda = torch.backends.cuda
        kernels = {"flash": cuda.flash_sdp_enabled(), "memory efficient": cuda.mem_efficient_sdp_enabled()}
        lines.append(("cuda kernels", ", ".join(name for name, on in kernels.items() if on) or "math only"))
    flash = importlib.util.find_spec("flash_attn") is not None
    lines.append(("flash_attn", "installed" if flash else "not installed (optional)"))
    return lines


def _folders(problems: list[str]) -> list[tuple[str, str]]:
    lines = [("free here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB")]
    try:
        lines.append(("configs", str(shipped_configs())))
    except ConfigError as error:
        problems.append(str(error))
    return lines
