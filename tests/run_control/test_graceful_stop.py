"""Signals, frozen ranks and dead ranks end a run with a reason, and what it did is kept to the step."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, SingleDeviceStrategy
from short_patience import lose_patience

from forked_command import run_command
from liteframe.command.lightning_cli import import_stages
from liteframe.run_control.graceful_stop import GracefulStop
from liteframe.run_control.saving import LastStep
from liteframe.run_control.stop_signals import Stopped
from liteframe.system.checkpoint_io import read_checkpoint
from toy_stage import write_toy_config

SCRIPT = Path(__file__).with_name("short_patience.py")
STEPS, AT = 10, 2
QUIET = ("--trainer.callbacks=null", "--trainer.logger=false")
import_stages()


class Run:
    """The command in a process group of its own, at a toy stage that takes its time.

    Both ranks are forked from this process, which has imported everything.

    Args:
        fresh: let Lightning start the second rank as it does for users, from `SCRIPT`.
    """

    def __init__(
        self,
        folder: Path,
        verb: str = "fit",
        ranks: int = 1,
        slow: float = 0.2,
        args: tuple[str, ...] = (),
        fresh: bool = False,
    ):
        self.folder, self.forks_rank_1 = folder, ranks > 1 and not fresh
        words = [verb, "--config", str(write_toy_config(folder, slow=slow)), "--trainer.default_root_dir=run", *QUIET]
        words += [f"--trainer.devices={ranks}", *([f"--trainer.max_steps={STEPS}"] if verb == "fit" else [])]
        words += ["--trainer.strategy=ddp"] if ranks > 1 else []
        self._start([*words, *args])

    @classmethod
    def of_pipeline(cls, folder: Path) -> Run:
        """The same fit as the one stage of a recipe."""
        run = object.__new__(cls)
        run.folder, run.forks_rank_1 = folder, False
        config = str(write_toy_config(folder, slow=0.2))
        args = [*QUIET, f"--trainer.max_steps={STEPS}"]
        stage = {"name": "run", "verb": "fit", "config": config, "args": args}
        (folder / "toy-recipe.yaml").write_text(json.dumps({"stages": [stage]}), encoding="utf-8")
        run._start(["pipeline", "toy-recipe.yaml", "--allow-code", "--run=."])
        return run

    def _start(self, words: list[str]) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=self._main, args=(words,))
        self.process.start()

    def _main(self, words: list[str]) -> None:
        os.setsid()
        os.chdir(self.folder)
        said = os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(said, number)
        for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
            os.environ.pop(name, None)
        lose_patience()
        run_command(words, str(SCRIPT), self.forks_rank_1)

    @property
    def said(self) -> str:
        return (self.folder / "stderr.txt").read_text(encoding="utf-8")

    def pid(self, rank: int = 0, at: int = AT, doing: str = "rank") -> int:
        """Process id of a rank, once it has done step `at`."""
        note = self.folder / "run" / f"{doing}{rank}.txt"
        while True:
            words = note.read_text(encoding="utf-8").split() if note.is_file() else []
            if len(words) == 2 and int(words[1]) >= at:
                return int(words[0])
            assert self.process.is_alive(), self.said
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Exit code and what was said."""
        self.process.join(100)
        if self.process.is_alive():
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        return int(self.process.exitcode or 0), self.said


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run" / "result.json").read_text(encoding="utf-8")))


def kept_step(folder: Path) -> int:
    return int(read_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")["global_step"])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Weights of a run that was left alone."""
    folder = tmp_path_factory.mktemp("straight")
    assert Run(folder, slow=0.0).end()[0] == 0
    return list(result(folder)["weight"])


def go_on(folder: Path) -> dict[str, Any]:
    code, said = Run(folder, slow=0.0, args=("--ckpt_path=last",)).end()
    assert code == 0, said
    return result(folder)


def to_main(run: Run) -> None:
    os.kill(run.pid(), signal.SIGTERM)


def to_group(run: Run) -> None:
    os.killpg(run.pid(), signal.SIGTERM)


def to_rank_1(run: Run) -> None:
    os.kill(run.pid(rank=1), signal.SIGTERM)


@pytest.mark.parametrize(("ranks", "send"), [(1, to_main), (1, to_group), (2, to_main), (2, to_rank_1), (2, to_group)])
def test_sigterm_saves_the_last_step_and_a_resumed_run_ends_the_same(
    tmp_path: Path, straight: list[float], ranks: int, send: Callable[[Run], None]
) -> None:
    run = Run(tmp_path, ranks=ranks, fresh=send is to_group)
    run.pid()
    send(run)
    code, said = run.end()
    assert code == 143, said
    step = kept_step(tmp_path)
    assert AT < step < STEPS and f"last.ckpt (after step {step})" in said and "--ckpt_path last" in said
    resumed = go_on(tmp_path)
    assert resumed["first_step"] == step and resumed["weight"] == straight


def test_ctrl_c_says_what_was_kept_and_how_to_go_on(tmp_path: Path, straight: list[float]) -> None:
    run = Run(tmp_path)
    os.kill(run.pid(), signal.SIGINT)
    code, said = run.end()
    assert code == 130, said
    assert f"(after step {kept_step(tmp_path)})" in said and "--ckpt_path last" in said
    assert go_on(tmp_path)["weight"] == straight


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path, slow=0.2)
    main = run.pid()
    os.kill(main, signal.SIGSTOP)  # so that both come within one step
    for _ in range(2):
        os.kill(main, signal.SIGINT)
    os.kill(main, signal.SIGCONT)
    os.kill(main, signal.SIGINT)
    assert run.end()[0] == 130


