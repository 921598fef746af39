"""Where videos of a request may come from."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from liteframe.serving import fetch as fetching
from liteframe.serving.fetch import FetchPolicy, is_public
from liteframe.serving.media import LocalVideo, MediaPolicy
from liteframe.serving.refusal import Refusal

VIDEO = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\x20\x00mdat" + bytes(8184)
"""A whole file as far as its boxes tell."""


class _Pages(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        port = self.server.server_address[1]
        leads = {"/loop": "/loop", "/inside": f"http://127.0.0.2:{port}/a.mp4", "/away": "/a.mp4", "/ftp": "ftp://x/a"}
        if self.path in leads:
            self.send_response(302)
            self.send_header("Location", leads[self.path])
            self.end_headers()
            return
        body = {"/a.mp4": VIDEO, "/cut.mp4": VIDEO[:4000], "/page": b"<!doctype html><title>Sign in</title>"}
        if self.path == "/slow":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.server.let_go.wait(20)  # type: ignore[attr-defined]
            return
        if self.path not in body and self.path != "/endless":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(VIDEO)
            self.wfile.write(body[self.path])
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Pages.asked = []
    with ThreadingHTTPServer(("", 0), _Pages) as here:
        here.let_go = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=here.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{here.server_address[1]}"
        here.let_go.set()  # type: ignore[attr-defined]
        here.shutdown()


def policy(folder: Path | None = None, **settings: Any) -> MediaPolicy:
    loose = {"schemes": ("https", "http"), "domains": None, "private": True, "most_bytes": 10**5, "timeout_s": 30.0}
    return MediaPolicy(folder, FetchPolicy(**{**loose, **settings}))


def local(url: str, folder: Path, rules: MediaPolicy) -> LocalVideo:
    return asyncio.run(rules.local(url, "video", folder))


def refusal(url: str, folder: Path, rules: MediaPolicy) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        local(url, folder, rules)
    assert caught.value.param == "video"
    return caught.value.status, caught.value.message


PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:c0a8:101::1", "2001:0:1::1", "198.18.0.1"),
    *("fec0::1", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1", "::127.0.0.1"),
]


def test_addresses_that_are_not_of_the_open_internet() -> None:
    assert [address for address in PRIVATE if is_public(address)] == []
    public = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
    assert [address for address in public if not is_public(address)] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_no_private_address_is_connected_to(server: str, host: str, tmp_path: Path) -> None:
    url = f"http://{host}:{server.partition(':')[2]}/a.mp4"
    status, said = refusal(url, tmp_path, policy(private=False))
    by_aiohttp = host.isdecimal()  # which knows no such host
    assert (status, "not public" in said, _Pages.asked) == (400 if by_aiohttp else 403, not by_aiohttp, [])


def test_an_address_is_looked_at_where_a_redirect_leads(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    rules = policy(private=False)
    assert local(f"http://{server}/away", tmp_path, rules).path.read_bytes() == VIDEO
    assert refusal(f"http://{server}/inside", tmp_path, rules)[0] == 403
    assert _Pages.asked == ["/away", "/a.mp4", "/inside"]


def test_a_name_with_two_addresses_is_not_connected_to_at_the_private_one(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp

    class _Rebinding(aiohttp.abc.AbstractResolver):
        """A public address the first time, this machine's from then on."""

        calls = 0

        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
            type(self).calls += 1
            address = "127.0.0.1" if self.calls == 1 else "127.0.0.2"
            return [{"hostname": host, "host": address, "port": port, "family": 2, "proto": 0, "flags": 0}]

        async def close(self) -> None:
            pass

    plain = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda **given: plain(resolver=_Rebinding(), **given))
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    url = f"http://video.example:{server.partition(':')[2]}/a.mp4"
    assert local(url, tmp_path, policy(private=False)).path.read_bytes() == VIDEO
    assert refusal(url, tmp_path, policy(private=False))[0] == 403
    assert _Pages.asked == ["/a.mp4"]


