"""Videos of many codecs and containers, damaged, and files that pretend to be one."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.media import paint, write_clip
from fuzz.mutate import damage_file
from fuzz.outcome import Input, Verdict, of_error
from fuzz.workers import Gone, Killable
from liteframe.data.checking.probe import check_video
from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import DecodeError

_FRAMES, _CELLS = 20, 16
_PATIENCE_S = 20.0
_LEVELS, _CELL_LEVELS = 3.0, 14.0
_SHIFTED = [0, 100, 130, 300, 340, 400, 470, 600, 610, 700, 800, 990, 1000, 1100, 1200, 1300, 1333, 1400, 1500, 1777]
_NOTHING: dict[str, Any] = {
    **{name: [] for name in ("frames", "times", "keys", "corrupt", "log")},
    "referenced": set(),
    "matrix": b"",
    "error": "",
    "errors": 0,
}
_OTHER_MEMORY = {"read with all frames held": None, "read with the last frame held": 1}
_CODECS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": {"g": "8", "bf": "2"}},
    "open.mp4": {"options": {"g": "6", "bf": "3", "x264-params": "open-gop=1"}},
    "fast.mp4": {"options": {"g": "30"}, "container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"options": {"g": "5"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "turned.mp4": {"rotation": 90},
    "variable.mkv": {"times_ms": _SHIFTED},
    "h264.mkv": {"options": {"g": "10"}},
    "h264.ts": {"options": {"g": "10"}},
    "h264.flv": {"options": {"bf": "0"}},
    "h264.avi": {"options": {"bf": "0"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8:pools=none:frame-threads=1"}},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "8"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "mjpeg.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "ffv1.mkv": {"codec": "ffv1"},
    "wmv2.wmv": {"codec": "wmv2"},
    "flv1.flv": {"codec": "flv"},
    "png.mov": {"codec": "png", "pixel_format": "rgb24"},
}


class Videos:
    """Reads frames through the decode pool with decoder `auto`, and asks `check`; the truth is reading in order."""

    share, deadline_s = 24, 60.0

    def __init__(self, seeds: Path) -> None:
        self.seeds, self.names = seeds, []
        self._pool: DecodePool | None = None
        self._reader: Killable | None = None
        self._undamaged: dict[str, list[np.ndarray]] = {}

    def prepare(self) -> None:
        for name, settings in _CODECS.items():
            write_clip(self.seeds / name, [paint(number) for number in range(_FRAMES)], **settings)

    def make(self, rng: random.Random, folder: Path) -> Input:
        how = rng.choice(("uniform", "uniform", "all", "single"))
        ask = {"how": how, "frame": rng.randrange(_FRAMES), "check": rng.random() < 0.3}
        if rng.random() < 0.04:
            name = rng.choice(list(_PRETENDERS))
            path = folder / f"clip{rng.choice(('.mp4', '.mkv', '.m3u8', '.sdp', '.txt', '.mpd', '.png', ''))}"
            path.write_bytes(_PRETENDERS[name](rng, [str(word) for word in self.names]))
            return Input(f"{name} as {path.name}", path, {**ask, "seed": None}, refuse=_REFUSED.get(name))
        seed = self.seeds / rng.choice(list(_CODECS))
        path = folder / (seed.name if rng.random() < 0.93 else rng.choice(list(_CODECS)))
        shutil.copyfile(seed, path)
        if rng.random() < 0.02:
            return Input(f"{seed.name} as {path.name}", path, {**ask, "seed": seed.name}, path.name == seed.name)
        what = damage_file(rng, path, [self.seeds / rng.choice(list(_CODECS))])
        return Input(f"{seed.name}: {what}, {how}", path, {**ask, "seed": seed.name})

    def feed(self, item: Input) -> Verdict:
        path, ask = str(item.path), item.data
        self._pool = self._pool or DecodePool(1, _PATIENCE_S)
        indices = (ask["frame"],) if ask["how"] == "single" else None
        job = DecodeJob(path, UniformMidpoints(), 6 if ask["how"] == "uniform" else None, indices=indices)
        video = self._pool.run([job])[0]
        if item.refuse is not None:
            return of_error(video, item) if isinstance(video, DecodeError) else Verdict("right", "gave frames")
        verdict = Verdict("right")
        told = self._told(path)
        if ask["check"]:
            verdict = self._checked(path, told)
        if isinstance(video, DecodeError) or verdict.outcome != "right":
            return of_error(video, item) if isinstance(video, DecodeError) and verdict.outcome == "right" else verdict
        return self._compare(video, told, item)

    def _ask(self, question: str, path: str) -> Any:
        """The answer of a process that reads by other means; an outcome as text where it dies."""
        if self._reader is None or not self._reader.process.is_alive():
            self._reader = Killable(_reader)
        try:
            return self._reader.ask((question, path), _PATIENCE_S)
        except Gone as gone:
            return dict(_NOTHING, error=str(gone), errors=1)

    def _told(self, path: str) -> dict[str, Any]:
        return self._ask("read", path)

    def _checked(self, path: str, told: dict[str, Any]) -> Verdict:
        row = self._ask("check", path)
        if isinstance(row, dict):  # died, which `check` lives through, as it asks in processes too
            return Verdict("right", "the check died")
        if isinstance(row, Exception):
            return Verdict("unnamed", f"check: {type(row).__name__}: {row}")
        if row.ok and (told["error"] or told["corrupt"]):
            return Verdict("silent", f"check finds it good, read in order it is not: {told['error'] or 'corrupt'}")
        if row.ok and row.frames != len(told["frames"]):
            return Verdict("silent", f"check counts {row.frames} frames of {len(told['frames'])}")
        return Verdict("right") if row.ok or row.error else Verdict("unnamed", "check says nothing")

    def _compare(self, video: VideoFrames, told: dict[str, Any], item: Input) -> Verdict:
        count = len(told["frames"])
        if item.data["how"] == "all" and not told["error"] and len(video.frames_THWC) != count:
            return Verdict("silent", f"{len(video.frames_THWC)} frames, read in order they are {count}")
        other = False
        for index, frame_HWC in zip(video.indices.tolist(), video.frames_THWC, strict=True):
            if self._as_undamaged(item, index, frame_HWC):
                continue  # perhaps read by seeking past the damage
            near = told["frames"][max(0, index - told["errors"]) : index + 1]  # each error may have cost a frame
            if not near or index >= count + told["errors"]:
                return Verdict("silent", f"frame {index}, read in order there are {count}; {told['error']}")
            if index in told["corrupt"]:
                return Verdict("silent", f"frame {index}, which the decoder could only conceal")
            odd = min(_unlike(cells(frame_HWC), one) for one in near)
            if odd and self._varies(item, index, told):
                other = True
                continue
            if odd:
                return Verdict("silent", f"frame is another, read in order, by {odd}; {video.info.decoder} {index}")
            if self._differs(item, told, index):
                other = True
                if said := said_of(told, index):
                    return Verdict("silent", f"frame is not the undamaged one, and FFmpeg says so; {said[0]}")
        return Verdict("undetectable" if other else "right")

    def _varies(self, item: Input, index: int, told: dict[str, Any]) -> bool:
        """Whether a frame depends on which memory it is decoded into, as where VP8 leaves out a part without a word."""
        for question in _OTHER_MEMORY:
            again = self._ask(question, str(item.path))["frames"]
            if index < min(len(again), len(told["frames"])) and _unlike(again[index], told["frames"][index]):
                return True
        return False

    def _as_undamaged(self, item: Input, index: int, frame_HWC: np.ndarray) -> bool:
        before = self._before(item)
        return index < len(before) and not _unlike(cells(frame_HWC), before[index])

    def _before(self, item: Input) -> list[np.ndarray]:
        """The frames of the file that the input was made from; none where there is no such file."""
        seed = item.data["seed"]
        if seed is not None and seed not in self._undamaged:
            self._undamaged[seed] = self._told(str(self.seeds / seed))["frames"]
        return [] if seed is None else self._undamaged[seed]

    def _differs(self, item: Input, told: dict[str, Any], index: int) -> bool:
        """Whether a frame is another than that of the undamaged file, where the two can be compared."""
        before = self._before(item)
        return index < len(before) == len(told["frames"]) and bool(_unlike(told["frames"][index], before[index]))


def cells(frame_HWC: np.ndarray) -> np.ndarray:
    """Mean colours of the cells of a grid, (16, 16, 3), with the frame's size behind them: a frame of any size."""
    height, width = frame_HWC.shape[:2]
    rows, columns = (np.linspace(0, size, _CELLS, endpoint=False).astype(int) for size in (height, width))
    sums = np.add.reduceat(np.add.reduceat(frame_HWC.astype(np.float32), rows, axis=0), columns, axis=1)
    counts = np.diff([*rows, height]).clip(1)[:, None, None] * np.diff([*columns, width]).clip(1)[None, :, None]
    return np.append((sums / counts).reshape(-1), [height, width]).astype(np.float32)


