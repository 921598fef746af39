"""Whether the records of a seed belong together: one world, and one run under all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from liteframe.errors import DataError

RUN_STAGES = ("world", "pretrain-vision", "pretrain-projector", "pretrain-llm", "cache", "ctd", "lma")
"""Of the run that the cells of a seed stand on; a cell's own stages come after them in its record."""
_REMEDY = "remove those that were made on another world or run, and run `make paper`"


class OneWorld:
    """Compares each record of a seed with what the first one said about the world and the run."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[str, np.ndarray]] = {}
        self._said: dict[tuple[int, str], tuple[str, str]] = {}

    def require(self, record: Mapping[str, Any], name: str) -> np.ndarray:
        """The video of each question of a record.

        Args:
            record: of a cell.
            name: of its file.

        Raises:
            DataError: its questions, its world or a stage of its run are not those of an earlier record.
        """
        seed, videos_Q = int(record["seed"]), np.asarray(record["videos"])
        first, known_Q = self._videos.setdefault(seed, (name, videos_Q))
        if not np.array_equal(known_Q, videos_Q):
            raise DataError(f"{name}: its questions are not those of {first}; {_REMEDY}")
        for what, digest in _digests(record).items():
            before, known = self._said.setdefault((seed, what), (name, digest))
            if known != digest:
                raise DataError(f"{name}: its {what} is not that of {before}; {_REMEDY}")
        return known_Q


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    """What a record says about its world and the stages of its run; records of earlier code say less."""
    digests = {"manifest": str(record["manifest"])} if record.get("manifest") else {}
    for stage in record["stages"]:
        name, digest = stage.get("name"), stage.get("digest")
        if name in RUN_STAGES and digest:
            digests.setdefault(f"stage {name}", str(digest))
    return digests
