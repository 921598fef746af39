"""Objects of buckets and web servers that fail in every way: asked again, or a clear error; never other bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from liteframe.data.remote import fetched, objects
from liteframe.data.remote.fetched import MOST_GB, fetched_file, fetched_folder
from liteframe.data.remote.objects import facts_of, fetch, objects_below, put, read_range
from liteframe.data.remote.upload import upload_folder
from liteframe.errors import ConfigError
from object_store import (
    Fault,
    ObjectStore,
    cut,
    flipped,
    http_store,
    late,
    memory_bucket,
    reset,
    s3_store,
    short,
    slow_down,
    status,
)

BODY = bytes(range(256)) * 40
PASSING = [slow_down, status(500), status(429), status(503, retry_after="0"), reset, cut, short, late(0.05)]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetched, "_recent", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(params=["http", "s3"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """A server with an object `a/b.bin`."""
    if request.param == "http":
        with http_store() as made:
            made.files["a/b.bin"] = BODY
            yield made
        return
    with s3_store(monkeypatch) as made:
        (tmp_path / "body").write_bytes(BODY)
        put(tmp_path / "body", f"{made.root}/a/b.bin")
        yield made


@pytest.fixture
def bucket() -> Iterator[str]:
    with memory_bucket() as address:
        yield address


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(store: ObjectStore, fault: Fault, tmp_path: Path) -> None:
    url = f"{store.root}/a/b.bin"
    store.faults["a/b.bin"] = [fault, fault]
    assert read_range(url, 100, 9000) == BODY[100:9000] and len(store.faults["a/b.bin"]) < 2
    store.faults["a/b.bin"] = [fault, fault]
    fetch(url, tmp_path / "copy", len(BODY))
    assert (tmp_path / "copy").read_bytes() == BODY and not list(tmp_path.glob(".copy*"))


@pytest.mark.parametrize("fault", [status(500, b"internal"), cut, reset, short])
def test_what_does_not_pass_is_an_error_that_names_the_object(store: ObjectStore, fault: Fault, tmp_path: Path) -> None:
    store.faults["a/b.bin"] = [fault] * 1000
    with pytest.raises(ConfigError, match=r"a/b\.bin: cannot be read: ") as caught:
        read_range(f"{store.root}/a/b.bin", 0, 200)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_is_not_asked_again(store: ObjectStore, code: int) -> None:
    store.faults["a/b.bin"] = [status(code)] * 1000
    with pytest.raises(ConfigError, match=rf"a/b\.bin: cannot be read: .*{code}"):
        read_range(f"{store.root}/a/b.bin", 0, 200)
    assert store.gets["a/b.bin"] == 1


def test_an_object_that_is_not_there(store: ObjectStore) -> None:
    assert facts_of(f"{store.root}/a/none.bin") is None and fetched_file(f"{store.root}/a/none.bin") is None
    facts = facts_of(f"{store.root}/a/b.bin")
    assert facts is not None and facts.bytes == len(BODY) and facts.etag


def test_children_of_a_process_that_has_read_read_too(store: ObjectStore) -> None:
    """As loader workers do; clients of s3fs must not be forked (its issues 369, 889 and 914)."""
    url = f"{store.root}/a/b.bin"
    assert read_range(url, 0, 10) == BODY[:10]
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0 if read_range(url, 10, 500) == BODY[10:500] else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_new_version_is_seen_and_the_old_one_goes(store: ObjectStore, tmp_path: Path) -> None:
    """Listings that are remembered would give the size of before (s3fs issues 422 and 424)."""
    url = f"{store.root}/a/b.bin"
    first = fetched_file(url)
    assert first is not None and first.read_bytes() == BODY and first == fetched_file(url)
    (tmp_path / "body").write_bytes(BODY[:-7])
    if store.files:
        store.files["a/b.bin"] = BODY[:-7]
    else:
        put(tmp_path / "body", url)
    second = fetched_file(url)
    assert second is not None and second.read_bytes() == BODY[:-7] and first.read_bytes() == BODY, "it is in use"
    os.close(fetched._handles.pop(first.parent))
    second.unlink()
    assert fetched_file(url) == second and not first.parent.exists(), "nobody uses it any more"


def test_copies_stay_below_their_limit(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOST_GB, "0.000001")
    with pytest.raises(ConfigError, match=MOST_GB):
        fetched_file(f"{store.root}/a/b.bin")
    assert not list(tmp_path.rglob("*.bin"))
    monkeypatch.setenv(MOST_GB, "many")
    with pytest.raises(ConfigError, match="many"):
        fetched_file(f"{store.root}/a/b.bin")


def test_a_bit_that_was_turned_on_the_way(store: ObjectStore, tmp_path: Path) -> None:
    """Seen where the server tells a checksum; a range has none, so that its reader has to know one."""
    store.faults["a/b.bin"] = [flipped]
    assert read_range(f"{store.root}/a/b.bin", 0, 100) != BODY[:100]


def test_a_server_that_knows_no_ranges_is_an_error(store: ObjectStore) -> None:
    store.faults["a/b.bin"] = [lambda _handler, _answer: (200, {}, BODY)] * 1000
    with pytest.raises(ConfigError, match=r"a/b\.bin: cannot be read: .*10240 bytes came instead of 100 from 50 on"):
        read_range(f"{store.root}/a/b.bin", 50, 150)


def test_a_protocol_that_leads_elsewhere_is_refused() -> None:
    for url in ("memory://x/y", "local:///etc/passwd", "nothing://x"):
        with pytest.raises(ConfigError, match="is none of"):
            facts_of(url)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(protocol: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"pip install 'liteframe-video\[s3\]'"):
        facts_of("s3://bucket/x")


def make_folder(folder: Path) -> Path:
    (folder / "inner").mkdir(parents=True)
    for name, text in (("config.json", "{}"), ("inner/w.bin", "w" * 50), ("COMPLETE", "c"), (".x.part", "p")):
        (folder / name).write_text(text)
    return folder


def test_a_folder_is_copied_there_and_back(bucket: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "made")
    assert upload_folder(folder, f"{bucket}/x") == (3, 53)
    assert {*objects_below(f"{bucket}/x")} == {"config.json", "inner/w.bin", "COMPLETE"}
    assert upload_folder(folder, f"{bucket}/x/") == (0, 0), "all of it is there"
    small = fetched_folder(f"{bucket}/x", lambda name: name.endswith(".json"))
    assert small is not None and not (small / "inner").exists()
    whole = fetched_folder(f"{bucket}/x")
    assert whole == small and (whole / "inner" / "w.bin").read_text() == "w" * 50
    assert fetched_folder(f"{bucket}/nothing") is None


def test_nothing_of_others_is_replaced(bucket: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "made")
    put(folder / "config.json", f"{bucket}/x/theirs")
    with pytest.raises(ConfigError, match="holds theirs, which is not in"):
        upload_folder(folder, f"{bucket}/x")
    put(folder / "inner" / "w.bin", f"{bucket}/y/config.json")
    with pytest.raises(ConfigError, match=r"holds another config\.json than"):
        upload_folder(folder, f"{bucket}/y")
    assert {*objects_below(f"{bucket}/y")} == {"config.json"}


def test_what_says_that_all_is_there_comes_last(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("liteframe.data.remote.upload.put", lambda path, url: order.append(path.name))
    upload_folder(make_folder(tmp_path / "made"), f"{bucket}/x")
    assert order == ["w.bin", "config.json", "COMPLETE"]


def test_an_upload_that_is_broken_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "made")
    with s3_store(monkeypatch) as store:
        store.faults["PUT x/inner/w.bin"] = [status(403)] * 20
        with pytest.raises(ConfigError, match=r"x/inner/w\.bin: cannot be written"):
            upload_folder(folder, f"{store.root}/x")
        store.faults["PUT x/inner/w.bin"] = [slow_down, reset]
        assert "COMPLETE" not in objects_below(f"{store.root}/x")
        upload_folder(folder, f"{store.root}/x")
        assert {*objects_below(f"{store.root}/x")} == {"config.json", "inner/w.bin", "COMPLETE"}
