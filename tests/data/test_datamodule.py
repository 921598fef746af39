from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from painted_videos import number_of, write_video
from resume_toys import FakePool, Recorder, make_trainer
from video_server import serving

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.skips import SkipLedger
from liteframe.data.remote.cache import RemoteCache
from liteframe.data.sampling import (
    FrameSampler,
    JitteredUniform,
    KeyFrames,
    Linspace,
    LogUniformSpacing,
    RandomSegment,
    UniformMidpoints,
)
from liteframe.data.sources.manifest import VideoSource, read_manifest
from liteframe.data.store.feature_store import StoreKey
from liteframe.data.store.finalize import finalize
from liteframe.data.store.writer import FeatureStoreWriter
from liteframe.errors import ConfigError, DecodeError, DecodeTimeout, ManifestError, SkipLimitExceeded, StoreMismatch
from ranks import run_ranks

LENGTHS = [3, 20, 8, 5, 40]
SLEEPER = """
import time
from liteframe.data.decoding.processes.job import decode as right

def decode(path, job):
    if "sleeper" in path:
        time.sleep(3600)
    return right(job, "auto")
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, length in enumerate(LENGTHS):
        write_video(folder / f"{number}.mp4", length)
    return folder


def manifest(path: Path, *rows: dict[str, Any] | Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r if isinstance(r, dict) else {"path": str(r)}) + "\n" for r in rows))
    return str(path)


def module(**settings: Any) -> VideoDataModule:
    return VideoDataModule(**{"image_size": 64, "batch_size": 2, "frames": 8, **settings})


def shown(batch: dict[str, Any], sample: int) -> list[int]:
    """The numbers painted into the frames of a sample."""
    return [number_of(frame) for frame in batch["frames_BTCHW"][sample].permute(0, 2, 3, 1).numpy()]


def test_batches_are_as_agreed(clips: Path) -> None:
    data = module(val=str(clips), batch_size=5)
    (batch,) = data.loader("val")
    assert batch["frames_BTCHW"].shape == (5, 8, 3, 64, 64) and batch["frames_BTCHW"].dtype == torch.uint8
    assert batch["valid_frames_B"].dtype == batch["frame_indices_BT"].dtype == torch.int64
    assert batch["sample_ids"] == [row["id"] for row in batch["rows"]] == [f"{n}.mp4" for n in range(5)]
    assert batch["skipped"] == [] and "targets_BTHWC" not in batch
    assert batch["sample_indices"] == list(range(5)) and min(batch["decode_s"]) > 0
    data.teardown("validate")


def test_frames_are_those_of_the_indices_and_only_the_end_is_padding(clips: Path) -> None:
    data = module(val=str(clips), batch_size=5, frames=10)
    (batch,) = data.loader("val")
    assert batch["valid_frames_B"].tolist() == [min(10, length) for length in LENGTHS]
    assert batch["frames_BTCHW"].shape[1] == 12
    for sample, valid in enumerate(batch["valid_frames_B"].tolist()):
        indices = batch["frame_indices_BT"][sample].tolist()
        assert indices[valid:] == [-1] * (12 - valid) and min(indices[:valid]) >= 0
        assert shown(batch, sample) == indices[:valid] + [indices[valid - 1]] * (12 - valid)
    data.teardown("validate")


def test_sizes_of_batch_and_workers_change_nothing(clips: Path) -> None:
    seen = []
    for settings in ({}, {"batch_size": 1}, {"num_workers": 2, "decode_processes": 2}):
        data = module(val=str(clips), sampler=RandomSegment(), image_size=(28, 56), **settings)
        samples = {}
        for batch in data.loader("val"):
            for number, name in enumerate(batch["sample_ids"]):
                valid = int(batch["valid_frames_B"][number])
                samples[name] = batch["frames_BTCHW"][number, :valid]
        data.teardown("validate")
        seen.append(samples)
    for other in seen[1:]:
        assert other.keys() == seen[0].keys()
        assert all(torch.equal(other[name], seen[0][name]) for name in other)
    assert next(iter(seen[0].values())).shape[-2:] == (28, 56)


def test_parts_and_extra_fields_reach_the_sampler(clips: Path, tmp_path: Path) -> None:
    rows = [
        {"path": str(clips / "4.mp4"), "id": "keys", "key_frames": [7, 30], "colour": "red"},
        {"path": str(clips / "4.mp4"), "id": "part", "start": 0.4, "end": 0.8},
    ]
    data = module(val=manifest(tmp_path / "m.jsonl", *rows), sampler=KeyFrames())
    (batch,) = data.loader("val", frames=4)
    assert {7, 30} <= set(shown(batch, 0)) and batch["rows"][0]["colour"] == "red"
    assert all(10 <= number < 20 for number in shown(batch, 1))
    assert [len(b["sample_ids"]) for b in data.loader(data.rows("val")[:1], frames=4, sampler=Linspace())] == [1]
    data.teardown("validate")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_decoder_that_hangs_is_killed(
    workers: int, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleepy.py").write_text(SLEEPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [clips / "0.mp4", tmp_path / "sleeper.mp4", *(clips / f"{n}.mp4" for n in range(1, 5))]
    listed = manifest(tmp_path / "m.jsonl", *rows)
    settings = {"decoder": "sleepy:decode", "decode_deadline_s": 2.0, "num_workers": workers, "val": listed}

    data = module(on_error="skip", **settings)
    ledger = SkipLedger(tmp_path / "skipped.jsonl", 6, 0.5)
    batches = list(data.loader("val", ledger=ledger))
    data.teardown("validate")
    assert sum(len(batch["sample_ids"]) for batch in batches) == 5
    entry = json.loads(ledger.path.read_text())
    assert entry["path"] == str(tmp_path / "sleeper.mp4") and "DecodeTimeout" in entry["reason"]

    data = module(on_error="error", **settings)
    with pytest.raises(DecodeTimeout, match="sleeper") as error:
        list(data.loader("val"))
    assert error.value.path == str(tmp_path / "sleeper.mp4") and "2 s" in error.value.reason
    data.teardown("validate")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_skipped_and_listed_up_to_the_limit(workers: int, clips: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes((clips / "4.mp4").read_bytes()[:600])
    good = [{"path": str(clips / f"{n % 5}.mp4"), "id": f"g{n}"} for n in range(19)]
    listed = manifest(tmp_path / "m.jsonl", *good[:7], broken, *good[7:])
    recorder = Recorder()
    settings = {"on_error": "skip", "num_workers": workers, "batch_size": 4, "frames": 4}
    trainer = make_trainer(tmp_path / "run", max_epochs=1)
    trainer.predict(recorder, module(predict=listed, **settings), return_predictions=False)
    assert recorder.predicted == [row["id"] for row in good]
    (entry,) = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert entry["path"] == str(broken) and entry["id"] == "broken.mp4" and entry["reason"]

    listed = manifest(tmp_path / "more.jsonl", *good[:7], broken, *good[7:18])
    trainer = make_trainer(tmp_path / "over", max_epochs=1)
    with pytest.raises(SkipLimitExceeded, match=r"1 of 19 .*--data\.max_skip_fraction"):
        trainer.predict(Recorder(), module(predict=listed, **settings), return_predictions=False)
    with pytest.raises(DecodeError, match=r"broken\.mp4: .* \(.*more\.jsonl:8\)$"):
        trainer.predict(Recorder(), module(predict=listed, **{**settings, "on_error": "error"}))


def test_rows_marked_as_unusable_are_not_opened(clips: Path, tmp_path: Path) -> None:
    marked = {"path": str(tmp_path / "absent.mp4"), "ok": False, "error": "no video stream"}
    data = module(val=manifest(tmp_path / "m.jsonl", clips / "0.mp4", marked), on_error="error")
    (batch,) = data.loader("val")
    assert len(batch["sample_ids"]) == 1
    assert batch["skipped"] == [{"path": marked["path"], "id": "absent.mp4", "reason": "no video stream"}]
    data.teardown("validate")


def test_a_batch_of_skips_is_blank_in_training_and_absent_elsewhere(clips: Path, tmp_path: Path) -> None:
    rows = [{"path": str(tmp_path / "absent.mp4"), "id": f"x{n}", "question": "q"} for n in range(2)]
    listed = manifest(tmp_path / "m.jsonl", *rows)
    data = module(train=listed, val=listed, frames=6, on_error="skip")
    (batch,) = data.train_dataloader()
    assert batch["valid_frames_B"].tolist() == [0] and batch["frames_BTCHW"].shape == (1, 8, 3, 64, 64)
    assert batch["rows"][0]["question"] == "q" and len(batch["skipped"]) == 2
    assert [sorted(b) for b in data.loader("val")] == [["skipped"]]
    recorder = Recorder()
    skipping = module(val=listed, max_skip_fraction=1.0, on_error="skip")
    make_trainer(tmp_path, max_epochs=1).validate(recorder, skipping)
    assert recorder.validated == [] and len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 2
    data.teardown("fit")


def test_ranks_validate_in_step_with_blank_samples(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {"ok": False, "error": "bad"}
    rows = [{"path": str(clips / f"{n}.mp4"), "id": str(n), **(bad if n == 1 else {})} for n in range(3)]
    seen = []
    for rank in range(2):
        data = module(val=manifest(tmp_path / "m.jsonl", *rows), batch_size=1, frames=6, on_error="skip")
        monkeypatch.setattr(data, "_ranks", lambda rank=rank: (rank, 2))
        seen.append([(batch["sample_ids"], batch["valid_frames_B"].tolist()) for batch in data.val_dataloader()])
        data.teardown("validate")
    assert [valid for _, valid in seen[1]] == [[0], [0]], "the one that is skipped, and one for the other rank's last"
    assert [name for name, valid in seen[0] if valid[0]] == [["0"], ["2"]]


def test_windows_are_several_seeded_samples_of_a_video(clips: Path) -> None:
    def windows(seed: int) -> dict[str, list[int]]:
        data = module(predict=str(clips), sampler=RandomSegment([1]), windows_per_video=3, frames=4, seed=seed)
        loader = data.predict_dataloader()
        assert len(data.predict_ids()) == 15 and len(loader) == 8
        data.done_ids = {"1.mp4#0", "4.mp4#2"}
        out = {}
        for batch in loader:
            for number, name in enumerate(batch["sample_ids"]):
                out[name] = shown(batch, number)
        data.teardown("predict")
        return out

    first = windows(0)
    assert len(first) == 13 and "1.mp4#1" in first and "1.mp4#0" not in first
    assert len({tuple(first[f"4.mp4#{n}"]) for n in range(2)}) == 2
    assert windows(0) == first != windows(1)


@pytest.mark.parametrize("sampler", [LogUniformSpacing(0.02), JitteredUniform()], ids=repr)
def test_frames_of_training_follow_from_seed_and_pass_whatever_the_rank(
    sampler: FrameSampler, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"path": str(clips / "4.mp4"), "id": str(number)} for number in range(4)]
    listed = manifest(tmp_path / "m.jsonl", *rows)

    def frames(ranks: int, steps: int, seed: int = 0) -> list[dict[str, tuple[int, ...]]]:
        """Frame numbers of each sample, pass by pass."""
        passes: list[dict[str, tuple[int, ...]]] = [{} for _ in range(steps)]
        for rank in range(ranks):
            data = module(train=listed, train_sampler=sampler, frames=4, batch_size=4 // ranks, seed=seed)
            monkeypatch.setattr(data, "_ranks", lambda rank=rank: (rank, ranks))
            for step in range(steps):
                monkeypatch.setattr("liteframe.data.datamodule.batches_done", lambda trainer, step=step: step)
                batch = next(iter(data.train_dataloader()))
                assert len(set(batch["sample_ids"])) == 4 // ranks, "a batch has each video once"
                passes[step] |= zip(batch["sample_ids"], map(tuple, batch["frame_indices_BT"].tolist()), strict=True)
            data.teardown("fit")
        return passes

    first = frames(1, 2)
    assert frames(2, 2) == first and frames(1, 1, seed=1)[0] != first[0]
    assert len({chosen for of_pass in first for chosen in of_pass.values()}) > 4, "each sample and pass has its own"


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("rows", [1, 5, 7])
def test_every_rank_together_sees_each_sample_once(
    rows: int, world_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", FakePool)
    listed = manifest(tmp_path / "m.jsonl", *({"path": f"{n}.mp4"} for n in range(rows)))
    seen: list[str] = []
    for rank in range(world_size):
        data = module(test=listed)
        monkeypatch.setattr(data, "_ranks", lambda rank=rank: (rank, world_size))
        seen += [name for batch in data.test_dataloader() for name in batch["sample_ids"]]
    assert sorted(seen) == sorted(f"{n}.mp4" for n in range(rows))


def run_of_two(rank: int, folder: Path, listed: str) -> None:
    """Trains, validates and predicts, and writes down what this rank has seen."""
    common: dict[str, Any] = {"image_size": 8, "frames": 4, "batch_size": 2}
    trainer = make_trainer(folder, devices=2, strategy="ddp", max_steps=4, callbacks=None)
    recorder = Recorder()
    trainer.fit(recorder, VideoDataModule(train=listed, val=listed, **common))
    trainer.predict(recorder, VideoDataModule(predict=listed, **common), return_predictions=False)
    out = {"seen": recorder.seen, "validated": recorder.validated, "predicted": recorder.predicted}
    (folder / f"{rank}.json").write_text(json.dumps(out))
    os._exit(0)


def test_two_processes_under_lightnings_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's distributed sampler is on by default, and must not touch these loaders."""
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", FakePool)
    listed = manifest(tmp_path / "m.jsonl", *({"path": f"{n}.mp4"} for n in range(9)))
    assert run_ranks(run_of_two, 2, tmp_path, listed) == [0, 0]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    everything = sorted(f"{n}.mp4" for n in range(9))
    assert sorted(ranks[0]["predicted"] + ranks[1]["predicted"]) == everything

    alone = Recorder()
    data = VideoDataModule(train=listed, image_size=8, frames=4, batch_size=4)
    make_trainer(tmp_path / "alone", max_steps=4).fit(alone, data)
    for step in range(4):
        halves = [rank["seen"][step] for rank in ranks]
        assert halves[0][2] + halves[1][2] == alone.seen[step][2]
        assert halves[0][3] + halves[1][3] == alone.seen[step][3]


