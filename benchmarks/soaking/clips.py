"""A list of many short clips, a share of them broken in every way that files are."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

_FRAMES, _SIDE, _KINDS_OF_WHOLE = 32, 64, 16


@dataclass(frozen=True)
class Clips:
    """Clips on disk.

    Attributes:
        manifest: list of all of them.
        broken: how each that cannot be decoded is broken, by its id.
    """

    manifest: Path
    broken: dict[str, str]


def write_clips(folder: Path, count: int, share_broken: float, stalled: int) -> Clips:
    """Writes clips `00000.mp4`, ...; whole ones are links to a few files, broken ones are spread evenly.

    Args:
        folder: that they are written into.
        count: of all clips.
        share_broken: of them.
        stalled: how many of the broken ones are whole, but stall `pyav_that_stalls`.
    """
    whole = [_write_video(folder / f".whole-{number}", number) for number in range(_KINDS_OF_WHOLE)]
    broken_count = round(count * share_broken)
    ways = ["stalled"] * stalled + [list(_BROKEN)[number % len(_BROKEN)] for number in range(broken_count - stalled)]
    order = np.random.default_rng(0).permutation(len(ways))
    places = np.linspace(0, count, len(ways), endpoint=False).astype(int).tolist()
    way_at = {place: ways[number] for place, number in zip(places, order, strict=True)}
    broken, lines = {}, []
    for number in range(count):
        way = way_at.get(number)
        path = folder / (f"{way}-{number:06d}.mp4" if way else f"{number:06d}.mp4")
        if way is None or way == "stalled":
            os.link(whole[number % len(whole)], path)
        else:
            _BROKEN[way](path, whole[number % len(whole)].read_bytes())
        if way is not None:
            broken[path.name] = way
        lines.append(json.dumps({"path": path.name}) + "\n")
    manifest = folder / "clips.jsonl"
    manifest.write_text("".join(lines), encoding="utf-8")
    return Clips(manifest, broken)


def ways_of(clips: Clips) -> dict[str, int]:
    """How many clips are broken in which way."""
    return dict(sorted(Counter(clips.broken.values()).items()))


def _write_video(path: Path, seed: int) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pattern = noise.repeat(_SIDE // 8, 0).repeat(_SIDE // 8, 1)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        for number in range(_FRAMES):
            picture = np.ascontiguousarray(np.roll(pattern, number, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _write_audio(path: Path, _: bytes) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


_BROKEN: dict[str, Callable[[Path, bytes], object]] = {
    "cut_in_its_pictures": lambda path, whole: path.write_bytes(whole[: len(whole) * 3 // 4]),
    "cut_in_its_header": lambda path, whole: path.write_bytes(whole[:200]),
    "empty": lambda path, _: path.touch(),
    "missing": lambda path, _: None,
    "noise": lambda path, whole: path.write_bytes(np.random.default_rng(len(path.name)).bytes(len(whole))),
    "sound_only": _write_audio,
}
