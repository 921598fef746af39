"""Lists and folders of videos in a bucket, and where the names in such lists lead."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from liteframe.data.remote import fetched, objects
from liteframe.data.remote.objects import put
from liteframe.data.sources import manifest
from liteframe.data.sources.manifest import VideoSource, read_manifest, read_sources
from liteframe.errors import ConfigError, ManifestError
from object_store import http_store, memory_bucket, s3_store


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(fetched, "_recent", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "memory":
        with memory_bucket() as address:
            yield address
        return
    with s3_store(monkeypatch) as store:
        yield store.root


def write(url: str, text: str, tmp_path: Path) -> str:
    (tmp_path / "text").write_text(text)
    put(tmp_path / "text", url)
    return url


def rows(*paths: str) -> str:
    return "".join(json.dumps({"path": path}) + "\n" for path in paths)


def test_names_are_relative_to_the_list_and_stay_in_its_bucket(bucket: str, tmp_path: Path) -> None:
    names = ("a.mp4", "in/b.mp4", "../videos/c.mp4", "gs://other/d.mp4")
    listed = write(f"{bucket}/lists/train.jsonl", rows(*names), tmp_path)
    read = read_manifest(listed)
    assert [row.path for row in read] == [
        *(f"{bucket}/lists/a.mp4", f"{bucket}/lists/in/b.mp4", f"{bucket}/videos/c.mp4", "gs://other/d.mp4")
    ]
    assert [row.id for row in read] == list(names) and read[1].place == f"{bucket}/lists/train.jsonl:2"
    assert [row.path for row in read_manifest(write(f"{bucket}/l.jsonl", rows("a.mp4"), tmp_path), "/videos")] == [
        "/videos/a.mp4"
    ]
    below = read_manifest(write(f"{bucket}/l.jsonl", rows("x/a.mp4"), tmp_path), f"{bucket}/far")
    assert [row.path for row in below] == [f"{bucket}/far/x/a.mp4"]


@pytest.mark.parametrize("name", ["/etc/a.mp4", "~/a.mp4", "../../a.mp4", "../..", "a\\b.mp4"])
def test_names_that_lead_elsewhere_are_refused_with_their_place(bucket: str, name: str, tmp_path: Path) -> None:
    listed = write(f"{bucket}/lists/train.jsonl", rows("a.mp4", name), tmp_path)
    with pytest.raises(ManifestError, match=rf"^{bucket}/lists/train\.jsonl:2"):
        read_manifest(listed)


def test_a_folder_or_a_video_is_a_source(bucket: str, tmp_path: Path) -> None:
    for name in ("b.mp4", "in/a.MKV", "notes.txt", ".hidden/x.mp4"):
        write(f"{bucket}/videos/{name}", "x", tmp_path)
    for address in (f"{bucket}/videos", f"{bucket}/videos/"):
        assert [(row.path, row.id) for row in read_manifest(address)] == [
            (f"{bucket}/videos/b.mp4", "b.mp4"),
            (f"{bucket}/videos/in/a.MKV", "in/a.MKV"),
        ]
    (one,) = read_manifest(f"{bucket}/videos/b.mp4")
    assert (one.path, one.id) == (f"{bucket}/videos/b.mp4", "b.mp4")
    with pytest.raises(ManifestError, match=f"{bucket}/videos: root is 'x'"):
        read_manifest(f"{bucket}/videos", "x")


def test_what_is_not_there_or_no_list_names_its_address(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=rf"{bucket}/none\.jsonl: no such manifest"):
        read_manifest(f"{bucket}/none.jsonl")
    write(f"{bucket}/docs/notes.txt", "x", tmp_path)
    with pytest.raises(ManifestError, match=f"{bucket}/docs: no video in this folder"):
        read_manifest(f"{bucket}/docs")
    with pytest.raises(ManifestError, match=rf"^{bucket}/cut\.json:2: not JSON"):
        read_manifest(write(f"{bucket}/cut.json", '[{"path": "a.mp4"},\n{"pa', tmp_path))
    with pytest.raises(ManifestError, match=rf"^{bucket}/empty\.jsonl: the manifest is empty"):
        read_manifest(write(f"{bucket}/empty.jsonl", "\n", tmp_path))


def test_a_long_list_is_kept_and_read_anew_when_it_changes(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "are_long", lambda lists: True)
    listed = write(f"{bucket}/lists/long.jsonl", rows("a.mp4", "b.mp4"), tmp_path)
    sources = [VideoSource(listed)]
    assert [row.path for row in read_sources(sources)] == [f"{bucket}/lists/a.mp4", f"{bucket}/lists/b.mp4"]
    kept = {path.name for path in (tmp_path / "cache" / "liteframe" / "lists").iterdir()}
    assert [row.path for row in read_sources(sources)] == [f"{bucket}/lists/a.mp4", f"{bucket}/lists/b.mp4"]
    assert {path.name for path in (tmp_path / "cache" / "liteframe" / "lists").iterdir()} == kept
    write(listed, rows("c.mp4"), tmp_path)
    assert [row.path for row in read_sources(sources)] == [f"{bucket}/lists/c.mp4"]


def test_a_list_by_http_needs_no_bucket_and_its_query_stays_secret(tmp_path: Path) -> None:
    with http_store() as server:
        server.files["lists/train.jsonl"] = rows("a.mp4", "/b.mp4").encode()
        with pytest.raises(ManifestError) as caught:
            read_manifest(f"{server.root}/lists/train.jsonl?signature=secret/x")
        assert f"{server.root}/lists/train.jsonl:2" in str(caught.value) and "secret" not in str(caught.value)
        server.files["lists/train.jsonl"] = rows("a.mp4").encode()
        (row,) = read_manifest(f"{server.root}/lists/train.jsonl?signature=secret/x")
        assert row.path == f"{server.root}/lists/a.mp4"
        with pytest.raises(ConfigError, match="web servers list no folders"):
            read_manifest(f"{server.root}/lists/")
    assert not os.path.exists("http:")
