"""The tiny world: videos drawn from a seed, with questions that need many frames to answer.

Every video shows a ``box`` that stays, a ``ball`` that sweeps through the frame once, a ``star`` that flashes for a
few frames (the needle) and two ``triangle`` events, one in each half (the order). Each kind of object has a texture of
its own, because a small ViT learns textures long before it learns outlines. Scenes are plain numbers, so labels for
any frame and any patch follow from them; pixels are written as H.264 files by `liteframe.tiny.synthetic_files`.

In the plain world the camera stands still before a still background; `liteframe.tiny.film` shows the same scenes with
cuts, a moving camera and moving backgrounds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from liteframe.errors import DataError

FRAMES = 128
SIZE = 112
PATCH = 14
FPS = 16
COLORS = {
    "red": (225, 45, 45),
    "green": (45, 190, 60),
    "blue": (60, 90, 240),
    "yellow": (235, 220, 50),
    "magenta": (220, 60, 210),
    "cyan": (50, 210, 220),
    "white": (238, 238, 238),
    "orange": (245, 145, 35),
}
COLOR_NAMES = tuple(COLORS)
DIRECTIONS = ("left", "right", "up", "down")
KINDS = ("box", "ball", "star", "triangle")
NUM_PATCH_LABELS = 1 + len(KINDS) * len(COLORS)
QUESTIONS = {
    "needle": "color of the star",
    "order": "color of the first triangle",
    "motion": "which way the ball moves",
    "persist": "color of the box",
    "ball": "color of the ball",
}
TEST_TYPES = ("needle", "order", "motion", "persist")


@dataclass(frozen=True)
class Durations:
    """How many frames the flashing objects stay; one value is drawn for each event."""

    star: tuple[int, ...]
    triangle: tuple[int, ...]


TRAIN_DURATIONS = Durations(star=(2, 4, 8, 16, 32), triangle=(4, 8, 16, 32))
TEST_DURATIONS = Durations(star=(1, 2, 4, 8), triangle=(4, 8))


@dataclass(frozen=True)
class Thing:
    """An object at a position: kind, colour index, centre (x, y) and radius in pixels, frames [start, stop)."""

    kind: str
    color: int
    x: int
    y: int
    r: int
    start: int
    stop: int


@dataclass(frozen=True)
class View:
    """Where the camera looks: the place (x, y) in the middle of the picture, and pixels of the scene a pixel of it."""

    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Shot:
    """What a film shows from frame `start` up to the next shot.

    Attributes:
        start: its first frame.
        background: mean colour, (R, G, B).
        texture: seed of the background's pattern.
        drift: pixels (x, y) that the pattern moves a frame.
        first, last: views at its begin and its end; the camera moves evenly from one to the other.
    """

    start: int
    background: tuple[int, int, int]
    texture: int
    drift: tuple[float, float]
    first: View
    last: View

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Shot:
        views = {name: View(**fields[name]) for name in ("first", "last")}
        pair = {name: tuple(fields[name]) for name in ("background", "drift")}
        return cls(**fields | pair | views)


@dataclass(frozen=True)
class Scene:
    """Everything that is in a video. The ball moves: its position in a frame is `ball_center`. Of a film, its shots.

    Attributes:
        size: height and width of the picture in pixels.
        frames: of the video.
    """

    background: tuple[int, int, int]
    texture: int
    box: Thing
    ball: Thing
    direction: str
    star: Thing
    triangles: tuple[Thing, Thing]
    shots: tuple[Shot, ...] = ()
    size: int = SIZE
    frames: int = FRAMES

    def things(self) -> tuple[Thing, ...]:
        """All objects, from the one farthest back to the one in front."""
        return (self.box, self.ball, *self.triangles, self.star)

    def to_dict(self) -> dict[str, Any]:
        usual = {"shots": (), "size": SIZE, "frames": FRAMES}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Scene:
        things = {name: Thing(**fields[name]) for name in ("box", "ball", "star")}
        return cls(
            background=tuple(fields["background"]),
            texture=fields["texture"],
            direction=fields["direction"],
            triangles=(Thing(**fields["triangles"][0]), Thing(**fields["triangles"][1])),
            shots=tuple(map(Shot.from_dict, fields.get("shots", ()))),
            size=fields.get("size", SIZE),
            frames=fields.get("frames", FRAMES),
            **things,
        )


def draw_scene(rng: np.random.Generator, durations: Durations, scale: int = 1, frames: int = FRAMES) -> Scene:
    """A random scene. The two triangles differ in colour, or their order could not be asked for.

    Args:
        rng: draws it.
        durations: of what flashes.
        scale: how many times as wide and high the picture is; objects stay as large in pixels.
        frames: of the video; what flashes does so for no longer.
    """
    size = scale * SIZE

    def place(kind: str, color: int, low: int, high: int, start: int, stop: int) -> Thing:
        r = int(rng.integers(low, high + 1))
        x, y = (int(v) for v in rng.integers(r + 1, size - r - 1, size=2))
        return Thing(kind, color, x, y, r, start, stop)

    def flash(kind: str, color: int, choices: tuple[int, ...], first: int, last: int) -> Thing:
        length = int(rng.choice(choices))
        start = int(rng.integers(first, last - length + 1))
        return place(kind, color, 17, 24, start, start + length)

    box, ball, star = (int(c) for c in rng.integers(0, len(COLORS), size=3))
    early, late = (int(c) for c in rng.choice(len(COLORS), size=2, replace=False))
    half = frames // 2
    return Scene(
        background=tuple(int(v) for v in rng.integers(10, 60, size=3)),  # type: ignore[arg-type]
        texture=int(rng.integers(0, 2**31)),
        box=place("box", box, 11, 18, 0, frames),
        ball=Thing(  # type: ignore[call-arg]
            "ball",
            ball,
            *(int(v) for v in rng.integers(36 * scale, 77 * scale, size=2)),
            int(rng.integers(10, 15)),
            0,
            frames,
        ),
        direction=str(rng.choice(DIRECTIONS)),
        star=flash("star", star, durations.star, 0, frames),
        triangles=(
            flash("triangle", early, durations.triangle, 0, half),
            flash("triangle", late, durations.triangle, half, frames),
        ),
        size=size,
        frames=frames,
    )


def ball_center(scene: Scene, frame: int) -> tuple[int, int]:
    """Place (x, y) of the ball in a frame: one sweep from edge to edge over the video, in `scene.direction`."""
    way = scene.ball.r + (scene.size - 2 * scene.ball.r) * frame / (scene.frames - 1)
    if scene.direction in ("left", "up"):
        way = scene.size - way
    along = round(way)
    return (along, scene.ball.y) if scene.direction in ("left", "right") else (scene.ball.x, along)


def shot_at(scene: Scene, frame: int) -> tuple[Shot, View]:
    """The shot of a film that a frame is in, and where the camera looks."""
    number = max(index for index, shot in enumerate(scene.shots) if shot.start <= frame)
    shot, stop = scene.shots[number], ([other.start for other in scene.shots] + [FRAMES])[number + 1]
    share = (frame - shot.start) / max(1, stop - 1 - shot.start)
    between = {
        axis: (1 - share) * getattr(shot.first, axis) + share * getattr(shot.last, axis) for axis in ("x", "y", "scale")
    }
    return shot, View(**between)


def places_seen(scene: Scene, frame: int, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the scene, columns (P,) and rows (P,), that are seen at pixels (P,) of either axis of the picture."""
    if not scene.shots:
        return pixels, pixels
    _, view = shot_at(scene, frame)
    offsets = (pixels - (SIZE - 1) / 2) * view.scale
    return view.x + offsets, view.y + offsets


