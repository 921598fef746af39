"""Every post-hoc compressor by name, and what of `Features` it needs besides the tokens.

A new method is a file with its function and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from liteframe.errors import ConfigError
from liteframe.ops.compressors.dycoke import dycoke
from liteframe.ops.compressors.fastvid import fastvid
from liteframe.ops.compressors.features import Compressed
from liteframe.ops.compressors.holitom import holitom
from liteframe.ops.compressors.official import Official
from liteframe.ops.compressors.pooled import average, maximum, subsample, wap
from liteframe.ops.compressors.prumerge import prumerge, prumerge_plus
from liteframe.ops.compressors.prunevid import prunevid
from liteframe.ops.compressors.tome import tome
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
    "tome": Method(tome, unsaid={"scope": "video", "by": "keys"}),
    "prumerge": Method(prumerge, ("keys_THWK", "cls_attention_THW")),
    "prumerge+": Method(prumerge_plus, ("keys_THWK", "cls_attention_THW")),
    "visionzip": Method(visionzip, ("keys_THWK", "cls_attention_THW")),
    "fastvid": Method(fastvid, ("cls_TC", "cls_attention_THW")),
    "dycoke": Method(dycoke, absent="pruning of the LLM's cache while it decodes"),
    "prunevid": Method(prunevid, absent="pruning inside the LLM by the question's attention"),
    "holitom": Method(holitom, ("cls_attention_THW",), absent="merging inside the LLM"),
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
