"""Working through cells: what is done is skipped, a kill costs one cell, processes share, failures do not spread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from liteframe.bench.paper import base_run, work
from liteframe.bench.paper.answers import answer
from liteframe.bench.paper.base_run import Busy, Workplace, missing_of, require_base_run
from liteframe.bench.paper.cells import PaperCell, Training
from liteframe.bench.paper.methods import methods_for, trained_methods
from liteframe.bench.paper.records import AnswerRow, Answers, Measured, new_cell, read_cell, record_path, write_cell
from liteframe.bench.paper.work import Worker
from liteframe.bench.run_methods import RunMethod
from liteframe.command.cli import dispatch
from liteframe.errors import ConfigError
from liteframe.models.video_llm.answering_model import TokenCounts
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import VideoLLM
from liteframe.system.run_lock import RunLock
from tiny_world import InProcessPool, encoder_folder, host_folder, manifest, store_folder

CELLS = tuple(
    PaperCell(name, "group", ((name, (4, 8)),), (4, 5), about="made up") for name in ("teacher", "teacher+wap", "late")
)


ENVIRONMENT = {"device": "a machine", "threads": 1, "dtype": "bfloat16", "packages": {"torch": "2"}}
TOKENS = TokenCounts(64, 16, 16)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two finished runs, as far as their folders say."""
    for seed in (4, 5):
        for name in base_run.NEEDED:
            path = tmp_path / "runs" / f"tiny-seed{seed}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        record = {
            "name": "ctd",
            "position": 1,
            "seconds": 90.0,
            "tries": 2,
            "code": "feed",
            "digest": "beef",
            "seed": seed,
        }
        (tmp_path / "runs" / f"tiny-seed{seed}" / "ctd" / "done.json").write_text(json.dumps(record))
    return tmp_path / "runs"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that were asked; their answers are made up."""
    names: list[str] = []

    def answered(folder: Path, methods: Sequence[Any], name: str, longest: int, dtype: str) -> Answers:
        names.append(f"{name} {folder.name}")
        return Answers(
            [0, 1], [AnswerRow(method, n, TOKENS, [1, 0]) for method, counts in methods for n in counts], "the world"
        )

    monkeypatch.setattr(work, "answer", answered)
    monkeypatch.setattr(work, "environment", lambda *_, **__: dict(ENVIRONMENT))
    monkeypatch.setattr(work, "methods_for", lambda folder, wanted, base_vlm: list(wanted))
    return names


def forbidden(args: Sequence[str]) -> int:
    raise AssertionError(f"no stage should have run: {args}")


def worker(runs: Path, records: Path, cells: Sequence[PaperCell] = CELLS, **more: Any) -> Worker:
    return Worker(runs, records, more.pop("run_verb", forbidden), cells, **more)


def tasks(cells: Sequence[PaperCell] = CELLS) -> list[tuple[PaperCell, int]]:
    return [(cell, seed) for seed in (4, 5) for cell in cells]


def test_what_is_done_is_skipped(runs: Path, records: Path, asked: list[str]) -> None:
    assert not worker(runs, records).is_done(CELLS[0], 4)
    assert worker(runs, records).work(tasks()[:4])
    assert asked == [f"{cell.name}, seed {seed} tiny-seed{seed}" for cell, seed in tasks()[:4]]
    assert worker(runs, records).work(tasks())
    assert len(asked) == 6
    record = json.loads(record_path(records, CELLS[1], 5).read_text())
    assert (record["kind"], record["cell"], record["seed"], record["group"]) == ("answers", "teacher+wap", 5, "group")
    assert record["stages"] == [{"name": "ctd", "seconds": 90.0, "tries": 2, "code": "feed", "digest": "beef"}]
    assert record["environment"]["packages"] and record["seconds"] >= 0


def test_a_broken_record_goes_on_with_the_next_run(
    runs: Path, records: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    real = work.write_cell
    monkeypatch.setattr(work, "write_cell", lambda *a, **k: killed() if len(asked) == 2 else real(*a, **k))
    with pytest.raises(KeyboardInterrupt):
        worker(runs, records).work(tasks())
    assert [path.stem for path in records.rglob("*.json")] == ["teacher"]
    assert worker(runs, records).work(tasks())
    assert len(asked) == 2 + 5


def test_a_failure_is_named_and_does_not_stop_the_others(
    runs: Path, records: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def methods(folder: Path, wanted: Any, base_vlm: Any) -> Any:
        if wanted[0][0] == "teacher+wap":
            raise RuntimeError("out of luck")
        return list(wanted)

    monkeypatch.setattr(work, "methods_for", methods)
    own = worker(runs, records)
    assert not own.work(tasks())
    assert own.failed == {f"teacher+wap, seed {seed}": "RuntimeError: out of luck" for seed in (4, 5)}
    assert "FAILED teacher+wap, seed 4: RuntimeError: out of luck" in capsys.readouterr().out
    assert len(asked) == 4


def test_another_process_keeps_its_cell(
    runs: Path, records: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Workplace(runs, 4).alone("teacher+wap"):
        assert not worker(runs, records).work(tasks())
        assert "left to another process: teacher+wap of seed 4" in capsys.readouterr().out
    assert len(asked) == 5
    assert worker(runs, records).work(tasks())
    assert asked[5:] == ["teacher+wap, seed 4 tiny-seed4"]


def test_no_cell_is_begun_that_would_go_past_the_hours(
    runs: Path, records: Path, asked: list[str], fill: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(records, lambda *_: 0.5, CELLS[:1], seeds=(4,))  # took 240 seconds
    own = worker(runs, records)
    assert own.minutes(CELLS[0], 5) == own.minutes(CELLS[2], 5) == 4.0
    assert not own.work(tasks(), hours=3.9 / 60)
    assert asked == [] and "would go past 0.065 hours" in capsys.readouterr().out
    assert own.work(tasks(), hours=1)
    assert len(asked) == 5


def test_without_any_cell_done_the_length_is_guessed(runs: Path, records: Path, asked: list[str]) -> None:
    trained = PaperCell("own", "g", (("own", (8,)),), (4, 9), 2, Training(store="8x", ctd=()))
    own = worker(runs, records, [*CELLS, trained])
    assert own.minutes(CELLS[0], 4) == 5.0
    assert own.minutes(trained, 4) == 8.0
    assert not own.work(tasks(), hours=0.05) and asked == []


def test_a_broken_record_of_another_cell_aborts_nothing(
    runs: Path, records: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = record_path(records, CELLS[0], 4)
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    own = worker(runs, records)
    assert "teacher" in own.listing(tasks())
    assert not own.work(tasks(), hours=9)
    assert len(asked) == 5 and list(own.failed) == ["teacher, seed 4"]
    assert "FAILED teacher, seed 4: DataError" in capsys.readouterr().out


def test_the_listing_says_what_is_open_and_how_long(
    runs: Path, records: Path, fill: Callable[..., None], asked: list[str]
) -> None:
    own = worker(runs, records)
    assert own.listing(tasks()).endswith("about 30 minutes of open cells"), "guesses"
    fill(records, lambda *_: 0.5, CELLS[:1], seeds=(4,))
    lines = own.listing(tasks()).splitlines()
    assert lines[1].split()[:5] == ["teacher", "group", "4", "done", "4.0"]
    assert lines[2].split()[:6] == ["teacher+wap", "group", "4", "open", "about", "4.0"]
    assert lines[-1] == "about 20 minutes of open cells"
    assert asked == []


def test_a_run_that_lacks_something_is_made_by_the_recipe(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    place = Workplace(runs, 5)

    def run_verb(args: Sequence[str]) -> int:
        commands.append(list(args))
        folder = next((word for word in args if word.startswith("--trainer.default_root_dir=")), "/world")
        stage = folder.rpartition("/")[2]
        made = {f"{name}/export/model.safetensors" for name in ("pretrain-vision", "pretrain-projector")}
        for name in made | set(base_run.NEEDED):
            if name.startswith(f"{stage}/"):
                (place.base_run / name).parent.mkdir(parents=True, exist_ok=True)
                (place.base_run / name).write_text("")
        return 0

    require_base_run(place, forbidden)
    with RunLock(place.base_run), pytest.raises(Busy, match="tiny-seed5: another process works in this run"):
        require_base_run(place, forbidden)
    require_base_run(place, forbidden)
    shutil.rmtree(place.base_run)
    assert missing_of(place.base_run) == list(base_run.NEEDED)
    with place.alone("ground"), pytest.raises(Busy, match="ground of seed 5"):
        require_base_run(place, run_verb)
    require_base_run(place, run_verb)
    verbs = [command[0] for command in commands]
    assert verbs == ["synth", "fit", "fit", "fit", "predict", "fit", "fit"], "all but the sweep"
    assert "--seed=5" in commands[0]


@pytest.fixture
def micro_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose stages did not learn anything."""
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", InProcessPool)
    folder = tmp_path / "micro"
    shutil.copytree(manifest("test").parent, folder / "world")
    for source, target in ((host_folder(), "pretrain-llm/export"), (store_folder(), "cache/store")):
        shutil.copytree(source, folder / target)
    shutil.copytree(encoder_folder(), folder / "ctd" / "export")
    return folder