def center_of(scene: Scene, thing: Thing, frame: int) -> tuple[int, int]:
    """Place (x, y) of an object in a frame."""
    return ball_center(scene, frame) if thing.kind == "ball" else (thing.x, thing.y)


def outline(kind: str, dx: np.ndarray, dy: np.ndarray, r: int) -> np.ndarray:
    """Whether points at (dx, dy) from the centre lie in the object."""
    if kind == "box":
        return (abs(dx) <= r) & (abs(dy) <= r)
    if kind == "ball":
        return dx * dx + dy * dy <= r * r
    if kind == "star":
        return (np.maximum(abs(dx), abs(dy)) <= 0.72 * r) | (abs(dx) + abs(dy) <= r)
    return (dy <= 0.8 * r) & (abs(dx) <= (dy + r) * 0.62)


def bright(kind: str, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The texture of a kind: where it shows its full colour (elsewhere a darker one)."""
    if kind == "ball":
        return ((dx // 4) + (dy // 4)) % 2 == 0
    if kind == "star":
        return (dx // 4) % 2 == 0
    if kind == "triangle":
        return (dy // 4) % 2 == 0
    return np.ones((1, 1), dtype=bool)


def _sprite(thing: Thing) -> tuple[np.ndarray, np.ndarray]:
    """Colours (2r + 1, 2r + 1, 3) of an object, and where it is opaque."""
    d = np.arange(-thing.r, thing.r + 1)
    inside = outline(thing.kind, d[None, :], d[:, None], thing.r)
    lit = np.broadcast_to(bright(thing.kind, d[None, :], d[:, None]), inside.shape)
    color = np.array(COLORS[COLOR_NAMES[thing.color]], dtype=np.float32)
    return np.where(lit[..., None], color, color * 0.3).astype(np.uint8), inside


def _paint(frames_THWC: np.ndarray, sprite: tuple[np.ndarray, np.ndarray], x: int, y: int) -> None:
    """Puts a sprite with its centre at (x, y) into the frames; what would lie outside is cut off."""
    color, inside = sprite
    left, top = x - len(inside) // 2, y - len(inside) // 2
    rows = slice(max(0, -top), min(len(inside), frames_THWC.shape[1] - top))
    columns = slice(max(0, -left), min(len(inside), frames_THWC.shape[2] - left))
    region = frames_THWC[:, top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    np.copyto(region, color[rows, columns], where=inside[rows, columns, None])


def render(scene: Scene) -> np.ndarray:
    """All frames of a scene of the plain world, uint8 (frames, height, width, 3), RGB."""
    noise = np.random.default_rng(scene.texture).integers(-10, 11, size=(scene.size, scene.size, 1))
    still = np.clip(np.array(scene.background) + noise, 0, 255).astype(np.uint8)
    frames_THWC = np.repeat(still[None], scene.frames, axis=0)
    _paint(frames_THWC, _sprite(scene.box), scene.box.x, scene.box.y)
    ball = _sprite(scene.ball)
    for frame in range(scene.frames):
        _paint(frames_THWC[frame : frame + 1], ball, *ball_center(scene, frame))
    for thing in (*scene.triangles, scene.star):
        _paint(frames_THWC[thing.start : thing.stop], _sprite(thing), thing.x, thing.y)
    return frames_THWC


def patch_labels(scene: Scene, frame_indices: np.ndarray) -> np.ndarray:
    """What lies at the centre of each patch: int64 (T, 8, 8), 0 for the background, else 1 + kind * 8 + colour."""
    centers = (np.arange(SIZE // PATCH) * PATCH + PATCH // 2) * scene.size // SIZE
    labels_THW = np.zeros((len(frame_indices), len(centers), len(centers)), dtype=np.int64)
    for row, frame in enumerate(frame_indices):
        columns, rows = places_seen(scene, int(frame), centers)
        for thing in scene.things():
            if not thing.start <= frame < thing.stop:
                continue
            x, y = center_of(scene, thing, int(frame))
            inside = outline(thing.kind, columns[None, :] - x, rows[:, None] - y, thing.r)
            labels_THW[row][inside] = 1 + KINDS.index(thing.kind) * len(COLORS) + thing.color
    return labels_THW


def questions(scene: Scene, rng: np.random.Generator, types: tuple[str, ...] = TEST_TYPES) -> list[dict[str, Any]]:
    """Four-way questions about a scene. The later triangle's colour is always among the options of `order`."""

    def color_options(right: int, wrong: tuple[int, ...] = ()) -> list[str]:
        others = [c for c in rng.permutation(len(COLORS)) if c != right and c not in wrong]
        chosen = [right, *wrong, *others][:4]
        return [COLOR_NAMES[c] for c in rng.permutation(chosen)]

    early, late = scene.triangles
    table = {
        "needle": (color_options(scene.star.color), COLOR_NAMES[scene.star.color]),
        "order": (color_options(early.color, (late.color,)), COLOR_NAMES[early.color]),
        "motion": ([str(d) for d in rng.permutation(DIRECTIONS)], scene.direction),
        "persist": (color_options(scene.box.color), COLOR_NAMES[scene.box.color]),
        "ball": (color_options(scene.ball.color), COLOR_NAMES[scene.ball.color]),
    }
    return [{"type": t, "question": QUESTIONS[t], "options": table[t][0], "answer": table[t][1]} for t in types]


def require_scene(row: dict[str, Any]) -> None:
    """Raises DataError if a row, given as a dict, has no scene that can be drawn."""
    where = f"{row['path']} (id {row['id']})"
    if "scene" not in row:
        raise DataError(f"{where}: no field scene; this stage needs a world made by `liteframe synth`")
    try:
        patch_labels(Scene.from_dict(row["scene"]), np.zeros(1, np.int64))
    except Exception as error:  # whatever drawing makes of numbers and names that no scene has
        raise DataError(
            f"{where}: field scene: {type(error).__name__}: {error}; `liteframe synth` writes others"
        ) from error
