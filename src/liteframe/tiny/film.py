"""Scenes of the tiny world as a film shows them: cuts between shots, a camera that pans and zooms, moving backgrounds.

Objects, their times and the answers to all questions are those of the scene in the plain world. The camera never loses
any of it from sight. So neighbouring frames are nearly the same, and frames a second apart are of different pictures: a
model that learns from neighbours alone has not seen what it is asked about.
"""

from __future__ import annotations

import numpy as np

from liteframe.tiny.synthetic import (
    COLOR_NAMES,
    COLORS,
    FRAMES,
    SIZE,
    Scene,
    Shot,
    Thing,
    View,
    bright,
    center_of,
    outline,
    places_seen,
    shot_at,
)

SHOT_FRAMES = (10, 45)
"""Fewest and most frames of a shot, 0.6 to 2.8 s."""
_MOST_SCALE = 1.3
_MOST_DRIFT = 1.5
_TILE = 128
"""Side of a background's pattern in pixels, after which it repeats."""
_WAVES, _MOST_CYCLES, _CONTRAST = 6, 12, 40.0


def draw_shots(rng: np.random.Generator) -> tuple[Shot, ...]:
    """Random shots that fill a video."""
    fewest, most = SHOT_FRAMES
    starts = [0]
    while FRAMES - (start := starts[-1] + int(rng.integers(fewest, most + 1))) >= fewest:
        starts.append(start)
    return tuple(_draw_shot(start, rng) for start in starts)


def _draw_shot(start: int, rng: np.random.Generator) -> Shot:
    red, green, blue = (int(value) for value in rng.integers(10, 60, size=3))
    drift_x, drift_y = (round(float(value), 2) for value in rng.uniform(-_MOST_DRIFT, _MOST_DRIFT, 2))
    texture = int(rng.integers(0, 2**31))
    return Shot(start, (red, green, blue), texture, (drift_x, drift_y), _draw_view(rng), _draw_view(rng))


def _draw_view(rng: np.random.Generator) -> View:
    """A view that has the whole scene in it. All views on the way between two such have it, too."""
    scale = float(rng.uniform(1.0, _MOST_SCALE))
    middle = (SIZE - 1) / 2
    x, y = (float(value) for value in middle + rng.uniform(-1, 1, 2) * middle * (scale - 1))
    return View(round(x, 2), round(y, 2), round(scale, 3))


def _pattern(shot: Shot) -> np.ndarray:
    """The background of a shot, uint8 (128, 128, 3): a sum of coloured waves that goes on without a seam."""
    rng = np.random.default_rng(shot.texture)
    axis = 2 * np.pi * np.arange(_TILE) / _TILE
    pattern = np.zeros((_TILE, _TILE, 3))
    for _ in range(_WAVES):
        across, down = rng.integers(-_MOST_CYCLES, _MOST_CYCLES + 1, size=2)
        wave = np.sin(across * axis[None, :] + down * axis[:, None] + rng.uniform(0, 2 * np.pi))
        pattern += wave[..., None] * rng.uniform(-1, 1, 3)
    pattern *= _CONTRAST / max(1e-9, abs(pattern).max())
    return np.clip(np.array(shot.background) + pattern, 0, 255).astype(np.uint8)


def _paint(frame_HWC: np.ndarray, thing: Thing, x_W: np.ndarray, y_H: np.ndarray) -> None:
    """Paints an object where pixels see it, whose distances from its centre are x and y."""
    inside = outline(thing.kind, x_W[None, :], y_H[:, None], thing.r)
    lit = np.broadcast_to(bright(thing.kind, x_W[None, :], y_H[:, None]), inside.shape)
    color = np.array(COLORS[COLOR_NAMES[thing.color]], dtype=np.float32)
    frame_HWC[inside] = np.where(lit[inside][:, None], color, color * 0.3).astype(np.uint8)


def render(scene: Scene) -> np.ndarray:
    """All frames of a scene with shots, uint8 (128, 112, 112, 3), RGB."""
    frames_THWC = np.empty((FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    patterns = {shot.start: _pattern(shot) for shot in scene.shots}
    pixels = np.arange(SIZE)
    for frame in range(FRAMES):
        shot, _ = shot_at(scene, frame)
        columns, rows = places_seen(scene, frame, pixels)
        across, down = (
            np.floor(places - moved * (frame - shot.start)).astype(np.int64) % _TILE
            for places, moved in zip((columns, rows), shot.drift, strict=True)
        )
        frames_THWC[frame] = patterns[shot.start][down[:, None], across[None, :]]
        for thing in scene.things():
            if thing.start <= frame < thing.stop:
                x, y = center_of(scene, thing, frame)
                _paint(frames_THWC[frame], thing, columns - x, rows - y)
    return frames_THWC