def test_a_step_without_end_is_saved_as_it_was_before(tmp_path: Path, straight: list[float]) -> None:
    run = Run(tmp_path, ranks=2)
    main, other = run.pid(0), run.pid(1)
    os.kill(other, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(main, signal.SIGTERM)
    code, said = run.end()
    assert code == 143, said
    step = kept_step(tmp_path)
    assert step >= AT and "ended while it was waiting" in said
    loops = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["loops"]
    assert loops["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == step  # not the step that has no end
    assert go_on(tmp_path)["weight"] == straight


def test_a_frozen_rank_ends_the_run_with_the_reason(tmp_path: Path, straight: list[float]) -> None:
    run = Run(tmp_path, ranks=2, args=("--rank_timeout_s=4",))
    other = run.pid(1)
    os.kill(other, signal.SIGSTOP)
    code, said = run.end()
    assert code == 1, said
    assert f"no sign of life for 4 s of rank 1 (pid {other} on " in said and "--ckpt_path last" in said
    assert go_on(tmp_path)["weight"] == straight


def test_a_frozen_main_rank_ends_the_others(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=2, args=("--rank_timeout_s=4",))
    main, other = run.pid(0), run.pid(1)
    os.kill(main, signal.SIGSTOP)
    while _is_alive(other):
        time.sleep(0.05)
    os.kill(main, signal.SIGKILL)
    assert "no sign of life for 4 s of rank 0" in run.end()[1]


def test_a_killed_rank_ends_the_run_with_the_reason(tmp_path: Path, straight: list[float]) -> None:
    run = Run(tmp_path, ranks=2)
    other = run.pid(1)
    os.kill(other, signal.SIGKILL)
    code, said = run.end()
    assert code == 1
    assert "Traceback" not in said and f"rank 1 (pid {other} on " in said and "--ckpt_path last" in said
    assert kept_step(tmp_path) >= AT, "the steps since the last checkpoint are kept"
    assert go_on(tmp_path)["weight"] == straight


def test_a_pipeline_keeps_the_last_step_of_its_stage(tmp_path: Path, straight: list[float]) -> None:
    run = Run.of_pipeline(tmp_path)
    os.kill(run.pid(), signal.SIGTERM)
    code, said = run.end()
    assert code == 143, said
    assert kept_step(tmp_path) > AT
    code, said = Run.of_pipeline(tmp_path).end()
    assert code == 0, said
    assert result(tmp_path)["weight"] == straight


def test_predict_writes_what_it_has_gathered_and_ends(tmp_path: Path) -> None:
    run = Run(tmp_path, verb="predict")
    os.kill(run.pid(at=2), signal.SIGTERM)
    code, said = run.end()
    assert code == 143, said
    assert (tmp_path / "run" / "saved0.txt").is_file() and "the same command goes on" in said


@pytest.mark.parametrize("ranks", [1, 2])
def test_sigterm_ends_an_evaluation(tmp_path: Path, ranks: int) -> None:
    run = Run(tmp_path, verb="test", ranks=ranks)
    os.kill(run.pid(at=2), signal.SIGTERM)
    code, said = run.end()
    assert code == 143 and "stopped by SIGTERM. Nothing is kept of a measurement" in said, said


@pytest.mark.parametrize("ranks", [1, 2])
def test_sigterm_in_validation_keeps_the_steps_before_it(tmp_path: Path, straight: list[float], ranks: int) -> None:
    run = Run(tmp_path, ranks=ranks, args=("--data.validate=true", f"--trainer.val_check_interval={AT}"))
    os.kill(run.pid(at=2, doing="validating"), signal.SIGTERM)
    code, said = run.end()
    assert code == 143 and "stopped by SIGTERM. Kept" in said, said
    assert kept_step(tmp_path) == AT
    assert go_on(tmp_path)["weight"] == straight


IN_VALIDATION = {
    "fit": ("--data.validate=true", f"--trainer.val_check_interval={AT}", "--trainer.num_sanity_val_steps=0"),
    "sanity check": ("--data.validate=true", "--trainer.num_sanity_val_steps=4"),
    "validate": ("--data.validate=true",),
}


@pytest.mark.parametrize("when", IN_VALIDATION)
def test_ranks_that_wait_for_each_other_in_validation_end_with_the_reason(tmp_path: Path, when: str) -> None:
    verb = "validate" if when == "validate" else "fit"
    run = Run(tmp_path, verb, ranks=2, args=("--model.waits=true", "--rank_timeout_s=4", *IN_VALIDATION[when]))
    code, said = run.end()
    assert code == 1, said
    assert "no rank has got anywhere for 4 s" in said and "rank 0 (pid" in said and "validating" in said
    if when == "fit":
        assert kept_step(tmp_path) == AT


def test_sigterm_ends_a_validation_that_waits(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=2, args=("--model.waits=true", *IN_VALIDATION["fit"]))
    main, other = run.pid(at=2, doing="validating"), run.pid(1, at=2, doing="validating")
    time.sleep(0.5)
    os.kill(main, signal.SIGTERM)
    code, said = run.end()
    assert code == 143 and "ended while it was waiting" in said, said
    assert kept_step(tmp_path) == AT
    _wait_for_the_end(other)


@pytest.mark.parametrize(
    ("verb", "to", "number"),
    [("fit", "group", signal.SIGINT), ("predict", "main", signal.SIGINT), ("fit", "rank 1", signal.SIGTERM)],
)
def test_a_signal_while_the_ranks_still_meet_ends_them_as_it_would_one(
    tmp_path: Path, verb: str, to: str, number: int
) -> None:
    run = Run(tmp_path, verb, ranks=2, slow=0.0, args=("--model.late=true",))
    late = tmp_path / "late.txt"
    while not (late.is_file() and late.read_text(encoding="utf-8").endswith(" ")):
        time.sleep(0.1)
    time.sleep(2)
    main, other = run.process.pid or 0, int(late.read_text(encoding="utf-8"))
    if to == "group":
        os.killpg(main, number)
    else:
        os.kill(main if to == "main" else other, number)
    code, said = run.end()
    assert code == 128 + number, said
    assert "the same command begins again" in said and "Traceback" not in said
    _wait_for_the_end(other)
    again = Run(tmp_path, verb, ranks=2, slow=0.0, args=("--model.late=false",))
    assert again.end()[0] == 0, again.said


def test_only_this_machine_can_reach_the_rendezvous(tmp_path: Path) -> None:
    run = Run(tmp_path, ranks=2)
    pids = {run.pid(0), run.pid(1)}
    listening = _listening(pids)
    to_main(run)
    run.end()
    assert listening and all(address == "0100007F" for address in listening)


def _wait_for_the_end(pid: int) -> None:
    for _ in range(600):
        if not _is_alive(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} lives on")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _listening(pids: set[int]) -> list[str]:
    """Local addresses, in the kernel's hexadecimal, of the TCP sockets that these processes listen on."""
    links = [os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append(fields[1].partition(":")[0])
    return found


def test_the_toy_really_depends_on_its_steps(straight: list[float]) -> None:
    assert torch.tensor(straight).abs().min() > 0


@pytest.mark.parametrize(("strategy", "stops"), [(SingleDeviceStrategy, True), (ModelParallelStrategy, False)])
def test_in_validation_only_what_one_rank_can_save_is_stopped(strategy: type, stops: bool) -> None:
    """Weights that are shared out would be lost since the last checkpoint: they are saved after the next step."""
    trainer = MagicMock()
    trainer.strategy = MagicMock(spec=strategy)
    trainer.checkpoint_callbacks = []
    stopping = GracefulStop()
    stopping._signals.requested = signal.SIGTERM
    stopping._last = LastStep(trainer)
    with pytest.raises(Stopped) if stops else nullcontext():
        stopping.on_validation_batch_end(trainer)
