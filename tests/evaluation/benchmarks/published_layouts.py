"""Benchmarks as they are published, with real column names: a few rows, one about a video that is missing, one with a
fault in a field, and one that cannot be read at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

UNREADABLE = object()
"""A row whose text is no UTF-8."""


def touch(root: Path, *names: str) -> None:
    """Empty files; what is in them is the decoder's to judge."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_json(path: Path, rows: Sequence[Any]) -> None:
    """A JSON list; an unreadable row has a field twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = ['{"question": "a", "question": "b"}' if row is UNREADABLE else json.dumps(row) for row in rows]
    path.write_text("[" + ",\n".join(texts) + "]")


def write_parquet(path: Path, rows: Sequence[Any]) -> None:
    """A table; the question of an unreadable row is no UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blank = {name: None for row in rows if row is not UNREADABLE for name in row}
    filled = [{**blank, **({"question": "?"} if row is UNREADABLE else row)} for row in rows]
    table = pa.Table.from_pylist(filled)
    raw = [b"\xff" if row is UNREADABLE else full["question"].encode() for row, full in zip(rows, filled, strict=True)]
    questions = pa.array(raw).view(pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("question"), "question", questions), path)


@dataclass(frozen=True)
class Layout:
    """A way in which a benchmark is published.

    Attributes:
        benchmark, split: that it is of.
        write: into a folder.
        answers: index of the right option of each row that can be asked, in order.
        faults: what is said of those that cannot.
    """

    benchmark: str
    split: str
    write: Callable[[Path], None]
    answers: tuple[int | None, ...]
    faults: tuple[str, ...] = ("no such file", "field '", "")


def _video_mme_row(number: int, answer: str = "C", video: str | None = None) -> dict[str, Any]:
    return {
        "video_id": f"{number:03d}",
        "duration": ("short", "medium", "long")[number % 3],
        "domain": "Knowledge",
        "sub_category": "Law",
        "url": "https://example.com",
        "videoID": video or f"-vid_{number}",
        "question_id": f"{number:03d}-1",
        "task_type": "Object Recognition",
        "question": f"What is number {number}?",
        "options": ["A. Apples.", "B. Candles.", "C. Berries.", "D. The three kinds are of the same number."],
        "answer": answer,
    }


def video_mme(root: Path) -> None:
    rows: list[Any] = [_video_mme_row(number, "ABC"[number]) for number in range(3)]
    rows += [_video_mme_row(3, video="gone"), _video_mme_row(4, answer="E", video="-vid_1"), UNREADABLE]
    write_parquet(root / "videomme/test-00000-of-00001.parquet", rows)
    touch(root, "data/-vid_0.mp4", "videos_chunked_02/data/-vid_1.MP4", "data/-vid_2.mkv", "subtitle/-vid_1.srt")


def _mlvu_raw(video: str, answer: str, kind: str = "plotQA") -> dict[str, Any]:
    return {
        "video": video,
        "duration": 246.0,
        "question": "What color is the coat?",
        "candidates": ["Yellow", "Red", "Green", "Blue"],
        "answer": answer,
        "question_type": kind,
    }


def mlvu_dev(root: Path) -> None:
    plot = [_mlvu_raw("movie101_66.mp4", "Yellow"), _mlvu_raw("gone.mp4", "Red"), _mlvu_raw("movie101_66.mp4", "Pink")]
    # The same name, in another task: another video.
    needle = [_mlvu_raw("movie101_66.mp4", "Blue", "findNeedle"), UNREADABLE]
    summary = [{"video": "s.mp4", "question": "Sum it up.", "answer": "A man.", "question_type": "summary"}]
    write_json(root / "MLVU/json/1_plotQA.json", plot)
    write_json(root / "MLVU/json/2_needle.json", needle)
    write_json(root / "MLVU/json/9_summary.json", summary)
    touch(root, "MLVU/video/1_plotQA/movie101_66.mp4", "MLVU/video/2_needle/movie101_66.mp4")
    touch(root, "MLVU/video/8_sub_scene/movie101_66.mp4", "MLVU/video/3_ego/gone.mp4")


def mlvu_dev_copy(root: Path) -> None:
    def row(video: str, answer: str, question: str | None = None) -> dict[str, Any]:
        asked = "What color is the coat?\n(A) Yellow\n(B) Red\n(C) Green\n(D) Blue"
        return {"video_name": video, "question": question or asked, "answer": answer, "task_type": "ego"}

    rows = [row("ego_2", "B"), row("needle_1.mp4", "D"), row("gone.mp4", "A"), row("ego_2", "A", "No options?")]
    write_parquet(root / "mlvu/test-00000-of-00001.parquet", [*rows, UNREADABLE])
    touch(root, "ego_2.mp4", "video_part_1/needle_1.mp4")


