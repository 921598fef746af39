from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Real clips of many codecs that lie beside the repository; absent elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("no shared/videos folder beside the repository")
    return folder
