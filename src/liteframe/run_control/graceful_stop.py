"""The callback that ends a run without losing what it did: on SIGTERM, on Ctrl-C, and when a rank freezes or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from liteframe.errors import DivergedError, LiteFrameError, as_one_line
from liteframe.run_control import stop_signals
from liteframe.run_control.ranks import Ranks
from liteframe.run_control.saving import LastStep
from liteframe.run_control.stop_signals import Stopped, StopSignals, say

DEFAULT_LIMIT_S = 40.0
_LOOK_S, _CHILD_GRACE_S, _SAVE_S = 0.5, 8.0, 10.0
_TOLD_S = 3.0
"""Seconds in which the other ranks hear that one has said why it ends."""
_GAVE_UP = "ending the run"
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)


class GracefulStop(Callback):
    """Stops at the end of a step where a signal asked for it, and says what was kept and how to go on.

    Training saves a checkpoint first; under several ranks all stop after the same step, whichever of them was asked.
    Predicting lets the stage write what it has gathered (its `save_progress`). Where the end of a step does not come,
    because a collective waits, rank 0 saves the last whole step from another thread and the process ends.

    Args:
        rank_timeout_s: seconds without a sign of life after which another rank counts as frozen, and the run ends with
            that reason. If given, also the seconds after which ranks that live but get nowhere count as stalled.
    """

    def __init__(self, rank_timeout_s: float | None = None) -> None:
        self._limit_s, self._stall_s = rank_timeout_s or DEFAULT_LIMIT_S, rank_timeout_s
        self._ranks: Ranks | None = None
        self._last: LastStep | None = None
        self._step = 0
        self._in_steps = False
        self._signals = StopSignals()
        self.begun = False
        """Whether the first loop has begun, so that everything before it is done."""
        self.kept = self.heard_of_others = ""
        """After an exception: what is on disk, and what was last heard of the other ranks."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size == 1 or "MASTER_ADDR" not in os.environ:
            return
        try:
            self._ranks = Ranks(trainer.global_rank, trainer.world_size, self._limit_s, self._stall_s)
        except RuntimeError as error:
            say(f"ranks do not watch each other: {str(error).splitlines()[0]}")
            return
        guard = threading.Thread(target=self._guard_ranks, args=(trainer, self._ranks), daemon=True)
        guard.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close_ranks(failed=False)
        self._signals.last_words = lambda: ""  # which would keep the trainer for as long as the process lives

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)
        self._enter_steps("starting to train")
        self._last = LastStep(trainer)
        self._step = trainer.global_step
        self._signals.save = self._save_alone

    def on_train_batch_start(self, *_: Any) -> None:
        self._advance("in a training step")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._advance("waiting for data")
        if trainer.global_step == self._step:
            return  # gradients are still being accumulated
        self._step = trainer.global_step
        assert self._last is not None
        self._last.note()
        number = self._asked_after(self._step)
        if number is not None:
            if self._last.saved_step != self._step:
                self._last.save_with_all_ranks()
            self._leave(trainer, number)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._last is not None:
            self._last.set_back(checkpoint)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._advance("validating")
        if self._signals.requested is None or (self._last is not None and not self._last.saves_alone):
            return  # weights that are shared out are saved after the next step, by all ranks
        self._save_alone()
        self._stop_alone(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last steps are saved by now, which the export that follows may take long after."""
        if self._signals.requested is not None:
            self._leave(trainer, self._signals.requested)
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last is None and not trainer.sanity_checking:
            self._begin(trainer)
        self._enter_steps("validating")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)
        self._enter_steps("at work")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer)

    def on_test_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._stop_alone(trainer)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._stop_alone(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._last is None and not trainer.sanity_checking:
            self._end()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, (Stopped, DivergedError)):
            self._save_alone()
        if self._ranks is not None:
            others = [rank for rank in range(trainer.world_size) if rank != trainer.global_rank]
            # An error of torch's is often that another rank is gone, which shows a moment later.
            of_torch = isinstance(exception, RuntimeError) and not isinstance(exception, LiteFrameError)
            self.heard_of_others = self._ranks.describe((of_torch and self._ranks.lost()) or others)
        self.kept = self._kept(trainer)
        self._end()
        self._close_ranks(failed=not isinstance(exception, Stopped))

    def _begin(self, trainer: Trainer) -> None:
        self.begun = True
        self._signals = stop_signals.current or StopSignals()
        self._signals.claim()  # Lightning has put its own there, which broadcasts from inside the handler
        self._signals.deferring = True
        self._signals.last_words = lambda: self._kept(trainer)

    def _end(self) -> None:
        self._signals.deferring, self._signals.save, self._last = False, None, None
        self._in_steps = False

    def _close_ranks(self, failed: bool) -> None:
        if self._ranks is not None:
            self._ranks.close(failed)
        self._ranks = None

    def _advance(self, doing: str) -> None:
        if self._ranks is not None:
            self._ranks.advance(doing)

    def _enter_steps(self, doing: str) -> None:
        """From now on a rank that gets nowhere is stuck: what comes before may take its time."""
        self._advance(doing)
        self._in_steps = True

    def _asked_after(self, step: int) -> int | None:
        if self._ranks is None:
            return self._signals.requested
        return self._ranks.agree_to_stop(step, self._signals.requested)

    def _stop_alone(self, trainer: Trainer) -> None:
        """Where steps have nothing in common, each rank stops after its own."""
        self._advance("at work")
        if self._signals.requested is None:
            return
        if self._ranks is not None:
            self._ranks.ask_to_stop(self._signals.requested)
        save: Any = getattr(trainer.lightning_module, "save_progress", None)
        if save is not None and trainer.predicting:
            save()
        self._leave(trainer, self._signals.requested)

    def _leave(self, trainer: Trainer, number: int) -> None:
        self._signals.obeyed = True
        if trainer.is_global_zero:
            say(f"stopped by {signal.Signals(number).name}. {self._kept(trainer)}")
        raise Stopped(number)

    def _save_alone(self) -> None:
        try:
            if self._last is not None:
                self._last.save_alone()
        except Exception as error:  # nothing may keep the process from ending
            say(f"the last step cannot be saved: {as_one_line(str(error))}")

    def _kept(self, trainer: Trainer) -> str:
        """What is on disk, and how to go on."""
        if trainer.predicting:
            return "What was written is kept; the same command goes on from there"
        if trainer.state.fn != TrainerFn.FITTING:
            return "Nothing is kept of a measurement; run it again"
        path = (self._last or LastStep(trainer)).path()
        if path is None or not path.is_file():
            return "No checkpoint was written (enable_checkpointing is off, or the first step was not done)"
        known = self._last is not None and self._last.saved_step is not None
        step = f"after step {self._last.saved_step}" if self._last is not None and known else "the last one written"
        return f"Kept: {path} ({step}). The same command with --ckpt_path last goes on from there"

    def watch_children(self, trainer: Trainer, children: list[subprocess.Popen[bytes]]) -> None:
        """Ends this process, with the reason, when a rank that it started has failed; stops it when one was stopped."""
        if stop_signals.current is not None:
            stop_signals.current.last_words = lambda: "The first step was not begun; the same command begins again"
        guard = threading.Thread(target=self._guard_children, args=(trainer, children), daemon=True)
        guard.start()

    def _guard_children(self, trainer: Trainer, children: list[subprocess.Popen[bytes]]) -> None:
        while True:
            time.sleep(_LOOK_S)
            codes = {rank: child.poll() for rank, child in enumerate(children, start=1)}
            if all(code == 0 for code in codes.values()):
                return
            if stopped := [code for code in codes.values() if code in _STOPPED]:
                signals = stop_signals.current
                if signals is not None and signals.requested is None:
                    signals.end_as(stopped[0] - 128)
                return
            if dead := {rank: code for rank, code in codes.items() if code}:
                time.sleep(_CHILD_GRACE_S)  # this rank's own error may be on its way, and says more
                known = self._ranks.describe(list(dead)) if self._ranks is not None else f"ranks {list(dead)}"
                self._give_up(trainer, f"{known} ended with code {', '.join(map(str, dead.values()))}", list(dead))

    def _guard_ranks(self, trainer: Trainer, ranks: Ranks) -> None:
        """Watches the others while this rank may be stuck."""
        while ranks is self._ranks:
            time.sleep(_LOOK_S)
            if ranks.stop_asked is not None:
                self._signals.request(ranks.stop_asked)
            if frozen := ranks.frozen():
                advice = "frozen, or the host or the network to it is gone (limit: --rank_timeout_s)"
                reason = f"no sign of life for {ranks.limit_s:g} s of {ranks.describe(frozen)}: {advice}"
                self._give_up(trainer, reason, frozen)
            if self._in_steps and ranks.stalled():
                everybody = ranks.describe(range(ranks.world_size))
                reason = f"no rank has got anywhere for {ranks.stall_s:g} s (--rank_timeout_s): {everybody}"
                self._give_up(trainer, reason, [])

    def _give_up(self, trainer: Trainer, reason: str, missing: list[int]) -> None:
        saving = threading.Thread(target=self._save_alone, daemon=True)
        saving.start()
        saving.join(_SAVE_S)  # on a device that a collective keeps busy it may never end
        if trainer.global_rank == min(_of_this_host(trainer) - set(missing)):  # each host may have a log of its own
            say(f"error: {reason}. {self._kept(trainer)}")
            self._advance(_GAVE_UP)
            time.sleep(_TOLD_S)
        else:
            self._wait_for_words(trainer, missing)
        for child in getattr(trainer.strategy.launcher, "procs", []):
            child.kill()
        os._exit(1)

    def _wait_for_words(self, trainer: Trainer, missing: list[int]) -> None:
        """The rank that says it must not lose its connection before, nor the one that saves."""
        speakers = {0, min(_of_this_host(trainer) - set(missing))} - set(missing)
        # Without rank 0 nobody saves, and the store may not answer.
        end = time.monotonic() + (_TOLD_S if 0 in missing else _SAVE_S + _CHILD_GRACE_S)
        while time.monotonic() < end and not all(self._has_spoken(rank) for rank in speakers):
            time.sleep(_LOOK_S)

    def _has_spoken(self, rank: int) -> bool:
        return self._ranks is None or _GAVE_UP in self._ranks.describe([rank])


def _of_this_host(trainer: Trainer) -> set[int]:
    first = trainer.global_rank - trainer.local_rank
    return set(range(first, min(first + trainer.num_devices, trainer.world_size)))