class Killed(Recorder):
    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if self.global_step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)


def killed_run(rank: int, folder: Path, clips: Path) -> None:
    keep = ModelCheckpoint(folder / "kept", every_n_train_steps=1, save_last=True)
    trainer = make_trainer(folder, max_steps=7, callbacks=[keep])
    trainer.fit(Killed(), module(train=str(clips), num_workers=2))


def test_a_run_killed_in_mid_epoch_goes_on_bit_equal(clips: Path, tmp_path: Path) -> None:
    straight = Recorder()
    make_trainer(tmp_path / "straight", max_steps=7, callbacks=None).fit(straight, module(train=str(clips)))
    assert run_ranks(killed_run, 1, tmp_path, clips) == [-signal.SIGKILL]
    resumed = Recorder()
    make_trainer(tmp_path / "resumed", max_steps=7, callbacks=None).fit(
        resumed, module(train=str(clips), num_workers=2), ckpt_path=tmp_path / "kept" / "last.ckpt"
    )
    assert resumed.seen == straight.seen[4:]
    assert torch.equal(resumed.weight, straight.weight)


def store_key(**settings: Any) -> StoreKey:
    common: dict[str, Any] = {
        "teacher": {},
        "compressor": {},
        "geometry": {"image_size": [64, 64]},
        "sampling": {},
        "decoder": "auto",
        "dtype": "float32",
    }
    return StoreKey(**{**common, **settings})


