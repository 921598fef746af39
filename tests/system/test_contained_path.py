"""A name out of a file stays in the folder it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from liteframe.system.contained_path import OutsideRoot, contained


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "a.mp4").touch()
    (tmp_path / "root" / "inner" / "a.mp4").touch()
    (tmp_path / "root" / "out").symlink_to(tmp_path / "rooted")
    (tmp_path / "root" / "in").symlink_to(tmp_path / "root" / "inner")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["inner/a.mp4", "inner/../inner/a.mp4", "in/a.mp4", "absent/b.mp4", "..a.mp4"])
def test_names_below_are_given_back(root: Path, name: str) -> None:
    path = contained(root, name)
    assert path.is_absolute() and path.resolve() == (root / name).resolve()
    assert contained(root.parent / "link", name).resolve() == path.resolve()
    assert contained(root, str(path)) == path


@pytest.mark.parametrize("name", ["../rooted/a.mp4", "inner/../../rooted", "/etc/passwd", "out/a.mp4", "..", "", "a\0"])
def test_names_that_lead_out_are_refused(root: Path, name: str) -> None:
    with pytest.raises(OutsideRoot):
        contained(root, name)


def test_what_is_no_name_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(OutsideRoot, match="no name of a file"):
        contained(tmp_path, "a\ud800")
