"""The dtype of each encoder of a run, with its projector, where each has the one that is faster for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from liteframe.bench.encoders import ENCODERS
from liteframe.bench.own_dtype import DTYPES, faster_dtypes
from liteframe.bench.real_size.cells import NO_TIME, Budget
from liteframe.bench.real_size.runs import EncoderRun
from liteframe.bench.real_size.shapes import Shapes
from liteframe.bench.real_size.subjects import Llm, build_subject


class EncoderDtypes:
    """Times each encoder in both dtypes, on one clip, when it is first asked about.

    Args:
        shapes, llm, device: that the methods are made of.
        budget: of the run; once it is spent, nothing is timed.
        otherwise: the dtype of encoders that were not timed.
        settings: of the record, whose `dtypes` say for each encoder which one it has, and the times or why there are
            none.
    """

    def __init__(
        self,
        shapes: Shapes,
        llm: Llm,
        device: torch.device,
        budget: Budget,
        otherwise: torch.dtype,
        settings: dict[str, Any],
    ) -> None:
        self._shapes, self._llm, self._device, self._budget = shapes, llm, device, budget
        self._otherwise, self._settings = otherwise, settings
        self._dtypes: dict[Callable[[Shapes], nn.Module], torch.dtype] = {}

    def of(self, name: str) -> torch.dtype:
        """Of a method's encoder; methods that share an encoder share its dtype.

        Raises:
            ConfigError: as `build_subject`.
        """
        make = ENCODERS.get(name, ENCODERS["teacher"]).make
        if make not in self._dtypes:
            untimed = {"dtype": str(self._otherwise).removeprefix("torch."), "not_timed": NO_TIME}
            found = untimed if self._budget.left <= 0 else self._timed(name)
            self._settings.setdefault("dtypes", {})[name] = found
            self._dtypes[make] = getattr(torch, found["dtype"])
        return self._dtypes[make]

    def _timed(self, name: str) -> dict[str, Any]:
        runs = {}
        for dtype in DTYPES:
            subject = build_subject(name, self._shapes, self._llm, self._device, getattr(torch, dtype))
            runs[dtype] = EncoderRun(subject, subject.frames(subject.video_llm.clip_frames))
        with torch.inference_mode():
            return faster_dtypes({name: runs})[name]