@pytest.mark.parametrize("with_frames", [True, False])
def test_training_reads_a_feature_store(with_frames: bool, clips: Path, tmp_path: Path) -> None:
    source = module(predict=str(clips), batch_size=1, frames=10)
    folder = tmp_path / "store"
    written: dict[str, tuple[torch.Tensor, list[int]]] = {}
    with FeatureStoreWriter(folder, store_key(), dtype=torch.float32, store_frames=with_frames) as writer:
        for batch in source.predict_dataloader():
            (name,), frames = batch["sample_ids"], batch["frames_BTCHW"][0]
            targets = torch.randn(len(frames) // 4, 2, 2, 5)
            entry = {
                "path": batch["rows"][0]["path"],
                "frame_indices": batch["frame_indices_BT"][0].tolist(),
                "valid_frames": int(batch["valid_frames_B"][0]),
                "row": batch["rows"][0],
            }
            writer.add(name, targets, entry, frames)
            written[name] = (targets, shown(batch, 0))
    source.teardown("predict")
    finalize(folder, store_key())

    data = module(store=str(folder), batch_size=5, on_error="skip")
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert sorted(batch["sample_ids"]) == sorted(written) and batch["targets_BTHWC"].shape == (5, 3, 2, 2, 5)
    for number, name in enumerate(batch["sample_ids"]):
        targets, numbers = written[name]
        assert torch.equal(batch["targets_BTHWC"][number, : len(targets)], targets)
        assert not batch["targets_BTHWC"][number, len(targets) :].any()
        assert shown(batch, number)[: len(numbers)] == numbers
        assert batch["rows"][number]["id"] == name
        assert (max(batch["decode_s"]) == 0) == with_frames
    data.teardown("fit")
    with pytest.raises(StoreMismatch, match="clip_frames: stored 4, this run wants 8"):
        module(store=str(folder), clip_frames=8).setup("fit")
    with pytest.raises(StoreMismatch, match="image_size"):
        module(store=str(folder), image_size=448).setup("fit")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, r"data\.frames"),
        ({"image_size": (0, 4)}, r"data\.image_size"),
        ({"max_skip_fraction": 2.0}, r"data\.max_skip_fraction"),
        ({"windows_per_video": 2}, "RandomSegment"),
        ({"store": "s", "train": "t"}, r"data\.store and data\.train"),
        ({"decoder": "gpu"}, "decoder"),
        ({"val": [VideoSource("v", weight=1.0)]}, r"data\.val: a source has a weight"),
    ],
)
def test_contradictions_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module(**settings)


