"""Remote videos in a bounded folder, from a server of this test's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from painted_videos import number_of, write_video
from video_server import VIDEO_START, Server, serving

from liteframe.data.decoding.processes.pool import DecodeJob, DecodePool, VideoFrames
from liteframe.data.remote import cache as remote_cache
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.remote.file import name_for
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout

KILOBYTE = 1000


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "*")


def copies(cache: RemoteCache) -> dict[str, int]:
    """Sizes of all files, but of the notes that each copy has beside it."""
    files = [path for path in Path(cache.folder).iterdir() if not path.name.endswith(".note")]
    assert {f".{path.name}.note" for path in files} == {path.name for path in Path(cache.folder).glob("*.note")}
    return {path.name: path.stat().st_size for path in files}


def test_a_url_is_fetched_once_and_whole(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = os.urandom(50 * KILOBYTE)
    cache = RemoteCache(str(tmp_path / "deep" / "cache"))
    for _ in range(3):
        with cache.local_copy(f"{server.root}/a.mp4?token=1") as path:
            assert Path(path).read_bytes() == server.files["a.mp4"] and path.endswith(".mp4")
    assert server.gets["a.mp4"] == 1 and len(copies(cache)) == 1, "no lock and no part stays behind"


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(server: Server, tmp_path: Path) -> None:
    urls = {name: f"{server.root}/{name}" for name in "abcd"}
    server.files |= dict.fromkeys(urls, bytes(300 * KILOBYTE))
    cache = RemoteCache(str(tmp_path), gigabytes=0.001)
    (tmp_path / "notes.txt").write_bytes(bytes(5000 * KILOBYTE))

    def held(name: str) -> bool:
        return (tmp_path / name_for(urls[name])).exists()

    for name in "abca":
        with cache.local_copy(urls[name]):
            time.sleep(0.01)
    with cache.local_copy(urls["d"]):
        assert [held(name) for name in "abcd"] == [True, False, True, True]
    with cache.local_copy(urls["c"]), cache.local_copy(urls["a"]), cache.local_copy(urls["b"]):
        assert [held(name) for name in "abcd"] == [True, True, True, False]
    assert (tmp_path / "notes.txt").exists(), "only copies are evicted"


def test_where_all_is_in_use_a_download_waits(server: Server, tmp_path: Path) -> None:
    server.files |= {"a": bytes(700 * KILOBYTE), "b": bytes(700 * KILOBYTE)}
    cache = RemoteCache(str(tmp_path), gigabytes=0.001)

    def fetch() -> int:
        with cache.local_copy(f"{server.root}/b"):
            return sum(copies(cache).values())

    with ThreadPoolExecutor(1) as threads:
        with cache.local_copy(f"{server.root}/a") as path:
            other = threads.submit(fetch)
            time.sleep(0.3)
            assert not other.done() and Path(path).exists()
        assert other.result(timeout=30) == 700 * KILOBYTE


FETCHER = """
import os, sys, time
from pathlib import Path
from liteframe.data.remote.cache import RemoteCache
folder, root, seed = sys.argv[1:]
cache = RemoteCache(folder, 0.001)

def size(file):
    try:
        return file.stat().st_size
    except FileNotFoundError:  # gone since it was listed
        return 0

def used(folder):
    return sum(size(file) for file in os.scandir(folder) if not file.name.endswith(".lock"))

for turn in range(6):
    name = f"{(turn * 7 + int(seed)) % 5}.mp4"
    with cache.local_copy(f"{root}/{name}") as path:
        first = Path(path).read_bytes()
        time.sleep(0.02)
        assert Path(path).read_bytes() == first and set(first) == {int(name[0])} and len(first) == 300_000
        assert used(folder) <= 1_000_000, used(folder)
