from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from liteframe.stages.accumulation import StepMean
from liteframe.stages.losses import Clip, MeanOver, answer_loss, ctd_loss, fold_statistics_into_head, standardise
from liteframe.stages.means import SummedLoss
from ranks import run_ranks

SHAPE = (4, 2, 3, 3, 8)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mean(loss: SummedLoss) -> torch.Tensor:
    """What is called backward on, where a step is one batch."""
    return StepMean().add(loss, 1)[0]


def slow_ctd(
    student: torch.Tensor, target: torch.Tensor, weight_BT: torch.Tensor, sigma: float, clip: str
) -> tuple[float, list[float]]:
    """Loss, and the share of clipped elements of each channel, written as one would say it."""
    losses, shares = [], []
    for channel in range(student.shape[-1]):
        residuals = []
        for b in range(student.shape[0]):
            for t in range(student.shape[1]):
                if weight_BT[b, t] > 0:
                    residuals += (student[b, t, ..., channel] - target[b, t, ..., channel]).double().flatten().tolist()
        mean = sum(residuals) / len(residuals) if clip == "drop" else 0.0
        limit = sigma * (sum((r - mean) ** 2 for r in residuals) / len(residuals)) ** 0.5
        within = [abs(r - mean) <= limit for r in residuals]
        for r, inside in zip(residuals, within, strict=True):
            if inside:
                losses.append(r * r)
            elif clip == "clamp":  # the parabola goes on as its tangent
                losses.append(limit**2 + 2 * limit * (abs(r) - limit))
        shares.append(1 - sum(within) / len(within))
    return sum(losses) / len(losses), shares


def test_zero_at_equality_and_scalar() -> None:
    tokens = draw(*SHAPE)
    for sigma in (None, 3.0):
        out = ctd_loss(tokens, tokens.clone(), clip_sigma=sigma)
        values = out.means.values()
        assert out.total.shape == values["loss"].shape == ()
        assert out.total == 0 and values["loss"] == 0 and values.get("clipped", 0) == 0
        assert values["centred_cosine"] == pytest.approx(1, abs=1e-6) and values["explained_variance"] == 1


def test_without_options_it_is_the_mean_squared_error() -> None:
    student, target = draw(*SHAPE), draw(*SHAPE, seed=1)
    out = ctd_loss(student, target)
    values = out.means.values()
    torch.testing.assert_close(mean(out), functional.mse_loss(student, target))
    torch.testing.assert_close(values["loss"], mean(out))
    torch.testing.assert_close(values["mse"], mean(out))
    torch.testing.assert_close(values["centred_cosine"], functional.cosine_similarity(student, target, dim=-1).mean())


def test_gradient_goes_to_the_student_only() -> None:
    student, target = draw(*SHAPE).requires_grad_(), draw(*SHAPE, seed=1).requires_grad_()
    out = ctd_loss(student, target, clip_sigma=3.0)
    mean(out).backward()
    assert student.grad is not None and student.grad.abs().sum() > 0 and target.grad is None
    names = {"loss", "mse", "explained_variance", "centred_cosine", "clipped", "clipped_worst"}
    names |= {"unexplained_by_channel"}
    assert set(out.means.values()) == names
    assert not any(value.requires_grad for value in out.means.values().values())


@pytest.mark.parametrize("clip", ["drop", "clamp"])
@pytest.mark.parametrize("offset", [0.0, 4.0])
def test_clipping_is_that_of_a_slow_reference_by_channel(offset: float, clip: Clip) -> None:
    shape = (4, 2, 5, 5, 6)
    student, target = draw(*shape).requires_grad_(), draw(*shape, seed=1) + offset * torch.arange(6)
    far = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.02 * torch.arange(6)
    target = torch.where(far, target + 25, target)
    weight_BT = torch.ones(shape[:2])
    weight_BT[1, 1] = 0
    out = ctd_loss(student, target, weight_BT, 3.0, clip)
    value, shares = slow_ctd(student.detach(), target, weight_BT, 3.0, clip)
    values = out.means.values()
    assert values["loss"].item() == pytest.approx(value, rel=1e-5)
    assert values["clipped"].item() == pytest.approx(sum(shares) / 6, rel=1e-5)
    assert values["clipped_worst"].item() == pytest.approx(max(shares), rel=1e-5) and max(shares) > 0
    mean(out).backward()
    residual = (student - target).detach()
    assert student.grad is not None and not student.grad[weight_BT == 0].any()
    gradient, residual = student.grad[weight_BT > 0], residual[weight_BT > 0]
    if clip == "drop":
        assert (gradient == 0).float().mean((0, 1, 2)).tolist() == pytest.approx(shares, rel=1e-5)
        assert ((gradient == 0) | (gradient.sign() == residual.sign())).all()
    else:
        assert torch.equal(gradient.sign(), residual.sign())