def test_answers_are_those_of_each_method_in_the_order_of_the_manifest(micro_run: Path) -> None:
    wanted = [("teacher", (8,)), ("teacher+wap-8x", (8,)), ("teacher+tome", (8, 16)), ("liteframe-ctd", (16,))]
    methods = methods_for(micro_run, wanted)
    found = answer(micro_run, methods, "test", 16)
    assert found.manifest == sha256((micro_run / "world" / "test.jsonl").read_bytes()).hexdigest()
    assert found.image_size == found.image_size_made_for == [112, 112]
    assert found.videos == [number for number in range(3) for _ in range(4)]
    assert [(row.arm, row.frames) for row in found.rows] == [(method, n) for method, counts in wanted for n in counts]
    tokens = {row.arm: row.tokens.llm / row.frames for row in found.rows}
    assert tokens == {"teacher": 16, "teacher+wap-8x": 2, "teacher+tome": 1, "liteframe-ctd": 1}
    for row in found.rows:
        assert len(row.right) == row.questions == 12 and set(row.right) <= {0, 1}
        assert row.accuracy == pytest.approx(sum(row.right) / 12)
    again = answer(micro_run, methods[2:3], "test", 16)
    assert again.rows[0].right == found.rows[2].right, "whatever else the cell holds"


def test_trained_students_stand_before_the_runs_llm(micro_run: Path) -> None:
    wanted = [("own", (8,)), ("own+average", (8,)), ("own+wap", (8,))]
    with pytest.raises(ConfigError, match="is missing; finish the run first"):
        trained_methods(micro_run, micro_run / "nowhere", wanted)
    methods: list[RunMethod] = trained_methods(micro_run, encoder_folder(), wanted)
    assert [method.name for method in methods] == ["own", "own+average", "own+wap"]
    assert [method.model.describe()["compressor"] for method in methods] == ["dense", "average", "wap"]
    assert methods[2].model.describe()["saliency"] == "mean_token"
    host, _ = load_base_vlm(str(host_folder()))
    assert isinstance(methods[0].model, VideoLLM)
    assert all(
        bool((own == other).all())
        for own, other in zip(
            methods[0].model.language_model.parameters(), host.model.language_model.parameters(), strict=True
        )
    )


