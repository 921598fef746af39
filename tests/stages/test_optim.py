from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from liteframe.errors import CheckpointError, ConfigError
from liteframe.stages.optim import lr_factor, parameter_groups, state_by_name, with_warmup_cosine


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.encoder_head = nn.Linear(4, 4)
        self.llm = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_the_factor_warms_up_then_falls_as_a_cosine() -> None:
    factors = [lr_factor(step, 100, 0.05, 0.1) for step in range(101)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0 and factors[100] == pytest.approx(0.1)
    for step in range(5, 101):
        expected = 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 5) / 95)) / 2
        assert factors[step] == pytest.approx(expected)
    assert lr_factor(1000, 100, 0.05, 0.1) == factors[100]


@pytest.mark.parametrize(("total", "warmup"), [(1, 0.0), (1, 1.0), (2, 0.5), (10, 0.0), (10, 1.0), (3, 0.05)])
def test_the_factor_is_never_zero_before_the_end(total: int, warmup: float) -> None:
    assert all(0 < lr_factor(step, total, warmup) <= 1 for step in range(total))


def test_groups_hold_each_trainable_parameter_once() -> None:
    model = Model()
    groups = parameter_groups(model, 1e-3, 0.1, {"encoder": 1e-5, "encoder.1": 2e-5})
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(found)
    assert {name: found.get(id(p)) for name, p in model.named_parameters()} == {
        "encoder.0.weight": (1e-5, 0.1),
        "encoder.0.bias": (1e-5, 0.0),
        "encoder.1.weight": (2e-5, 0.0),
        "encoder.1.bias": (2e-5, 0.0),
        "encoder_head.weight": (1e-3, 0.1),
        "encoder_head.bias": (1e-3, 0.0),
        "llm.weight": (1e-3, 0.1),
        "llm.bias": (1e-3, 0.0),
        "frozen.weight": None,
        "frozen.bias": None,
    }


def test_what_lightning_gets_moves_every_step_by_its_own_rate() -> None:
    out = with_warmup_cosine(Model(), lr=1e-3, total_steps=40, module_lrs={"llm": 1e-4})
    optimizer, schedule = out["optimizer"], out["lr_scheduler"]
    assert isinstance(optimizer, torch.optim.AdamW) and schedule["interval"] == "step"
    for step in range(40):
        rates = sorted({group["lr"] for group in optimizer.param_groups})
        assert rates == pytest.approx([rate * lr_factor(step, 40, 0.05) for rate in (1e-4, 1e-3)])
        optimizer.step()
        schedule["scheduler"].step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_schedule_resumes() -> None:
    def build() -> dict:
        return with_warmup_cosine(Model(), lr=1e-3, total_steps=20)

    first, second = build(), build()
    for _ in range(7):
        first["optimizer"].step()
        first["lr_scheduler"]["scheduler"].step()
    second["optimizer"].load_state_dict(first["optimizer"].state_dict())
    second["lr_scheduler"]["scheduler"].load_state_dict(first["lr_scheduler"]["scheduler"].state_dict())
    for out in (first, second):
        out["optimizer"].step()
        out["lr_scheduler"]["scheduler"].step()
    assert first["optimizer"].param_groups[0]["lr"] == second["optimizer"].param_groups[0]["lr"]


def test_a_checkpoint_of_other_groups_is_refused() -> None:
    net = nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(3)))

    def made(module: str) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = with_warmup_cosine(net, total_steps=4, module_lrs={module: 1.0})["optimizer"]
        return optimizer

    first = made("1")
    net(torch.ones(1, 3)).sum().backward()
    first.step()
    order = [parameter for group in first.param_groups for parameter in group["params"]]
    saved = state_by_name(first.state_dict(), order, net)
    again = made("1")
    again.load_state_dict(saved)
    assert all(torch.equal(again.state[p]["exp_avg"], first.state[p]["exp_avg"]) for p in order)
    with pytest.raises(CheckpointError, match="has 2.weight in the place of 1.weight"):
        made("2").load_state_dict(saved)
    made("2").load_state_dict(first.state_dict())  # one of before, whose numbers say nothing


def test_wrong_settings_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'vision'.*encoder"):
        parameter_groups(Model(), 1e-3, 0.1, {"vision": 1e-5})
    with pytest.raises(ConfigError, match="frozen"):
        parameter_groups(Model(), 1e-3, 0.1, {"frozen": 1e-5})
    with pytest.raises(ConfigError, match="no trainable parameter"):
        parameter_groups(Model().requires_grad_(False), 1e-3, 0.1)
    with pytest.raises(ConfigError, match=r"inf steps: set trainer\.max_steps.*max_time"):
        with_warmup_cosine(Model(), total_steps=math.inf)
    with pytest.raises(ConfigError, match="warmup_fraction"):
        with_warmup_cosine(Model(), warmup_fraction=5, total_steps=10)


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 0.1), (torch.float32, 1e-5)])
def test_muon_moves_linear_matrices_along_the_polar_factor_of_their_gradient(
    dtype: torch.dtype, rounding: float
) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 5)
            self.linear = nn.Linear(5, 5)
            self.tall = nn.Linear(5, 12, bias=False)
            self.norm = nn.LayerNorm(5)
            self.head = nn.Linear(5, 7, bias=False)
            self.head.weight = self.embed.weight

    torch.manual_seed(0)
    moved, reference = Tied(), Tied()
    reference.load_state_dict(moved.state_dict())
    gradients = {name: torch.randn_like(p) for name, p in moved.named_parameters()}
    settings = {"lr": 1e-2, "weight_decay": 0.0, "total_steps": 10, "warmup_fraction": 0.0, "muon_dtype": dtype}
    before = {name: p.detach().clone() for name, p in moved.named_parameters()}
    for model, name in ((moved, "muon"), (reference, "adamw")):
        for key, parameter in model.named_parameters():
            parameter.grad = gradients[key].clone()
        out = with_warmup_cosine(model, name, **settings)  # type: ignore[arg-type]
        out["optimizer"].step()
    of_adamw = dict(reference.named_parameters())
    for key, parameter in moved.named_parameters():
        step = parameter.detach() - before[key]
        if key in ("linear.weight", "tall.weight"):
            u, _, vt = torch.linalg.svd(gradients[key], full_matrices=False)
            stretch = (u.T @ -step @ vt.T) / (1e-2 * 0.2 * math.sqrt(max(step.shape)))
            assert stretch.diagonal().min() > 0.5 and stretch.diagonal().max() < 1.4
            assert (stretch - stretch.diagonal().diag()).abs().max() < rounding
        else:
            torch.testing.assert_close(parameter, of_adamw[key])


def test_muon_keeps_rates_and_decays_of_its_groups() -> None:
    optimizer = with_warmup_cosine(Model(), "muon", lr=1e-3, weight_decay=0.1, total_steps=9, module_lrs={"llm": 1e-4})[
        "optimizer"
    ]
    by_muon = {
        (g["initial_lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups if not g["use_fallback"]
    }
    assert by_muon == {(1e-3, 0.1, 2), (1e-4, 0.1, 1)}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 8
