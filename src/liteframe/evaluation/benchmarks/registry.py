"""The benchmarks by name: how each is read, broken down and averaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from liteframe.errors import ConfigError
from liteframe.evaluation.benchmarks import (
    egoschema,
    hlvid,
    longvideobench,
    mlvu,
    mvbench,
    own,
    tiny_world,
    video_mme,
)
from liteframe.evaluation.benchmarks.data_folder import DataFolder
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.reading import named_apart


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: that the command line knows.
        title: as its authors write it.
        source: where it is published.
        splits: by name; the first is the usual one.
        groups: that results are broken down by.
        macro: the group over whose accuracies its authors average; None where their figure is the mean over questions.
        letters: that its options may have.
        subtitles: how they come into a prompt: those that overlap the frames, or between the frames; None for never.
        rows: of a folder and a split.
        averaged: split -> the values of `macro` that there are, of which a download may lack all questions.
    """

    name: str
    title: str
    source: str
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    macro: str | None
    letters: str
    subtitles: str | None
    rows: Callable[[DataFolder, str], Iterator[Question | Unusable]]
    averaged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def require_split(self, split: str) -> None:
        """Raises ConfigError, with the splits that there are, for another one."""
        if split not in self.splits:
            raise ConfigError(f"{self.name} has no split {split!r}; choose one of {', '.join(self.splits)}")

    def read(self, folder: str | os.PathLike[str], split: str | None = None) -> list[Question | Unusable]:
        """Every row of a split, as a question or as what is left out.

        Args:
            folder: that it was downloaded to, and unpacked.
            split: one of `splits`; by default the first.

        Raises:
            ConfigError: there is no such split, or Parquet cannot be read here.
            DataError: no list, a list that cannot be read at all, or not one question that can be asked.
        """
        split = self.splits[0] if split is None else split
        self.require_split(split)
        data = DataFolder(folder)
        rows = named_apart(self.rows(data, split))
        if not any(isinstance(row, Question) for row in rows):
            raise data.nothing_to_ask([row.why for row in rows if isinstance(row, Unusable)])
        return rows


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="video-mme",
            title="Video-MME",
            source="https://huggingface.co/datasets/lmms-lab/Video-MME",
            splits=("test",),
            groups=tuple(video_mme.GROUPS),
            macro=None,
            letters=video_mme.LETTERS,
            subtitles="overlapping",
            rows=video_mme.read,
        ),
        Benchmark(
            name="mlvu",
            title="MLVU",
            source="https://huggingface.co/datasets/MLVU/MVLU",
            splits=("dev", "test"),
            groups=("task",),
            macro="task",
            letters=mlvu.LETTERS,
            subtitles=None,
            rows=mlvu.read,
            averaged=mlvu.TASKS,
        ),
        Benchmark(
            name="longvideobench",
            title="LongVideoBench",
            source="https://huggingface.co/datasets/longvideobench/LongVideoBench",
            splits=("val", "test"),
            groups=("duration", "task", "topic"),
            macro=None,
            letters=longvideobench.LETTERS,
            subtitles="interleaved",
            rows=longvideobench.read,
        ),
        Benchmark(
            name="hlvid",
            title="HLVid",
            source="https://huggingface.co/datasets/bfshi/HLVid",
            splits=("test",),
            groups=("category",),
            macro=None,
            letters=hlvid.LETTERS,
            subtitles=None,
            rows=hlvid.read,
        ),
        Benchmark(
            name="mvbench",
            title="MVBench",
            source="https://huggingface.co/datasets/OpenGVLab/MVBench",
            splits=("test",),
            groups=("task",),
            macro="task",
            letters=mvbench.LETTERS,
            subtitles=None,
            rows=mvbench.read,
            averaged={"test": tuple(mvbench.TASKS)},
        ),
        Benchmark(
            name="egoschema",
            title="EgoSchema",
            source="https://huggingface.co/datasets/lmms-lab/egoschema",
            splits=("subset", "test"),
            groups=(),
            macro=None,
            letters=egoschema.LETTERS,
            subtitles=None,
            rows=egoschema.read,
        ),
        Benchmark(
            name="own",
            title="questions of one's own",
            source="a manifest with `questions`",
            splits=("test", "val", "train"),
            groups=("type",),
            macro=None,
            letters=own.LETTERS,
            subtitles=None,
            rows=own.read,
        ),
        Benchmark(
            name="tiny-world",
            title="the tiny world",
            source="liteframe synth",
            splits=("test", "val", "train"),
            groups=("type",),
            macro=None,
            letters=tiny_world.LETTERS,
            subtitles=None,
            rows=tiny_world.read,
        ),
    )
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises ConfigError with the names that there are."""
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
