"""Commands whose streams were closed before they began, or whose locale is of another encoding than UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams and locales of POSIX")


def run(code: str, closed: str = "", **surroundings: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" -c "$1" {closed}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, code],
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_is_said_to_a_closed_stream_goes_into_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    code = (
        "import os, sys; from liteframe.system.standard_streams import open_closed_streams; open_closed_streams();"
        f"file = open({str(path)!r}, 'w'); print('said'); print('said', file=sys.stderr); sys.stdout.flush();"
        "os.write(1, b'said'); file.write('kept'); assert sys.stdin.read() == ''; assert file.fileno() > 2"
    )
    assert run(code, "<&- >&- 2>&-").returncode == 0
    assert path.read_text() == "kept"


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", ">&-", "2>&-"])
def test_streams_are_open_in_children_too(tmp_path: Path, closed: str) -> None:
    path = tmp_path / "a.txt"
    child = (
        f"import os; number = os.open({str(path)!r}, os.O_CREAT | os.O_WRONLY); assert number > 2;"
        "os.write(number, b'kept'); os.write(1, b'said')"
    )
    code = (
        "import subprocess, sys; from liteframe.system.standard_streams import open_closed_streams;"
        f"open_closed_streams(); subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    assert run(code, closed).returncode == 0
    assert path.read_text() == "kept"


@pytest.mark.parametrize("utf8_mode", ["0", "1"])
def test_names_of_files_are_utf8_whatever_the_locale(utf8_mode: str) -> None:
    code = (
        "import sys; from liteframe.system.standard_streams import begin_again_in_utf8; begin_again_in_utf8();"
        "print(sys.getfilesystemencoding(), len(sys.argv))"
    )
    ascii_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": utf8_mode}
    assert run(code, "a b", **ascii_locale).stdout.split() == ["utf-8", "3"]


def test_a_name_that_the_locale_cannot_write_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "k\N{LATIN SMALL LETTER A WITH DIAERESIS}se.mp4"
    code = f"from liteframe.data.decoding.video_file import fault_of; print(fault_of({str(path)!a}))"
    said = run(code, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0").stdout
    assert "no ascii" in said and "set PYTHONUTF8=1" in said
