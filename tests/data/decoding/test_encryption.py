"""Encrypted files are called so, instead of damaged."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from painted_videos import write_video

from liteframe.data.decoding.containers.encryption import is_encrypted
from liteframe.data.decoding.decode import probe
from liteframe.errors import DecodeError


@pytest.mark.parametrize("container_options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_an_encrypted_file_is_called_so(tmp_path: Path, container_options: dict[str, str]) -> None:
    keys = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16, "encryption_kid": "a7" * 16}
    path = write_video(tmp_path / "a.mp4", 12, container_options={**container_options, **keys})
    for truncated in (False, True):
        with pytest.raises(DecodeError, match="is encrypted"):
            probe(str(path), truncated=truncated)
    plain = write_video(tmp_path / "b.mp4", 12, container_options=container_options)
    with plain.open("rb") as file:
        assert not is_encrypted(file, "mov,mp4", 1)
    assert probe(str(plain)).frames == 12


def element(identity: str, body: bytes) -> bytes:
    return bytes.fromhex(identity) + (0x4000 | len(body)).to_bytes(2, "big") + body


@pytest.mark.parametrize("kind, encrypted", [(b"\1", True), (b"\2", False)])
def test_an_encrypted_track_of_matroska(kind: bytes, encrypted: bool) -> None:
    codings = element("6d80", element("6240", element("5035", element("47e1", b"\5"))))
    plain = element("ae", element("83", b"\1"))
    track = element("ae", element("d7", b"\1") + element("83", kind) + codings)
    segment = bytes.fromhex("1853806701ffffffffffffff") + element("ec", bytes(9)) + element("1654ae6b", plain + track)
    data = element("1a45dfa3", b"") + segment + bytes.fromhex("1f43b67501ffffffffffffff")
    assert is_encrypted(io.BytesIO(data), "matroska,webm", 0) == encrypted
    for end in range(0, len(data), 3):
        is_encrypted(io.BytesIO(data[:end]), "matroska,webm", 0)


def test_an_encrypted_windows_media_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.wmv", 12, codec="wmv2")
    assert probe(str(path)).frames == 12
    data = bytearray(path.read_bytes())
    place = data.index(bytes.fromhex("4052d1861d31d011a3a400a0c90348f6"))  # a list of codecs, which nobody needs
    length = int.from_bytes(data[place + 16 : place + 24], "little")
    data[place : place + 16] = bytes.fromhex("14e68a292226174cb935dae07ee9289c")
    data[place + 24 : place + length] = bytes(length - 24)
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="is encrypted"):
        probe(str(path))


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mov"])
def test_plain_files_are_not_called_so(tmp_path: Path, name: str) -> None:
    assert probe(str(write_video(tmp_path / name, 8, "libvpx" if name == "a.webm" else "libx264"))).frames == 8
