from __future__ import annotations

import json
from pathlib import Path

import pytest

from liteframe.data.loading.mixing import Mixture
from liteframe.data.loading.source_report import report_sources
from liteframe.data.sources.manifest import VideoSource
from liteframe.errors import ConfigError


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    sources = [VideoSource("a\udcff.jsonl")]
    report_sources(tmp_path / "run" / "sources.json", sources, Mixture([3]))
    assert json.loads((tmp_path / "run" / "sources.json").read_text())[0]["rows"] == 3
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/sources\.json: cannot be written .*--trainer\.default_root_dir"):
        report_sources(tmp_path / "file" / "sources.json", sources, Mixture([3]))
