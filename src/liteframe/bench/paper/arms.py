"""From the name of a method in a cell to the model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from liteframe.bench.arms import ARMS, VARIANT_ARMS, Arm, RunParts
from liteframe.bench.paper.cells import CONTROL
from liteframe.errors import ConfigError
from liteframe.models.backbone import Compressor, Pool
from liteframe.models.video_llm.adapted import is_adapted

RATIO = 16
"""Dense tokens for one that a method of Table 1 keeps."""
OTHER_RATIOS = {"teacher+wap-4x": ("teacher+wap", 4), "teacher+wap-8x": ("teacher+wap", 8)}
"""Figure 3: name -> the method that it is at another ratio, and the ratio."""


def arms_for(ground: Path, wanted: Sequence[tuple[str, Sequence[int]]], host: Path | None = None) -> list[Arm]:
    """The methods of a finished run by name, in the order asked for; they share what the run left.

    Args:
        ground: folder of the run.
        wanted: name and frame counts of each; names of methods before another base VLM begin with `CONTROL`.
        host: folder of another base VLM than the run's.

    Raises:
        ConfigError: a name that no method has, or a run that lacks a stage.
    """
    parts, makers = RunParts(ground, host), {**ARMS, **VARIANT_ARMS}
    arms = []
    for name, frames in wanted:
        arm = name.removeprefix(CONTROL)
        of_registry, ratio = OTHER_RATIOS.get(arm, (arm, RATIO))
        if of_registry not in makers:
            raise ConfigError(f"method {name!r} is unknown; there are {', '.join((*makers, *OTHER_RATIOS))}")
        arms.append(Arm(name, makers[of_registry](parts, ratio).eval(), tuple(frames)))
    return arms


def trained_arms(ground: Path, export: Path, wanted: Sequence[tuple[str, Sequence[int]]]) -> list[Arm]:
    """Methods of a student that a cell trained: after LMA with its own LLM, after CTD before the run's.

    Args:
        ground: folder of the run.
        export: of the student.
        wanted: name and frame counts of each; a name that ends in ``+average`` or ``+wap`` has the student's tokens
            pooled 16x.

    Raises:
        ConfigError: a part is missing or does not fit.
    """
    parts = RunParts(ground)
    wap = parts.wap
    pools: dict[str, Compressor] = {"average": Pool("average", wap.block), "wap": replace(wap, saliency="mean_token")}
    arms = []
    for name, frames in wanted:
        pool = pools.get(name.partition("+")[2])
        model = parts.adapted(export) if is_adapted(export) else parts.student(export, pool)
        arms.append(Arm(name, model.eval(), tuple(frames)))
    return arms
