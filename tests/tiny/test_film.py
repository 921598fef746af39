"""The film world: the scenes, questions and answers of the plain one, with cuts, a moving camera and backgrounds."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from liteframe.data.decoding.decode import read_frames
from liteframe.errors import ConfigError
from liteframe.tiny import film, synthetic
from liteframe.tiny.synthetic import COLOR_NAMES, COLORS, FRAMES, SIZE, TRAIN_DURATIONS, Scene, Shot, View
from liteframe.tiny.synthetic_files import make_row, synth_command

MIDDLE = (SIZE - 1) / 2
STILL = View(MIDDLE, MIDDLE, 1.0)


def scene_of(number: int) -> Scene:
    scene = synthetic.draw_scene(np.random.default_rng([7, number]), TRAIN_DURATIONS)
    return replace(scene, shots=film.draw_shots(np.random.default_rng([7, number, 1])))


def cuts_of(scene: Scene) -> list[int]:
    return [shot.start for shot in scene.shots[1:]]


@pytest.mark.parametrize("number", range(4))
def test_patch_labels_say_what_the_camera_sees_there(number: int) -> None:
    scene, shown = scene_of(number), set()
    frames = film.render(scene)
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.dtype == np.uint8
    indices = np.unique([0, FRAMES - 1, 40, 90, scene.star.start, scene.star.stop - 1, *cuts_of(scene)])
    centers = np.arange(synthetic.PATCH // 2, SIZE, synthetic.PATCH)
    for labels_HW, frame in zip(synthetic.patch_labels(scene, indices), frames[indices], strict=True):
        for label, pixel in zip(labels_HW.ravel(), frame[centers][:, centers].reshape(-1, 3).astype(int), strict=True):
            if label == 0:
                assert pixel.max() <= 100, "no object is as dark as the background is bright"
                continue
            kind, color = divmod(int(label) - 1, len(COLORS))
            full = np.array(COLORS[COLOR_NAMES[color]])
            assert any((abs(pixel - part * full) <= 1).all() for part in (1.0, 0.3)), (kind, pixel, full)
            shown.add(synthetic.KINDS[kind])
    assert {"box", "star"} <= shown


def test_a_still_camera_shows_the_objects_of_the_plain_world() -> None:
    for number in range(3):
        scene = replace(scene_of(number), shots=(Shot(0, (20, 30, 40), 5, (1.0, 0.0), STILL, STILL),))
        plain, frames = synthetic.render(scene), film.render(scene)
        lit = plain.max(axis=-1) >= 150
        assert (frames[lit] == plain[lit]).all(axis=-1).mean() > 0.995, "plain sprites cut the corners of triangles off"
        assert ((frames.max(axis=-1) >= 150) & ~lit).mean() < 0.005


def test_the_camera_never_loses_the_scene_from_sight() -> None:
    edges = np.array([0, SIZE - 1])
    for number in range(40):
        scene = scene_of(number)
        for frame in range(FRAMES):
            for seen in synthetic.places_seen(scene, frame, edges):
                assert seen[0] <= 0.04 and seen[1] >= SIZE - 1.04, "views are rounded"


def test_cuts_are_between_frames_and_the_camera_moves_between_cuts() -> None:
    moved = []
    for number in range(5):
        scene = scene_of(number)
        frames = film.render(scene).astype(int)
        cuts = cuts_of(scene)
        flashes = [at for thing in (scene.star, *scene.triangles) for at in (thing.start, thing.stop)]
        change_T = np.array([np.median(abs(b - a)) for a, b in pairwise(frames)])
        calm = [frame for frame in range(1, FRAMES) if frame not in cuts and frame not in flashes]
        assert np.median(change_T[np.array(cuts) - 1]) > 2 * np.median(change_T[np.array(calm) - 1])
        starts = [shot.start for shot in scene.shots]
        lengths = np.diff([*starts, FRAMES])
        assert starts[0] == 0 and (lengths >= film.SHOT_FRAMES[0]).all() and len(starts) > 1
        box = (frames == np.array(COLORS[COLOR_NAMES[scene.box.color]])).all(axis=-1)
        first, last = starts[-1], FRAMES - 1
        places = [np.argwhere(box[frame]).mean(axis=0) for frame in (first, last) if box[frame].any()]
        moved += [float(abs(places[1] - places[0]).max())] if len(places) == 2 else []
    assert len(moved) > 2 and np.median(moved) > 2


def test_backgrounds_drift() -> None:
    shots = (Shot(0, (30, 40, 50), 9, (2.0, -1.0), STILL, STILL),)
    frames = film.render(replace(scene_of(1), shots=shots))
    same = (frames[1, :-1, 2:] == frames[0, 1:, :-2]).all(axis=-1)
    assert same.mean() > 0.8 and (frames[1] == frames[0]).all(axis=-1).mean() < 0.4


def test_zoom_makes_a_box_smaller() -> None:
    scene = replace(scene_of(0), shots=(Shot(0, (20, 20, 20), 1, (0.0, 0.0), STILL, replace(STILL, scale=1.3)),))
    scene = replace(scene, ball=replace(scene.ball, start=FRAMES), star=replace(scene.star, start=FRAMES))
    scene = replace(scene, triangles=tuple(replace(thing, start=FRAMES) for thing in scene.triangles))  # type: ignore[arg-type]
    frames = film.render(scene)
    sizes = [(frames[frame].max(axis=-1) >= 150).sum() for frame in (0, FRAMES - 1)]
    assert sizes[0] == (2 * scene.box.r + 1) ** 2 and sizes[1] == pytest.approx(sizes[0] / 1.3**2, rel=0.1)


def test_rows_are_those_of_the_plain_world_but_for_shots(tmp_path: Path) -> None:
    for name in ("plain", "film", "again"):
        (tmp_path / name / "test").mkdir(parents=True)
    plain = make_row(str(tmp_path / "plain"), "test", 0, 3)
    row = make_row(str(tmp_path / "film"), "test", 0, 3, "film")
    scene = Scene.from_dict(json.loads(json.dumps(row["scene"])))
    assert row == json.loads(json.dumps(plain)) | {"scene": row["scene"]} and len(scene.shots) > 1
    assert replace(scene, shots=()) == Scene.from_dict(plain["scene"]) and scene.to_dict() == row["scene"]
    back = read_frames(str(tmp_path / "film" / row["path"]), np.arange(FRAMES))
    assert abs(back.astype(int) - film.render(scene).astype(int)).mean() < 6, "codec error"
    assert make_row(str(tmp_path / "again"), "test", 0, 3, "film") == row
    files = [(tmp_path / name / row["path"]).read_bytes() for name in ("film", "again", "plain")]
    assert files[0] == files[1] != files[2]


def test_a_folder_holds_one_kind_of_world(tmp_path: Path) -> None:
    sizes = {"seed": 1, "train": 1, "val": 0, "test": 0, "processes": 1}
    for world, other in (("film", "plain"), ("plain", "film")):
        out = str(tmp_path / world)
        assert synth_command(out, world=world, **sizes) == 0  # type: ignore[arg-type]
        rows = [json.loads(line) for line in (tmp_path / world / "train.jsonl").read_text().splitlines()]
        assert rows == [json.loads(json.dumps(make_row(out, "train", 0, 1, world)))]  # type: ignore[arg-type]
        assert ("shots" in rows[0]["scene"]) == (world == "film")
        with pytest.raises(ConfigError, match=f"holds the {world} world, not the {other} one"):
            synth_command(out, world=other, **sizes)  # type: ignore[arg-type]
    assert json.loads((tmp_path / "plain" / "world.json").read_text()) == {"seed": 1}
