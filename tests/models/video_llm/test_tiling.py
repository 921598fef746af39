"""Frames in tiles: which grid, which pixels, which order."""

from __future__ import annotations

import itertools

import pytest
import torch

from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError
from liteframe.models.video_llm.tiling import Grid, Tiling

TILE = (448, 448)


def grid(frame: tuple[int, int], most: int, budget: int | None = None, tokens: int = 1) -> Grid:
    return Tiling(most, budget).grid(frame, TILE, tokens)


@pytest.mark.parametrize(
    ("frame", "most", "wanted"),
    [
        ((2160, 3840), 48, (5, 9)),  # all of its pixels
        ((2160, 3840), 12, (3, 4)),
        ((2160, 3840), 8, (2, 4)),
        ((3840, 2160), 8, (4, 2)),
        ((720, 1280), 48, (2, 3)),
        ((720, 1280), 2, (1, 2)),
        ((1080, 1920), 5, (2, 2)),  # five in a row would squash its height to less than half
        ((448, 448), 48, (1, 1)),
        ((240, 320), 12, (1, 1)),
        ((448, 896), 12, (1, 2)),
        ((896, 896), 12, (2, 2)),
        ((449, 448), 12, (2, 1)),
        ((100, 4480), 12, (1, 10)),
    ],
)
def test_the_grid_keeps_pixels_and_makes_up_none(frame: tuple[int, int], most: int, wanted: Grid) -> None:
    assert grid(frame, most) == wanted


def test_no_other_grid_within_the_limit_shows_the_frame_finer() -> None:
    for frame in itertools.product((90, 700, 1080, 2000), (120, 1280, 1920, 3000)):
        for most in (2, 5, 9, 16):
            rows, columns = grid(frame, most)
            assert rows * columns <= most

            def scale(rows: int, columns: int, frame: tuple[int, int] = frame) -> float:
                return min(1, rows * 448 / frame[0], columns * 448 / frame[1])

            others = [each for each in itertools.product(range(1, most + 1), repeat=2) if each[0] * each[1] <= most]
            assert scale(rows, columns) == max(scale(*each) for each in others)


def test_tiles_become_fewer_until_they_fit_the_budget() -> None:
    # 5 x 9 tiles and the thumbnail are 46 times the tokens of the frames as they are.
    assert grid((2160, 3840), 48, budget=4600, tokens=100) == (5, 9)
    assert grid((2160, 3840), 48, budget=4599, tokens=100) != (5, 9)
    for budget in range(100, 4600, 100):
        rows, columns = grid((2160, 3840), 48, budget, 100)
        assert 100 * (rows * columns + (rows * columns > 1)) <= budget
    assert Tiling(4, 400, thumbnail=False).grid((896, 896), TILE, 100) == (2, 2)
    assert Tiling(4, 400).grid((896, 896), TILE, 100) != (2, 2)


def test_tiles_hold_every_pixel_once_row_by_row_and_the_thumbnail_is_behind_them() -> None:
    canvas_TCHW = torch.randint(0, 256, (3, 3, 2 * 28, 3 * 42), dtype=torch.uint8)
    *tiles, thumbnail = Tiling(6).views(canvas_TCHW, (2, 3))
    assert [tile.shape for tile in tiles] == [(3, 3, 28, 42)] * 6
    rows = [torch.cat(tiles[start : start + 3], dim=-1) for start in (0, 3)]
    assert torch.equal(torch.cat(rows, dim=-2), canvas_TCHW)
    assert torch.equal(thumbnail, resize_uint8(canvas_TCHW.permute(0, 2, 3, 1).numpy(), (28, 42)))
    assert len(list(Tiling(6, thumbnail=False).views(canvas_TCHW, (2, 3)))) == 6
    (whole,) = Tiling(6).views(canvas_TCHW, (1, 1))
    assert torch.equal(whole, canvas_TCHW)


def test_tokens_stand_together_by_frame_or_by_position() -> None:
    def view(tokens: list[int], *lines: tuple[int, int]) -> tuple[torch.Tensor, list[tuple[int, int]]]:
        return torch.tensor(tokens)[:, None], list(lines)

    views = [view([11, 12, 31], (1, 2), (3, 1)), view([21, 22, 23], (2, 3)), view([15, 35], (1, 1), (3, 1))]
    tokens_MC, lines = Tiling(2).in_order(views)
    assert (tokens_MC[:, 0].tolist(), lines) == ([11, 12, 15, 21, 22, 23, 31, 35], [(1, 3), (2, 3), (3, 2)])
    tokens_MC, lines = Tiling(2, order="position").in_order(views)
    assert tokens_MC[:, 0].tolist() == [11, 12, 31, 21, 22, 23, 15, 35]
    assert lines == [(1, 2), (3, 1), (2, 3), (1, 1), (3, 1)]


def test_limits_that_there_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="tiles is 1; give 2 or more"):
        Tiling(1)
    with pytest.raises(ConfigError, match="token_budget is 0"):
        Tiling(4, 0)