def _unlike(one: np.ndarray, two: np.ndarray) -> str:
    if (one[-2:] != two[-2:]).any():
        return f"size {one[-2:]} {two[-2:]}"
    levels = np.abs(one - two)
    return (
        f"levels {levels.mean():.1f} {levels.max():.1f}"
        if levels.mean() > _LEVELS or levels.max() > _CELL_LEVELS
        else ""
    )


def said_of(told: dict[str, Any], index: int) -> list[str]:
    """What FFmpeg said of what a frame needs: of itself, and of pictures of its group that others refer to."""
    key = max((position for position in told["keys"] if position <= index), default=0)
    time = told["times"][index] if index < len(told["times"]) else None
    return [
        text
        for position, packet_time, text in told["log"]
        if key <= position <= index and (text in told["referenced"] or packet_time == time)
    ]


def _reader() -> Callable[[tuple[str, str]], Any]:
    def answer(request: tuple[str, str]) -> Any:
        question, path = request
        try:
            if question == "check":
                return check_video(path)
            if question in _OTHER_MEMORY:
                return _decoded(path, "DEFAULT", deque(maxlen=_OTHER_MEMORY[question]))
            return in_order(path)
        except Exception as error:
            return RuntimeError(f"{type(error).__name__}: {error}")

    return answer


