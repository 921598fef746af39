"""The cache stage: every sample once, the same bytes from one rank or two, killed or not, and nothing passed over."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.command import cli
from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling import RandomSegment, UniformMidpoints
from liteframe.data.sources.manifest import read_manifest
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.transforms import normalize, resize_uint8
from liteframe.errors import ConfigError, DecodeError, SkipLimitExceeded, StoreError, StoreMismatch
from liteframe.models.backbone import WAP
from liteframe.models.teachers import InternVLTeacher
from liteframe.stages import cache
from liteframe.stages.cache import CacheStage
from ranks import run_ranks
from tiny_world import (
    TRAIN,
    WAP_SETTINGS,
    decoding_in_process,
    host_folder,
    make_trainer,
    manifest,
    sha256_of,
    store_folder,
    video_data,
)


@pytest.fixture(scope="module", autouse=True)
def made_before_the_ranks() -> None:
    """Of what is not here yet, each of them would make its own."""
    manifest(), host_folder()


def stage(store: Path, **settings: Any) -> CacheStage:
    settings = {**WAP_SETTINGS, "dtype": "float32", "store_frames": True, **settings}
    return CacheStage(**{"teacher": str(host_folder()), "store": str(store), **settings})


def data(**settings: Any) -> Any:
    return video_data(**{"predict": str(manifest()), "sampler": RandomSegment([1, 4]), **settings})


def run(folder: Path, data_settings: dict[str, Any] | None = None, **settings: Any) -> FeatureStore:
    module, videos = stage(folder / "store", **settings), data(**(data_settings or {}))
    make_trainer(folder).predict(module, videos, return_predictions=False)
    return FeatureStore.open(folder / "store", verify="full")


@pytest.fixture(scope="module")
def store() -> FeatureStore:
    return FeatureStore.open(store_folder(), verify="full")


def broken_manifest(folder: Path) -> Path:
    """The training videos, and in their midst one that is no video."""
    (folder / "broken.mp4").write_bytes(b"\0" * 5000)
    rows = [{"path": row.path, "id": row.id} for row in read_manifest(manifest())]
    rows.insert(4, {"path": "broken.mp4", "id": "broken"})
    path = folder / "broken.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_store_holds_wap_of_the_teacher_for_each_video_once(store: FeatureStore) -> None:
    rows = {row.id: row for row in read_manifest(manifest())}
    assert store.sample_ids() == list(rows) and len(rows) == TRAIN
    teacher = InternVLTeacher.from_pretrained(str(host_folder()))
    for index in (0, 4, TRAIN - 1):
        entry = store.entry(index)
        assert (entry["path"], entry["valid_frames"]) == (rows[entry["sample_id"]].path, 8)
        frames = resize_uint8(read_frames(entry["path"], entry["frame_indices"], "pyav"), (112, 112))
        assert torch.equal(store.frames(index), frames)
        expected = WAP(**WAP_SETTINGS)(teacher(normalize(frames)[None]))[0]
        assert store.targets(index).shape == (2, 4, 4, 128)
        torch.testing.assert_close(store.targets(index), expected, rtol=1e-5, atol=1e-5)
    every = torch.cat([store.targets(index).reshape(-1, 128) for index in range(len(store))])
    mean_C, std_C = store.statistics
    torch.testing.assert_close(mean_C, every.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(std_C, every.std(0, unbiased=False), rtol=1e-4, atol=1e-4)


def test_videos_that_do_not_fill_their_clips(tmp_path: Path) -> None:
    found = run(tmp_path, {"frames": 6, "sampler": UniformMidpoints(), "batch_size": 4})
    for index in range(len(found)):
        entry, frames = found.entry(index), found.frames(index)
        assert entry["valid_frames"] == 6 and entry["frame_indices"][6:] == [-1, -1]
        assert found.targets(index).shape[0] == 2 and frames is not None
        assert torch.equal(frames[6], frames[5]) and torch.equal(frames[7], frames[5])


def test_windows_are_samples_of_their_own(tmp_path: Path) -> None:
    found = run(tmp_path, {"windows_per_video": 2, "frames": 4}, store_frames=False, dtype="bfloat16")
    assert len(found) == 2 * TRAIN and found.sample_ids()[:3] == ["train-00000#0", "train-00000#1", "train-00001#0"]
    drawn = {tuple(found.entry(index)["frame_indices"]) for index in range(len(found))}
    assert len(drawn) > TRAIN
    assert found.targets(0).dtype == torch.bfloat16 and found.frames(0) is None


def predict(rank: int, folder: Path, source: Path, ranks: int) -> None:
    """`liteframe predict`, as one rank of it."""
    config = {
        "model": {
            "class_path": "CacheStage",
            "init_args": {
                "teacher": str(host_folder()),
                "store": str(folder / "store"),
                **WAP_SETTINGS,
                "dtype": "float32",
                "store_frames": True,
                "shard_mb": 1.0,
            },
        },
        "data": {
            "class_path": "VideoDataModule",
            "init_args": {
                "predict": str(source),
                "image_size": 112,
                "frames": 8,
                "batch_size": 2,
                "decoder": "pyav",
                "sampler": {"class_path": "RandomSegment", "init_args": {"strides": [1, 4]}},
                "on_error": "skip",
                "max_skip_fraction": 0.2,
            },
        },
        "trainer": {"accelerator": "cpu", "default_root_dir": str(folder), "logger": False},
    }
    path = folder / f"cache-{rank}.yaml"
    path.write_text(json.dumps(config))
    words = ["predict", "--config", str(path), f"--trainer.devices={ranks}"]
    with decoding_in_process():
        code = cli.main([*words, "--trainer.strategy=ddp"] if ranks > 1 else words)
    os._exit(code)


def test_two_ranks_and_a_broken_video_give_the_bytes_of_one(tmp_path: Path) -> None:
    source = broken_manifest(tmp_path)
    found = {}
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        assert run_ranks(predict, ranks, folder, source, ranks) == [0] * ranks
        skipped = [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]
        assert [(row["id"], Path(row["path"]).name) for row in skipped] == [("broken", "broken.mp4")]
        assert "DecodeError" in skipped[0]["reason"]
        made = FeatureStore.open(folder / "store", verify="full")
        assert made.sample_ids() == [row.id for row in read_manifest(manifest())]
        assert [row["id"] for row in made.skipped] == ["broken"]
        assert not list((folder / "store").rglob("*.part")) and len(made.shard_files) > 1
        found[ranks] = sha256_of(folder / "store")
    assert found[1] == found[2]


def killed(rank: int, folder: Path, when: int) -> None:
    """A run that is killed in the middle of writing its `when`-th part: the shard is there, its sidecar is not."""
    from liteframe.data.store import writer as feature_store_writer

    count = 0
    write = feature_store_writer.write_sidecar

    def kill(*args: Any) -> None:
        nonlocal count
        count += 1
        if count == when:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*args)

    feature_store_writer.write_sidecar = kill
    run(folder, shard_mb=0.5)


@pytest.mark.parametrize("when", [1, 4])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (straight,) = [run(tmp_path / "straight", shard_mb=0.5)]
    assert run_ranks(killed, 1, tmp_path / "killed", when) == [-signal.SIGKILL]
    assert not (tmp_path / "killed" / "store" / "COMPLETE").exists()
    encoded = []
    forward = InternVLTeacher.forward
    monkeypatch.setattr(InternVLTeacher, "forward", lambda s, x: (encoded.append(len(x)), forward(s, x))[1])
    again = run(tmp_path / "killed", shard_mb=0.5)
    assert again.sample_ids() == straight.sample_ids()
    assert sha256_of(Path(again.place)) == sha256_of(Path(straight.place))
    assert sum(encoded) == TRAIN if when == 1 else 0 < sum(encoded) < TRAIN, "what was stored is not encoded again"
    encoded.clear()
    run(tmp_path / "killed", shard_mb=0.5)
    assert not encoded and sha256_of(Path(again.place)) == sha256_of(Path(straight.place)), "and a finished store stays"


def test_a_broken_video_stops_the_run_unless_told_otherwise(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        run(tmp_path, {"predict": str(broken_manifest(tmp_path))})


def test_a_video_that_was_repaired_is_no_longer_counted_as_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"predict": str(broken_manifest(tmp_path)), "on_error": "skip", "max_skip_fraction": 0.2}
    assert "broken" not in run(tmp_path, settings).sample_ids()
    assert "1 skipped" in capsys.readouterr().out
    (tmp_path / "broken.mp4").write_bytes(Path(read_manifest(manifest())[0].path).read_bytes())
    whole = run(tmp_path, {**settings, "max_skip_fraction": 0})
    assert "broken" in whole.sample_ids() and whole.skipped == []
    assert "skipped" not in capsys.readouterr().out
    assert (tmp_path / "skipped.jsonl").read_text() == ""


def test_a_trial_makes_no_store(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, fast_dev_run=True)
    trainer.predict(stage(tmp_path / "store"), data(batch_size=2), return_predictions=False)
    assert not list(tmp_path.iterdir())


def test_an_estimate_prints_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = stage(tmp_path / "store", estimate=True, dtype="bfloat16", store_frames=False)
    make_trainer(tmp_path / "run").predict(module, data(batch_size=1, windows_per_video=1000), return_predictions=False)
    text = capsys.readouterr().out
    size = 1000 * TRAIN * 2 * 16 * 128 * 2 / 1e6
    assert f"{1000 * TRAIN:,} samples: {size:.1f} MB on disk, about " in text and "Nothing was written" in text
    assert not (tmp_path / "store").exists()
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("model", "videos", "field"),
    [
        ({"scale": 10.0}, {}, "compressor.scale: stored 20.0, this run wants 10.0"),
        ({"similarity": "dot"}, {}, "compressor.similarity"),
        ({"dtype": "float16"}, {}, "dtype"),
        ({}, {"frames": 4}, "sampling.frames: stored 8, this run wants 4"),
        ({}, {"sampler": UniformMidpoints()}, "sampling.sampler"),
        ({}, {"seed": 1}, "sampling.seed"),
        ({}, {"decoder": "auto"}, "decoder"),
        ({}, {"truncated": "use"}, "sampling.truncated: stored '.absent.', this run wants 'use'"),
        ({}, {"image_size": 56}, "geometry.image_size"),
        ({}, {"predict": "test"}, "data"),
        ({"teacher": "changed"}, {}, "teacher.weights"),
    ],
)
def test_a_store_of_other_settings_is_refused_by_the_field(
    model: dict[str, Any], videos: dict[str, Any], field: str, tmp_path: Path, store: FeatureStore
) -> None:
    before = sha256_of(Path(store.place), "*")
    if "teacher" in model:
        folder = Path(shutil.copytree(host_folder(), tmp_path / "host"))
        _change_one_number(folder / "model.safetensors")
        model = {"teacher": str(folder)}
    if "predict" in videos:
        videos = {"predict": str(manifest("test"))}
    with pytest.raises(StoreMismatch, match=rf"{field}"):
        make_trainer(tmp_path).predict(stage(Path(store.place), **model), data(**videos), return_predictions=False)
    assert sha256_of(Path(store.place), "*") == before


def _change_one_number(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("cls_token"))
    tensors[name].view(-1)[3] += 1e-3
    save_file(tensors, path, metadata={"format": "pt"})


def test_blocks_that_do_not_fill_a_clip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.block takes 3 frames.*data\.clip_frames 4"):
        run(tmp_path, {"clip_frames": 4}, block=(3, 2, 2))


def test_a_sample_that_cannot_be_stored_is_that_rows_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, rows = InternVLTeacher.forward, read_manifest(manifest())

    def overflow(self: InternVLTeacher, frames: torch.Tensor) -> Any:
        tokens = forward(self, frames)
        tokens.tokens_BTHWC[0] = torch.nan  # the first of each batch of 3
        return tokens

    monkeypatch.setattr(InternVLTeacher, "forward", overflow)
    with pytest.raises(StoreError, match=rf"sample '{rows[0].id}': targets are not finite in torch\.float32"):
        run(tmp_path / "error")
    made = run(tmp_path / "skip", {"on_error": "skip", "max_skip_fraction": 0.5})
    bad = [row.id for row in rows[::3]]
    assert [row["id"] for row in made.skipped] == bad and made.sample_ids() == [r.id for r in rows if r.id not in bad]
    assert all("SampleRefused" in row["reason"] and "not finite" in row["reason"] for row in made.skipped)
    with pytest.raises(SkipLimitExceeded, match="not finite"):
        run(tmp_path / "limit", {"on_error": "skip", "max_skip_fraction": 0.0})


@pytest.mark.parametrize("kind", ["others", "file", "full"])
def test_a_store_that_cannot_be_written_is_said_before_the_teacher_is_loaded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InternVLTeacher, "from_pretrained", lambda *_: pytest.fail("the teacher was loaded"))
    if kind == "others":
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "holiday.mp4").write_bytes(b"film")
    elif kind == "file":
        (tmp_path / "store").write_bytes(b"film")
    else:

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"store: .*give another"):
        run(tmp_path)
    assert kind != "others" or (tmp_path / "store" / "holiday.mp4").read_bytes() == b"film"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_gets_full_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = run(tmp_path / "straight", shard_mb=0.5)
    from liteframe.data.store import writer as feature_store_writer

    count, write = 0, feature_store_writer.write_tensors

    def full(path: Path, sources: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            sources[-1] = dataclasses.replace(
                sources[-1], read=lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x")
            )
        return write(path, sources)

    with monkeypatch.context() as patch:
        patch.setattr(feature_store_writer, "write_tensors", full)
        with pytest.raises(StoreError, match=r"r00000-000002\.safetensors: cannot be written \(No space left"):
            run(tmp_path / "full", shard_mb=0.5)
    assert len(list((tmp_path / "full" / "store" / "parts").glob("*.json"))) == 2
    again = run(tmp_path / "full", shard_mb=0.5)
    assert sha256_of(Path(again.place)) == sha256_of(Path(straight.place))


def test_progress_can_be_saved_between_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, step = stage(tmp_path / "store"), CacheStage.predict_step
    module.save_progress()

    def interrupt(self: CacheStage, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            assert not list((tmp_path / "store" / "parts").iterdir())
            self.save_progress()
            raise RuntimeError("stopped")
        step(self, batch, batch_idx)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(CacheStage, "predict_step", interrupt)
        make_trainer(tmp_path).predict(module, data(), return_predictions=False)
    encoded = []
    forward = InternVLTeacher.forward
    monkeypatch.setattr(InternVLTeacher, "forward", lambda s, x: (encoded.append(len(x)), forward(s, x))[1])
    assert len(run(tmp_path)) == TRAIN and sum(encoded) == TRAIN - 6


def copied_world(folder: Path) -> Path:
    """List and videos as a user has them in a folder; the list names the videos below itself."""
    (folder / "videos").mkdir(parents=True)
    rows = read_manifest(manifest())
    for row in rows:
        shutil.copy(row.path, folder / "videos" / Path(row.path).name)
    source = folder / "list.jsonl"
    lines = [json.dumps({"path": f"videos/{Path(row.path).name}", "id": row.id}) for row in rows]
    source.write_text("".join(line + "\n" for line in lines))
    return source


def interrupted(folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """A run that ends after two batches, with what they made on disk."""
    step = CacheStage.predict_step

    def interrupt(self: CacheStage, batch: Any, batch_idx: int) -> None:
        step(self, batch, batch_idx)
        if batch_idx == 1:
            self.save_progress()
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(CacheStage, "predict_step", interrupt)
        run(folder, {"predict": str(source)}, **settings)


def test_a_run_goes_on_after_list_videos_and_store_were_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copied_world(tmp_path / "here")
    straight = run(tmp_path / "straight", {"predict": str(source)}, store_frames=False)
    interrupted(tmp_path / "here", source, monkeypatch, store_frames=False)
    (tmp_path / "here").rename(tmp_path / "there")
    encoded = []
    forward = InternVLTeacher.forward
    monkeypatch.setattr(InternVLTeacher, "forward", lambda s, x: (encoded.append(len(x)), forward(s, x))[1])
    moved = run(tmp_path / "there", {"predict": str(tmp_path / "there" / "list.jsonl")}, store_frames=False)
    assert sum(encoded) == TRAIN - 6 and moved.key == straight.key
    videos = data(store=moved.place, predict=None, sampler=None)
    videos.setup("fit")
    batch = next(iter(videos.train_dataloader()))
    for number, sample_id in zip(batch["sample_indices"], batch["sample_ids"], strict=True):
        assert moved.video(number) == str(tmp_path / "there" / "videos" / Path(moved.entry(number)["path"]).name)
        assert torch.equal(moved.targets(number), straight.targets(straight.sample_ids().index(sample_id)))


def test_a_store_is_trained_from_where_its_videos_lie_now(tmp_path: Path) -> None:
    found = {}
    for kept in (True, False):
        source = copied_world(tmp_path / f"old-{kept}")
        store = Path(run(tmp_path / f"run-{kept}", {"predict": str(source)}, store_frames=kept).place)
        (tmp_path / f"old-{kept}").rename(tmp_path / f"new-{kept}")
        root = None if kept else str(tmp_path / "new-False")
        videos = data(store=str(store), store_root=root, predict=None, sampler=None, batch_size=TRAIN)
        videos.setup("fit")
        found[kept] = next(iter(videos.train_dataloader()))
    for name in ("frames_BTCHW", "targets_BTHWC"):
        assert torch.equal(found[True][name], found[False][name])
    lost = data(store=str(tmp_path / "run-False" / "store"), predict=None, sampler=None)
    lost.setup("fit")
    with pytest.raises(DecodeError, match=r"old-False/videos/.*: no such file; .*data\.store_root"):
        next(iter(lost.train_dataloader()))
    for settings in (
        {"store_root": str(tmp_path)},
        {"store_root": "nowhere", "store": str(tmp_path / "run-False/store")},
    ):
        with pytest.raises(ConfigError, match=r"data\.store_root"):
            data(predict=None, sampler=None, **settings).setup("fit")


def test_another_file_in_the_place_of_a_video_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = copied_world(tmp_path / "here")
    first, *_, last = (Path(row.path) for row in read_manifest(source))
    interrupted(tmp_path, source, monkeypatch, store_frames=False)
    kept, other = first.read_bytes(), bytearray(first.read_bytes())
    other[-1] ^= 1
    first.write_bytes(other)
    with pytest.raises(
        StoreMismatch, match=r"was made of another file than .*mp4 is now: it has the size, but not the"
    ):
        run(tmp_path, {"predict": str(source)}, store_frames=False)
    first.write_bytes(kept)
    store = run(tmp_path, {"predict": str(source)}, store_frames=False)
    shutil.copy(last, first)
    for on_error, error in (("error", DecodeError), ("skip", SkipLimitExceeded)):
        videos = data(
            store=store.place,
            predict=None,
            sampler=None,
            on_error=on_error,
            batch_size=TRAIN,
            max_skip_fraction=0.0,
        )
        trainer = make_trainer(tmp_path / on_error)
        videos.trainer = trainer
        videos.setup("fit")
        with pytest.raises(error, match="is another file than the feature store was made of"):
            next(iter(videos.train_dataloader()))


def test_a_store_of_an_older_version_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose samples are named by absolute paths, and whose entries know nothing of the files."""

    def identities(self: CacheStage, *_: Any) -> list[str]:
        rows = self._data.rows("predict")
        return [json.dumps([row.id, row.path, row.start, row.end, row.extra.get("decoder")]) for row in rows]

    source = copied_world(tmp_path / "here")
    with monkeypatch.context() as patch:
        patch.setattr(CacheStage, "_identities", identities)
        patch.setattr(CacheStage, "_video_facts", lambda *_: {})
        interrupted(tmp_path, source, monkeypatch)
        old = run(tmp_path / "old", {"predict": str(source)})
    assert len(run(tmp_path, {"predict": str(source)})) == TRAIN
    before = sha256_of(Path(old.place))
    assert len(run(tmp_path / "old", {"predict": str(source)})) == TRAIN and sha256_of(Path(old.place)) == before


