"""What a pipeline's run folder says of its finished stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from liteframe.system.json_files import read_json


def read_stage_records(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The finished stages of a pipeline's run, in the order in which they ran: name, seconds, budget_s, ..."""
    records = [read_json(path) for path in Path(run).glob("*/done.json")]
    return sorted(records, key=lambda record: record.get("position", 0))
