"""Runs a verb of `liteframe` and times its batches: what `benchmarks/training.py` starts, for this code or older.

python benchmarks/training/step_probe.py STEPS.json [--flops] fit --config tiny/ctd.yaml ...

With `--flops` it counts the operations of each batch, and finds the least time that those could take (`floor_s`).
A batch lasts from the end of the one before it to its own end, so that loading it counts; `wait_s` of it is the time in
the loader's `next`, and `decoding_s` the CPU time of the processes that decode meanwhile. What it imports of liteframe
has been there, under one name or another, all along.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LOADERS = ("liteframe.data.loading.loader", "liteframe.data.loader")
_COMMANDS = ("liteframe.command.cli", "liteframe.cli")
_RUNTIMES = ("liteframe.system.runtime", "liteframe.runtime")


def _first_module(names: tuple[str, ...]) -> Any:
    """The first of the modules that this version of liteframe has."""
    for name in names:
        try:
            there = find_spec(name) is not None
        except ModuleNotFoundError:  # its package is not there either
            there = False
        if there:
            return importlib.import_module(name)
    raise SystemExit(f"liteframe has none of {', '.join(names)}")


# As the command does before torch is loaded, where this version does it at all.
getattr(_first_module(_RUNTIMES), "share_cores", lambda: None)()

import psutil  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import Callback, Trainer  # noqa: E402
from step_floor import Operations  # type: ignore[import-not-found] # noqa: E402 (beside this script)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402


class StepProbe(Callback):
    """Notes each batch: shape, seconds, seconds of waiting, and with `count_flops` the operations of its step.

    Attributes:
        steps: the batches.
        operations: of the last batch of each shape, where operations are counted.
    """

    def __init__(self, count_flops: bool) -> None:
        self.steps: list[dict[str, Any]] = []
        self.operations: dict[tuple[int, ...], Operations] = {}
        self._counting: tuple[Operations, FlopCounterMode] | None = None
        self._counts, self._waited, self._decoded, self._since = count_flops, 0.0, 0.0, time.perf_counter()

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; notes how long each was waited for."""
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - began
            yield batch

    def on_train_batch_start(self, *_: Any) -> None:
        if self._counts:
            # What the counter takes apart is noted in parts.
            self._counting = Operations(), FlopCounterMode(display=False)
            for mode in self._counting:
                mode.__enter__()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: dict[str, Any], *_: Any) -> None:
        shape = tuple(batch["frames_BTCHW"].shape[:2]) if "frames_BTCHW" in batch else (0, 0)
        flops = None
        if self._counting is not None:
            for mode in reversed(self._counting):
                mode.__exit__(None, None, None)
            self.operations[shape], counter = self._counting
            flops, self._counting = counter.get_total_flops(), None
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        decoded = _cpu_s_of_children()
        self.steps.append(
            {
                "shape": shape,
                "s": now - self._since,
                "wait_s": self._waited,
                "decoding_s": max(0.0, decoded - self._decoded),
                "flops": flops,
            }
        )
        self._since, self._waited, self._decoded = now, 0.0, decoded

    on_predict_batch_start, on_predict_batch_end = on_train_batch_start, on_train_batch_end


def _cpu_s_of_children() -> float:
    """Seconds of CPU time that the processes begun by this one have had, of those that have not ended."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True) if child.is_running()]
    return sum(each.user + each.system for each in times)


def main() -> int:
    output, *words = sys.argv[1:]
    counts = words[0] == "--flops"
    probe = StepProbe(counts)
    loader: Any = _first_module(_LOADERS).VideoLoader
    batches_of = loader.__iter__
    loader.__iter__ = lambda self: probe.timed(batches_of(self))
    run = Trainer._run

    def probed(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        self.callbacks.append(probe)  # type: ignore[attr-defined]
        return run(self, *args, **kwargs)

    Trainer._run = probed  # type: ignore[method-assign]
    code = _first_module(_COMMANDS).main(words[1:] if counts else words)
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    floors = {"{}x{}".format(*shape): operations.least_s() for shape, operations in probe.operations.items()}
    seen = {"steps": probe.steps, "floor_s": floors, "peak_mib": peak / 2**20}
    Path(output).write_text(json.dumps(seen), encoding="utf-8")
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
