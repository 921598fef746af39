"""A remote cache that does not believe the first answer: bad bodies, busy servers, copies that have changed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from painted_videos import number_of, write_video
from test_remote_content import PAGE, POINTER
from video_server import VIDEO_START, Answer, Server, serving

from liteframe.data.checking.probe import check_video
from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.remote import cache as remote_cache
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import name_for
from liteframe.errors import DecodeError, DecodeTimeout


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, 20)
    return path.read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> RemoteCache:
    return RemoteCache(str(tmp_path / "cache"))


def fetch(cache: RemoteCache, url: str) -> bytes:
    with cache.local_copy(url) as path:
        return Path(path).read_bytes()


def frames_of(cache: RemoteCache, url: str) -> list[int]:
    video = decode(DecodeJob(url, indices=(3, 7)), "pyav", cache)
    assert video.info.path == url
    return [number_of(frame) for frame in video.frames_THWC]


def swap(byte: int, data: bytes) -> bytes:
    return data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


BAD: dict[str, Callable[[bytes], Answer]] = {
    "a web page": lambda film: Answer(PAGE, headers={"Content-Type": "text/html"}),
    "a web page of no told size": lambda film: Answer(PAGE, length=None),
    "a JSON text": lambda film: Answer(b'{"error": "quota"}'),
    "an LFS pointer": lambda film: Answer(POINTER),
    "nothing": lambda film: Answer(b""),
    "nothing of no told size": lambda film: Answer(b"", length=None),
    "a cut body": lambda film: Answer(film[: len(film) // 2], length=len(film)),
    "a cut body of no told size": lambda film: Answer(film[: len(film) // 2], length=None),
    "another checksum": lambda film: Answer(swap(900, film), headers={"Content-MD5": md5(film)}),
    "another checksum of S3": lambda film: Answer(
        swap(900, film), headers={"ETag": f'"{hashlib.md5(film).hexdigest()}"', "x-amz-request-id": "1"}
    ),
    "a stumble": lambda film: Answer(status=500),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_asked_for_again_and_never_kept(
    kind: str, server: Server, cache: RemoteCache, film: bytes
) -> None:
    url = f"{server.root}/a.mp4"
    server.answers["a.mp4"] = [BAD[kind](film)]
    for _ in range(2):
        with pytest.raises(DecodeError, match="cannot be fetched"):
            fetch(cache, url)
        assert list(Path(cache.folder).iterdir()) == []
    assert server.gets["a.mp4"] == 6
    server.answers["a.mp4"] = [BAD[kind](film), Answer(film)]
    assert fetch(cache, url) == film == fetch(cache, url)
    assert server.gets["a.mp4"] == 8


def test_a_compressed_answer_is_told_by_neither_length_nor_checksum(
    server: Server, cache: RemoteCache, film: bytes
) -> None:
    packed = gzip.compress(film)
    server.answers["a.mp4"] = [Answer(packed, headers={"Content-Encoding": "gzip", "Content-MD5": md5(packed)})]
    assert fetch(cache, f"{server.root}/a.mp4") == film


@pytest.mark.parametrize("told", [None, -1])
def test_what_is_larger_than_the_cache_is_left_off_in_the_middle(
    told: int | None, server: Server, tmp_path: Path
) -> None:
    body = VIDEO_START + bytes(60_000_000)
    server.answers["a.mp4"] = [Answer(body, length=told)]
    with pytest.raises(DecodeError, match=r"more than the cache's 0\.001 GB"):
        fetch(RemoteCache(str(tmp_path), gigabytes=0.001), f"{server.root}/a.mp4")
    assert server.sent["a.mp4"] < len(body) / 2 and server.gets["a.mp4"] == 1 and not list(tmp_path.iterdir())


def test_copies_make_room_for_a_download_of_no_told_size(server: Server, tmp_path: Path) -> None:
    bodies = {name: VIDEO_START + bytes(400_000 + n) for n, name in enumerate("abc")}
    server.answers = {name: [Answer(body, length=None)] for name, body in bodies.items()}
    cache = RemoteCache(str(tmp_path), gigabytes=0.001)
    for name, body in bodies.items():
        assert fetch(cache, f"{server.root}/{name}") == body
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(
    status: int, server: Server, cache: RemoteCache, film: bytes
) -> None:
    times: list[float] = []
    busy = Answer(status=status, headers={"Retry-After": "1"}, before=lambda: times.append(time.monotonic()))
    server.answers["a.mp4"] = [busy, Answer(film, before=lambda: times.append(time.monotonic()))]
    assert fetch(cache, f"{server.root}/a.mp4") == film
    assert times[1] - times[0] >= 0.9


def test_a_server_that_asks_for_longer_than_there_is_time_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    server.answers["a.mp4"] = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(DecodeError, match="429 Too Many Requests; the server asks to wait 3600 s, longer than is left"):
        fetch(RemoteCache(str(tmp_path), deadline_s=20.0), f"{server.root}/a.mp4")
    assert server.gets["a.mp4"] == 1


def test_a_server_that_is_always_busy_is_given_up(
    server: Server, cache: RemoteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server.answers["a.mp4"] = [Answer(status=503, headers={"Retry-After": "1"})]
    with pytest.raises(DecodeError, match="503"):
        fetch(cache, f"{server.root}/a.mp4")
    assert 3 < server.gets["a.mp4"] < 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final(status: int, server: Server, cache: RemoteCache) -> None:
    server.answers["a.mp4"] = [Answer(status=status, headers={"Retry-After": "1"})]
    with pytest.raises(DecodeError, match=str(status)):
        fetch(cache, f"{server.root}/a.mp4")
    assert server.gets["a.mp4"] == 1


def test_a_download_that_takes_too_long_ends(server: Server, tmp_path: Path, film: bytes) -> None:
    cache = RemoteCache(str(tmp_path), deadline_s=0.2)
    server.answers["a.mp4"] = [Answer(film, before=lambda: time.sleep(0.5))]
    with pytest.raises(DecodeTimeout, match=r"was not fetched within 0\.2 s"):
        fetch(cache, f"{server.root}/a.mp4")
    assert not list(tmp_path.iterdir())


def overwrite(path: Path, data: bytes) -> None:
    """In place, with its time of change put back."""
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "truncated": lambda copy, film: copy.write_bytes(film[: len(film) // 2]),
    "emptied": lambda copy, film: copy.write_bytes(b""),
    "grown": lambda copy, film: copy.write_bytes(film + b"x"),
    "swapped": lambda copy, film: copy.write_bytes(swap(900, film)),
    "swapped behind its time": lambda copy, film: overwrite(copy, swap(900, film)),
    "without its note": lambda copy, film: note_of(copy).unlink(),
    "with a note that was cut": lambda copy, film: note_of(copy).write_bytes(note_of(copy).read_bytes()[:40]),
    "with the note of another": lambda copy, film: overwrite(
        note_of(copy), note_of(copy).read_bytes().replace(b'"sha256": "', b'"sha256": "00').replace(b'", "etag"', b'"')
    ),
    "with a note that is no note": lambda copy, film: note_of(copy).write_text("[" * 4000),
    "with a note of other types": lambda copy, film: note_of(copy).write_text(json.dumps({"bytes": "x", "sha256": 1})),
}


def note_of(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}.note")


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_has_changed_is_fetched_again(change: str, server: Server, cache: RemoteCache, film: bytes) -> None:
    url = f"{server.root}/a.mp4"
    server.files["a.mp4"] = film
    assert fetch(cache, url) == film
    CHANGES[change](Path(cache.folder, name_for(url)), film)
    for _ in range(2):
        assert fetch(cache, url) == film
    assert server.gets["a.mp4"] == 2


def test_a_changed_copy_does_not_stay_where_it_cannot_be_fetched_again(
    server: Server, cache: RemoteCache, film: bytes
) -> None:
    url = f"{server.root}/a.mp4"
    server.files["a.mp4"] = film
    fetch(cache, url)
    Path(cache.folder, name_for(url)).write_bytes(film[:999])
    server.answers["a.mp4"] = [Answer(status=404)]
    with pytest.raises(DecodeError, match="404"):
        fetch(cache, url)
    assert not list(Path(cache.folder).iterdir())


def test_a_folder_that_was_copied_is_believed_once_it_was_read(
    server: Server, cache: RemoteCache, film: bytes, tmp_path: Path
) -> None:
    url = f"{server.root}/a.mp4"
    server.files["a.mp4"] = film
    fetch(cache, url)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in Path(cache.folder).iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    for _ in range(2):
        assert fetch(RemoteCache(str(moved)), url) == film
    assert server.gets["a.mp4"] == 1


def test_what_does_not_open_is_fetched_once_more_and_not_kept(server: Server, cache: RemoteCache, film: bytes) -> None:
    url, noise = f"{server.root}/a.mp4", os.urandom(5000)
    server.answers["a.mp4"] = [Answer(noise)]
    with pytest.raises(DecodeError) as error:
        frames_of(cache, url)
    assert error.value.path == url and server.gets["a.mp4"] == 2 and not list(Path(cache.folder).iterdir())
    assert not check_video(url, cache=cache).ok and not list(Path(cache.folder).iterdir())
    server.answers["a.mp4"] = [Answer(noise), Answer(film)]
    assert frames_of(cache, url) == [3, 7] == frames_of(cache, url)
    server.answers["b.mp4"] = [Answer(noise), Answer(film)]
    assert check_video(f"{server.root}/b.mp4", cache=cache).frames == 20


def test_a_copy_that_rots_below_the_file_system_is_fetched_again(
    server: Server, cache: RemoteCache, film: bytes
) -> None:
    url = f"{server.root}/a.mp4"
    server.files["a.mp4"] = film
    assert frames_of(cache, url) == [3, 7]
    copy = Path(cache.folder, name_for(url))
    copy.write_bytes(b"\0" * len(film))
    note = json.loads(note_of(copy).read_text())
    stat = copy.stat()
    note["stamp"] = [stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    note_of(copy).write_text(json.dumps(note))
    assert frames_of(cache, url) == [3, 7] and server.gets["a.mp4"] == 2


def test_a_fault_of_the_row_keeps_a_good_copy(server: Server, cache: RemoteCache, film: bytes) -> None:
    url = f"{server.root}/a.mp4"
    server.files["a.mp4"] = film
    for _ in range(3):
        with pytest.raises(DecodeError, match="has no frame 99"):
            decode(DecodeJob(url, indices=(99,)), "pyav", cache)
    assert server.gets["a.mp4"] == 1 and fetch(cache, url) == film
