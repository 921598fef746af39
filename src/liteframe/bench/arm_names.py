"""What an arm is called in tables and pictures, and which arms the story is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STRONG = ("teacher", "teacher+wap", "liteframe-ctd", "liteframe-lma")
"""Drawn in colour; every other arm is a rival or a variant."""

_NAMES = {
    "teacher": "teacher, all tokens",
    "teacher+average": "teacher + average",
    "teacher+max": "teacher + max",
    "teacher+subsample": "teacher + subsample",
    "teacher+wap": "teacher + WAP",
    "tome-teacher+wap": "teacher with ToMe inside + WAP",
    "tome4-teacher+wap": "teacher with ToMe inside to 1/4 + WAP",
    "liteframe-ctd": "student after CTD",
    "liteframe-lma": "student after LMA",
}
_METHODS = {
    "wap": "WAP",
    "tome": "ToMe in clips",
    "tome-keys": "ToMe in clips by keys",
    "tome-frame": "ToMe in frames by keys",
    "tome-video": "ToMe over the video by keys",
    "prumerge": "PruMerge",
    "prumerge+": "PruMerge+",
    "visionzip": "VisionZip",
    "fastvid": "FastVID",
    "fastvid-apart": "FastVID, anchors apart",
    "dycoke": "DyCoke",
    "prunevid": "PruneVid",
    "holitom": "HoliTom",
    "fastv": "FastV",
    "pyramiddrop": "PyramidDrop",
    "tome-teacher+wap": "ToMe inside",
    "tome4-teacher+wap": "ToMe inside to 1/4",
}


def arm_name(arm: str) -> str:
    """For tables; the arm's own name where there is no better."""
    return _NAMES.get(arm) or (f"teacher + {method_name(arm)}" if arm.startswith("teacher+") else arm)


def method_name(arm: str) -> str:
    """For labels in a picture: the name without its host, as its authors write it."""
    short = arm.removeprefix("teacher+")
    return _METHODS.get(short, short)


def recorded_arm(arm: str, how: Mapping[str, Any] | None) -> str:
    """The arm that a row of a record is of, by the settings that stand in it: a method's defaults may have changed.

    Args:
        arm: as the record names it.
        how: what the arm said of itself; None where the record has nothing of that.
    """
    from liteframe.ops.compressors.registry import recorded_as  # here, because it takes torch, and names do not

    host, plus, method = arm.partition("teacher+")
    return arm if how is None or not plus else f"{host}{plus}{recorded_as(method, how)}"


_REAL = {
    "teacher": "teacher",
    "teacher+wap": "teacher + WAP",
    "tome-teacher+wap": "teacher with ToMe inside",
    "student": "student",
    "vit-b": "plain ViT-B",
    "fastvit": "FastViT",
    "fastvit-1024": "FastViT, 1024 px",
    "mobilenet-v5": "MobileNet-v5",
    "mobilenet-v5-768": "MobileNet-v5, 768 px",
    "llm": "LLM",
}


def real_arm_name(arm: str) -> str:
    """A short name of an arm of `liteframe latency`, whose names are not those of the tiny world."""
    if arm.startswith("student-"):
        return f"student, mixer {arm.removeprefix('student-')}"
    return _REAL.get(arm) or arm_name(arm)


def in_order(arms: Sequence[str]) -> list[str]:
    """Each arm once: the teacher, its compressors as they come, the others, the students last."""
    unique = list(dict.fromkeys(arms))
    return sorted(
        unique, key=lambda arm: (arm.startswith("liteframe"), arm != "teacher", not arm.startswith("teacher"))
    )