def test_an_unfinished_store_goes_on_with_a_list_that_lost_rows_and_got_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copied_world(tmp_path / "here")
    lines = source.read_text().splitlines(keepends=True)
    straight = run(tmp_path / "straight", {"predict": str(source)}, store_frames=False)
    source.write_text("".join(lines[:-1]))
    interrupted(tmp_path, source, monkeypatch, store_frames=False)
    changed = [*lines[:2], *lines[3:]]  # one that was cached is gone, one is new
    source.write_text("".join(changed))
    encoded = []
    forward = InternVLTeacher.forward
    with monkeypatch.context() as patch:
        patch.setattr(InternVLTeacher, "forward", lambda s, x: (encoded.append(len(x)), forward(s, x))[1])
        store = run(tmp_path, {"predict": str(source)}, store_frames=False)
    assert sum(encoded) == len(changed) - 5
    assert "1 of its 6 samples are not in it any more" in capsys.readouterr().err
    places = straight.sample_ids()
    assert sorted(store.sample_ids()) == sorted(json.loads(line)["id"] for line in changed)
    for name in places[:2] + places[3:6]:
        kept = store.targets(store.sample_ids().index(name))
        assert torch.equal(kept, straight.targets(places.index(name)))
    before = sha256_of(Path(store.place))
    assert len(run(tmp_path, {"predict": str(source)}, store_frames=False)) == len(changed)
    assert sha256_of(Path(store.place)) == before
    source.write_text("".join(lines))
    with pytest.raises(StoreMismatch, match="data: stored"):  # a finished one is of its own list
        run(tmp_path, {"predict": str(source)}, store_frames=False)


