"""Pictures that are too large, damaged, or drawn by programs are errors with a name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liteframe.data.decoding import pictures
from liteframe.errors import DataError
from liteframe.hf.inputs import read_image, read_video

SIZE = (56, 56)


def png(path: Path, width: int, height: int) -> Path:
    """A picture that says its size, and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 + 3 * min(width, 99)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (12_000, 12_000), (2**31 - 1, 1), (0, 5)])
def test_a_picture_of_absurd_size_is_named(width: int, height: int, tmp_path: Path) -> None:
    path = png(tmp_path / "picture.png", width, height)
    with pytest.raises(DataError, match=r"picture\.png: "):
        read_image(path, SIZE)
    if width == 12_000:
        with Image.open(path) as opened, pytest.raises(DataError, match="12000 x 12000 pixels"):
            read_image(opened, SIZE)
        with Image.open(path) as opened, pytest.raises(DataError, match="12000 x 12000 pixels"):
            read_video([opened], SIZE, None, None)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0" + b"\xff" * 50, b"RIFF0000WEBPVP8 "])
def test_a_damaged_picture_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(data)
    with pytest.raises(DataError, match=r"picture\.png: cannot be read as an image"):
        read_image(tmp_path / "picture.png", SIZE)


def test_no_program_is_started_for_a_picture(tmp_path: Path) -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n"
    (tmp_path / "picture.png").write_bytes(text)
    assert Image.open(tmp_path / "picture.png").format == "EPS", "what a reader of everything would take it for"
    with pytest.raises(DataError, match=r"picture\.png: cannot be read"):
        read_image(tmp_path / "picture.png", SIZE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_the_usual_kinds_are_read(kind: str, tmp_path: Path) -> None:
    assert kind in pictures._formats()
    Image.fromarray(np.full((80, 90, 3), 200, np.uint8)).save(tmp_path / "picture", kind)
    assert abs(read_image(tmp_path / "picture", SIZE).float().mean() - 200) < 3


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_grey_of_16_bits_is_scaled_and_not_cut_off(ending: str, tmp_path: Path) -> None:
    levels_HW = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    Image.fromarray(levels_HW).save(tmp_path / f"grey.{ending}")
    expected = np.repeat(np.round(levels_HW / 257.0).astype(np.uint8)[None, None], 3, axis=1)
    for given in (str(tmp_path / f"grey.{ending}"), Image.fromarray(levels_HW)):
        np.testing.assert_array_equal(read_image(given, (64, 64)).numpy(), expected)
        np.testing.assert_array_equal(read_video([given], (64, 64), None, None)[0].numpy(), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_known_white_are_named(dtype: type, tmp_path: Path) -> None:
    picture = Image.fromarray(np.ones((8, 8), dtype))
    picture.save(tmp_path / "depth.tiff")
    with pytest.raises(DataError, match=r"depth\.tiff: a picture of mode [IF], whose white is not known"):
        read_image(str(tmp_path / "depth.tiff"), (8, 8))
    with pytest.raises(DataError, match="a picture of mode [IF]"):
        read_video([picture], (8, 8), None, None)
