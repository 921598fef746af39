"""What CTD adds to its squared error, against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.stages.accumulation import StepMean
from liteframe.stages.loss_terms import LossTerms
from liteframe.stages.losses import ctd_loss

SHAPE = (3, 2, 1, 2, 5)


def draw(seed: int) -> Tensor:
    return torch.randn(*SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(student: Tensor, target: Tensor, weight: Tensor | None = None, **settings: object) -> Tensor:
    return StepMean().add(ctd_loss(student, target, weight, **settings), 1)[0]  # type: ignore[arg-type]


def cosine(a: Tensor, b: Tensor) -> float:
    dot = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return dot / math.sqrt(sum(x * x for x in a.tolist()) * sum(y * y for y in b.tolist()))


def slow_terms(student: Tensor, target: Tensor, weight_BT: Tensor, centre_C: Tensor) -> tuple[float, float]:
    """Means over the tokens that count, of 1 - cosine and of the squared differences of cosines."""
    directions, relations = [], []
    for b in range(SHAPE[0]):
        places = [(t, w) for t in range(SHAPE[1]) for w in range(SHAPE[3]) if weight_BT[b, t] > 0]
        ours = [student[b, t, 0, w] - centre_C for t, w in places]
        theirs = [target[b, t, 0, w] - centre_C for t, w in places]
        directions += [1 - cosine(a, b) for a, b in zip(ours, theirs, strict=True)]
        for i in range(len(places)):
            squares = [(cosine(ours[i], ours[j]) - cosine(theirs[i], theirs[j])) ** 2 for j in range(len(places))]
            relations.append(sum(squares) / len(squares))
    return sum(directions) / len(directions), sum(relations) / len(relations)


@pytest.mark.parametrize("weight_BT", [torch.ones(3, 2), torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])])
def test_terms_are_those_of_loops(weight_BT: Tensor) -> None:
    student, target, centre_C = draw(0), draw(1), torch.linspace(-1, 1, 5, dtype=torch.float64)
    direction, relation = slow_terms(student, target, weight_BT, centre_C)
    plain = loss(student, target, weight_BT, centre_C=centre_C)
    for terms, expected in [
        (LossTerms(direction=1.0), direction),
        (LossTerms(relation=1.0), relation),
        (LossTerms(direction=0.5, relation=3.0), 0.5 * direction + 3 * relation),
    ]:
        made = loss(student, target, weight_BT, centre_C=centre_C, terms=terms)
        assert made.item() - plain.item() == pytest.approx(expected, rel=1e-9), terms


def test_none_is_the_squared_error_bit_for_bit() -> None:
    student, target = draw(0), draw(1)
    assert torch.equal(loss(student, target), loss(student, target, terms=LossTerms()))


def test_a_length_says_nothing_and_a_turn_of_all_tokens_nothing_to_the_relation() -> None:
    target = draw(1)
    turn = torch.linalg.qr(draw(2).flatten()[:25].view(5, 5))[0]
    counts = torch.ones(3, 2, dtype=torch.bool)
    both, relation = LossTerms(direction=1.0, relation=1.0), LossTerms(relation=1.0)
    assert both(2 * target, target, counts).item() == pytest.approx(0, abs=1e-12)
    assert relation(target @ turn, target, counts).item() == pytest.approx(0, abs=1e-12)
    assert both(target @ turn, target, counts) > 1


def test_blank_samples_do_nothing_whatever_they_hold() -> None:
    student, target, weight_BT = draw(0), draw(1), torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    terms = LossTerms(direction=1.0, relation=1.0)
    clean = loss(student, target, weight_BT, terms=terms)
    student[1], target[2, 1] = float("nan"), float("inf")
    student.requires_grad_()
    made = loss(student, target, weight_BT, terms=terms)
    made.backward()
    assert made.item() == pytest.approx(clean.item()) and student.grad is not None
    assert torch.isfinite(student.grad).all() and not student.grad[1].any() and student.grad[0].any()


@pytest.mark.parametrize("name", ["direction", "relation"])
@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_weight_below_nought_is_refused(name: str, weight: float) -> None:
    with pytest.raises(ConfigError, match=rf"model\.terms\.{name} is .*give 0 or more"):
        LossTerms(**{name: weight})
