"""The tiny world: labels, questions and files agree with the pixels, and a seed says all of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from liteframe.data.decoding.decode import probe, read_frames
from liteframe.errors import ConfigError
from liteframe.tiny import synthetic, synthetic_files
from liteframe.tiny.synthetic import (
    COLOR_NAMES,
    COLORS,
    DIRECTIONS,
    FRAMES,
    KINDS,
    PATCH,
    SIZE,
    TEST_DURATIONS,
    TRAIN_DURATIONS,
    Scene,
)
from liteframe.tiny.synthetic_files import make_row, synth_command, write_video
from tiny_world import manifest

CENTERS = np.arange(SIZE // PATCH) * PATCH + PATCH // 2


def scenes(count: int, durations: synthetic.Durations = TRAIN_DURATIONS, scale: int = 1) -> list[Scene]:
    return [synthetic.draw_scene(np.random.default_rng([7, number]), durations, scale) for number in range(count)]


@pytest.mark.parametrize(("number", "scale"), [(0, 1), (1, 1), (2, 1), (3, 1), (17, 2)])
def test_patch_labels_say_what_is_painted_at_the_centre_of_each_patch(number: int, scale: int) -> None:
    scene = scenes(number + 1, scale=scale)[number]
    frames = synthetic.render(scene)
    assert frames.shape == (FRAMES, scale * SIZE, scale * SIZE, 3) and frames.dtype == np.uint8
    indices = np.unique([0, FRAMES - 1, 40, 90, scene.star.start, scene.star.stop - 1, scene.triangles[1].start])
    labels = synthetic.patch_labels(scene, indices)
    assert labels.shape == (len(indices), 8, 8) and labels.max() < synthetic.NUM_PATCH_LABELS
    shown = set()
    for labels_HW, frame in zip(labels, frames[indices], strict=True):
        for row, y in enumerate(CENTERS):
            for column, x in enumerate(CENTERS):
                label, pixel = int(labels_HW[row, column]), frame[scale * y, scale * x].astype(int)
                if label == 0:
                    assert (abs(pixel - np.array(scene.background)) <= 10).all()
                    continue
                kind, color = divmod(label - 1, len(COLORS))
                full = np.array(COLORS[COLOR_NAMES[color]])
                assert any((abs(pixel - part * full) <= 1).all() for part in (1.0, 0.3)), (KINDS[kind], pixel, full)
                shown.add(KINDS[kind])
    assert {"box", "star"} <= shown


def test_the_ball_sweeps_once_in_its_direction() -> None:
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    seen = set()
    for scene in (*scenes(30), *scenes(10, scale=3)):
        steps = np.diff([synthetic.ball_center(scene, frame) for frame in range(FRAMES)], axis=0)
        x, y = ways[scene.direction]
        assert (steps * [x, y] >= 0).all() and not (steps * [y, x]).any()
        assert abs(steps.sum()) == scene.size - 2 * scene.ball.r
        seen.add(scene.direction)
    assert seen == set(DIRECTIONS)


def test_durations_and_halves_of_events() -> None:
    for durations in (TRAIN_DURATIONS, TEST_DURATIONS):
        drawn = scenes(60, durations)
        assert {scene.star.stop - scene.star.start for scene in drawn} == set(durations.star)
        for scene in drawn:
            early, late = scene.triangles
            assert 0 <= early.start < early.stop <= FRAMES // 2 <= late.start < late.stop <= FRAMES
            assert early.color != late.color
            for thing in scene.things()[2:]:
                assert thing.x - thing.r >= 0 and thing.x + thing.r < SIZE, "flashing objects are seen whole"


def test_answers_are_among_four_options_and_those_of_the_scene() -> None:
    places: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes(80)):
        asked = synthetic.questions(scene, np.random.default_rng(number), (*synthetic.TEST_TYPES, "ball"))
        assert [item["type"] for item in asked] == [*synthetic.TEST_TYPES, "ball"]
        truth = {
            "needle": COLOR_NAMES[scene.star.color],
            "order": COLOR_NAMES[scene.triangles[0].color],
            "motion": scene.direction,
            "persist": COLOR_NAMES[scene.box.color],
            "ball": COLOR_NAMES[scene.ball.color],
        }
        for item in asked:
            assert len(item["options"]) == len(set(item["options"])) == 4
            assert item["answer"] == truth[item["type"]] and item["answer"] in item["options"]
            assert item["question"] == synthetic.QUESTIONS[item["type"]]
            places.setdefault(item["type"], []).append(item["options"].index(item["answer"]))
        assert COLOR_NAMES[scene.triangles[1].color] in asked[1]["options"], "the later triangle is a wrong option"
        assert set(asked[2]["options"]) == set(DIRECTIONS)
    for found in places.values():
        assert np.bincount(found, minlength=4).min() >= 8, "the place of an answer tells nothing"


def test_scenes_survive_json() -> None:
    for scene in (*scenes(3), *scenes(1, scale=2)):
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_a_file_shows_what_was_rendered(tmp_path: Path) -> None:
    scene = scenes(1)[0]
    frames = synthetic.render(scene)
    write_video(tmp_path / "a.mp4", frames)
    info = probe(str(tmp_path / "a.mp4"))
    assert (info.codec, info.width, info.height, info.frames, info.fps) == ("h264", SIZE, SIZE, FRAMES, synthetic.FPS)
    back = read_frames(str(tmp_path / "a.mp4"), np.arange(FRAMES))
    error = abs(back.astype(int) - frames.astype(int)).mean(axis=(1, 2, 3))
    assert error.max() < 6, "codec error"
    still = abs(back[1:].astype(int) - frames[:-1].astype(int)).mean(axis=(1, 2, 3))
    events = [scene.star.start, scene.star.stop, scene.triangles[0].start, scene.triangles[1].stop]
    for frame in (event for event in events if 0 < event < FRAMES):
        assert still[frame - 1] > error[frame] + 1, "no frame is late by one"


def test_a_seed_a_split_and_an_index_say_all_of_a_video(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for split in ("train", "test", "val"):
            (tmp_path / name / split).mkdir(parents=True)
    first = make_row(str(tmp_path / "a"), "train", 0, 3)
    assert make_row(str(tmp_path / "b"), "train", 0, 3) == first
    assert (tmp_path / "a" / first["path"]).read_bytes() == (tmp_path / "b" / first["path"]).read_bytes()
    others = [make_row(str(tmp_path / "b"), *which) for which in (("train", 1, 3), ("test", 0, 3), ("val", 0, 3))]
    others.append(make_row(str(tmp_path / "a"), "test", 0, 4))
    assert len({json.dumps(row["scene"]) for row in [first, *others]}) == 5
    assert len({row["id"] for row in [first, *others[:3]]}) == 4


def test_the_plain_world_is_that_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, rows = hashlib.sha256(), hashlib.sha256()
    monkeypatch.setattr(synthetic_files, "write_video", lambda path, frames_THWC: pixels.update(frames_THWC.tobytes()))
    for split in ("train", "val", "test"):
        for index in range(2):
            rows.update(json.dumps(make_row("nowhere", split, index, 3)).encode())
    assert pixels.hexdigest() == "5834caf327762f53ae531af2f389867498efd1edf4c35ed0aab2f5eac0c0fdaf"
    assert rows.hexdigest() == "e5513791ec3c3f88a894a1febff5b59107e4aebb2cd48b5bf531d45b3d3d97a9"


def test_rows_of_training_have_more_questions_and_key_frames() -> None:
    for split, types in (("train", (*synthetic.TEST_TYPES, "ball")), ("test", synthetic.TEST_TYPES)):
        for line in manifest(split).read_text().splitlines():
            row = json.loads(line)
            assert tuple(item["type"] for item in row["questions"]) == types
            scene = Scene.from_dict(row["scene"])
            flashes = (scene.star, *scene.triangles)
            assert row["key_frames"] == [[thing.start, thing.stop] for thing in flashes]


def test_synth_writes_splits_once_and_refuses_another_seed(tmp_path: Path) -> None:
    out = tmp_path / "world"
    sizes = {"train": 2, "val": 1, "test": 1}
    assert synth_command(str(out), seed=1, processes=1, **sizes) == 0
    files = sorted(out.rglob("*.mp4"))
    assert [path.relative_to(out).as_posix() for path in files] == [
        "test/00000.mp4",
        "train/00000.mp4",
        "train/00001.mp4",
        "val/00000.mp4",
    ]
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert rows == [json.loads(json.dumps(make_row(str(out), "train", index, 1))) for index in range(2)]
    times = [path.stat().st_mtime_ns for path in files]
    (out / "train.jsonl").unlink()
    files[1].unlink()
    assert synth_command(str(out), seed=1, processes=1, **sizes) == 0
    now = [path.stat().st_mtime_ns for path in files]
    assert [a == b for a, b in zip(times, now, strict=True)] == [True, False, True, True]
    assert len((out / "train.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ConfigError, match="seed 1.*seed 2"):
        synth_command(str(out), seed=2, processes=1, **sizes)
    with pytest.raises(ConfigError, match="scale 1, not at scale 4"):
        synth_command(str(out), seed=1, processes=1, scale=4, **sizes)
    with pytest.raises(ConfigError, match="films are of one size"):
        synth_command(str(tmp_path / "film"), seed=1, processes=1, scale=2, world="film", **sizes)


def test_a_larger_picture_has_objects_of_the_same_pixels_and_the_same_events() -> None:
    for number in range(10):
        drawn = [
            synthetic.draw_scene(np.random.default_rng([7, number]), TEST_DURATIONS, scale).things() for scale in (1, 4)
        ]
        assert [thing.r for thing in drawn[0]] == [thing.r for thing in drawn[1]]
        assert all(thing.x - thing.r >= 0 and thing.x + thing.r < 4 * SIZE for thing in drawn[1])
