"""`liteframe evaluate --tiles`: high-resolution frames as several videos of the size that a model was made for."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from evaluating import evaluate, home, lines, loaded_once, report
from liteframe.command import cli
from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling.index_rules import uniform_midpoints
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.watching import Watched
from tiny_world import host_folder, lma_run_folder

TILE = 112


@cache
def large_world() -> Path:
    """A video of the tiny world at twice the size, 224 x 224 pixels."""
    folder = home() / "large-world"
    words = ["synth", folder, "--scale", 2, "--train", 0, "--val", 0, "--test", 1, "--processes", 1]
    assert cli.main([str(word) for word in words]) == 0
    return folder


def questions() -> list[Question]:
    return [row for row in benchmark("tiny-world").read(large_world()) if isinstance(row, Question)]


def views(frames: int) -> list[torch.Tensor]:
    """Four quarters and the whole, cut by hand; of whole clips of 4."""
    canvas_THWC = read_frames(str(large_world() / questions()[0].video), uniform_midpoints(128, frames))
    assert canvas_THWC.shape[1:3] == (2 * TILE, 2 * TILE)
    cut = [canvas_THWC[:, y : y + TILE, x : x + TILE] for y in (0, TILE) for x in (0, TILE)]
    return [normalize(resize_uint8(view, (TILE, TILE)))[None] for view in (*cut, canvas_THWC)]


@torch.no_grad()
def expected_logits(model: Any, frames: int, order: str) -> list[list[float]]:
    """Of every question's options, from views that are encoded one by one and put together by hand."""
    seen = [model.project(model.encode(view)) for view in views(frames)]
    if isinstance(seen[0], list):
        apart = [(video.compressed.tokens_MC, video.lines) for (video,) in seen]
    else:
        apart = [(each[0].flatten(0, 1), [(1 + t, each.shape[2]) for t in range(each.shape[1])]) for each in seen]
    # Number of a line, and its tokens; a stable sort keeps the views in their order.
    parts = [
        (number, part)
        for tokens_MC, lines in apart
        for (number, _), part in zip(lines, tokens_MC.split([count for _, count in lines]), strict=True)
    ]
    if order == "frame":
        parts = [
            (number, torch.cat([part for _, part in group]))
            for number, group in groupby(sorted(parts, key=itemgetter(0)), itemgetter(0))
        ]
    visual = torch.cat([part for _, part in parts])[None, None]
    video = model.prompts.wording.lines_text([(number, len(part)) for number, part in parts])
    found = []
    inner = getattr(model, "inner", model)
    for question in questions():
        ids = [id_ for part in model.prompts.asked_ids(video, question.text) for id_ in part]
        options = [model.prompts.first_token(option) for option in question.options]
        found.append(inner.prefill(visual, ids)[0, options].tolist())
    return found


@pytest.mark.parametrize("order", ["frame", "position"])
@pytest.mark.parametrize("compressor", [None, "wap", "fastvid", "student"])
def test_tiles_are_encoded_one_by_one_and_stand_in_order(compressor: str | None, order: str, tmp_path: Path) -> None:
    student = compressor == "student"
    source = lma_run_folder() if student else host_folder()
    reduced = [] if student or compressor is None else ["--compressor", compressor, "--ratio", 4]
    words = ["--data", large_world(), "--tiles", 4, "--tile_order", order, "--answer", "likelihood", "--frames", 8]
    assert evaluate(*words, *reduced, "--out", tmp_path / "o", model=source) == 0
    model = loaded_once(str(source), None if student else compressor, 4.0 if reduced else 16.0)
    found = lines(tmp_path / "o")
    assert [line["grid"] for line in found] == [[2, 2]] * 4
    for line, wanted in zip(found, expected_logits(model, 8, order), strict=True):
        assert line["option_logits"] == pytest.approx(wanted, abs=2e-3)


def test_a_budget_gives_each_frame_count_the_finest_grid_that_fits(tmp_path: Path) -> None:
    # Uncut, 8 frames are 8 tokens, and 32 are 32.
    words = ["--data", large_world(), "--tiles", 4, "--frames", "8,32", "--answer", "likelihood"]
    assert evaluate(*words, "--token_budget", 96, "--out", tmp_path / "o") == 0
    found = {line["frames"]: line for line in lines(tmp_path / "o")}
    assert (found[8]["grid"], found[8]["visual_tokens"]) == ([2, 2], 40)
    assert (found[32]["grid"], found[32]["visual_tokens"]) == ([1, 2], 96)
    assert report(tmp_path / "o")["frames"]["32"]["tiles"] == {"1 x 2": 4}
    assert evaluate(*words, "--token_budget", 31, "--out", tmp_path / "p") == 1


