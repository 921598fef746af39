"""Pictures as RGB pixels, and videos that are kept as a picture a frame; whoever made them is not trusted.

Torch-free, because decode processes import it.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageFile, ImageOps

from liteframe.data.decoding import heartbeat
from liteframe.data.decoding.frame_resize import FrameResize
from liteframe.data.decoding.memory import require_memory
from liteframe.data.decoding.transparency import WHITE, over_white
from liteframe.errors import DataError

_MOST_PIXELS = 100_000_000
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa")
_GREY_STEPS = {"L;2": 85, "L;4": 17}
"""Step between grey levels of 2 and 4 bits once Pillow has scaled them to 8, by its names of the raw modes."""
_FORMATS_READ = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "TGA")


def read_pictures(paths: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Pictures one after the other: uint8 RGB (T, height, width, 3).

    Args:
        paths: of files.
        size: height and width that they are scaled to, bicubic with antialias.

    Raises:
        DataError: as `open_picture`, or they take more memory than a video may.
    """
    require_memory(os.path.dirname(paths[0]), len(paths), *size)
    frames_THWC = np.empty((len(paths), *size, 3), np.uint8)
    for frame_HWC, path in zip(frames_THWC, paths, strict=True):
        pixels_HWC = np.asarray(open_picture(path))
        height, width = pixels_HWC.shape[:2]
        frame_HWC[:] = FrameResize((height, width), size)(pixels_HWC)
        heartbeat.step()
    return frames_THWC


def picture_size(path: str) -> tuple[int, int]:
    """Height and width in pixels of the picture in a file. Raises DataError as `open_picture`."""
    width, height = open_picture(path).size
    return height, width


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, upright and in RGB.

    Raises:
        DataError: no such file, no picture, or one of more pixels than fit into memory with ease.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: no file but a folder, a pipe or a device; take it away")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `require_small` has a limit of its own
            with Image.open(path, formats=_formats()) as opened:
                require_small(opened, str(path))
                _mend_transparency(opened)
                lacks_alpha = opened.format == "TGA" and not _tga_alpha_bits(path)
                picture = ImageOps.exif_transpose(opened)
                return picture.convert("RGB") if lacks_alpha else in_rgb(picture, str(path))
    except DataError:
        raise
    except Exception as error:  # readers of damaged images raise whatever Python does
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def in_rgb(picture: Image.Image, name: str) -> Image.Image:
    """A picture in RGB, on white where it is transparent.

    Grey levels of 16 bits are scaled to 8, where Pillow would cut them off at 255.

    Raises:
        DataError: its numbers have no range that is known (modes "I" and "F"); names it.
    """
    if picture.mode.startswith("I;16"):
        levels_HW = np.asarray(picture)
        grey_HW = np.round(levels_HW / 257.0).astype(np.uint8)
        if "transparency" in picture.info:
            grey_HW[levels_HW == picture.info["transparency"]] = WHITE
        picture = Image.fromarray(grey_HW)
    elif picture.mode in ("I", "F"):
        raise DataError(f"{name}: a picture of mode {picture.mode}, whose white is not known; convert it to 8 bits")
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        return Image.fromarray(over_white(np.asarray(picture.convert("RGBA"))))
    return picture.convert("RGB")


def require_small(image: Image.Image, name: str) -> None:
    """Raises DataError, with `name`, where a picture has more pixels than fit into memory with ease."""
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise DataError(f"{name}: {width} x {height} pixels, where {_MOST_PIXELS:,} are the most; make it smaller")


def _mend_transparency(opened: ImageFile.ImageFile) -> None:
    """Scales the transparent grey level or colour of a PNG (tRNS) to 8 bits, as Pillow scales only the pixels.

    Of 16-bit colours Pillow keeps the high byte, so all colours that share it with the transparent one become white.
    """
    key, tile = opened.info.get("transparency"), next(iter(opened.tile), None)
    if opened.format != "PNG" or key is None or tile is None:
        return
    stored_as = tile[3]
    if stored_as in _GREY_STEPS:
        opened.info["transparency"] = key * _GREY_STEPS[stored_as]
    elif stored_as == "RGB;16B":
        opened.info["transparency"] = tuple(level >> 8 for level in key)


def _tga_alpha_bits(path: str | os.PathLike[str]) -> int:
    """Bits of alpha by the header of a TGA. Without any, Pillow still reads the fourth byte as alpha, mostly 0."""
    with open(path, "rb") as file:
        return file.read(18)[-1] & 0x0F


@cache
def _formats() -> list[str]:
    """Pictures of pixels: those of other kinds are drawn by programs, such as Ghostscript."""
    Image.init()
    return [name for name in _FORMATS_READ if name in Image.OPEN]
