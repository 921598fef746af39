from __future__ import annotations

from pathlib import Path

import pytest

from liteframe.system.file_url import NotHere, without_file_url


@pytest.mark.parametrize("start", ["file://", "file:", "FILE://", "file://localhost", "file://LOCALHOST"])
def test_a_url_of_a_file_is_its_path(start: str, tmp_path: Path) -> None:
    for name in ("a.mp4", "a b.mp4", "100%.mp4", "é#1?.mp4", "%41.mp4"):
        path = tmp_path / name
        path.touch()
        for url in (path.as_uri(), f"file://{path}"):  # encoded as it should be, and as many programs leave it
            assert without_file_url(url.replace("file://", start)) == str(path), url
    assert without_file_url("file:///absent%20one.mp4") == "/absent one.mp4"


@pytest.mark.parametrize("name", ["a.mp4", "/a%20b.mp4", "file:a.mp4", "file", "s3://file:/a", "files:///a"])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert without_file_url(name) == name


@pytest.mark.parametrize(
    "url", ["file://host/a.mp4", "file://a.mp4", "file:///a%00b.mp4", "file:///%ff.mp4", "file://"]
)
def test_what_names_no_file_here_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(NotHere, match="^'file:.*'") as error:
        without_file_url(url)
    assert "\n" not in str(error.value)