def in_order(path: str) -> dict[str, Any]:
    """Every frame of a file, decoded one after the other by PyAV, and what FFmpeg has to say about it."""
    told = _decoded(path, "DEFAULT")
    if told["log"]:
        told["referenced"] = {text for *_, text in _decoded(path, "NONREF")["log"]}
    return told


def _decoded(path: str, skip_frame: str, held: deque[Any] | None = None) -> dict[str, Any]:
    """As `in_order`; frames that are `held` lend their memory to no later ones."""
    import av
    import av.logging

    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # what is held back would come up in the next file
    told = deepcopy(_NOTHING)
    with av.logging.Capture() as log:
        try:
            with av.open(path, metadata_errors="ignore") as container:
                stream = container.streams.best("video")
                stream.codec_context.thread_type = "NONE"
                stream.codec_context.skip_frame = skip_frame
                for packet in container.demux(stream):
                    position, time = len(told["frames"]), packet.pts
                    _decode(packet, told, held)
                    told["log"] += [(position, time, f"{name}: {text.strip()}") for _, name, text in log]
                    log.clear()
        except Exception as error:
            told.update(error=told["error"] or f"{type(error).__name__}: {error}", errors=told["errors"] + 1)
    told["log"] += [(len(told["frames"]), None, f"{name}: {text.strip()}") for _, name, text in log]
    return told


def _decode(packet: Any, told: dict[str, Any], held: deque[Any] | None) -> None:
    try:
        for frame in packet.decode():
            if held is not None:
                held.append(frame)
            if frame.is_corrupt:
                told["corrupt"].append(len(told["frames"]))
            if frame.key_frame:
                told["keys"].append(len(told["frames"]))
            picture = frame.to_ndarray(format="rgb24")
            if not told["frames"]:  # a frame whose side data was looked at keeps its memory for long
                told["matrix"] = bytes(frame.side_data.get("DISPLAYMATRIX") or b"")
            told["frames"].append(cells(_upright(picture, told["matrix"])))
            told["times"].append(frame.pts)
    except Exception as error:
        told.update(error=told["error"] or f"{type(error).__name__}: {error}", errors=told["errors"] + 1)


def _upright(picture_HWC: np.ndarray, matrix: bytes) -> np.ndarray:
    """As the display matrix asks, where that is to mirror and to turn by right angles."""
    if not matrix:
        return picture_HWC
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).astype(float).reshape(3, 3)[:2, :2]
    sizes = np.hypot(a, b), np.hypot(c, d)
    if not min(sizes) or abs(a * c + b * d) > 0.01 * sizes[0] * sizes[1] or min(abs(a), abs(b)) > 0.01 * sizes[0]:
        return picture_HWC
    mirrored = a * d < b * c
    turned = np.angle(complex(-a, b) if mirrored else complex(a, -b))
    return np.rot90(picture_HWC[:, ::-1] if mirrored else picture_HWC, round(turned / (np.pi / 2)) % 4)


def _playlist(rng: random.Random, names: list[str]) -> bytes:
    name = rng.choice([name for name in names if "clip.mp4" in name or "://" in name] or ["clip.mp4"])
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{rng.choice(names or ["x"])}"\n' if rng.random() < 0.2 else ""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n{key}#EXTINF:5,\n{name}\n#EXT-X-ENDLIST\n".encode()


def _concat(rng: random.Random, names: list[str]) -> bytes:
    name = rng.choice([name for name in names if "clip.mp4" in name or "://" in name] or ["clip.mp4"])
    return f"ffconcat version 1.0\nfile '{name}'\nduration 2\n".encode()


def _dash(rng: random.Random, names: list[str]) -> bytes:
    name = rng.choice([name for name in names if "clip.mp4" in name or "://" in name] or ["clip.mp4"])
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"'
        f' bandwidth="1"><BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ).encode()


def _session(rng: random.Random, names: list[str]) -> bytes:
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 5004 RTP/AVP 96")
    return "\n".join((*lines, "a=rtpmap:96 H264/90000\n")).encode()


def _png(rng: random.Random, names: list[str]) -> bytes:
    """A black picture of up to 400 megapixels in a few hundred kilobytes."""
    width = height = rng.choice((20_000, 4_000, 65_000))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes((1 + (width + 7) // 8) * min(height, 20_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def _text(rng: random.Random, names: list[str]) -> bytes:
    words = [b"", b"<html>404</html>", b"#!/bin/sh\n", b"\0" * 5000, b"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n"]
    return rng.choice([*words, b"YUV4MPEG2 W100000 H100000 F1:1\nFRAME\n", rng.randbytes(3000)])


_PRETENDERS = {"playlist": _playlist, "concat": _concat, "dash": _dash, "session": _session, "png": _png, "text": _text}
_REFUSED = {"playlist": "escape", "concat": "escape", "dash": "escape", "session": "escape"}
