"""Optimisers with a linear warm-up and a cosine fall (paper: learning rate 4e-5, warm-up 5 %, for CTD and LMA)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal
from unittest.mock import patch

import torch
from timm.optim import muon as timm_muon
from torch import nn
from torch.distributed.tensor import DTensor

from liteframe.errors import CheckpointError, ConfigError

OptimizerName = Literal["adamw", "muon"]
_STEPS_OF_A_TIME = 10_000


def lr_factor(step: int, total_steps: int, warmup_fraction: float, final_fraction: float = 0.0) -> float:
    """What the learning rate is multiplied with at `step` (0-based).

    Rises linearly over the first ``warmup_fraction * total_steps`` steps, so that the first step already moves and the
    last one of them has the full rate, then falls as a cosine to `final_fraction` at `total_steps`, and stays there.
    """
    warmup = round(warmup_fraction * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def _rate(name: str, lr: float, module_lrs: Mapping[str, float]) -> float:
    owners = [module for module in module_lrs if name == module or name.startswith(f"{module}.")]
    return module_lrs[max(owners, key=len)] if owners else lr


def parameter_groups(
    module: nn.Module, lr: float, weight_decay: float, module_lrs: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and decay; none on 1-D ones (norms, biases).

    Args:
        module: what is trained; parameters without gradient are left out.
        lr: for all that `module_lrs` does not name.
        weight_decay: of parameters with two or more axes.
        module_lrs: name of a submodule (as in ``named_parameters``) -> its own rate; the longest name that fits wins.

    Raises:
        ConfigError: nothing to train, or a name in `module_lrs` with no trainable parameter.
    """
    module_lrs = module_lrs or {}
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not named:
        raise ConfigError(f"{type(module).__name__} has no trainable parameter; set at least one part to be trained")
    for prefix in module_lrs:
        if not any(name == prefix or name.startswith(f"{prefix}.") for name, _ in named):
            known = sorted({name.split(".")[0] for name, _ in named})
            raise ConfigError(f"learning rate for {prefix!r}: no trainable parameter has that name; there are {known}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((_rate(name, lr, module_lrs), decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


class _Muon(timm_muon.Muon):
    """timm's Muon, whose iteration multiplies in bfloat16 alone, in a dtype of choice.

    Where a CPU has no instructions for bfloat16, that iteration takes many times as long as all else of a step.
    """

    def __init__(self, params: Any, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._orthogonal = partial(timm_muon.zeropower_via_newtonschulz, dtype=dtype)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with patch.object(timm_muon, "zeropower_via_newtonschulz", self._orthogonal):
            return super().step(closure)


def _muon(module: nn.Module, groups: Iterable[dict[str, Any]], **settings: Any) -> _Muon:
    """Each group in two: matrices of linear layers, which Muon turns orthogonal, and the rest, which AdamW moves.

    An output head whose weight is the token embedding's is no such matrix.
    """
    embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    linear = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear)} - embeddings
    split = []
    for group in groups:
        if any(isinstance(parameter, DTensor) for parameter in group["params"]):
            raise ConfigError(
                "optimizer.name is muon, which needs whole matrices, and the trainer shards them; use adamw"
            )
        for of_muon in (True, False):
            params = [parameter for parameter in group["params"] if (id(parameter) in linear) == of_muon]
            if params:
                split.append({**group, "params": params, "use_fallback": not of_muon, "nesterov": of_muon})
    return _Muon(split, **settings)


def state_by_name(state: dict[str, Any], parameters: Sequence[nn.Parameter], module: nn.Module) -> dict[str, Any]:
    """The state of an optimizer with the names of its parameters in place of their numbers.

    Numbers are counted in another way where weights are shared out, so that a checkpoint would give one parameter the
    moments of another. Optimizers load either.

    Args:
        state: of an optimizer; an empty one stays so, and so do names, which distributed checkpoints have.
        parameters: in the order of the numbers.
        module: that they are of.
    """
    if not state:
        return state
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    numbered = [names[id(parameter)] for parameter in parameters]

    def name_of(key: int | str) -> str:
        return key if isinstance(key, str) else numbered[key]

    groups = [{**group, "params": [name_of(key) for key in group["params"]]} for group in state["param_groups"]]
    return {**state, "state": {name_of(key): of for key, of in state["state"].items()}, "param_groups": groups}


def _require_same_groups(names: Mapping[int, str], optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Raises CheckpointError where a state with names is of other groups, which torch would load by their order."""
    for ours, theirs in zip(optimizer.param_groups, state["param_groups"], strict=False):
        for parameter, saved in zip(ours["params"], theirs["params"], strict=False):
            if isinstance(saved, str) and saved != (name := names[id(parameter)]):
                raise CheckpointError(
                    f"the checkpoint's optimizer has {saved} in the place of {name}; go on with the optimizer settings"
                    " (module_lrs, weight_decay, name) that it was made with"
                )


def with_warmup_cosine(
    module: nn.Module,
    name: OptimizerName = "adamw",
    lr: float = 4e-5,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.95),
    warmup_fraction: float = 0.05,
    total_steps: float = 1,
    final_lr_fraction: float = 0.0,
    module_lrs: Mapping[str, float] | None = None,
    share_done: Callable[[], float] | None = None,
    muon_dtype: torch.dtype = torch.bfloat16,
) -> dict[str, Any]:
    """What ``configure_optimizers`` returns to Lightning; the scheduler moves each optimiser step.

    Args:
        module: what is trained.
        name: "adamw", or "muon" (Jordan et al., 2024) for the matrices of linear layers and AdamW for the rest; steps
            are scaled to AdamW's size, so both take like rates.
        lr: peak learning rate (paper: 4e-5).
        weight_decay: of parameters with two or more axes; ours, the paper's text gives none.
        betas: of AdamW; ours, the paper's text gives none.
        warmup_fraction: of `total_steps` (paper: 0.05).
        total_steps: optimiser steps of the whole run, e.g. ``trainer.estimated_stepping_batches``.
        final_lr_fraction: of `lr`, reached at the end.
        module_lrs: see `parameter_groups`.
        share_done: of a run that ends after a time, the share of it that has passed, the same on every rank; it takes
            the place of `total_steps`.
        muon_dtype: that Muon makes matrices orthogonal in.

    Raises:
        ConfigError: a run without an end, a fraction outside [0, 1], Muon for sharded weights, or see
            `parameter_groups`.
    """
    if share_done is None and (not math.isfinite(total_steps) or total_steps < 1):
        raise ConfigError(
            f"the learning rate falls until the end of the run, which has {total_steps:g} steps: set trainer.max_steps,"
            " trainer.max_epochs or trainer.max_time"
        )
    for field, value in (("warmup_fraction", warmup_fraction), ("final_lr_fraction", final_lr_fraction)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{field} is {value}; it must be between 0 and 1")
    groups = parameter_groups(module, lr, weight_decay, module_lrs)
    optimizer: torch.optim.Optimizer
    if name == "muon":
        optimizer = _muon(module, groups, dtype=muon_dtype, lr=lr, betas=betas)
    else:
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    optimizer.register_load_state_dict_pre_hook(partial(_require_same_groups, names))
    total = _STEPS_OF_A_TIME if share_done else int(total_steps)

    @lru_cache(maxsize=1)  # each group of parameters asks
    def position(step: int) -> int:
        return round(share_done() * total) if share_done else step

    def factor(step: int) -> float:
        return lr_factor(position(step), total, warmup_fraction, final_lr_fraction)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}
