"""`liteframe lmms-eval`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from liteframe.errors import ConfigError, DataError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import benchmark as benchmark_named
from liteframe.evaluation.prompts.prompt import prompt as prompt_named
from liteframe.evaluation.prompts.prompt import prompt_names
from liteframe.lmms_eval.task import document
from liteframe.system.own_folder import list_files, replace_folder

_TASKS = Path(__file__).parent / "tasks"
_PREFIX = "liteframe_"


def task_names() -> list[str]:
    """The benchmarks that lmms-eval has no task of, and liteframe has."""
    return sorted(path.stem.removeprefix(_PREFIX).replace("_", "-") for path in _TASKS.glob("*.yaml"))


def task_command(benchmark: str, data: str, folder: str, *, split: str | None = None, prompt: str | None = None) -> int:
    """Write a benchmark as a task that lmms-eval finds by --include_path.

    Args:
        benchmark: hlvid, tiny-world, or own for questions of your own; lmms-eval has the others itself.
        data: folder that the benchmark was downloaded to, and unpacked.
        folder: to write; the task in it, with its questions, is the data's as it is now.
        split: of the benchmark; by default its usual one.
        prompt: how questions are asked, such as liteframe or nvila; by default liteframe.
    """
    if benchmark not in task_names():
        raise ConfigError(f"no task {benchmark!r}; choose one of {', '.join(task_names())}")
    source = benchmark_named(benchmark)
    split = split or source.splits[0]
    asked = prompt_named(prompt or prompt_names(benchmark, split)[0], benchmark, split)
    root = Path(data).resolve()
    documents, left_out = [], 0
    for row in source.read(root, split):
        if isinstance(row, Question) and row.answer is not None:
            documents.append(document(root, row, asked))
            continue
        left_out += 1
        why = f"{row.where}: no answer is published" if isinstance(row, Question) else row.why
        print(f"liteframe: left out: {why}", file=sys.stderr)
    if not documents:
        raise DataError(f"{data}: no question of {benchmark} ({split}) has an answer")
    name = _PREFIX + benchmark.replace("-", "_")
    with replace_folder(folder) as part:
        shutil.copyfile(_TASKS / f"{name}.yaml", part / f"{name}.yaml")
        lines = [json.dumps(one, ensure_ascii=False) + "\n" for one in documents]
        (part / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
        list_files(part)
    told = f", {left_out} left out" if left_out else ""
    print(f"{len(documents)} questions{told}; ask them by:")
    print(f"python -m lmms_eval --model liteframe --tasks {name} --include_path {folder} --model_args pretrained=...")
    return 0
