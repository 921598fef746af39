"""Feeds damaged and hostile videos, lists, feature stores, checkpoints, model folders and configs to liteframe.

python benchmarks/fuzz.py --seed 1 --minutes 40 --out benchmarks/records/fuzz.json
python benchmarks/fuzz.py --seed 1 --only lists:17 --keep found      # one input again

Each input goes to what a command of a user would call, in a process that is killed at a deadline or when its memory
grows, and what comes of it is judged: `benchmarks/fuzz/outcome.py` says what outcomes there are. The exit code is 1
where any is bad.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

from fuzz.kinds import KINDS
from fuzz.run import Setting, Tally, fuzz, prepare, tasks_of
from liteframe.bench.environment import environment
from liteframe.system.atomic import atomic_write_json


def record_of(setting: Setting, tally: Tally, seconds: float) -> dict[str, Any]:
    """The record of a run."""
    return {
        "name": "fuzz",
        "seed": setting.seed,
        "inputs": sum(counts.total() for counts in tally.counts.values()),
        "minutes": round(seconds / 60, 1),
        "outcomes": {name: dict(counts) for name, counts in tally.counts.items()},
        "bad": tally.bad(),
        "environment": environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="another seed makes other inputs")
    parser.add_argument("--minutes", type=float, default=40.0, help="begin no new input after them")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of them, with commas between")
    parser.add_argument("--only", help="KIND:NUMBER, one input alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep bad inputs in")
    parser.add_argument("--out", type=Path, help="write the record here")
    options = parser.parse_args()
    names = [options.only.partition(":")[0]] if options.only else options.kinds.split(",")
    work = Path(tempfile.mkdtemp(prefix="liteframe-fuzz-"))
    keep = options.keep.resolve() if options.keep else None
    out = options.out.resolve() if options.out else None
    setting = Setting(options.seed, {name: KINDS[name] for name in names}, work, keep)
    started = time.monotonic()
    try:
        prepare(setting)
        tasks = tasks_of(setting, options.inputs)
        if options.only:
            tasks = iter([(names[0], int(options.only.partition(":")[2]))])
        tally = fuzz(setting, tasks, options.minutes, 1 if options.only else options.workers)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(tally.table())
    for fault in tally.bad():
        print(
            f"\n{fault['outcome']} x {fault['times']}: {fault['kind']}:{fault['inputs'][0]} ({fault['what']})"
            f"\n  {fault['where']} {fault['detail']}"
        )
    if out is not None:
        atomic_write_json(out, record_of(setting, tally, time.monotonic() - started))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