"""


def test_processes_share_the_folder_within_its_limit(server: Server, tmp_path: Path) -> None:
    server.files |= {f"{number}.mp4": bytes([number]) * (300 * KILOBYTE) for number in range(5)}
    command = [sys.executable, "-c", FETCHER, str(tmp_path), server.root]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(3)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_many_who_want_one_url_download_it_once(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = os.urandom(20 * KILOBYTE)
    cache = RemoteCache(str(tmp_path))

    def fetch(_: int) -> bytes:
        with cache.local_copy(f"{server.root}/slow/a.mp4") as path:
            return Path(path).read_bytes()

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(fetch, range(6))) == {server.files["a.mp4"]}
    assert server.gets["a.mp4"] == 1


def test_a_killed_download_leaves_nothing_that_counts(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = bytes(900 * KILOBYTE)
    leftover = tmp_path / f".{name_for('x')}.0123456789abcdef.part"
    leftover.write_bytes(bytes(900 * KILOBYTE))
    with RemoteCache(str(tmp_path)).local_copy(f"{server.root}/a.mp4"):
        assert not leftover.exists()


def test_a_server_that_stumbles_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = VIDEO_START
    with RemoteCache(str(tmp_path)).local_copy(f"{server.root}/shaky/a.mp4") as path:
        assert Path(path).read_bytes() == VIDEO_START


def test_a_size_that_is_not_told_is_no_hindrance(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = os.urandom(30 * KILOBYTE)
    with RemoteCache(str(tmp_path)).local_copy(f"{server.root}/sizeless/a.mp4") as path:
        assert Path(path).read_bytes() == server.files["a.mp4"]
    with pytest.raises(DecodeError, match="more than the cache's"):
        RemoteCache(str(tmp_path / "small"), gigabytes=1e-5).local_copy(f"{server.root}/sizeless/a.mp4").__enter__()


class ShortFileSystem(MemoryFileSystem):
    """Holds a byte less than it says."""

    protocol = "oss"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return f"/{path.removeprefix('oss://').lstrip('/')}"

    def info(self, path: str, **kwargs: object) -> dict[str, object]:
        found = super().info(path, **kwargs)
        return {**found, "size": found["size"] + 1}


def test_a_copy_of_the_wrong_size_is_not_kept(tmp_path: Path) -> None:
    fsspec.register_implementation("oss", ShortFileSystem, clobber=True)
    ShortFileSystem().pipe_file("/a.mp4", VIDEO_START)
    with pytest.raises(DecodeError, match="cannot be fetched: 20 bytes came instead of 21"):
        RemoteCache(str(tmp_path)).local_copy("oss://a.mp4").__enter__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "gigabytes", "reason", "gets"),
    [
        ("absent.mp4", 1.0, "cannot be fetched: .*404", 1),
        ("cut/a.mp4", 1.0, "cannot be fetched", 3),
        ("a.mp4", 1e-5, "has 4e-05 GB, more than the cache's 1e-05 GB", 1),
    ],
)
def test_what_cannot_be_fetched_is_a_decode_error(
    path: str, gigabytes: float, reason: str, gets: int, server: Server, tmp_path: Path
) -> None:
    server.files["a.mp4"] = bytes(40 * KILOBYTE)
    cache = RemoteCache(str(tmp_path), gigabytes)
    with pytest.raises(DecodeError, match=reason) as error:
        cache.local_copy(f"{server.root}/{path}").__enter__()
    assert error.value.path == f"{server.root}/{path}" and copies(cache) == {}
    assert server.gets[path.rsplit("/", 1)[-1]] == gets


def test_settings_and_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for settings in ({"gigabytes": 0.0}, {"deadline_s": -1.0}):
        with pytest.raises(ConfigError, match=rf"data\.remote_cache\.{next(iter(settings))}"):
            RemoteCache(str(tmp_path), **settings)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"data\.remote_cache\.folder"):
        RemoteCache(str(tmp_path / "file")).local_copy("http://x/a.mp4").__enter__()


def test_children_decode_what_they_fetch(server: Server, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 20)
    server.files |= {"a.mp4": (tmp_path / "a.mp4").read_bytes(), "noise.mp4": os.urandom(5000)}
    cache = RemoteCache(str(tmp_path / "cache"), deadline_s=60.0)
    urls = [f"{server.root}/{name}" for name in ("a.mp4", "noise.mp4", "absent.mp4")]
    with DecodePool(2, 60.0, "pyav", remote_cache=cache) as pool:
        good, noise, absent = pool.run([DecodeJob(url, indices=(3, 7)) for url in urls])
    assert isinstance(good, VideoFrames) and good.info.path == urls[0]
    assert [number_of(frame) for frame in np.asarray(good.frames_THWC)] == [3, 7]
    for result, url in ((noise, urls[1]), (absent, urls[2])):
        assert isinstance(result, DecodeError) and result.path == url and str(tmp_path) not in result.reason
    with DecodePool(decoder="pyav") as pool, pytest.raises(ConfigError, match=r"needs data\.remote_cache"):
        pool.run([DecodeJob(urls[0], indices=(3,))])


def test_a_server_that_hangs_is_left_at_the_deadline(server: Server, tmp_path: Path) -> None:
    server.files["a.mp4"] = VIDEO_START
    cache = RemoteCache(str(tmp_path), deadline_s=2.0)
    with DecodePool(1, 0.5, "pyav", remote_cache=cache) as pool:
        (result,) = pool.run([DecodeJob(f"{server.root}/stuck/a.mp4", indices=(0,))])
    assert isinstance(result, DecodeTimeout) and "within 2.5 s" in result.reason