def test_what_is_fetched_is_bounded_and_looked_at(server: str, tmp_path: Path) -> None:
    asked = f"http://{server}"
    video = local(f"{asked}/a.mp4", tmp_path, policy())
    assert video.path.read_bytes() == VIDEO and video.path.suffix == ".mp4" and video.path.parent == tmp_path
    assert refusal(f"{asked}/endless", tmp_path, policy())[0] == 413
    assert refusal(f"{asked}/slow", tmp_path, policy(timeout_s=0.2)) == (400, "video: was not fetched within 0.2 s")
    assert refusal(f"{asked}/page", tmp_path, policy()) == (400, "video: it is a web page ('Sign in'), not a video")
    assert "cut short" in refusal(f"{asked}/cut.mp4", tmp_path, policy())[1]
    assert "404" in refusal(f"{asked}/none.mp4", tmp_path, policy())[1]
    assert "more than 5 times" in refusal(f"{asked}/loop", tmp_path, policy())[1]
    assert refusal(f"{asked}/ftp", tmp_path, policy())[0] == 403
    assert refusal(f"{asked}/a.mp4", tmp_path, policy(schemes=("https",)))[0] == 403
    assert refusal(f"{asked}/a.mp4", tmp_path, policy(domains=("videos.example",)))[0] == 403
    assert local(f"{asked}/a.mp4", tmp_path, policy(domains=("127.0.0.1",))).identity == video.identity
    assert refusal("http://127.0.0.1:1/a.mp4", tmp_path, policy())[0] == 400


@pytest.mark.parametrize(
    "url", ["ftp://x/a.mp4", "s3://x/a.mp4", "a.mp4", "/etc/passwd", "", "javascript:1", "http://", "http://[x/"]
)
def test_other_urls_are_refused(url: str, tmp_path: Path) -> None:
    assert refusal(url, tmp_path, policy())[0] in (400, 403)


def test_a_part_in_a_url_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    """A server is not told what stands behind the #, so it would be the whole video."""
    assert "#t=5,10 is not read; give start and end" in refusal("https://x.org/a.mp4#t=5,10", tmp_path, policy())[1]


def test_data_urls_hold_a_file(tmp_path: Path) -> None:
    coded = base64.b64encode(VIDEO).decode()
    video = local(f"data:video/mp4;base64,{coded}", tmp_path, policy())
    assert video.path.read_bytes() == VIDEO and video.path.parent == tmp_path
    assert refusal(f"data:video/mp4;base64,{coded}", tmp_path, policy(most_bytes=len(VIDEO) - 1))[0] == 413
    for url in (f"data:video/mp4,{coded}", f"data:video/mp4;base64,{coded}!", "data:", "data:;base64,"):
        assert refusal(url, tmp_path, policy())[0] == 400
    text = base64.b64encode(b"hello there").decode()
    assert "is a text" in refusal(f"data:video/mp4;base64,{text}", tmp_path, policy())[1]


def test_file_urls_stay_in_the_folder_that_is_given(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "a b.mp4").write_bytes(VIDEO)
    (tmp_path / "secret.mp4").write_bytes(VIDEO)
    (allowed / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    rules = policy(allowed)
    found = local(f"file://{allowed}/a%20b.mp4", tmp_path, rules)
    assert found.path == (allowed / "a b.mp4").resolve()
    assert local(f"file://{allowed}/a b.mp4", tmp_path, rules) == found
    outside = {
        refusal(f"file://{name}", tmp_path, rules)
        for name in (
            *(f"{tmp_path}/secret.mp4", f"{tmp_path}/nothing.mp4", f"{allowed}/link.mp4", "/etc/passwd"),
            *(f"{allowed}/../secret.mp4", f"{allowed}/%2e%2e/secret.mp4", f"otherhost{allowed}/a b.mp4"),
        )
    }
    assert outside == {(403, "video: names no file of the folder that may be read")}, "nor whether it is there"
    assert refusal(f"file://{allowed}/none.mp4", tmp_path, rules)[0] == 400
    assert refusal(f"file://{allowed}", tmp_path, rules) == (400, "video: is no regular file")
    assert "--allowed_local_media_path" in refusal(f"file://{allowed}/a b.mp4", tmp_path, policy())[1]
    (allowed / "a b.mp4").write_bytes(VIDEO + VIDEO)
    assert local(f"file://{allowed}/a b.mp4", tmp_path, rules).identity != found.identity
