"""The user's folder of what can be made anew: whatever lies in there may be deleted while no run uses it."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """The folder `name` of liteframe's in `XDG_CACHE_HOME`, or in `~/.cache`; it need not be there yet."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "liteframe" / name
