"""What a run trains on: how many samples of each source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liteframe.data.loading.mixing import Mixture
from liteframe.data.sources.manifest import VideoSource
from liteframe.errors import ConfigError
from liteframe.system.atomic import atomic_write_json
from liteframe.system.bounded_text import parse_json

_FIELDS = {"path", "root", "weight", "rows", "samples_in_a_pass"}
_MOST_BYTES = 8_000_000


def report_sources(path: Path, sources: Sequence[VideoSource], mixture: Mixture, keep: bool = True) -> None:
    """Writes `path`, `root`, `weight`, `rows` and `samples_in_a_pass` of each source to `path`, and to stderr.

    With `keep` False, only to stderr.
    """
    entries = [
        {"path": source.path, "root": source.root, "weight": source.weight, "rows": rows, "samples_in_a_pass": places}
        for source, rows, places in zip(sources, mixture.rows, mixture.places, strict=True)
    ]
    if keep:
        _write(path, entries)
    for entry in entries:
        mixed = f", {entry['samples_in_a_pass']} samples a pass by its weight" if mixture.weights else ""
        print(f"train: {entry['rows']} rows of {entry['path']}{mixed}", file=sys.stderr)


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    _require_own(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_json(path, entries)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); free space, make the run folder writable, or take"
            " another (--trainer.default_root_dir)"
        ) from error


def _require_own(path: Path) -> None:
    """Raises ConfigError where a file of that name is there that is no such report."""
    if not path.is_file():
        return
    rows = parse_json(path.read_bytes(), str(path)) if path.stat().st_size < _MOST_BYTES else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and {*row} >= _FIELDS for row in rows):
        raise ConfigError(
            f"{path}: no run wrote it, and this one would write over it; give another --trainer.default_root_dir"
        )