def test_a_missing_split_says_which_setting_is_missing(tmp_path: Path) -> None:
    for split, load in (("train", "train_dataloader"), ("val", "val_dataloader"), ("test", "test_dataloader")):
        with pytest.raises(ConfigError, match=rf"data\.{split}"):
            getattr(module(), load)()


def test_weighted_sources_are_drawn_by_weight_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", FakePool)
    few = manifest(tmp_path / "few.jsonl", *({"path": f"few{n}.mp4"} for n in range(4)))
    many = manifest(tmp_path / "many.jsonl", *({"video": f"many{n}.mp4"} for n in range(20)))
    sources: list[Any] = [VideoSource(few, weight=3.0), VideoSource(many, root="/videos", weight=1.0)]
    data = VideoDataModule(train=sources, image_size=8, frames=4, batch_size=4)
    recorder = Recorder()
    make_trainer(tmp_path / "run", max_steps=6, callbacks=None).fit(recorder, data)
    names = [name for _, _, names, *_ in recorder.seen for name in names]
    assert len(names) == 24 and sum(name.startswith("few") for name in names) == 18
    report = json.loads((tmp_path / "run" / "sources.json").read_text())
    assert [(entry["path"], entry["rows"], entry["samples_in_a_pass"]) for entry in report] == [
        (few, 4, 18),
        (many, 20, 6),
    ]
    assert report[1]["root"] == "/videos" and data.rows("train")[4].path == "/videos/many0.mp4"
    assert f"train: 20 rows of {many}, 6 samples a pass by its weight" in capsys.readouterr().err


