"""Clips to decode: a textured scene that pans, with an object that moves across it, so that B-frames pay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

RATE = 30


@dataclass(frozen=True)
class Clip:
    """An H.264 clip to make.

    Attributes:
        name: of its file, without the ending.
        frames: how many.
        height, width: in pixels.
        group: frames from one key frame to the next.
        pixel_format: FFmpeg's name.
    """

    name: str
    frames: int
    height: int
    width: int
    group: int = 250
    pixel_format: str = "yuv420p"

    def make(self, folder: Path) -> str:
        """The path of the clip in `folder`, where it is made if it is not there yet."""
        path = folder / f"{self.name}_{self.frames}.mp4"
        if not path.exists():
            part = path.with_suffix(".part.mp4")
            self._write(part)
            part.rename(path)
        return str(path)

    def _write(self, path: Path) -> None:
        scene = _scene(self.height + 256, self.width + 512)
        options = {"preset": "veryfast", "crf": "25", "g": str(self.group), "keyint_min": str(self.group), "bf": "3"}
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={**options, "sc_threshold": "0"})
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, self.pixel_format
            for number in range(self.frames):
                container.mux(stream.encode(self._frame(scene, number)))
            container.mux(stream.encode(None))

    def _frame(self, scene: np.ndarray, number: int) -> av.VideoFrame:
        left, top = int(256 + 250 * np.sin(number / 90)), int(128 + 120 * np.cos(number / 70))
        luma = scene[top : top + self.height, left : left + self.width].copy()
        side = self.height // 4
        row, column = (number * 5) % (self.height - side), (number * 7) % (self.width - side)
        luma[row : row + side, column : column + side] = scene[:side, :side]
        frame = av.VideoFrame(self.width, self.height, self.pixel_format)
        for plane, values in zip(frame.planes, (luma, 110, 140), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            rows[:, : plane.width] = values
        frame.pts = number
        return frame


def _scene(height: int, width: int) -> np.ndarray:
    """Noise of three sizes, (height, width) uint8."""
    random = np.random.default_rng(0)
    scene = random.random((height, width)) * 25
    for size, strength in ((32, 120), (8, 70)):
        coarse = random.random((height // size + 1, width // size + 1))
        scene += strength * np.kron(coarse, np.ones((size, size)))[:height, :width]
    return scene.astype(np.uint8)