@pytest.mark.parametrize("clip", [None, "drop", "clamp"])
def test_channels_that_are_not_learnt_are_seen(clip: Clip | None) -> None:
    """Clipping cannot show them: the limit of a channel grows with its own residuals."""
    target = draw(8, 2, 6, 6, 64)
    target = target / target.square().mean((0, 1, 2, 3)).sqrt()
    student = target + 0.1 * draw(8, 2, 6, 6, 64, seed=1)
    student[..., 3] = 0.0  # its mean alone
    student[..., 7] = 1.3
    values = ctd_loss(student, target, clip_sigma=clip and 3.0, clip=clip or "drop").means.values()
    wrong_C = [float((student[..., c] - target[..., c]).square().mean()) for c in range(64)]
    unexplained_C = values["unexplained_by_channel"]
    assert unexplained_C.tolist() == pytest.approx(wrong_C, rel=1e-5)
    assert (unexplained_C > 0.95).nonzero().flatten().tolist() == [3, 7] and values["explained_variance"] > 0.9
    mean_C, variance_C = torch.full((64,), 40.0), torch.full((64,), 25.0)
    raw = ctd_loss(5 * student + 40, 5 * target + 40, centre_C=mean_C, variance_C=variance_C).means.values()
    torch.testing.assert_close(raw["unexplained_by_channel"], unexplained_C, rtol=1e-3, atol=1e-4)


def test_a_channel_that_is_far_off_is_learnt_all_the_same() -> None:
    """By one deviation of all channels, such a channel is beyond the limit, and never gets a gradient."""
    clips: tuple[Clip, ...] = ("drop", "clamp")
    for clip in clips:
        student, target = nn.Parameter(torch.zeros(128)), draw(4, 2, 4, 4, 128) + 60 * (torch.arange(128) == 7)
        ctd_loss(student.expand_as(target), target, clip_sigma=3.0, clip=clip).total.backward()
        assert student.grad is not None and student.grad[7].abs() > 100 * student.grad[8].abs()


def test_what_is_logged_is_learning() -> None:
    """A student that gives every channel's mean has learnt nothing, though its cosine with the targets is high."""
    centre_C = torch.tensor([30.0, -20.0, 10.0, 5.0] + [0.0] * 12)
    target = draw(4, 2, 3, 3, 16) * 2 + centre_C
    constant = centre_C.expand_as(target)
    assert functional.cosine_similarity(constant, target, dim=-1).mean() > 0.95
    values = ctd_loss(constant, target, centre_C=centre_C).means.values()
    assert values["explained_variance"] == pytest.approx(0, abs=1e-6) and values["centred_cosine"] == 0
    half = centre_C + (target - centre_C) / 2
    values = ctd_loss(half, target, centre_C=centre_C).means.values()
    assert values["explained_variance"] == pytest.approx(0.75, rel=1e-5)
    assert values["centred_cosine"] == pytest.approx(1, rel=1e-5)
    clipped = ctd_loss(half, target, clip_sigma=1.5, centre_C=centre_C).means.values()
    assert clipped["mse"] == values["mse"] > clipped["loss"]


def test_equal_residuals_are_not_outliers() -> None:
    target = draw(*SHAPE)
    assert ctd_loss(torch.full(SHAPE, 0.1), torch.zeros(SHAPE), clip_sigma=3.0).means.values()["clipped"] == 0
    assert ctd_loss(target + 1e-3, target, clip_sigma=3.0).means.values()["clipped"] < 1 / 9


