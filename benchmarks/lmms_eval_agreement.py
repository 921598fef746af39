"""Compares what lmms-eval got from liteframe with what `liteframe evaluate` got, question by question.

liteframe lmms-eval tiny-world WORLD tasks/tiny-world
python -m lmms_eval --model liteframe --tasks liteframe_tiny_world --include_path tasks --log_samples \
    --output_path harness --model_args pretrained=EXPORT,frames=8
liteframe evaluate EXPORT --benchmark tiny-world --data WORLD --frames 8 --out own
python benchmarks/lmms_eval_agreement.py harness own --data WORLD --output benchmarks/records/lmms_eval.json

It fails where lmms-eval wrote nothing (which ends with 0 whatever happens), or where an answer or a score differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from liteframe.errors import DataError, LiteFrameError
from liteframe.evaluation.benchmarks.question import Question
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.prompts.prompt import prompt
from liteframe.evaluation.scoring.scores import Answer, readings
from liteframe.system.json_files import write_json

_PREFIX = "_samples_liteframe_"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def harness_run(folder: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """Benchmark, samples and results of the newest run of lmms-eval below a folder.

    Raises:
        DataError: lmms-eval wrote no samples there.
    """
    found = sorted(folder.rglob(f"*{_PREFIX}*.jsonl"), key=lambda path: path.name)
    if not found:
        raise DataError(f"{folder}: lmms-eval wrote no samples of liteframe's tasks; look at what it printed")
    stamp, _, task = found[-1].stem.partition(_PREFIX)
    results = json.loads((found[-1].with_name(f"{stamp}_results.json")).read_text(encoding="utf-8"))
    return task.replace("_", "-"), read_lines(found[-1]), results


def compare(harness: Path, own: Path, data: str) -> dict[str, Any]:
    """What both made of the questions that lmms-eval asked.

    Returns:
        ``questions``, ``same_prompts``, ``same_answers``, ``same_scores``; ``strict``, the accuracy of both by
        liteframe's rule; ``different``: the ids of questions in which anything differs; ``model_args``, of
        lmms-eval's run, but the folder; ``own_settings``, of our own.

    Raises:
        DataError: a question of lmms-eval's has no answer of our own.
    """
    name, samples, results = harness_run(harness)
    settings = json.loads((own / "evaluation.json").read_text(encoding="utf-8"))["settings"]
    asks = prompt(settings["prompt"]["name"], name, settings["split"])
    rows = benchmark(name).read(data, settings["split"])
    questions = {row.id: row for row in rows if isinstance(row, Question)}
    lines = [line for path in own.glob("answers*.jsonl") for line in read_lines(path)]
    answers = {line["question"]: line["answer"] for line in lines if line["status"] == "answered"}
    if absent := [sample["strict"]["id"] for sample in samples if sample["strict"]["id"] not in answers]:
        raise DataError(f"{own}: {len(absent)} of {len(samples)} questions have no answer, such as {absent[0]!r}")
    asked = [questions[sample["strict"]["id"]] for sample in samples]
    texts = {question.id: answers[question.id] for question in asked}
    read = readings(name, asked, {number: Answer(text) for number, text in texts.items()})["strict"]
    right = [question.answer in read[question.id].chosen for question in asked]
    pairs = list(zip(asked, samples, strict=True))
    same = {
        "same_prompts": [asks.ask(one).user == sample["input"] for one, sample in pairs],
        # lmms-eval takes the blanks around an answer away.
        "same_answers": [texts[one.id].strip() == sample["filtered_resps"].strip() for one, sample in pairs],
        "same_scores": [sample["strict"]["score"] == one for sample, one in zip(samples, right, strict=True)],
    }
    return {
        "benchmark": name,
        "questions": len(samples),
        **{key: sum(values) for key, values in same.items()},
        "strict": {
            "lmms-eval": results["results"][f"liteframe_{name.replace('-', '_')}"]["strict,none"],
            "liteframe": sum(right) / len(right),
        },
        "different": [one.id for one, *alike in zip(asked, *same.values(), strict=True) if not all(alike)],
        "model_args": results["config"]["model_args"].partition(",")[2],
        "own_settings": settings,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("harness", type=Path, help="--output_path of lmms-eval")
    parser.add_argument("own", type=Path, help="--out of liteframe evaluate, at one frame count")
    parser.add_argument("--data", required=True, help="folder of the benchmark")
    parser.add_argument("--output", help="file of the record")
    args = parser.parse_args()
    try:
        record = compare(args.harness, args.own, args.data)
    except LiteFrameError as error:
        print(f"liteframe: error: {error}", file=sys.stderr)
        return 1
    if args.output:
        write_json(args.output, record)
    print(json.dumps({key: value for key, value in record.items() if key != "own_settings"}, indent=1))
    return 1 if record["different"] or record["strict"]["lmms-eval"] != record["strict"]["liteframe"] else 0


if __name__ == "__main__":
    sys.exit(main())