def test_frames_that_a_budget_leaves_whole_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", large_world(), "--tiles", 4, "--frames", "8", "--answer", "likelihood"]
    assert evaluate(*words, "--token_budget", 16, "--out", tmp_path / "o") == 0
    assert "tiles at 8 frames, answers: not cut: 4" in capsys.readouterr().out


@pytest.mark.parametrize("compressor", ["tome", "prumerge", "fastvid"])
def test_a_compressor_that_rounds_for_a_whole_video_keeps_to_the_budget(compressor: str, tmp_path: Path) -> None:
    # 10 frames are 160 tokens, a seventh of them 23; of one frame, it would be 2.
    words = ["--data", large_world(), "--tiles", 4, "--frames", 10, "--compressor", compressor, "--ratio", 7]
    words += ["--answer", "likelihood"]
    assert evaluate(*words, "--token_budget", 115, "--out", tmp_path / "o", model=host_folder()) == 0
    assert all(line["visual_tokens"] <= 115 for line in lines(tmp_path / "o") if line["status"] == "answered")
    if compressor == "tome":
        assert {(*line["grid"], line["visual_tokens"]) for line in lines(tmp_path / "o")} == {(2, 2, 115)}
        assert evaluate(*words, "--token_budget", 114, "--out", tmp_path / "p", model=host_folder()) == 0
        assert {tuple(line["grid"]) for line in lines(tmp_path / "p")} == {(1, 2)}


def test_frame_counts_whose_frames_do_not_fit_into_memory_together_are_decoded_apart(tmp_path: Path) -> None:
    words = ["--data", large_world(), "--tiles", 4, "--frames", "8,12,32", "--answer", "likelihood"]
    assert evaluate(*words, "--out", tmp_path / "whole") == 0
    with mock.patch("liteframe.evaluation.frames.fits_memory", lambda frames, *size: frames <= 12):
        assert evaluate(*words, "--out", tmp_path / "o") == 0
    found, whole = ([line for line in lines(tmp_path / name) if line["frames"] < 32] for name in ("o", "whole"))
    assert found == whole and len(found) == 8
    skipped = report(tmp_path / "o")["skipped"]
    assert {item["frames"] for item in skipped} == {32} and "give fewer --frames or --tiles" in skipped[0]["why"]


def test_what_was_cut_is_recorded_and_no_other_cut_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", large_world(), "--frames", 8, "--answer", "likelihood", "--out", tmp_path / "o"]
    assert evaluate(*words, "--tiles", 4) == 0
    settings = json.loads((tmp_path / "o" / "evaluation.json").read_text())["settings"]
    assert settings["tiles"] == {"most": 4, "budget": None, "thumbnail": True, "order": "frame"}
    assert settings["image_size"] == [TILE, TILE]
    for other in (["--tiles", 2], ["--tiles", 4, "--tile_order", "position"], []):
        assert evaluate(*words, *other) == 1
        assert "holds an evaluation with tiles" in capsys.readouterr().err


def test_settings_of_tiles_without_tiles_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--token_budget", 64], ["--tile_order", "position"], ["--thumbnail", "false"]):
        assert evaluate(*words, "--out", tmp_path / "o") == 1
        assert "are about tiles; give --tiles" in capsys.readouterr().err
    assert evaluate("--tiles", 4, "--token_budget", 1, "--out", tmp_path / "o") == 1
    assert "8 frames are 8 visual tokens even where none is cut" in capsys.readouterr().err


def test_memory_that_one_frame_count_lacks_costs_the_others_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, shown = tmp_path / "whole", Watched.shown
    words = ["--answer", "likelihood", "--frames", "13,12,8"]
    assert evaluate(*words, "--out", whole, model=host_folder()) == 0

    def lacking(self: Watched, count: int) -> Any:
        if count != 8:
            raise torch.OutOfMemoryError("out of memory")
        return shown(self, count)

    with mock.patch.object(Watched, "shown", lacking):
        assert evaluate(*words, "--out", tmp_path / "o", model=host_folder()) == 0
    assert {item["frames"] for item in report(tmp_path / "o")["skipped"]} == {13, 12}
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not answered")]
    assert len(told) == len(set(told)) == 5  # a line for each question, of at most as many
    assert all(re.fullmatch(r"not answered at 13, 12 frames: .*: out of memory", line) for line in told), told
    of_8 = [[line for line in lines(folder) if line["frames"] == 8] for folder in (whole, tmp_path / "o")]
    assert of_8[0] == of_8[1]