def mlvu_test(root: Path) -> None:
    def row(number: int, answer: str) -> dict[str, Any]:
        candidates = ["Yellow", "Red", "Green", "Blue", "Black", "White"]
        return {**_mlvu_raw(f"test_{number}.mp4", answer, "sportsQA"), "candidates": candidates}

    rows = [{**row(number, answer), "question_id": f"SQA_{number}"} for number, answer in enumerate(["White", "Red"])]
    rows += [{**row(7, "Red"), "question_id": "SQA_7"}, {**row(0, "Pink"), "question_id": "SQA_8"}]
    write_json(root / "test-ground-truth/test_mcq_gt.json", [*rows, UNREADABLE])
    touch(root, "MLVU_Test/video/test_0.mp4", "MLVU_Test/video/test_1.mp4")


def _longvideobench_row(number: int, choice: Any) -> dict[str, Any]:
    return {
        "video_id": f"vid{number}",
        "question": "In the snow, what happens?",
        "question_wo_referring_query": "What happens?",
        "correct_choice": choice,
        "topic_category": "NP-News-Programs",
        "question_category": "S2E",
        "level": "L1-Perception",
        "id": f"vid{number}_0",
        "video_path": f"vid{number}.mp4",
        "subtitle_path": f"vid{number}_en.json",
        "duration_group": 15,
        "starting_timestamp_for_subtitles": 2.5,
        "duration": 10.0,
        "view_count": 5,
    }


def longvideobench(root: Path) -> None:
    choices = [["snow", "rain"], ["a", "b", "c"], ["a", "b", "c", "d", "e"]]
    rows = [{**_longvideobench_row(n, len(options) - 1), "candidates": options} for n, options in enumerate(choices)]
    rows += [{**_longvideobench_row(9, 0), "candidates": ["a", "b"]}]
    rows += [{**_longvideobench_row(1, 3), "candidates": choices[1]}]
    write_json(root / "lvb_val.json", [*rows, UNREADABLE])
    touch(root, *(f"videos/vid{number}.mp4" for number in range(3)), "subtitles/vid0_en.json")


def longvideobench_parquet(root: Path) -> None:
    def row(number: int, choice: int, *options: str) -> dict[str, Any]:
        padded = [*options, *["N/A"] * (5 - len(options))]
        return {**_longvideobench_row(number, choice), **{f"option{n}": option for n, option in enumerate(padded)}}

    rows = [row(0, 1, "snow", "rain"), row(2, 4, "a", "b", "c", "d", "e"), row(9, 0, "a", "b")]
    rows += [row(0, 0, "a", "N/A", "b")]
    write_parquet(root / "validation-00000-of-00001.parquet", [*rows, UNREADABLE])
    touch(root, "videos/vid0.mp4", "videos/vid2.webm")


def longvideobench_test(root: Path) -> None:
    rows = [{**_longvideobench_row(number, -1), "candidates": ["a", "b"]} for number in (0, 9)]
    del rows[0]["correct_choice"]
    write_json(root / "lvb_test_wo_gt.json", [*rows, {**rows[0], "candidates": ["a"]}, UNREADABLE])
    touch(root, "videos/vid0.mp4")


def hlvid(root: Path) -> None:
    def row(number: int, answer: str, video: str) -> dict[str, Any]:
        question = "What does the sign say?\nA. Hampden St\nB. Hampden Ave\nC. HampdenBlvd\nD. Hampden Rd"
        return {
            "question_id": number,
            "category": "av" if number % 2 else "household",
            "video_path": video,
            "question": question,
            "answer": answer,
        }

    rows = [row(1, "B", "clip_av_video_5_001.mp4"), row(2, "D", "videos/clip_household_video_0_000.mp4")]
    rows += [row(3, "A", "clip_av_video_9_009.mp4"), {**row(4, "A", "clip_av_video_5_001.mp4"), "question": "What?"}]
    write_parquet(root / "data/test-00000-of-00001.parquet", [*rows, UNREADABLE])
    touch(root, "videos/clip_av_video_5_001.mp4", "extracted/videos/clip_household_video_0_000.mp4")


def mvbench(root: Path) -> None:
    def row(video: str, answer: str, **part: float) -> dict[str, Any]:
        return {
            "video": video,
            "question": "What happened?",
            "candidates": ["The door.", "C", "A", "B"],
            "answer": answer,
            **part,
        }

    cut = [row("ZS9XR.mp4", "A", start=1.5, end=4), row("ZS9XR.mp4", "B", start=4, end=1.5), UNREADABLE]
    write_json(root / "json/action_sequence.json", cut)
    write_json(root / "json/object_existence.json", [row("video_1.mp4", "The door."), row("video_9.mp4", "C")])
    write_json(root / "json/episodic_reasoning.json", [row("castle_s01e01_seg02_clip_00", "C", start=0, end=9.5)])
    touch(root, "video/star/Charades_v1_480/ZS9XR.mp4", "video/clevrer/video_validation/video_1.mp4")
    # The same names, elsewhere: videos of other tasks.
    touch(root, "video/perception/videos/video_9.mp4", "video/data0613/clevrer/video_validation/video_1.mp4")
    touch(root, *(f"video/tvqa/frames_fps3_hq/castle_s01e01_seg02_clip_00/{n:05d}.jpg" for n in range(1, 4)))


