"""Which URLs a row may name, and where they may lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from video_server import VIDEO_START, Answer, serving

from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import name_for, open_url, require_remote, require_same_safety
from liteframe.errors import DecodeError


@pytest.mark.parametrize(
    "url",
    [
        "file://{path}",
        "FILE://{path}",
        "local://{path}",
        "memory://a.mp4",
        "data://text/plain,film",
        "zip://a.mp4::file://{path}",
        "simplecache::file://{path}",
        "filecache://{path}",
        "blockcache://{path}",
        "reference://{path}",
        "dir://{path}",
        "tar://a.mp4",
        "libarchive://a.mp4",
        "git://{path}",
        "dask://{path}",
        "asynclocal://{path}",
        "generic://{path}",
        "nosuch://a.mp4",
        "no url",
    ],
)
def test_what_is_on_this_machine_is_not_fetched(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(VIDEO_START)
    url = url.format(path=tmp_path / "a.mp4")
    with pytest.raises(DecodeError, match="is not fetched: .* is none of http, https, s3"):
        require_remote(url)
    with pytest.raises(DecodeError), RemoteCache(str(tmp_path / "cache")).local_copy(url):
        pass
    assert not (tmp_path / "cache").exists()


def test_a_chain_behind_a_remote_protocol_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    (tmp_path / "a.mp4").write_bytes(VIDEO_START + b"secret")
    with serving() as server:
        asked = f"{server.root}/x::file://{tmp_path}/a.mp4"
        server.files["a.mp4"] = VIDEO_START
        with open_url(asked) as remote:
            assert remote.stream.read() == VIDEO_START and remote.size == len(VIDEO_START)
        server.answers["led.mp4"] = [Answer(status=302, headers={"Location": (tmp_path / "a.mp4").as_uri()})]
        cache = RemoteCache(str(tmp_path / "cache"))
        with pytest.raises(DecodeError, match="cannot be fetched"), cache.local_copy(f"{server.root}/led.mp4"):
            pass
        assert server.gets["led.mp4"] == 1


def test_https_does_not_lead_elsewhere() -> None:
    require_same_safety("http://a", ["http://a", "http://b", "https://c", "https://d"])
    for hops in (["https://a", "http://b"], ["http://a", "https://b", "http://c"], ["HTTPS://a", "ftp://b"]):
        with pytest.raises(DecodeError, match=f"{hops[0]}: leads from https to {hops[-1]}"):
            require_same_safety(hops[0], hops)


def test_names_of_odd_urls() -> None:
    for url in ("https://h/\udce9.mp4", "https://h/a.mp4?x=/../..#y", "https://h/\0.mp4"):
        name = name_for(url)
        assert len(name) == 44 and name.endswith(".mp4") and "/" not in name
