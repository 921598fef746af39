"""Measures of a student against its targets: worked out one channel and one token at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from liteframe.bench.target_fit import fit_of, target_fit
from liteframe.models.backbone import WAP
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVL
from liteframe.models.video_llm.model import LiteFrameBackbone
from tiny_world import encoder_folder, host_folder, manifest


@pytest.fixture(name="target")
def _target() -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    scales, means = torch.tensor([1.0, 0.1, 5.0, 1.0]), torch.tensor([0.0, 60.0, -3.0, 1.0])
    return torch.randn(500, 4, generator=chance).double() * scales + means


def test_one_channel_and_one_token_at_a_time(target: torch.Tensor) -> None:
    student = 0.7 * target + 0.2 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1)) + 2
    fit = fit_of(student, target)
    s, t = student.numpy(), target.numpy()
    explained, cosines, errors = [], [], []
    for channel in range(4):
        errors.append(np.mean((s[:, channel] - t[:, channel]) ** 2))
        explained.append(1 - errors[-1] / np.var(t[:, channel]))
    for one, other in zip(s - t.mean(0), t - t.mean(0), strict=True):
        cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert fit["mse"] == pytest.approx(np.mean(errors))
    assert fit["explained_variance"] == pytest.approx(1 - np.sum(errors) / np.sum(np.var(t, axis=0)))
    assert fit["explained_variance_mean"] == pytest.approx(np.mean(explained))
    assert fit["explained_variance_worst"] == pytest.approx(np.min(explained))
    assert fit["centred_cosine"] == pytest.approx(np.mean(cosines))
    assert fit["stuck_channels"] == sum(value < 0.05 for value in explained)


def test_a_perfect_student_and_one_that_knows_the_means_alone(target: torch.Tensor) -> None:
    perfect, means = fit_of(target, target), fit_of(target.mean(0).expand_as(target), target)
    assert (perfect["explained_variance"], perfect["stuck_channels"]) == (1, 0)
    assert perfect["centred_cosine"] == pytest.approx(1)
    assert (means["explained_variance"], means["stuck_channels"]) == (pytest.approx(0), 4)


def test_a_channel_that_is_missed_shows_whatever_its_variance(target: torch.Tensor) -> None:
    student = target.clone()
    student[:, 1] = 0  # of the smallest variance, and with a mean of 60
    fit = fit_of(student, target)
    assert fit["stuck_channels"] == 1
    assert fit["largest_mean_error"] == pytest.approx(float(target[:, 1].mean() / target[:, 1].std(unbiased=False)))


def test_a_student_is_shown_frames_of_the_size_that_it_was_made_for() -> None:
    encoder, teacher = LiteFrameEncoder.from_pretrained(encoder_folder()), InternVL(str(host_folder())).load("eager")
    wap = WAP(similarity="cosine", scale=20.0)
    tokens = {
        size: target_fit(LiteFrameBackbone(encoder, size), teacher, wap, manifest("test"), 4)["tokens"]
        for size in (None, (112, 56))
    }
    assert tokens[None] == 2 * tokens[112, 56] == 3 * 16
