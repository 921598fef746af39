"""Evaluations of small models, decoded in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

from liteframe.command import cli
from liteframe.data.decoding.processes.job import load_function
from liteframe.errors import DecodeError
from liteframe.evaluation.subject_loading import load_subject
from tiny_world import InProcessPool, home, lma_run_folder, manifest

loaded_once = lru_cache(load_subject)


class Pool(InProcessPool):
    def call(self, calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        for index, (_, function, arguments) in enumerate(calls):
            try:
                yield index, load_function(function)(*arguments)
            except DecodeError as error:
                yield index, error


@contextmanager
def decoding_in_process() -> Iterator[None]:
    with mock.patch("liteframe.evaluation.frames.DecodePool", Pool):
        yield


def world() -> Path:
    """Data folder of the tiny world's test split: three videos, twelve questions."""
    return manifest("test").parent


def evaluate(*words: object, model: object = None) -> int:
    """Runs `liteframe evaluate` on the tiny world; more words say otherwise."""
    with decoding_in_process(), mock.patch("liteframe.evaluation.subject_loading.load_subject", loaded_once):
        usual = [model or lma_run_folder(), "--benchmark", "tiny-world", "--data", world(), "--frames", "8,13"]
        return cli.main(["evaluate", *map(str, [*usual, *words])])


def lines(out: Path) -> list[dict[str, Any]]:
    """Every line of every part."""
    found = sorted(out.glob("answers*.jsonl"))
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]


def report(out: Path) -> dict[str, Any]:
    """`report.json`."""
    return dict(json.loads((out / "report.json").read_text()))


def whole() -> Path:
    """An evaluation that nothing interrupted, made once."""
    out = home() / "whole-evaluation"
    if not out.exists():
        assert evaluate("--out", out) == 0
    return out


def copied_world(folder: Path) -> Path:
    """A copy of the data, to be damaged."""
    shutil.copytree(world(), folder)
    return folder


def sorted_lines(out: Path) -> list[str]:
    """Lines in an order that does not depend on who wrote them when."""
    return sorted(json.dumps(line) for line in lines(out))
