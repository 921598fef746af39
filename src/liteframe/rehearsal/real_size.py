"""Stages at their real size, on `meta`: what does not go together there fails here, before anything is cut down."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from liteframe.errors import ConfigError
from liteframe.models.student.init_from_timm import load_timm_weights
from liteframe.planning.build import build_words
from liteframe.planning.stage_plans import plan_stage
from liteframe.rehearsal.configs import CTD, EVALUATE, LMA, StageRun
from liteframe.rehearsal.cuts import read_by, teacher_of
from liteframe.rehearsal.small_models import folder_of, is_base_vlm, published_fields
from liteframe.stages.ctd import CTDStage

_TEXT_TOKENS = 256
_BY_NAME = ("InternVL", "TimmViT")
"""Families that a stage can be built for without the model's config."""


def check_real_size(run: StageRun) -> str | None:
    """Builds a stage and its data as they are, without weights or memory, and counts its tokens.

    Returns:
        what could not be looked at and why; None if all was.

    Raises:
        LiteFrameError: settings, sizes or widths that do not go together, or a model that there is not.
    """
    teacher = teacher_of(run)
    if teacher is not None and teacher[1] != "TimmViT":
        published_fields(*teacher)
    if teacher is not None and teacher[1] not in _BY_NAME and folder_of(teacher[0]) is None:
        return f"{run.kind.name}: {teacher[0]} is not on this machine, so nothing was checked at its real size"
    stage, data, _ = build_words(run.words)
    if isinstance(stage, CTDStage) and stage.timm_weights is not None:
        with torch.device("meta"):
            load_timm_weights(stage.encoder, stage.timm_weights, pretrained=False)
    if run.kind == EVALUATE or (teacher is not None and teacher[1] != "InternVL"):
        return None
    if teacher is not None and folder_of(teacher[0]) is None and not is_base_vlm(teacher[0]):
        return f"{run.kind.name}: {teacher[0]} is not on this machine, so its sizes were not checked"
    plan_stage(stage, data, _TEXT_TOKENS)
    return None


def chosen(runs: list[StageRun], only: Sequence[str] | None) -> list[StageRun]:
    """The stages that were asked for, or all that can follow each other.

    Raises:
        ConfigError: a stage that there is not, or one without those whose results it reads.
    """
    runs = _chain(runs)
    names = [run.kind.name for run in runs]
    if unknown := [name for name in only or () if name not in names]:
        raise ConfigError(f"--only {unknown[0]}: no such stage; there are {', '.join(names)}")
    runs = [run for run in runs if not only or run.kind.name in only]
    for run in runs:
        if missing := [kind.name for kind in read_by(run) if all(other.kind != kind for other in runs)]:
            raise ConfigError(f"--only {run.kind.name}: it reads what {missing[0]} makes; name that too")
    return runs


def _chain(runs: list[StageRun]) -> list[StageRun]:
    """The stages that can follow each other: LMA and what comes after it take features of an InternVL alone.

    Raises:
        ConfigError: the user gave LMA beside a CTD of another teacher.
    """
    by_kind = {run.kind: run for run in runs}
    teacher = teacher_of(by_kind[CTD])
    if teacher is None or teacher[1] == "InternVL":
        return runs
    if by_kind[LMA].given:
        raise ConfigError(
            f"LMA takes encoders that were distilled from an InternVL, and CTD's teacher is {teacher[1]} {teacher[0]};"
            " rehearse CTD alone, or give CTD the base VLM of LMA as its teacher"
        )
    return [run for run in runs if run.kind not in (LMA, EVALUATE)]
