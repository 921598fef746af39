"""A run that is stopped in mid-epoch and resumed sees what a straight run sees."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from resume_toys import FakePool, Recorder, make_trainer

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.training_samples import GONE, TrainingSamples, of_rows
from liteframe.data.sources.manifest import VideoSource, read_sources
from liteframe.data.sources.row_table import RowTable
from liteframe.errors import ConfigError
from ranks import run_ranks

STEPS = 12


@pytest.fixture(autouse=True)
def without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", FakePool)


def manifest(folder: Path, rows: int = 11) -> str:
    path = folder / f"{rows}.jsonl"
    path.write_text("".join(json.dumps({"path": f"{number:02d}.mp4"}) + "\n" for number in range(rows)))
    return str(path)


def weighted(folder: Path) -> list[str | VideoSource]:
    return [VideoSource(manifest(folder, 3), weight=2.0), VideoSource(manifest(folder, 8), weight=1.0)]


def data(folder: Path, **settings: Any) -> VideoDataModule:
    if settings.get("train") == "weighted":
        settings["train"] = weighted(folder)
    batches = {} if "shapes" in settings else {"batch_size": 2, "frames": 4}
    return VideoDataModule(**{"train": manifest(folder), "image_size": 8, **batches, **settings})


def weights(module: Recorder) -> list[float]:
    return module.weight.tolist()


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "steps": ({"max_steps": STEPS}, {}, {}),
    "epochs": ({"max_epochs": 3}, {}, {}),
    "validation": ({"max_epochs": 3, "num_sanity_val_steps": 1}, {"val": True}, {}),
    "length asked for": ({"max_epochs": 3}, {}, {"asks_for_length": True}),
    "accumulation": ({"max_steps": 7, "max_epochs": -1, "accumulate_grad_batches": 2}, {}, {}),
    "cut epochs": ({"max_epochs": 4, "limit_train_batches": 3}, {}, {}),
    "reload": ({"max_epochs": 3, "reload_dataloaders_every_n_epochs": 1}, {}, {}),
    "weighted sources": ({"max_steps": STEPS}, {"train": "weighted"}, {}),
    "mixed shapes": (
        {"max_steps": STEPS},
        {"shapes": [BatchShape(4, 3), BatchShape(8, 2, weight=2.0), BatchShape(12, 1)]},
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_resuming_at_any_step_goes_on_as_a_straight_run(name: str, tmp_path: Path) -> None:
    trainer_settings, data_settings, module_settings = CASES[name]
    if data_settings.get("val"):
        data_settings = {**data_settings, "val": manifest(tmp_path, 5)}
    straight = Recorder(**module_settings)
    trainer = make_trainer(tmp_path, **trainer_settings)
    trainer.fit(straight, data(tmp_path, **data_settings))
    assert len(straight.seen) >= 12 and len({epoch for epoch, *_ in straight.seen}) >= 3
    checkpoints = sorted((tmp_path / "kept").glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(checkpoints) == trainer.global_step
    for checkpoint in checkpoints[:-1]:
        done = torch.load(checkpoint, weights_only=False)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        resumed = Recorder(**module_settings)
        again = make_trainer(tmp_path / "again", **{**trainer_settings, "callbacks": None})
        again.fit(resumed, data(tmp_path, **data_settings), ckpt_path=checkpoint)
        assert resumed.seen == straight.seen[done["processed"] :], checkpoint.name
        assert weights(resumed) == weights(straight)
        assert (again.global_step, again.current_epoch) == (trainer.global_step, trainer.current_epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_goes_on_from_its_last_checkpoint(workers: int, tmp_path: Path) -> None:
    loading = {"num_workers": workers, "prefetch_factor": 2 if workers else None}
    straight = Recorder()
    make_trainer(tmp_path / "straight", max_steps=STEPS).fit(straight, data(tmp_path, **loading))

    first = Recorder(stop_after=7)
    with pytest.raises(BaseException):  # noqa: B017 - Lightning turns an interrupt into SystemExit
        make_trainer(tmp_path / "stopped", max_steps=STEPS).fit(first, data(tmp_path, **loading))
    second = Recorder()
    last = tmp_path / "stopped" / "kept" / "step=7.ckpt"
    make_trainer(tmp_path / "resumed", max_steps=STEPS).fit(second, data(tmp_path, **loading), ckpt_path=last)
    assert first.seen + second.seen == straight.seen
    assert weights(second) == weights(straight)

    third = Recorder()
    early = tmp_path / "resumed" / "kept" / "step=11.ckpt"
    make_trainer(tmp_path / "third", max_steps=STEPS).fit(third, data(tmp_path, **loading), ckpt_path=early)
    assert third.seen == straight.seen[11:] and weights(third) == weights(straight)


ROWS, GLOBAL_BATCH, AT, AGAIN_AT = 23, 4, 3, 7
"""Epochs of 5 steps: both changes come in the middle of one."""


def ranks_and_workers(rank: int, folder: Path, ranks: int, workers: int, checkpoint: Path | None) -> None:
    loading = {"num_workers": workers, "prefetch_factor": 2 if workers else None, "batch_size": GLOBAL_BATCH // ranks}
    several = {"strategy": "ddp", "devices": ranks} if ranks > 1 else {"devices": 1}
    recorder = Recorder()
    make_trainer(folder, max_steps=STEPS, **several).fit(
        recorder, data(folder.parent, train=manifest(folder.parent, ROWS), **loading), ckpt_path=checkpoint
    )
    seen = {"seen": recorder.seen, "weights": weights(recorder)}
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    os._exit(0)


def together(folder: Path, ranks: int) -> tuple[list[list[Any]], list[float]]:
    """Samples with their frames, batch by batch, of all ranks in their order; and the weights."""
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]
    assert all(one["weights"] == told[0]["weights"] for one in told)
    steps = zip(*(one["seen"] for one in told), strict=True)
    batches = [[pair for part in parts for pair in zip(part[2], part[3], strict=True)] for parts in steps]
    return batches, told[0]["weights"]


@pytest.mark.parametrize(("first", "second", "third"), [((1, 0), (2, 2), (1, 0)), ((2, 2), (4, 0), (2, 1))])
def test_other_numbers_of_ranks_and_workers_go_on_with_the_samples_that_are_left(
    first: tuple[int, int], second: tuple[int, int], third: tuple[int, int], tmp_path: Path
) -> None:
    checkpoint, start = None, 0
    manifest(tmp_path, ROWS)
    parts: list[list[list[Any]]] = []
    for number, ((ranks, workers), until) in enumerate(zip((first, second, third), (AT, AGAIN_AT, STEPS), strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert run_ranks(ranks_and_workers, ranks, folder, ranks, workers, checkpoint) == [0] * ranks
        batches, learnt = together(folder, ranks)
        assert len(batches) == STEPS - start
        parts.append(batches[: until - start])
        if number == 0:
            straight, whole = batches, learnt
        checkpoint, start = folder / "kept" / f"step={until}.ckpt", until
    assert [batch for part in parts for batch in part] == straight
    for epoch in range(2):
        ids = [name for batch in straight[5 * epoch : 5 * epoch + 5] for name, _ in batch]
        assert len(ids) == len(set(ids)) == 20, "each once in an epoch, but those that no whole batch is left of"
    assert learnt == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("ranks", "batch", "message"),
    [
        (2, 4, r"a global batch is of 8 videos \(2 ranks\), in the checkpoint it was of 4, .* set it to 2"),
        (3, 1, r"a global batch is of 3 videos \(3 ranks\), .* take a number of ranks that divides 4"),
    ],
)
def test_a_batch_that_other_ranks_have_made_another_is_refused_with_the_size_to_give(
    ranks: int, batch: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = manifest(tmp_path, ROWS)
    make_trainer(tmp_path, max_steps=2).fit(Recorder(), data(tmp_path, train=listed, batch_size=4))
    module = data(tmp_path, train=listed, batch_size=batch)
    monkeypatch.setattr(module, "_ranks", lambda: (0, ranks))
    checkpoint = tmp_path / "kept" / "step=2.ckpt"
    with pytest.raises(ConfigError, match=message):
        make_trainer(tmp_path / "again", max_steps=4).fit(Recorder(), module, ckpt_path=checkpoint)


def test_workers_and_prefetch_do_not_change_what_is_seen(tmp_path: Path) -> None:
    runs = []
    for workers in (0, 1, 3):
        module = Recorder()
        settings = {"num_workers": workers, "prefetch_factor": 3 if workers else None}
        make_trainer(tmp_path / str(workers), max_steps=8).fit(module, data(tmp_path, **settings))
        runs.append(module.seen)
    assert runs[0] == runs[1] == runs[2]


def test_the_loaders_leave_the_global_random_numbers_alone(tmp_path: Path) -> None:
    module = data(tmp_path)
    module.setup("fit")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(module.train_dataloader())
    assert torch.equal(torch.rand(3), expected)


def test_over_fitting_shows_the_same_batches_in_each_epoch(tmp_path: Path) -> None:
    module = Recorder()
    make_trainer(tmp_path, max_epochs=3, overfit_batches=2).fit(module, data(tmp_path))
    ids = [(index, names) for _, index, names, *_ in module.seen]
    assert ids[:2] == ids[2:4] == ids[4:6]


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, max_steps=2).fit(Recorder(), data(tmp_path))
    checkpoint = tmp_path / "kept" / "step=2.ckpt"
    others: list[tuple[dict[str, Any], str]] = [
        ({"seed": 1}, "seed: 0 in the checkpoint, 1 now"),
        ({"train": manifest(tmp_path, 5)}, "6 of the 11 training samples of the checkpoint are not in this run's"),
        ({"batch_size": 3}, "in the checkpoint it was of 2"),
        ({"train": "weighted"}, "8 of the 11"),
        ({"train": [VideoSource(manifest(tmp_path), weight=1.0)]}, "sources"),
    ]
    for settings, message in others:
        with pytest.raises(ConfigError, match=message):
            make_trainer(tmp_path / "b", max_steps=3).fit(Recorder(), data(tmp_path, **settings), ckpt_path=checkpoint)
    make_trainer(tmp_path / "c", max_steps=3).validate(
        Recorder(), data(tmp_path, val=manifest(tmp_path, 4), seed=1), ckpt_path=checkpoint
    )


def rewritten(folder: Path, lines: list[str]) -> str:
    (folder / "list.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "list.jsonl")


def without(seen: list[Any], *names: str) -> list[list[tuple[str, list[int]]]]:
    """Samples and frames of each batch, but for those names."""
    batches = [[*zip(batch[2], batch[3], strict=True)] for batch in seen]
    return [[(name, frames) for name, frames in batch if name not in names] for batch in batches]


LINES = [json.dumps({"path": f"{number:02d}.mp4"}) for number in range(11)]
BAD_LINES = ["{", json.dumps({"path": "x.mp4", "end": 0}), json.dumps({"path": "y.mp4", "id": 1.5})]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_rows_that_are_gone_leave_their_places_empty(
    workers: int, weighted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = VideoSource(manifest(tmp_path / "other", 8), root="/other", weight=1.0)
    Path(other.path).write_text(Path(other.path).read_text().replace("0", "o"))

    def settings(lines: list[str]) -> dict[str, Any]:
        source = rewritten(tmp_path, lines)
        train = [VideoSource(source, weight=2.0), other] if weighted else source
        return {"train": train, "num_workers": workers}

    straight = Recorder()
    make_trainer(tmp_path, max_steps=STEPS).fit(straight, data(tmp_path, **settings(LINES)))
    checkpoint = tmp_path / "kept" / "step=4.ckpt"
    resumed = Recorder()
    again = make_trainer(tmp_path / "again", max_steps=STEPS)
    gone = next(name for batch in straight.seen[6:] for name in batch[2] if "o" not in name)
    left = [line for line in LINES if gone not in line]
    changed = [left[-1], *left[:5], json.dumps({"path": "new.mp4"}), *left[5:-1]]
    again.fit(resumed, data(tmp_path, **settings(changed)), ckpt_path=checkpoint)
    assert without(resumed.seen, gone) == without(straight.seen[4:], gone)
    assert not any(gone in batch[2] for batch in resumed.seen)
    said = capsys.readouterr().err
    assert "1 of" in said and "samples is gone, and its place stays empty" in said
    assert "1 is new ('new.mp4'), and waits for a new run" in said
    # The place stays empty in the checkpoints of the run that went on, until the row is back.
    third = Recorder()
    kept = tmp_path / "again" / "kept" / "step=7.ckpt"
    make_trainer(tmp_path / "third", max_steps=STEPS).fit(third, data(tmp_path, **settings(changed)), ckpt_path=kept)
    assert third.seen == resumed.seen[3:]
    back = Recorder()
    make_trainer(tmp_path / "back", max_steps=STEPS).fit(back, data(tmp_path, **settings(LINES)), ckpt_path=kept)
    assert back.seen == straight.seen[7:]


def test_bad_rows_have_no_part_in_the_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip = {"on_error": "skip", "max_skip_fraction": 0.5}
    straight = Recorder()
    make_trainer(tmp_path, max_steps=STEPS).fit(straight, data(tmp_path, train=rewritten(tmp_path, LINES)))
    checkpoint = tmp_path / "kept" / "step=4.ckpt"
    for number, lines in enumerate(([*BAD_LINES, *LINES], [*LINES[:3], *BAD_LINES[:1], *LINES[3:]])):
        resumed = Recorder()
        train = rewritten(tmp_path, lines)
        again = make_trainer(tmp_path / str(number), max_steps=STEPS, callbacks=None)
        again.fit(resumed, data(tmp_path, train=train, **skip), ckpt_path=checkpoint)
        assert resumed.seen == straight.seen[4:]
    assert "since the checkpoint" not in capsys.readouterr().err


def test_a_batch_of_places_that_are_empty_teaches_nothing(tmp_path: Path) -> None:
    settings = {"batch_size": 1, "train": rewritten(tmp_path, LINES)}
    make_trainer(tmp_path, max_steps=1).fit(Recorder(), data(tmp_path, **settings))
    resumed = Recorder()
    rewritten(tmp_path, LINES[5:])
    again = make_trainer(tmp_path / "again", max_steps=STEPS, callbacks=None)
    again.fit(resumed, data(tmp_path, **settings), ckpt_path=tmp_path / "kept" / "step=1.ckpt")
    blank = [batch for batch in resumed.seen if batch[3] == [[-1] * 4]]
    assert len(resumed.seen) == STEPS - 1 and len(blank) in (4, 5) and torch.isfinite(resumed.weight).all()


def asked(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps({**row, "answer": "yes"}) for row in rows]


ABOUT_ONE = [{"path": "a.mp4", "question": f"question {number}"} for number in range(8)]
PARTS = [{"path": "a.mp4", "start": number, "end": number + 1, "question": "what"} for number in range(8)]
LLAVA = [
    {"id": "a", "video": "a.mp4", "conversations": [{"from": "human", "value": f"{n}"}, {"from": "gpt", "value": "x"}]}
    for n in range(8)
]
TWICE = [{"path": "a.mp4", "question": f"question {number // 2}"} for number in range(8)]
OWN = [{"path": "a.mp4", "id": f"{number}", "question": f"question {number}"} for number in range(8)]


@pytest.mark.parametrize("rows", [ABOUT_ONE, PARTS, LLAVA, TWICE, OWN], ids=["texts", "parts", "llava", "twice", "own"])
def test_a_row_is_known_by_its_id_or_content_but_not_by_its_place(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    def contents(samples: TrainingSamples, table: RowTable) -> list[str | None]:
        return [None if place == GONE else table[place].content() for place in samples.places_N.tolist()]

    lines = asked(rows)
    before = read_sources(rewritten(tmp_path, lines))
    samples = of_rows(before, [None])
    straight = contents(samples, before)
    for changed in (lines[::-1], [*lines[:1], *lines[2:]], [lines[5], *lines[:5], *lines[6:]], lines[3:]):
        table = read_sources(rewritten(tmp_path, changed))
        after = of_rows(table, [None]).going_on(samples.state(), None)
        now = contents(after, table)
        assert all(one in (None, other) for one, other in zip(now, straight, strict=True))
        assert now.count(None) == after.gone == len(lines) - len(changed) and not after.new


def test_rows_of_several_lists_are_told_apart(tmp_path: Path) -> None:
    def table(first: range, second: range) -> RowTable:
        sources = []
        for name, numbers in (("a", first), ("b", second)):
            (tmp_path / name).mkdir(exist_ok=True)
            lines = [json.dumps({"path": f"{n}.mp4"} | ({"id": f"id {n}"} if n % 2 else {})) for n in numbers]
            sources.append(rewritten(tmp_path / name, lines))
        return read_sources(sources)

    before, after = table(range(6), range(6)), table(range(2, 6), range(6))
    samples = of_rows(before, [None, None])
    now = of_rows(after, [None, None]).going_on(samples.state(), None)
    paths = [None if place == GONE else after[place].path for place in now.places_N.tolist()]
    assert paths == [None, None, *(row.path for row in before[2:])]


def as_of_an_older_version(checkpoint: Path, ids: list[str], **described: Any) -> Path:
    """The checkpoint as it was when one digest of all ids stood for the samples."""
    state = torch.load(checkpoint, weights_only=False)
    of_data = state["VideoDataModule"]
    del of_data["sample_keys"]
    of_data["training_data"] |= {"samples": hashlib.sha256(json.dumps(ids).encode()).hexdigest()} | described
    older = checkpoint.with_name("older.ckpt")
    torch.save(state, older)
    return older


@pytest.mark.parametrize("kind", ["texts", "weighted"])
def test_checkpoints_of_an_older_version_go_on(kind: str, tmp_path: Path) -> None:
    train = rewritten(tmp_path, asked(ABOUT_ONE)) if kind == "texts" else "weighted"
    straight = Recorder()
    module = data(tmp_path, train=train)
    make_trainer(tmp_path, max_steps=STEPS).fit(straight, module)
    older = as_of_an_older_version(tmp_path / "kept" / "step=4.ckpt", list(module.rows("train").ids()))
    resumed = Recorder()
    again = make_trainer(tmp_path / "again", max_steps=STEPS, callbacks=None)
    again.fit(resumed, data(tmp_path, train=train), ckpt_path=older)
    assert resumed.seen == straight.seen[4:]
    if kind == "texts":
        rewritten(tmp_path, asked(ABOUT_ONE)[1:])
        with pytest.raises(ConfigError, match=r"earlier version.*8 rows in the checkpoint, 7 now"):
            make_trainer(tmp_path / "b", max_steps=5).fit(Recorder(), data(tmp_path, train=train), ckpt_path=older)
        with pytest.raises(ConfigError, match="seed: 0 in the checkpoint, 1 now"):
            train = rewritten(tmp_path, asked(ABOUT_ONE))
            changed = data(tmp_path, train=train, seed=1)
            make_trainer(tmp_path / "c", max_steps=5).fit(Recorder(), changed, ckpt_path=older)


def test_a_row_that_an_older_version_skipped_keeps_its_place_empty(tmp_path: Path) -> None:
    lines = [*LINES[:3], json.dumps({"path": "03.mp4", "ok": False, "error": "damaged"}), *LINES[4:]]
    whole = Recorder()
    module = data(tmp_path, train=rewritten(tmp_path, LINES))
    make_trainer(tmp_path, max_steps=STEPS).fit(whole, module)
    older = as_of_an_older_version(tmp_path / "kept" / "step=4.ckpt", list(module.rows("train").ids()))
    resumed = Recorder()
    skip = {"on_error": "skip", "max_skip_fraction": 0.5}
    again = make_trainer(tmp_path / "again", max_steps=STEPS, callbacks=None)
    again.fit(resumed, data(tmp_path, train=rewritten(tmp_path, lines), **skip), ckpt_path=older)
    assert without(resumed.seen, "03.mp4") == without(whole.seen[4:], "03.mp4")
    assert not any("03.mp4" in batch[2] for batch in resumed.seen)
