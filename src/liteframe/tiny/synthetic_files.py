"""Writes the tiny world as H.264 files and manifests (`liteframe synth`)."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from liteframe.data.decoding.processes.parent_watch import end_with_parent
from liteframe.data.decoding.pyav_versions import frame_converter
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_open, atomic_write_json, atomic_write_text
from liteframe.system.bounded_text import parse_json
from liteframe.system.progress import Meter
from liteframe.system.runtime import tune_malloc
from liteframe.tiny import film, synthetic

World = Literal["plain", "film"]
_SPLITS = {"train": 0, "val": 1, "test": 2}
_SHOTS_STREAM = 1
_MOST_SCALE = 32


def write_video(path: Path, frames_THWC: np.ndarray, fps: int = synthetic.FPS) -> None:
    """Encodes uint8 RGB frames (T, H, W, 3) as H.264 in an MP4 that appears under its name only when it is whole."""
    import av

    to_yuv = frame_converter("yuv420p")
    # There are thousands, and a wait for the disk after each would be long.
    with atomic_open(path, sync=False) as file, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height = frames_THWC.shape[2], frames_THWC.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "crf": "18", "g": "16"}
        for frame in frames_THWC:
            rgb = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(to_yuv(rgb)))
        container.mux(stream.encode(None))


def make_row(folder: str, split: str, index: int, seed: int, world: World = "plain", scale: int = 1) -> dict[str, Any]:
    """Draws video `index` of a split, writes its file unless it is there, and returns its manifest row."""
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    durations = synthetic.TRAIN_DURATIONS if split == "train" else synthetic.TEST_DURATIONS
    scene = synthetic.draw_scene(rng, durations, scale)
    types = synthetic.TEST_TYPES + (("ball",) if split == "train" else ())
    asked = synthetic.questions(scene, rng, types)
    if world == "film":
        shots = film.draw_shots(np.random.default_rng([seed, _SPLITS[split], index, _SHOTS_STREAM]))
        scene = replace(scene, shots=shots)
    name = f"{split}/{index:05d}.mp4"
    path = Path(folder) / name
    if not path.exists():
        write_video(path, film.render(scene) if scene.shots else synthetic.render(scene))
    flashes = (scene.star, *scene.triangles)
    return {
        "path": name,
        "id": f"{split}-{index:05d}",
        "questions": asked,
        "key_frames": [[thing.start, thing.stop] for thing in flashes],
        "scene": scene.to_dict(),
    }


_MADE = ("world.json", *_SPLITS, *(f"{split}.jsonl" for split in _SPLITS))


@contextmanager
def _importing_nothing_from_here() -> Iterator[None]:
    """New Pythons, which start with `-c`, do not look for modules in the current folder (from Python 3.11 on)."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _start_child() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent.pid)
    tune_malloc()


def _make_rows(jobs: list[tuple[str, str, int, int, World, int]]) -> list[dict[str, Any]]:
    return [make_row(*job) for job in jobs]


def _require_same_world(folder: Path, seed: int, world: World, scale: int) -> None:
    """Videos that are there are kept, so those of another seed or world would go with the wrong labels."""
    card = folder / "world.json"
    content = parse_json(card.read_bytes(), str(card)) if card.is_file() else None
    made_with = content.get("seed") if isinstance(content, dict) else None
    if made_with is None and (mine := [name for name in _MADE if (folder / name).exists()]):
        raise ConfigError(f"{folder}: has a {mine[0]} that no world of ours was written with; give another folder")
    if made_with not in (None, seed):
        raise ConfigError(f"{folder}: holds the world of seed {made_with}, not of seed {seed}; give another folder")
    if content is not None and (kind := content.get("world", "plain")) != world:
        raise ConfigError(f"{folder}: holds the {kind} world, not the {world} one; give another folder")
    if content is not None and (times := content.get("scale", 1)) != scale:
        raise ConfigError(f"{folder}: holds the world at scale {times}, not at scale {scale}; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    unusual = {} if world == "plain" else {"world": world}
    atomic_write_json(card, {"seed": seed, **unusual, **({} if scale == 1 else {"scale": scale})})


def synth_command(
    out: str,
    seed: int = 0,
    train: int = 2400,
    val: int = 100,
    test: int = 380,
    processes: int = 2,
    world: World = "plain",
    scale: int = 1,
) -> int:
    """Renders the tiny world: H.264 videos of 128 frames and a manifest for each split.

    Args:
        out: folder to write to; videos that are there already are kept.
        seed: another seed gives another world and another split.
        train: number of training videos.
        val: number of videos for tuning.
        test: number of held-out videos, four questions each.
        processes: how many videos are encoded at a time.
        world: "plain" shows all of a video before one still background; "film" the same events and answers with cuts
            between shots, a camera that pans and zooms, and moving backgrounds.
        scale: how many times as wide and high pictures are; objects stay as large in pixels, so that a model which is
            shown the picture at its usual size sees them small.

    Raises:
        ConfigError: the folder holds the world of another seed, kind or scale, or files of that name that are not ours;
            or a scale that there is not.
    """
    folder = Path(out)
    if not 1 <= scale <= _MOST_SCALE:
        raise ConfigError(f"--scale is {scale}; give 1 to {_MOST_SCALE}")
    if world == "film" and scale != 1:
        raise ConfigError(f"--scale {scale}: films are of one size; leave --world or --scale out")
    _require_same_world(folder, seed, world, scale)
    spawn = multiprocessing.get_context("spawn")
    with (
        _importing_nothing_from_here(),
        ProcessPoolExecutor(processes, mp_context=spawn, initializer=_start_child) as pool,
    ):
        for split, count in zip(_SPLITS, (train, val, test), strict=True):
            (folder / split).mkdir(parents=True, exist_ok=True)
            jobs = [(str(folder), split, index, seed, world, scale) for index in range(count)]
            chunks = [jobs[i : i + 20] for i in range(0, count, 20)]
            rows: list[dict[str, Any]] = []
            with Meter(f"synth {split}", count, "videos") as meter:
                for made in pool.map(_make_rows, chunks):
                    rows.extend(made)
                    meter.update(len(made))
            atomic_write_text(folder / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return 0
