"""Pictures show what they say: bright where WAP looks, bright where student and target agree."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.pictures import film, heat, log_picture, similarity_picture, wap_picture
from tiny_world import ENCODER, WAP_SETTINGS, host_folder, make_trainer, manifest, store_folder, video_data


def luma(picture_CHW: torch.Tensor) -> torch.Tensor:
    return picture_CHW.mean(0)


def test_heat_goes_from_dark_to_bright_one_square_a_token() -> None:
    picture = heat(torch.tensor([[[-1.0, 0.5], [1.0, 9.0]]]), (4, 8))
    assert picture.shape == (1, 3, 4, 8) and picture.min() >= 0 and picture.max() <= 1
    squares = luma(picture[0]).unfold(0, 2, 2).unfold(1, 4, 4)
    assert (squares.amax((2, 3)) - squares.amin((2, 3))).max() == 0
    dark, middle, bright, beyond = squares[..., 0, 0].flatten().tolist()
    assert dark < middle < bright == beyond


def test_film_puts_frames_side_by_side() -> None:
    frames = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 4)
    assert film(frames).shape == (3, 2, 12)
    assert film(frames)[0, 0].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4


def test_wap_is_bright_where_the_weight_is() -> None:
    frames = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    weights = torch.zeros(4, 4, 4)
    weights[2, 0, 3] = weights[1, 3, 0] = 1.0
    picture = wap_picture(frames, weights, (4, 2, 2))
    assert picture.shape == (3, 16, 32)
    assert picture[:, :8].sub(100 / 255).abs().max() < 0.01, "the first row is the frames"
    under = luma(picture[:, 8:])
    lit = (under > under.min() + 0.1).unfold(0, 2, 2).unfold(1, 2, 2).float().mean((2, 3))
    expected = torch.zeros(4, 16)
    expected[0, 2 * 4 + 3] = expected[3, 1 * 4 + 0] = 1.0
    assert torch.equal(lit, expected)


def test_similarity_is_bright_where_both_agree() -> None:
    frames = torch.arange(8, dtype=torch.uint8).mul(10).view(8, 1, 1, 1).expand(8, 3, 8, 8)
    target = torch.randn(2, 2, 2, 6, generator=torch.Generator().manual_seed(0))
    student = 3 * target
    student[1, 0, 1] *= -1
    picture = similarity_picture(frames, student, target)
    assert picture.shape == (3, 16, 16)
    assert picture[0, 0, 0] == 0 and picture[0, 0, 8] == pytest.approx(40 / 255, abs=1e-3), "first frame of each clip"
    below = luma(picture[:, 8:])[::4, ::4]
    odd = torch.zeros(2, 4, dtype=torch.bool)
    odd[0, 3] = True
    assert below[odd].max() < below[~odd].min()


def images(folder: Path) -> dict[str, list[int]]:
    """Names of the pictures that TensorBoard would show, and their steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {name: [event.step for event in events.Images(name)] for name in events.Tags()["images"]}


def test_stages_show_them_in_tensorboard(tmp_path: Path) -> None:
    logger = TensorBoardLogger(save_dir=tmp_path / "ctd", name="", version="")
    module = CTDStage(encoder=ENCODER, picture_every=2, **WAP_SETTINGS)
    trainer = make_trainer(tmp_path / "ctd", max_steps=4, logger=logger)
    trainer.fit(module, video_data(store=str(store_folder())))
    logger.experiment.flush()
    assert images(tmp_path / "ctd") == {"ctd/cosine": [0, 2]}

    logger = TensorBoardLogger(save_dir=tmp_path / "cache", name="", version="")
    cache = CacheStage(str(host_folder()), str(tmp_path / "store"), **WAP_SETTINGS)
    videos = video_data(predict=str(manifest()))
    make_trainer(tmp_path / "cache", logger=logger).predict(cache, videos, return_predictions=False)
    logger.experiment.flush()
    assert images(tmp_path / "cache") == {f"wap/{i}": [0] for i in range(3)}


def test_each_logger_gets_a_picture_its_own_way_and_one_without_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: dict[str, Any] = {}

    def of_wandb(key: str, images: list[np.ndarray], step: int) -> None:
        taken["wandb"] = (key, images[0], step)

    def of_mlflow(run_id: str, image: np.ndarray, *, key: str, step: int) -> None:
        taken["mlflow"] = (key, image, step, run_id)

    wandb = SimpleNamespace(log_image=of_wandb, experiment=SimpleNamespace(log=print))
    mlflow = SimpleNamespace(run_id="r", experiment=SimpleNamespace(log_image=of_mlflow))
    board = SimpleNamespace(experiment=SimpleNamespace(add_image=lambda *given, **named: taken.update(board=given)))
    picture = torch.zeros(3, 4, 6)
    picture[0] = 1.0
    for _ in range(2):
        log_picture([wandb, mlflow, board, CSVLogger(tmp_path)], "wap/0", picture, 7)
    for name, step in (("wandb", 2), ("mlflow", 2), ("board", 2)):
        key, pixels = taken[name][:2]
        assert key == "wap/0" and taken[name][step] == 7
        assert pixels.dtype == np.uint8 and pixels.shape == (4, 6, 3)
        assert pixels[..., 0].min() == 255 and pixels[..., 1:].max() == 0
    assert capsys.readouterr().err == "CSVLogger takes no pictures, so they are left out of it\n"
