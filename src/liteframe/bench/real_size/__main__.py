"""``python -m liteframe.bench.real_size``: `latency_command` where the ``liteframe`` command cannot run."""

from __future__ import annotations

import argparse
import sys

from liteframe.bench.real_size.command import latency_command
from liteframe.errors import LiteFrameError
from liteframe.system.runtime import tune_malloc


def main(args: list[str] | None = None) -> int:
    """Parse, run, and say an error of ours in one line."""
    parser = argparse.ArgumentParser(prog="python -m liteframe.bench.real_size", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--size", default="real", help="real or tiny")
    parser.add_argument("--out", help="file of the record")
    parser.add_argument("--budget_s", type=float, help="seconds that the run may take")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights and frames")
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"), help="of all weights")
    try:
        tune_malloc()
        return latency_command(**vars(parser.parse_args(args)))
    except LiteFrameError as error:
        print(f"liteframe: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
