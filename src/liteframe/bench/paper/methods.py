"""From the name of a method in a cell to the model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from liteframe.bench.paper.cells import CONTROL
from liteframe.bench.run_methods import RUN_METHODS, VARIANT_METHODS, RunMethod, RunParts
from liteframe.errors import ConfigError
from liteframe.models.backbone import Compressor, Pool
from liteframe.models.video_llm.adapted import is_adapted

RATIO = 16
"""Dense tokens for one that a method of Table 1 keeps."""
OTHER_RATIOS = {
    "teacher+wap-4x": ("teacher+wap", 4),
    "teacher+wap-8x": ("teacher+wap", 8),
    "teacher+dymu-4x": ("teacher+dymu", 4),
}
"""Name -> the method that it is at another ratio, and the ratio."""


def methods_for(
    base_run: Path, wanted: Sequence[tuple[str, Sequence[int]]], base_vlm: Path | None = None
) -> list[RunMethod]:
    """The methods of a finished run by name, in the order asked for; they share what the run left.

    Args:
        base_run: folder of the run.
        wanted: name and frame counts of each; names of methods before another base VLM begin with `CONTROL`.
        base_vlm: folder of another base VLM than the run's.

    Raises:
        ConfigError: a name that no method has, or a run that lacks a stage.
    """
    parts, makers = RunParts(base_run, base_vlm), {**RUN_METHODS, **VARIANT_METHODS}
    methods = []
    for name, frames in wanted:
        method = name.removeprefix(CONTROL)
        of_registry, ratio = OTHER_RATIOS.get(method, (method, RATIO))
        if of_registry not in makers:
            raise ConfigError(f"method {name!r} is unknown; there are {', '.join((*makers, *OTHER_RATIOS))}")
        methods.append(RunMethod(name, makers[of_registry](parts, ratio).eval(), tuple(frames)))
    return methods


def trained_methods(base_run: Path, export: Path, wanted: Sequence[tuple[str, Sequence[int]]]) -> list[RunMethod]:
    """Methods of a student that a cell trained: after LMA with its own LLM, after CTD before the run's.

    Args:
        base_run: folder of the run.
        export: of the student.
        wanted: name and frame counts of each; a name that ends in ``+average`` or ``+wap`` has the student's tokens
            pooled 16x.

    Raises:
        ConfigError: a part is missing or does not fit.
    """
    parts = RunParts(base_run)
    wap = parts.wap
    pools: dict[str, Compressor] = {"average": Pool("average", wap.block), "wap": replace(wap, saliency="mean_token")}
    methods = []
    for name, frames in wanted:
        pool = pools.get(name.partition("+")[2])
        model = parts.adapted(export) if is_adapted(export) else parts.student(export, pool)
        methods.append(RunMethod(name, model.eval(), tuple(frames)))
    return methods