def test_methods_before_another_base_vlm(micro_run: Path, tmp_path: Path) -> None:
    other, _ = load_base_vlm(str(host_folder()))
    with torch.no_grad():
        other.model.multi_modal_projector.linear_1.weight.add_(1)  # type: ignore[operator]
    shutil.copytree(host_folder(), tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    own, control = (
        methods_for(micro_run, [(name, (8,))], host)[0].model
        for name, host in (("teacher+wap", None), ("control:teacher+wap", tmp_path / "other"))
    )
    frames = torch.randn(1, 8, 3, 112, 112)
    encoded = own.encode(frames)
    torch.testing.assert_close(control.encode(frames), encoded)
    assert not torch.allclose(control.project(encoded), own.project(encoded))


def test_a_cell_with_another_base_vlm_is_asked_before_it(
    runs: Path, records: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = PaperCell(
        "other", "g", (("control:teacher", (8,)),), (4,), 2, Training(base_vlm=("--model.pooled_by=average",))
    )
    base_vlms: list[Path] = []
    monkeypatch.setattr(work, "train", lambda cell, place, run_verb: [{"name": "control-llm", "code": "c0de"}])
    monkeypatch.setattr(
        work, "methods_for", lambda folder, wanted, base_vlm: base_vlms.append(base_vlm) or list(wanted)
    )
    assert worker(runs, records, [cell]).work([(cell, 4)])
    assert base_vlms == [runs / "paper" / "seed4" / "other" / "control-llm" / "export"]


def test_an_unknown_method_is_named(micro_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"method 'teacher\+magic' is unknown; there are teacher, .*teacher\+wap-4x"):
        methods_for(micro_run, [("teacher+magic", (8,))])


def test_a_cell_with_training_is_asked_by_its_own_student(
    runs: Path, records: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = PaperCell("own", "g", (("own", (8,)),), (4,), 2, Training(ctd=()))
    exports: list[Path] = []
    monkeypatch.setattr(work, "train", lambda cell, place, run_verb: [{"name": "ctd", "code": "c0de"}])
    monkeypatch.setattr(work, "trained_methods", lambda folder, export, wanted: exports.append(export) or list(wanted))
    assert worker(runs, records, [cell]).work([(cell, 4)])
    assert exports == [runs / "paper" / "seed4" / "own" / "ctd" / "export"]
    record = json.loads(record_path(records, cell, 4).read_text())
    assert record["kind"] == "train" and [stage["code"] for stage in record["stages"]] == ["feed", "c0de"]


def test_a_student_is_trained_and_asked(
    micro_run: Path, tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    micro_run.rename(runs / "tiny-seed4")
    for name in missing_of(runs / "tiny-seed4"):
        (runs / "tiny-seed4" / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / "tiny-seed4" / name).write_text("")
    quick = ("--trainer.max_steps=1", "--data.num_workers=0", "--data.prefetch_factor=null", "--data.batch_size=2")
    cell = PaperCell("own", "g", (("own", (8,)),), (4,), 2, Training(ctd=quick))
    assert Worker(runs, records, dispatch, [cell], longest=16).work([(cell, 4)])
    record = json.loads(record_path(records, cell, 4).read_text())
    (row,) = record["rows"]
    assert (row["arm"], row["tokens"]["llm"], row["questions"]) == ("own", 8, 12)
    assert [stage["name"] for stage in record["stages"]] == ["ctd"] and record["stages"][0]["tries"] == 1
    read = read_cell(records, cell, 4)
    assert read is not None and [row.frames for row in read.rows] == [8]


MERGING = PaperCell("merging", "g", tuple((f"teacher+{name}", (4, 8)) for name in ("prumerge", "tome")), (4,))


@pytest.fixture
def older(runs: Path, records: Path) -> Path:
    """A record of before ToMe merged within clips."""
    rows = [
        AnswerRow(method, n, TOKENS, [1, 0], {"compressor": method})
        for method, counts in MERGING.methods
        for n in counts
    ]
    stages = base_run.stages_of(Workplace(runs, 4).base_run)
    record = new_cell(MERGING, 4, Measured(Answers([0, 1], rows), 9.0, stages, ENVIRONMENT))
    return write_cell(records, MERGING, record)


def test_only_methods_that_work_otherwise_now_are_measured_again(
    runs: Path, records: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, older: Path
) -> None:
    before = json.loads(older.read_text())
    wanted: list[Any] = []
    monkeypatch.setattr(work, "methods_for", lambda folder, methods, base_vlm: wanted.extend(methods) or list(methods))
    own = worker(runs, records, [MERGING])
    assert not own.is_done(MERGING, 4)
    assert own.work([(MERGING, 4)])
    assert wanted == [("teacher+prumerge", (4,)), ("teacher+tome", (4, 8))], (
        "one known point, to see that it is the same"
    )
    record = json.loads(older.read_text())
    assert record["rows"][:2] == before["rows"][:2] and ["how" in row for row in record["rows"]] == [
        True,
        True,
        False,
        False,
    ]
    (again,) = record["again"]
    assert again["arms"] == ["teacher+tome"] and again["environment"] == ENVIRONMENT
    assert {**record, "rows": 0, "again": 0} == {**before, "rows": 0, "again": 0}
    assert own.is_done(MERGING, 4) and own.work([(MERGING, 4)]) and len(asked) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record["rows"][0].update(right=[0, 1]), "answers 100.0% of the questions otherwise"),
        (lambda record: record["stages"][0].update(digest="other"), "stage ctd of its record is not that of this run"),
        (lambda record: record.update(manifest="other"), "its record is of another world than this run"),
    ],
)
def test_rows_of_another_run_are_not_put_into_a_record(
    runs: Path, records: Path, asked: list[str], older: Path, change: Callable[[Any], None], words: str
) -> None:
    record = json.loads(older.read_text())
    change(record)
    older.write_text(json.dumps(record))
    own = worker(runs, records, [MERGING])
    assert not own.work([(MERGING, 4)])
    assert words in own.failed["merging, seed 4"]
    assert json.loads(older.read_text()) == record