def test_remote_videos_need_a_cache_and_are_skipped_by_their_url(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with serving() as server:
        server.files["1.mp4"] = (clips / "1.mp4").read_bytes()
        listed = manifest(tmp_path / "m.jsonl", {"video": "1.mp4"}, {"video": "absent.mp4"})
        own = manifest(tmp_path / "own.jsonl", {"video": "file:///nowhere/a"})
        source: list[Any] = [VideoSource(listed, root=server.root), own]
        with pytest.raises(ConfigError, match=r"data\.remote_cache is not set, but data\.val .*1\.mp4"):
            module(val=source).loader("val")
        cache = RemoteCache(str(tmp_path / "cache"))
        data = module(val=source, remote_cache=cache, on_error="skip", num_workers=1, batch_size=3)
        (batch,) = data.loader("val")
        data.teardown("validate")
    assert batch["rows"][0]["path"] == f"{server.root}/1.mp4"
    assert shown(batch, 0) == batch["frame_indices_BT"][0].tolist()
    absent, local = batch["skipped"]
    assert absent["path"] == f"{server.root}/absent.mp4" and "cannot be fetched: 404" in absent["reason"]
    assert local["path"] == "/nowhere/a" and "no such file" in local["reason"]


def test_configs_build_everything_and_help_explains_it(clips: Path) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(VideoDataModule, "data")
    config = {
        "class_path": "liteframe.data.datamodule.VideoDataModule",
        "init_args": {
            "train": [str(clips), {"path": str(clips), "root": "s3://bucket", "weight": 0.5}],
            "val": str(clips),
            "remote_cache": {"folder": "cache", "gigabytes": 2},
            "image_size": [112, 224],
            "sampler": {"class_path": "liteframe.data.sampling.Linspace"},
            "shapes": [
                {"frames": 8, "batch_size": 4},
                {
                    "frames": 4,
                    "batch_size": 2,
                    "weight": 0.5,
                    "sampler": {
                        "class_path": "liteframe.data.sampling.RandomSegment",
                        "init_args": {"strides": [2, 4]},
                    },
                },
            ],
        },
    }
    parsed = parser.parse_object({"data": config})
    data = parser.instantiate_classes(parsed).data
    assert data.sources["train"] == [VideoSource(str(clips)), VideoSource(str(clips), "s3://bucket", 0.5)]
    assert data.remote_cache == RemoteCache("cache", 2.0) and data.sources["val"] == [VideoSource(str(clips))]
    assert data.settings.image_size == (112, 224) and data.sampler == Linspace()
    assert data.shapes[1] == BatchShape(4, 2, 0.5, RandomSegment([2, 4])) and data.shapes[0].weight == 1.0
    again = parser.parse_string(parser.dump(parsed))
    assert parser.instantiate_classes(again).data.shapes == data.shapes
    assert isinstance(VideoDataModule().sampler, UniformMidpoints)
    assert len(read_manifest(clips)) == 5


def test_what_lists_say_of_splits_is_heeded_as_training_begins(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, other = manifest(tmp_path / "two.jsonl", clips / "0.mp4", clips / "1.mp4"), str(clips / "2.mp4")
    for val, said in ((two, True), (other, False)):
        capsys.readouterr()
        make_trainer(tmp_path / "run", max_steps=1, callbacks=None).fit(Recorder(), module(train=two, val=val))
        assert ("warning: 2 of the 2 videos of data.val, such as " in capsys.readouterr().err) == said
    held_out = manifest(tmp_path / "all.jsonl", *({"path": f"{name}.mp4", "split": name} for name in ("train", "test")))
    for on_error in ("error", "skip"):
        with pytest.raises(ManifestError, match=r'data\.train: 1 of the 2 rows .* "split": "test"'):
            module(train=held_out, on_error=on_error).rows("train")
