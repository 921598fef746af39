"""Stages run one after another in one process; what one leaves behind must not reach the next."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]


@contextmanager
def isolated(seed: int, variables: dict[str, str] | None = None) -> Iterator[None]:
    """Runs the body from one fixed state of the process and puts back what it changed.

    Seeds Python, NumPy and torch first (so a stage does the same whether or not others ran before it in this process),
    and afterwards restores environment, signal handlers, warning filters, threads, precision and determinism of torch,
    ends a process group, and frees what the stage held.

    Args:
        seed: for all random number generators.
        variables: environment variables that hold in the body.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)

    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    threads, default_dtype = torch.get_num_threads(), torch.get_default_dtype()
    grad = torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    precision = torch.get_float32_matmul_precision()
    os.environ.update(variables or {})
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)
        torch.set_default_dtype(default_dtype)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision(precision)
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close("all")
        gc.collect()