def test_blank_samples_do_nothing_whatever_they_hold() -> None:
    student, target = draw(*SHAPE), draw(*SHAPE, seed=1)
    weight_BT = torch.ones(SHAPE[:2])
    weight_BT[2:] = 0
    blank = student.clone()
    blank[2:] = torch.nan
    blank.requires_grad_()
    out = ctd_loss(blank, target, weight_BT, clip_sigma=2.0)
    alone = ctd_loss(student[:2], target[:2], clip_sigma=2.0)
    torch.testing.assert_close(out.means.values(), alone.means.values())
    torch.testing.assert_close(mean(out), mean(alone))
    mean(out).backward()
    assert blank.grad is not None and torch.equal(blank.grad[2:], torch.zeros_like(blank.grad[2:]))


@pytest.mark.parametrize("sigma", [None, 3.0])
def test_a_batch_of_blanks_is_zero_and_still_has_a_gradient(sigma: float | None) -> None:
    student = draw(*SHAPE).requires_grad_()
    out = ctd_loss(student, draw(*SHAPE, seed=1), torch.zeros(SHAPE[:2]), sigma)
    mean(out).backward()
    assert mean(out) == 0 and not any(value.any() for value in out.means.values().values())
    assert student.grad is not None and not student.grad.any()


def test_half_precision_is_summed_in_float32() -> None:
    student, target = draw(*SHAPE).bfloat16(), draw(*SHAPE, seed=1).bfloat16()
    out = ctd_loss(student, target)
    assert mean(out).dtype == torch.float32
    torch.testing.assert_close(mean(out), functional.mse_loss(student.float(), target.float()))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        ctd_loss(draw(1, 1, 2, 2, 8), draw(1, 2, 2, 2, 8))
    with pytest.raises(ValueError, match="clip_sigma"):
        ctd_loss(draw(*SHAPE), draw(*SHAPE), clip_sigma=0.5)
    with pytest.raises(ValueError, match="labels"):
        answer_loss(draw(2, 5, 7), torch.zeros(2, 4, dtype=torch.int64))


def test_answer_loss_is_the_cross_entropy_of_answer_tokens() -> None:
    logits, labels = draw(3, 6, 11).requires_grad_(), torch.full((3, 6), -100)
    labels[0, 3:] = torch.tensor([1, 5, 2])
    labels[1, 5] = logits[1, 5].argmax()
    out = answer_loss(logits, labels)
    torch.testing.assert_close(mean(out), functional.cross_entropy(logits.reshape(-1, 11), labels.reshape(-1)))
    torch.testing.assert_close(out.means.values()["loss"], mean(out).detach())
    right = sum(int(logits[0, n].argmax() == labels[0, n]) for n in (3, 4, 5)) + 1
    assert out.count == 4 and out.means.values()["answer_accuracy"] == pytest.approx(right / 4)
    mean(out).backward()
    assert logits.grad is not None and torch.equal(logits.grad.abs().sum(-1) == 0, labels == -100)
    picked = answer_loss(logits[labels != -100], labels[labels != -100])
    torch.testing.assert_close(mean(picked), mean(out))


def test_over_videos_each_counts_alike_however_long_its_answers() -> None:
    logits, labels = draw(3, 6, 11).requires_grad_(), torch.full((3, 6), -100)
    labels[0, 1:] = torch.tensor([1, 5, 2, 0, 3])
    labels[2, 5] = 4
    counts = labels != -100
    video = torch.arange(3)[:, None].expand(3, 6)
    out = answer_loss(logits[counts], labels[counts], video[counts], mean_over="videos")
    long = functional.cross_entropy(logits[0, 1:], labels[0, 1:])
    short = functional.cross_entropy(logits[2, 5:], labels[2, 5:])
    assert out.count == 2
    torch.testing.assert_close(mean(out), (long + short) / 2)
    torch.testing.assert_close(answer_loss(logits, labels, video, mean_over="videos").total, out.total)
    with pytest.raises(ValueError, match="number of each answer token"):
        answer_loss(logits, labels, mean_over="videos")


