"""From the name of an arm in a cell to the model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from liteframe.bench import arms as bench_arms
from liteframe.bench.arms import ATTENTION, Arm, arms_of_run, teacher_of_run
from liteframe.errors import ConfigError
from liteframe.models.adapted import is_adapted, load_adapted
from liteframe.models.backbone import Block
from liteframe.models.encoder import LiteFrameEncoder
from liteframe.models.video_llm import LiteFrameBackbone, VideoLLM

RATIO = 16
"""Dense tokens for one that a post-hoc arm of Table 1 keeps."""
_PREFIX = "teacher+"
_OF_THE_RUN = {
    "teacher",
    "teacher+average",
    "teacher+max",
    "teacher+subsample",
    "teacher+wap",
    "liteframe-ctd",
    "liteframe-lma",
}
_BLOCKS: dict[str, Block] = {"teacher+wap-4x": (1, 2, 2), "teacher+wap-8x": (2, 2, 2)}


def arms_for(ground: Path, wanted: Sequence[tuple[str, Sequence[int]]]) -> list[Arm]:
    """The arms of a finished run by name, in the order asked for.

    Args:
        ground: folder of the run.
        wanted: name and frame counts of each.

    Raises:
        ConfigError: a name that no arm has, or a run that lacks a stage.
    """
    made: dict[str, VideoLLM] = {}
    names = [name for name, _ in wanted]
    if _OF_THE_RUN & set(names):
        made |= {arm.name: arm.model for arm in arms_of_run(ground, (), ()) if arm.name in names}
    if ratios := [name for name in names if name in _BLOCKS]:
        made |= _wap_of_other_ratios(ground, ratios)
    if rest := [name for name in names if name not in made]:
        made |= {arm.name: arm.model for arm in _post_hoc(ground, rest)}
    return [Arm(name, made[name], tuple(frames)) for name, frames in wanted]


def ratio_of(name: str) -> int:
    """How many dense tokens one token of an arm's budget stands for; 1 where nothing is reduced after the encoder."""
    if name in _BLOCKS:
        frames, rows, columns = _BLOCKS[name]
        return frames * rows * columns
    return RATIO if name.startswith(_PREFIX) else 1


def trained_arm(name: str, ground: Path, export: Path, frames: Sequence[int]) -> Arm:
    """A student that a cell trained: after LMA with its own LLM, after CTD before the run's.

    Raises:
        ConfigError: a part is missing or does not fit.
    """
    if is_adapted(export):
        return Arm(name, load_adapted(export, ATTENTION), tuple(frames))
    host, processor, _ = teacher_of_run(ground)
    encoder = LiteFrameEncoder.from_pretrained(export)
    model = VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=encoder.config.stride[0])
    return Arm(name, model.eval(), tuple(frames))


def _wap_of_other_ratios(ground: Path, names: Sequence[str]) -> dict[str, VideoLLM]:
    host, processor, wap = teacher_of_run(ground)
    teacher = VideoLLM(host, processor)
    return {
        name: VideoLLM(host, processor, teacher.backbone, replace(wap, block=_BLOCKS[name])).eval() for name in names
    }


def _post_hoc(ground: Path, names: Sequence[str]) -> list[Arm]:
    make: Any = getattr(bench_arms, "post_hoc_arms", None)
    if make is None:
        raise ConfigError(f"arm {names[0]}: this version of liteframe has no such arm")
    arms: list[Arm] = make(ground, [name.removeprefix(_PREFIX) for name in names], RATIO, ())
    named = {arm.name if arm.name.startswith(_PREFIX) else _PREFIX + arm.name: arm for arm in arms}
    if missing := [name for name in names if name not in named]:
        raise ConfigError(f"arm {missing[0]}: post_hoc_arms made {', '.join(named)}")
    return [replace(named[name], name=name) for name in names]
