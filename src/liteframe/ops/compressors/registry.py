"""Every post-hoc compressor by name, and what of `Features` it needs besides the tokens.

A new method is a file with its function and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from liteframe.errors import ConfigError
from liteframe.ops.compressors.dycoke import dycoke
from liteframe.ops.compressors.evs import evs
from liteframe.ops.compressors.fastvid import fastvid
from liteframe.ops.compressors.features import Compressed
from liteframe.ops.compressors.flashvid import flashvid
from liteframe.ops.compressors.holitom import holitom
from liteframe.ops.compressors.official import Official
from liteframe.ops.compressors.pooled import average, maximum, subsample, wap
from liteframe.ops.compressors.prumerge import prumerge, prumerge_plus
from liteframe.ops.compressors.prunevid import prunevid
from liteframe.ops.compressors.tome import tome
from liteframe.ops.compressors.vidcom2 import vidcom2
from liteframe.ops.compressors.visionzip import visionzip


@dataclass(frozen=True)
class Method:
    """A compressor.

    Attributes:
        function: takes `Features`, the tokens to keep of the whole video, and settings of its own with defaults.
        needs: the optional fields of `Features` that it cannot do without.
        absent: what the paper does besides, and this does not.
        official: how it stands to its authors' code; None where there is none.
        unsaid: settings of records that were made before they said them.
    """

    function: Callable[..., Compressed]
    needs: tuple[str, ...] = ()
    absent: str = ""
    official: Official | None = None
    unsaid: Mapping[str, Any] = field(default_factory=dict)

    def needs_with(self, settings: Mapping[str, Any]) -> set[str]:
        """What it cannot do without under these settings."""
        return {*self.needs, *({"keys_THWK"} if settings.get("by") == "keys" else ())}


METHODS: dict[str, Method] = {
    "average": Method(average),
    "max": Method(maximum),
    "subsample": Method(subsample),
    "wap": Method(wap, ("cls_TC",)),
    "tome": Method(
        tome,
        unsaid={"scope": "video", "by": "keys"},
        official=Official(
            "clips of 4 frames",
            "merges what the LLM would see, where InternVideo2.5 merges before the projector; the paper merges in every"
            " layer of the encoder, by keys",
            "nothing: the same tokens come out of the same features; before the projector 0.722 for 0.799 at 64 frames;"
            " by keys 0.716 for 0.747 at 32 frames; over the whole video by keys 0.596 for 0.799 at 64",
        ),
    ),
    "prumerge": Method(
        prumerge,
        ("keys_THWK", "cls_attention_THW"),
        official=Official(
            "a frame",
            "the budget says how many tokens stay, not the outliers; no additional token where a frame has one;"
            " attention is the mean over heads, not one softmax of all; 32 neighbours are the whole of a small frame",
            "nothing that is known: the same tokens at one a frame; with one neighbour, which is the paper's share of a"
            " frame, 0.655 for 0.689 at 64 frames; the additional token gains 0.037 at 4x (400 questions)",
        ),
    ),
    "prumerge+": Method(
        prumerge_plus,
        ("keys_THWK", "cls_attention_THW"),
        official=Official(
            "a frame",
            "as PruMerge; a fixed share of a frame's budget is spread evenly, where the official step follows from the"
            " outliers",
            "at one token a frame nothing is left to spread, so there it is PruMerge",
        ),
    ),
    "visionzip": Method(
        visionzip,
        ("keys_THWK", "cls_attention_THW"),
        official=Official(
            "a frame",
            "a contextual token is the mean of its group, where the official code adds the members' mean to the target;"
            " works behind the projector; the class token is not sent",
            "nothing: with `added` the same tokens come out, at 4x 0.787 for 0.800 (400 questions); at one token a"
            " frame there are no contextual ones",
        ),
    ),
    "fastvid": Method(
        fastvid,
        ("cls_TC", "cls_attention_THW"),
        unsaid={"anchors_join": False},
        official=Official(
            "segments of the video",
            "class tokens stand in for SigLIP's pooling head; budgets are rounded for a segment, not for each frame",
            "at one token a frame official rounding merges none, 0.642 for 0.662 at 64 frames (400 questions); the"
            " rest was not measured",
        ),
    ),
    "dycoke": Method(
        dycoke,
        absent="pruning of the LLM's cache while it decodes",
        official=Official(
            "groups of 4 frames",
            "the share that goes follows from the budget; the official loop leaves the third frame of the last group"
            " whole",
            "not measured",
        ),
    ),
    "prunevid": Method(
        prunevid,
        absent="pruning inside the LLM by the question's attention",
        official=Official(
            "segments of the video",
            "parts of up to 14 tokens are clustered too, which the official code leaves as they are; the share of"
            " clusters follows from the budget",
            "cannot be measured at 16x, which the official code does not reach on frames of 16 tokens",
        ),
    ),
    "holitom": Method(
        holitom,
        ("cls_attention_THW",),
        absent="merging inside the LLM",
        official=Official(
            "windows of the video",
            "class attention stands in for SigLIP's mean over queries; the threshold is 0.8 at every budget, where the"
            " official scripts take 0.65 to keep a tenth",
            "the same tokens come out of the same features; with 0.65, 0.900 for 0.895 at 64 frames and 0.593 for 0.635"
            " at 16 (400 questions)",
        ),
    ),
    "evs": Method(
        evs,
        official=Official(
            "the video",
            "nothing that is known",
            "nothing",
        ),
    ),
    "vidcom2": Method(
        vidcom2,
        official=Official(
            "the video and a frame",
            "budgets are rounded to their sum, not each by itself",
            "not measured",
        ),
    ),
    "flashvid": Method(
        flashvid,
        ("cls_attention_THW",),
        absent="pruning inside the LLM",
        official=Official(
            "segments of the video",
            "a tree becomes the mean of all its tokens, the official code divides by the direct children;"
            " budgets are shared exactly",
            "not measured",
        ),
    ),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "tome-keys": ("tome", {"scope": "clip", "by": "keys"}),
    "tome-frame": ("tome", {"scope": "frame", "by": "keys"}),
    "tome-video": ("tome", {"scope": "video", "by": "keys"}),
    "fastvid-apart": ("fastvid", {"anchors_join": False}),
}
"""Methods with other settings than their defaults, which are compared besides: name -> method and settings."""
ON_BLOCKS = ("average", "max", "subsample", "wap")
"""Of these, those that keep a grid, so that a Video LLM can run them on the encoder's own, before its pixel shuffle."""


def method(name: str) -> Method:
    """The method of that name. Raises ConfigError, with the names there are, for any other."""
    if name not in METHODS:
        raise ConfigError(f"compressor {name!r} is unknown; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def recorded_as(name: str, said: Mapping[str, Any]) -> str:
    """The method or variant that a record is of.

    Args:
        name: of the method in the record.
        said: settings in the record; where it does not say one, the method worked as `Method.unsaid` has it.
    """
    if name not in METHODS:
        return name
    settings = {**METHODS[name].unsaid, **said}
    for variant, (of, wanted) in VARIANTS.items():
        if of == name and all(settings.get(key) == value for key, value in wanted.items()):
            return variant
    return name