@pytest.mark.parametrize("mean_over", ["tokens", "videos"])
def test_answer_loss_without_answers_is_zero_and_still_has_a_gradient(mean_over: MeanOver) -> None:
    logits = draw(1, 3, 7).requires_grad_()
    out = answer_loss(logits, torch.full((1, 3), -100), torch.zeros(1, 3).long(), mean_over)
    mean(out).backward()
    assert mean(out) == 0 and out.count == 0 and not any(out.means.values().values())
    assert logits.grad is not None and not logits.grad.any()


def test_standardised_targets_have_mean_zero_and_deviation_one() -> None:
    targets = (draw(*SHAPE) * torch.arange(1, 9) + 3).bfloat16()
    tokens = targets.float().reshape(-1, 8)
    out = standardise(targets, tokens.mean(0), tokens.std(0, unbiased=False)).reshape(-1, 8)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, unbiased=False), torch.ones(8))


@pytest.mark.parametrize("head", [nn.Linear(5, 8), nn.Linear(5, 8, bias=False), nn.Conv1d(5, 8, 1)])
def test_folding_undoes_standardising(head: nn.Linear | nn.Conv1d) -> None:
    mean_C, std_C = draw(8), draw(8, seed=1).abs() + 0.1
    conv = isinstance(head, nn.Conv1d)
    tokens = draw(4, 5, 1) if conv else draw(4, 5)
    folded = nn.Conv1d(5, 8, 1) if conv else nn.Linear(5, 8)
    weight, bias = fold_statistics_into_head(head.weight, head.bias, mean_C, std_C)
    folded.load_state_dict({"weight": weight, "bias": bias})
    with torch.no_grad():
        out, raw = head(tokens).reshape(4, 8), folded(tokens).reshape(4, 8)
    torch.testing.assert_close(standardise(raw, mean_C, std_C), out, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="channels"):
        fold_statistics_into_head(head.weight, head.bias, mean_C[:4], std_C[:4])


def _ctd_case(part: slice) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 8))
    inputs, targets = draw(4, 2, 3, 3, 6), draw(*SHAPE, seed=1) + 0.3
    targets[0, 0, 0] += 20
    targets[3, 1, 2, :, 4] -= 20
    weight_BT = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 0]])
    return model, lambda net: mean(ctd_loss(net(inputs[part]), targets[part], weight_BT[part], clip_sigma=3.0))


def _blank_case(part: slice) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    model, _ = _ctd_case(part)
    inputs, targets = draw(4, 2, 3, 3, 6), draw(*SHAPE, seed=1)
    weight_BT = torch.tensor([[1, 1], [1, 1], [0, 0], [0, 0]])
    return model, lambda net: mean(ctd_loss(net(inputs[part]), targets[part], weight_BT[part], clip_sigma=2.0))


def _answer_case(part: slice) -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))
    tokens = torch.randint(9, (4, 7), generator=torch.Generator().manual_seed(4))
    labels = tokens.clone()
    for row, answers in enumerate([1, 6, 0, 2]):
        labels[row, : 7 - answers] = -100
    return model, lambda net: mean(answer_loss(net(tokens[part])[:, :-1], labels[part, 1:]))


CASES = {"ctd": _ctd_case, "blank rank": _blank_case, "answers": _answer_case}


def _gradients(name: str, part: slice, ddp: bool) -> dict[str, torch.Tensor]:
    model, loss = CASES[name](part)
    # Held until after backward: the reducer dies with the wrapper.
    net = nn.parallel.DistributedDataParallel(model) if ddp else model
    loss(net).backward()
    return {key: value.grad for key, value in model.named_parameters() if value.grad is not None}


def _half(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    part = slice(0, 2) if rank == 0 else slice(2, 4)
    torch.save({name: _gradients(name, part, ddp=True) for name in CASES}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_half_the_batch_have_the_gradients_of_one(tmp_path: Path) -> None:
    assert run_ranks(_half, 2, str(tmp_path)) == [0, 0]
    for rank in range(2):
        halves = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name in CASES:
            whole = _gradients(name, slice(0, 4), ddp=False)
            assert whole.keys() == halves[name].keys() and any(value.abs().max() > 1e-3 for value in whole.values())
            for key, value in whole.items():
                torch.testing.assert_close(halves[name][key], value, rtol=1e-5, atol=1e-7)