def test_an_unfinished_store_is_not_taken_for_rows_that_say_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copied_world(tmp_path / "here")
    whole = source.read_text()
    interrupted(tmp_path, source, monkeypatch, store_frames=False)
    rows = [json.loads(line) for line in whole.splitlines()]
    parts = [{**row, "end": 0.5} for row in rows]
    others = [{**row, "id": f"other {number}"} for number, row in enumerate(rows)]
    for odd, message in ((parts, r"another part of its video than .*list\.jsonl:1 says"), (others, "data: stored")):
        source.write_text("".join(json.dumps(row) + "\n" for row in odd))
        with pytest.raises(StoreMismatch, match=message):
            run(tmp_path, {"predict": str(source)}, store_frames=False)
    source.write_text(whole)
    assert len(run(tmp_path, {"predict": str(source)}, store_frames=False)) == TRAIN


def test_a_store_of_parts_as_they_began_before_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a part began with the first frame after `start`, now with the one on screen."""
    source = copied_world(tmp_path / "here")
    rows = [{**json.loads(line), "start": 0.2} for line in source.read_text().splitlines()]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_part", lambda *part: [*part])
        interrupted(tmp_path, source, monkeypatch, store_frames=False)
        run(tmp_path / "whole", {"predict": str(source)}, store_frames=False)
    for folder, message in ((tmp_path, r"another part of its video"), (tmp_path / "whole", "data: stored")):
        with pytest.raises(StoreMismatch, match=message):
            run(folder, {"predict": str(source)}, store_frames=False)
