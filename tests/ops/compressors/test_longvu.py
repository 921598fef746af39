"""The steps of LongVU against loops over frames and tokens."""

from __future__ import annotations

from math import floor

import pytest
import torch
from compressor_loops import cosine, make_features, mean, slow_scene, vectors
from torch import Tensor

from liteframe.ops.compressors.longvu import (
    asked_about,
    changed,
    coarse_places,
    coarser,
    cut,
    distinct_frames,
    finer_frames,
)


def looped_distinct(tokens_TNC: Tensor, window: int, threshold: float) -> list[int]:
    frames = vectors(tokens_TNC.flatten(1))
    stays = []
    for start in range(0, len(frames), window):
        own = range(start, min(len(frames), start + window))
        for frame in own:
            likeness = sum(cosine(frames[frame], frames[other]) for other in own) / len(own)
            if likeness < threshold or frame == own[len(own) // 2]:
                stays.append(frame)
    return stays


@pytest.mark.parametrize(("window", "threshold"), [(4, 0.5), (4, 0.65), (5, 0.55), (16, 0.4), (4, -1.0)])
def test_frames_that_stay_equal_loops(window: int, threshold: float) -> None:
    tokens = slow_scene(11, change=0.15).tokens_TNC
    found = distinct_frames(tokens, window, threshold)
    assert found == looped_distinct(tokens, window, threshold)
    assert 0 < len(found) < 11, "neither all stay nor none"


def test_of_a_film_that_stands_still_the_middle_of_each_window_stays() -> None:
    tokens = torch.randn(1, 6, 3).expand(37, -1, -1)
    assert distinct_frames(tokens) == [8, 24, 34]
    assert distinct_frames(tokens[:1]) == [0]


@pytest.mark.parametrize(("fine", "coarse"), [(16, 9), (256, 121), (1, 1)])
def test_as_many_frames_are_shown_in_full_as_fit(fine: int, coarse: int) -> None:
    for frames in range(1, 9):
        for keep in range(1, frames * fine + 20, 3):
            fits = [n for n in range(frames + 1) if n * fine + (frames - n) * coarse <= keep]
            assert finer_frames(frames, keep, fine, coarse) == (0 if fine == coarse else max(fits, default=0))


def test_the_frames_that_a_text_is_about_equal_loops() -> None:
    tokens, text = make_features(6).tokens_TNC, torch.randn(7, 5, dtype=torch.float64)
    scores = [
        sum(sum(a * b for a, b in zip(token, word, strict=True)) for token in vectors(frame) for word in vectors(text))
        for frame in tokens
    ]
    for count in range(7):
        assert asked_about(tokens, text, count) == sorted(sorted(range(6), key=lambda f: -scores[f])[:count])


@pytest.mark.parametrize(("rows", "columns", "few"), [(4, 4, (3, 3)), (12, 12, (8, 8)), (3, 6, (2, 4)), (1, 2, (1, 1))])
def test_fewer_rows_and_columns_are_interpolated(rows: int, columns: int, few: tuple[int, int]) -> None:
    grid = make_features(2, rows, columns).tokens_THWC

    def weights(many: int, few: int, cell: int) -> list[tuple[int, float]]:
        place = max(0.0, (cell + 0.5) * many / few - 0.5)
        low = floor(place)
        return [(low, 1 - place + low), (min(low + 1, many - 1), place - low)]

    found = coarser(grid)
    assert found.shape == (2, *few, 5)
    for row in range(few[0]):
        for column in range(few[1]):
            expected = sum(
                a * b * grid[:, i, j]
                for i, a in weights(rows, few[0], row)
                for j, b in weights(columns, few[1], column)
            )
            torch.testing.assert_close(found[:, row, column], expected, rtol=1e-5, atol=1e-6)
    places = coarse_places((rows, columns), few)
    assert len({*places}) == few[0] * few[1] and sorted(places) == places and places[-1] < rows * columns


def test_cells_of_the_coarse_grid_stand_where_their_centres_are() -> None:
    assert coarse_places((4, 4), (3, 3)) == [0, 2, 3, 8, 10, 11, 12, 14, 15]


def looped_tokens(tokens_FNC: Tensor, threshold: float, chunk: int, keep: int) -> set[tuple[int, int]]:
    chunks: list[list[tuple[int, int]]] = []
    for start in range(0, len(tokens_FNC), chunk):
        chunks.append([])
        for frame in range(start, min(len(tokens_FNC), start + chunk)):
            for place, token in enumerate(vectors(tokens_FNC[frame])):
                if frame == start or cosine(token, vectors(tokens_FNC[start])[place]) < threshold:
                    chunks[-1].append((frame, place))
    while sum(map(len, chunks)) > keep:
        for own in chunks:
            if own and sum(map(len, chunks)) > keep:
                own.pop()
    return {each for own in chunks for each in own}


@pytest.mark.parametrize(("threshold", "chunk"), [(0.65, 8), (0.65, 3), (0.2, 3), (-1.0, 4), (1.0, 4)])
def test_tokens_that_stay_equal_loops(threshold: float, chunk: int) -> None:
    tokens = slow_scene(11).tokens_TNC
    for keep in (1, 5, 12, 20, 33, 60, 100, 132):
        found = cut(changed(tokens, threshold, chunk), keep, chunk)
        expected = looped_tokens(tokens, threshold, chunk, keep)
        assert {(f, n) for f, n in found.nonzero().tolist()} == expected
        assert found.sum() <= keep
    assert mean(vectors(changed(tokens, threshold, chunk)[::chunk].double())) == [1.0] * 12