def mvbench_in_one_list(root: Path) -> None:
    def row(video: str, answer: str) -> dict[str, Any]:
        return {"video": video, "question": "What happened?", "candidates": ["one", "two"], "answer": answer}

    meta = {
        "Action Sequence": [row("ZS9XR_1.mp4", "two"), row("gone.mp4", "one"), "no row"],
        "Fine-grained Pose": [row("S001.avi", "one"), row("S001.avi", "three")],
    }
    folders = {"Action Sequence": "star/Charades_segment/", "Fine-grained Pose": "nturgbd_convert/"}
    root.mkdir(parents=True, exist_ok=True)
    (root / "test.json").write_text(json.dumps({"root": folders, "meta": meta}))
    touch(root, "star/Charades_segment/ZS9XR_1.mp4", "nturgbd_convert/S001.mp4")


def egoschema(root: Path) -> None:
    def row(number: int, answer: Any, video: str = "0074f737") -> dict[str, Any]:
        return {
            "question_idx": str(number),
            "question": "What was the goal?",
            "video_idx": video,
            "option": [f"{letter}. C cooks {letter}." for letter in "ABCDE"],
            "answer": answer,
        }

    rows = [row(1, "3"), row(2, "0"), row(3, "1", "gone"), row(4, "5")]
    write_parquet(root / "Subset/test-00000-of-00001.parquet", [*rows, UNREADABLE])
    touch(root, "videos/0074f737.mp4")


def egoschema_of_its_authors(root: Path) -> None:
    def row(name: str, **fields: Any) -> dict[str, Any]:
        return {
            "q_uid": name,
            "google_drive_id": "x",
            "question": "What was the goal?",
            **{f"option {number}": f"C cooks {number}." for number in range(5)},
            **fields,
        }

    rows: list[Any] = [row("u0"), row("u1"), row("unanswered"), row("gone"), row("u2", **{"option 3": 4}), UNREADABLE]
    write_json(root / "questions.json", rows)
    (root / "subset_answers.json").write_text(json.dumps({"u0": 4, "u1": 0, "gone": 1, "u2": 2}))
    touch(root, "videos/u0.mp4", "videos/u1.mp4", "videos/u2.mp4", "videos/unanswered.mp4")


def own(root: Path, **fields: Any) -> None:
    def row(number: int, *answers: str) -> dict[str, Any]:
        asked = {"type": "needle", "question": "color of the star", "options": ["orange", "magenta"]}
        questions = [{**asked, "answer": answer} for answer in answers]
        return {"path": f"test/{number:05d}.mp4", "id": f"test-{number:05d}", "questions": questions, **fields}

    rows = [row(0, "magenta", "orange"), row(1, "magenta", "blue"), row(9, "orange")]
    root.mkdir(parents=True, exist_ok=True)
    (root / "test.jsonl").write_text("\n".join([*map(json.dumps, rows), '{"path": ']) + "\n")
    touch(root, "test/00000.mp4", "test/00001.mp4")


def tiny_world(root: Path) -> None:
    own(root, scene={})


LAYOUTS = {
    "video-mme": Layout("video-mme", "test", video_mme, (0, 1, 2)),
    "mlvu": Layout("mlvu", "dev", mlvu_dev, (0, 3)),
    "mlvu-copy": Layout("mlvu", "dev", mlvu_dev_copy, (1, 3)),
    "mlvu-test": Layout("mlvu", "test", mlvu_test, (5, 1)),
    "longvideobench": Layout("longvideobench", "val", longvideobench, (1, 2, 4)),
    "longvideobench-parquet": Layout("longvideobench", "val", longvideobench_parquet, (1, 4)),
    "longvideobench-test": Layout("longvideobench", "test", longvideobench_test, (None,)),
    "hlvid": Layout("hlvid", "test", hlvid, (1, 3)),
    "mvbench": Layout("mvbench", "test", mvbench, (2, 1, 0)),
    "mvbench-video": Layout("mvbench", "test", mvbench_in_one_list, (1, 0)),
    "egoschema": Layout("egoschema", "subset", egoschema, (3, 0)),
    "egoschema-authors": Layout("egoschema", "subset", egoschema_of_its_authors, (4, 0)),
    "own": Layout("own", "test", own, (1, 0, 1), ("no such file", "field answer", "not JSON")),
    "tiny-world": Layout("tiny-world", "test", tiny_world, (1, 0, 1), ("no such file", "field answer", "not JSON")),
}
