from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from installed_decoders import CHOOSY, INSTALLED
from painted_videos import number_of, write_sizes, write_video

from liteframe.data.decoding import decode, decord_reader
from liteframe.data.decoding import memory as decode_memory
from liteframe.data.decoding.decode import frame_times, probe, read_frames, read_frames_by
from liteframe.data.decoding.processes.job import DecodeJob
from liteframe.data.decoding.processes.job import decode as decode_job
from liteframe.data.decoding.pyav import opening as pyav_open
from liteframe.data.decoding.pyav import packet_table
from liteframe.data.decoding.pyav.in_order import frames_in_order
from liteframe.data.decoding.pyav.reader import Converter
from liteframe.data.decoding.pyav.scan import scan
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import ConfigError, DecodeError

logging.getLogger("libav").setLevel(logging.CRITICAL)
needs_decord = pytest.mark.skipif(not decord_reader.available(), reason="decord is not installed")
READABLE = {
    "autogaze_example.mp4": (64, 448, 448),
    "av1.mkv": (125, 640, 360),
    "cooking.mp4": (159, 640, 360),
    "h264_10bit.mp4": (30, 200, 200),
    "h265.mp4": (10, 128, 128),
    "internvid_example.mp4": (40, 640, 480),
    "llava_demo.mp4": (96, 1280, 720),
    "nasa.mp4": (390, 480, 270),
    "odd_size_vp9.mp4": (25, 321, 241),
    "pancake.mkv": (310, 426, 240),
    "rotated_90.mov": (3, 320, 568),
    "unordered.mov": (4, 50, 50),
    "yoga.mp4": (300, 568, 320),
}
VFR = [0, 40, 55, 60, 200, 210, 300, 1000, 1010, 1500] + [1600 + 37 * i for i in range(50)]
CLIPS = {
    "b_frames.mp4": {"options": {"g": "12", "bf": "3", "b_strategy": "0"}},
    "open_groups.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}},
    "one_group.mkv": {"options": {"g": "1000"}},
    "variable_rate.mp4": {"times": VFR, "options": {"g": "12", "bf": "2"}},
    "variable_rate.mkv": {"times": VFR, "options": {"g": "12"}},
    "transport.ts": {"options": {"g": "12", "bf": "2"}},
    "fragmented.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "without_times.avi": {"options": {"g": "12", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "qscale": "2"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=10:log-level=none:open-gop=1:pools=1"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "deadline": "realtime", "b": "2M"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "12", "svtav1-params": "lp=1"}},
    "ten_bit.mp4": {"pixel_format": "yuv420p10le", "options": {"g": "12"}},
    "intra_refresh.mkv": {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """60 painted frames in every kind of file that this FFmpeg can write."""
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for name, settings in CLIPS.items():
        codec = str(settings.get("codec", "libx264"))
        if codec in av.codecs_available:
            made[name] = write_video(folder / name, 60, **{"codec": codec, **settings})  # type: ignore[arg-type]
    return made


def sparse(frames: int, count: int, seed: int) -> list[int]:
    return sorted(np.random.default_rng(seed).choice(frames, min(count, frames), replace=False).tolist())


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("decoder", INSTALLED)
def test_each_index_gives_the_frame_painted_with_it(clips: dict[str, Path], name: str, decoder: str) -> None:
    if name not in clips:
        pytest.skip("this FFmpeg has no encoder for it")
    path = str(clips[name])
    assert probe(path).frames == 60
    for seed, count in enumerate((1, 3, 7, 20, 60)):
        indices = sparse(60, count, seed)
        try:
            frames = read_frames(path, indices, decoder)
        except DecodeError as error:
            assert decoder in CHOOSY and decoder in error.reason  # these may refuse, never mislead
            return
        assert [number_of(frame) for frame in frames] == indices


def test_any_order_and_repeats_are_given_as_asked_for(clips: dict[str, Path]) -> None:
    wanted = [40, 3, 3, 59, 0]
    assert [number_of(frame) for frame in read_frames(str(clips["b_frames.mp4"]), wanted)] == wanted
    assert read_frames(str(clips["b_frames.mp4"]), []).shape == (0, 64, 64, 3)


def test_frame_times_follow_a_variable_rate(clips: dict[str, Path]) -> None:
    for name in ("variable_rate.mp4", "variable_rate.mkv"):
        np.testing.assert_allclose(frame_times(str(clips[name])), np.array(VFR) / 1000, atol=1e-3)


def test_auto_reads_with_pyav_and_decord_is_for_those_who_ask(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(clips["b_frames.mp4"])
    assert probe(path).decoder == read_frames_by(path, [5])[1].decoder == "pyav"
    if decord_reader.available():
        assert read_frames_by(path, [5], "decord")[1].decoder == "decord"
    monkeypatch.setattr(decord_reader, "available", lambda: False)
    with pytest.raises(DecodeError, match="not installed"):
        read_frames(path, [7], "decord")


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_alike(tmp_path: Path, rotation: int) -> None:
    path = str(write_video(tmp_path / "turned.mp4", 4, rotation=rotation))
    pyav = read_frames(path, [0, 3], "pyav")
    assert probe(path).rotation % 90 == 0 and probe(path).rotation != 0
    assert [number_of(np.rot90(frame, -probe(path).rotation // 90)) for frame in pyav] == [0, 3]
    if decord_reader.available():
        np.testing.assert_array_equal(pyav, read_frames(path, [0, 3], "decord"))


def test_one_frame(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "one.mp4", 1))
    assert probe(path).frames == 1 and number_of(read_frames(path, [0])[0]) == 0


def test_wrong_indices_are_named(clips: dict[str, Path]) -> None:
    for index in (-1, 60):
        with pytest.raises(DecodeError, match=f"no frame {index}"):
            read_frames(str(clips["b_frames.mp4"]), [3, index])


def test_an_unknown_decoder_is_refused(clips: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="ffmpeg"):
        probe(str(clips["b_frames.mp4"]), "ffmpeg")


def test_an_outdated_info_is_refused(clips: dict[str, Path], tmp_path: Path) -> None:
    info = probe(str(write_video(tmp_path / "short.mp4", 4)))
    with pytest.raises(DecodeError, match="has 60 frames where 4"):
        read_frames(str(clips["b_frames.mp4"]), [0], info=info)


def test_a_changed_file_is_probed_again(tmp_path: Path) -> None:
    path = tmp_path / "changing.mp4"
    assert probe(str(write_video(path, 4))).frames == 4
    write_video(path, 9)
    os.utime(path, ns=(1, 1))
    assert probe(str(path)).frames == 9


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = write_video(folder / "whole.mp4", 60, options={"g": "12"}, container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    (folder / "no_index.mp4").write_bytes(write_video(folder / "tail.mp4", 60).read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reasons = {
        "cut.mp4": "cut short",
        "no_index.mp4": "cannot be opened",
        "empty.mp4": "empty",
        "text.mp4": "is a text",
        "sound.mp4": "no video stream",
        "missing.mp4": "no such file",
    }
    return {name: (folder / name, reason) for name, reason in reasons.items()}


def test_broken_files_end_in_a_named_error(tmp_path: Path) -> None:
    for path, reason in broken_files(tmp_path).values():
        for decoder in INSTALLED:
            with pytest.raises(DecodeError, match=reason) as caught:
                read_frames(str(path), [0], decoder)
            assert caught.value.path == str(path)


@pytest.mark.parametrize("decoder", INSTALLED)
def test_damage_is_an_error_and_never_a_concealed_frame(tmp_path: Path, decoder: str) -> None:
    path = write_video(tmp_path / "whole.mp4", 60, options={"g": "60"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    found = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        data = bytearray(path.read_bytes())
        position, size = packets[20 + 4 * seed]
        start = position + 5 + int(rng.integers(max(1, size // 2)))
        for offset in range(start, min(start + 3 ** (seed % 4), position + size)):
            data[offset] ^= int(rng.integers(1, 256))
        damaged = tmp_path / f"damaged{seed}.mp4"
        damaged.write_bytes(data)
        try:
            sure = read_frames(str(damaged), range(60), "pyav")
        except DecodeError as error:
            assert "damage" in error.reason
            found += 1
            with pytest.raises(DecodeError):
                read_frames(str(damaged), range(60), decoder)
            continue
        np.testing.assert_array_equal(read_frames(str(damaged), range(60), decoder), sure)
    assert found >= 4


@needs_decord
def test_text_of_others_on_stderr_survives_the_reading_of_decords_log(capfd: pytest.CaptureFixture[str]) -> None:
    with decord_reader.watched_log() as log:
        os.write(2, b"[h264 @ 0x55aa] concealing 5 DC errors\nsomebody else's line\n")
    assert log.text == "[h264 @ 0x55aa] concealing 5 DC errors"
    assert capfd.readouterr().err.strip() == "somebody else's line"


def test_frames_beyond_all_measure_are_refused_before_they_are_decoded(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav_open, "MOST_PIXELS", 64 * 64 - 1)
    monkeypatch.setattr(decode, "_scans", decode._ScanCache())
    for decoder in INSTALLED:
        with pytest.raises(DecodeError, match="frames of 64x64 pixels, more than .* scale it down"):
            read_frames(str(clips["one_group.mkv"]), [0], decoder)


def test_ffmpeg_is_told_the_largest_frame(tmp_path: Path) -> None:
    """Where the container is silent about the size, as for a picture, FFmpeg itself must stop."""
    path = tmp_path / "huge.png"
    width = height = 10_001
    header = struct.pack(">II5B", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )
    with pytest.raises(DecodeError, match="more than 100 million"):
        read_frames(str(path), [0])


def test_more_frames_than_memory_holds_are_refused_before_they_are_decoded(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(clips["b_frames.mp4"])
    most = decode_memory.machine_bytes() // 4 // (64 * 64 * 3)
    for decoder in ("auto", "pyav"):
        with pytest.raises(DecodeError, match=r"frames of 64x64 take .* GB, more than .*: take fewer frames"):
            read_frames(path, np.zeros(most + 1, np.int64), decoder)
    with pytest.raises(DecodeError, match="take fewer frames"):
        decode_memory.require_memory(path, 10**9, 3840, 2160)
    decode_memory.require_memory(path, 64, 1920, 1080)


def test_packets_without_end_are_refused(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_table, "MOST_PACKETS", 59)
    monkeypatch.setattr(decode, "_scans", decode._ScanCache())
    with pytest.raises(DecodeError, match="more than 59 packets"):
        probe(str(clips["b_frames.mp4"]))


def test_packets_that_lie_are_counted_again_by_decoding(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(clips["one_group.mkv"])
    true = scan(path)
    wrong = type(true)(**{**vars(true), "frames": 61, "pts_T": np.append(true.pts_T, true.pts_T[-1] + 40)})
    monkeypatch.setattr(decode, "_scans", decode._ScanCache())
    decode._scans.put(path, wrong)
    with pytest.raises(DecodeError, match="no frame 60"):
        read_frames(path, [3, 60], "pyav")
    assert probe(path).frames == 60
    decode._scans.put(path, wrong)
    job = DecodeJob(path, UniformMidpoints(), None)
    for decoder in ("auto", "pyav"):  # such a job is sampled again on the true number
        assert [number_of(frame) for frame in decode_job(job, decoder).frames_THWC] == list(range(60))
        decode._scans.put(path, wrong)


def test_the_cache_is_bounded(clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_CACHED_FRAMES", 400)
    cache = decode._ScanCache()
    for path in clips.values():
        cache.get(str(path))
    assert len(cache._scans) == 2


def reference(path: str) -> np.ndarray:
    convert = Converter(scan(path))
    return np.stack([convert(frame) for frame in frames_in_order(path)])


@pytest.mark.parametrize("name", READABLE)
def test_shared_videos_give_the_right_frames(shared_videos: Path, name: str) -> None:
    path = str(shared_videos / name)
    info = probe(path)
    assert (info.frames, info.width, info.height) == READABLE[name]
    frames = reference(path)
    assert frames.shape == (info.frames, info.height, info.width, 3)
    for decoder in INSTALLED:
        for seed, count in enumerate((3, 12)):
            indices = sparse(info.frames, count, seed)
            if name == "h265.mp4":
                indices = [0, 1, 2, 5, 7, 8, 9]
            try:
                got = read_frames(path, indices, decoder)
            except DecodeError as error:
                assert decoder in CHOOSY and decoder in error.reason
                continue
            for index, frame in zip(indices, got, strict=True):
                difference = np.abs(frames[max(0, index - 2) : index + 3].astype(np.int16) - frame).mean((1, 2, 3))
                own = difference[index - max(0, index - 2)]
                assert own <= 4 and own <= difference.min() + 1e-9, (decoder, index, difference)


def test_the_corrupted_shared_video_is_a_named_error(shared_videos: Path) -> None:
    path = str(shared_videos / "corrupted.mp4")
    for decoder in INSTALLED:
        with pytest.raises(DecodeError, match="damage"):
            read_frames(path, range(50), decoder)


def test_decoding_imports_no_torch() -> None:
    modules = "liteframe.data.decoding.processes.pool, liteframe.data.decoding.processes.worker"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize("size", [None, (96, 48)])
def test_frames_of_another_size_are_scaled_as_players_do(size: tuple[int, int] | None, tmp_path: Path) -> None:
    sizes = [(64, 64), (128, 96), (64, 64), (32, 48)]
    path = write_sizes(tmp_path / "a.webm", sizes)
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape[1::-1] for frame in whole] == [each for each in sizes for _ in range(4)]
    for indices in (list(range(16)), [1, 5, 14]):
        frames = read_frames(str(path), indices, size=size)
        assert frames.shape[1:] == (*(size or (64, 64)), 3)
        for index, frame in zip(indices, frames, strict=True):
            expected = torch.from_numpy(whole[index]).permute(2, 0, 1)[None]
            scaled = torch.nn.functional.interpolate(expected, size or (64, 64), mode="bicubic", antialias=True)
            assert np.array_equal(frame, scaled[0].permute(1, 2, 0).numpy())
