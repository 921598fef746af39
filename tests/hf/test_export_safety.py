"""An export deletes nothing of others, loses nothing, names what it cannot write, and reads no run that is none."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from liteframe.command.export import export_command
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.hf import LiteFrameForConditionalGeneration
from liteframe.system.own_folder import LISTING, list_files, listing_sha256, require_unchanged
from tiny_world import host_folder, lma_run_folder


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_somebody_s_folder_beside_the_target_stays(tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "thesis.tex").write_text("years")
    export_command(str(lma_run_folder()), str(tmp_path / "out"))
    assert (tmp_path / "out.part" / "thesis.tex").read_text() == "years"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.part"]
    require_unchanged(tmp_path / "out")
    names = json.loads((tmp_path / "out" / LISTING).read_text())["files"]
    assert {"config.json", "adapter/adapter_model.safetensors", "README.md"} <= names.keys()
    path = tmp_path / "out" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: changed since liteframe wrote it"):
        LiteFrameForConditionalGeneration.from_pretrained(tmp_path / "out")


FILE_CONTENTS = "liteframe.hf.encoder_file._contents"


@pytest.mark.parametrize("name", ["out", "out.pt2"])
def test_a_full_disk_is_named_and_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FILE_CONTENTS, lambda *_: ([bytes(100_000)], None))
    with files_of_at_most(50_000), pytest.raises(ConfigError) as caught:
        export_command(str(lma_run_folder()), str(tmp_path / name))
    assert f"{tmp_path / name}: cannot be written" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out", "out.pt2"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("liteframe.hf.export.export_folder", FILE_CONTENTS):
        monkeypatch.setattr(work, lambda *args: pytest.fail("worked for nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"{name}: cannot be written"):
        export_command(str(lma_run_folder()), str(tmp_path / "file" / name))


@pytest.mark.parametrize("adapter", ["../outside", "ABS", "adapter/../../outside", 7, ["adapter"], "nowhere"])
def test_the_adapter_of_an_exported_model_lies_in_it(adapter: Any, tmp_path: Path) -> None:
    export_command(str(lma_run_folder()), str(tmp_path / "out"))
    (tmp_path / "out" / LISTING).unlink()
    shutil.copytree(tmp_path / "out" / "adapter", tmp_path / "outside")
    config = tmp_path / "out" / "config.json"
    fields = {**json.loads(config.read_text()), "adapter": str(tmp_path / "outside") if adapter == "ABS" else adapter}
    config.write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match="adapter|leads out|not there"):
        LiteFrameForConditionalGeneration.from_pretrained(tmp_path / "out")


TEACHER_AT_ROOT = {"kind": "InternVL", "source": "/etc", "is_folder": True}
MEASURED = '{"exports": {"liteframe-lma": "PROOF"}}'


def record(**changes: Any) -> str:
    """The text of an export's record with some fields changed."""
    fields = {"written_by": "liteframe", "stage": "LMAStage", "steps": 5, "precision": "32-true"}
    return json.dumps({**fields, **changes})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("export/trained.json", text) for text in ("[1, 2]", "[" * 9999, "\xff")),
        *(("export/trained.json", text) for text in (record(stage=5), record(steps=-1), record(precision="a b"))),
        *(("export/trained.json", record(most_frames=value)) for value in (0, 10**9, "many", True)),
        *(("export/trained.json", record(image_size=value)) for value in (0, [1, 2, 3], [0, 1], {}, [1e9, 1])),
        *(
            ("export/trained.json", record(sampler=value))
            for value in (5, {"name": "FpsCapped", "fps": 0}, {"name": 1})
        ),
        *(("export/trained.json", record(teacher=value)) for value in (5, {"kind": "InternVL"}, TEACHER_AT_ROOT)),
        *(("done.json", text) for text in ("[" * 99_999, "5", '{"seconds": "long", "export_sha256": "PROOF"}', "\xff")),
        *(
            ("../report.json", f'{{"settings": {MEASURED}, "rows": {rows}}}')
            for rows in ("5", "[5]", '[{"arm": 5}]', "{")
        ),
    ],
)
def test_a_run_folder_that_is_none_is_named(name: str, content: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(lma_run_folder().parent, tmp_path / "run")) / "lma"
    (run / name).write_bytes(content.replace("PROOF", str(listing_sha256(run / "export"))).encode("latin-1"))
    if name.startswith("export/"):
        list_files(run / "export")  # as somebody would who means it
    with pytest.raises(LiteFrameError) as caught:
        export_command(str(run), str(tmp_path / "out"), host=str(host_folder()))
    assert "\n" not in str(caught.value) and str(run.parent) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_export_with_a_listing_is_checked_before_it_is_used(tmp_path: Path) -> None:
    run = Path(shutil.copytree(lma_run_folder().parent, tmp_path / "run")) / "lma"
    list_files(run / "export")
    (run / "export" / "projector.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"projector\.safetensors: changed since"):
        export_command(str(run), str(tmp_path / "out"))
