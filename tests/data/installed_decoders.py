"""The decoders that can be tried here, and those among them that may refuse what others read."""

from __future__ import annotations

import importlib.util

from liteframe.data.decoding.decode import DECODERS

CHOOSY = ("decord", "torchcodec")
INSTALLED = tuple(name for name in DECODERS if name not in CHOOSY or importlib.util.find_spec(name) is not None)
