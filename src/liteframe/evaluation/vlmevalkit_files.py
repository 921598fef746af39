"""Results as VLMEvalKit writes them: a table of its dataset's columns and `prediction`, which its `evaluate` reads.

Columns, names and order are those of its data sets, from the commit that `prompts.toml` names: `generate_tsv` and
`infer_data_job_video` there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from liteframe.errors import DataError
from liteframe.evaluation.benchmarks import mlvu, mvbench
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import benchmark
from liteframe.evaluation.report import read_report
from liteframe.evaluation.results import ResultFolder, answers_of, require_same_questions
from liteframe.system.atomic import atomic_write_text

NO_ANSWER = "-"
"""Stands for the answer that a question did not get: a text that VLMEvalKit counts as wrong in every data set."""
_READ_AS_MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""Texts that pandas reads as no text at all."""
Row = dict[str, Any]


class Lacking(NamedTuple):
    """Rows of the list that are in a file without an answer of the model, and rows that are not in it."""

    unanswered: int
    left_out: int


def _video_mme(row: Mapping[str, Any], index: int) -> Row:
    video = row["videoID"]
    return {
        "index": index,
        "video": video,
        "video_path": f"./video/{video}.mp4",
        "duration": row["duration"],
        "domain": row["domain"],
        "candidates": row["options"],
        "sub_category": row["sub_category"],
        "task_type": row["task_type"],
        "subtitle_path": f"./subtitle/{video}.srt",
        "question": row["question"],
        "answer": row["answer"],
    }


def _mlvu(row: Mapping[str, Any], index: int) -> Row:
    task = mlvu.SAME_TASK.get(row["question_type"], row["question_type"])
    return {
        "task_type": task,
        "prefix": f"./MLVU/video/{mlvu.FOLDER_OF[task]}",
        **{name: row[name] for name in ("duration", "video", "question", "answer", "candidates")},
        "index": index,
    }


def _longvideobench(row: Mapping[str, Any], index: int) -> Row:
    ours = {"video_path": f"./videos/{row['video_path']}", "index": index, "video": row["video_id"]}
    return {**row, "correct_choice": row["correct_choice"], "candidates": row["candidates"], **ours}


def _mvbench(row: Mapping[str, Any], index: int) -> Row:
    asked = {name: row[name] for name in ("video", "question", "answer", "candidates")}
    if "root" in row:
        return {"task_type": row["task"], "prefix": row["root"], **asked, "index": index}
    task = row["task"]
    return {
        "task_type": task.replace("_", " ").title().replace("Fine Grained", "Fine-grained"),
        "prefix": f"video/{mvbench.TASKS[task][0]}/",
        "data_type": "frame" if task == "episodic_reasoning" else "video",
        "bound": task in mvbench.CUT,
        "start": row.get("start"),
        "end": row.get("end"),
        **asked,
        "index": index,
    }


_ROWS: dict[tuple[str, str], Callable[[Mapping[str, Any], int], Row]] = {
    ("video-mme", "test"): _video_mme,
    ("mlvu", "dev"): _mlvu,
    ("longvideobench", "val"): _longvideobench,
    ("mvbench", "test"): _mvbench,
}
_DATASETS = {"video-mme": "Video-MME", "mlvu": "MLVU_MCQ", "longvideobench": "LongVideoBench", "mvbench": "MVBench"}


def write_vlmevalkit(results: str | Path, model: str, out: str | Path, data: str | None = None) -> dict[Path, Lacking]:
    """Writes ``OUT/MODEL/MODEL_DATASET.tsv`` for each frame count, where VLMEvalKit would.

    A row stands for each row of the list that has a key and what VLMEvalKit reads, in its order and with its `index`,
    which counts all rows; one that the model did not answer has `NO_ANSWER`.

    Args:
        results: folder of a finished evaluation.
        model: name for the files.
        out: folder to write to.
        data: folder of the benchmark; by default the one that was evaluated.

    Returns:
        the files, and what each lacks.

    Raises:
        DataError: VLMEvalKit has no such data set, or reads another list of it; answers that were not written; a file
            that is there already and says something else.
    """
    settings = read_report(results)["settings"]
    name, split = settings["benchmark"], settings["split"]
    _require_whole(str(results), settings)
    rows = benchmark(name).read(data or ResultFolder(results).record()["data"], split)
    lines, questions = ResultFolder(results).lines(), [row for row in rows if isinstance(row, Question)]
    require_same_questions(lines, rows, str(results))
    # The branch "video" of MVBench has a list of its own, and VLMEvalKit a data set.
    cut = name == "mvbench" and any("root" in row.row for row in rows)
    if name == "mvbench" and not cut:
        rows = sorted(rows, key=lambda row: list(mvbench.TASKS).index(row.row["task"]))
    written = {}
    for count in settings["frames"]:
        answers, _ = answers_of(lines, questions, count)
        texts = {question: answer.text for question, answer in answers.items() if answer.text is not None}
        table = _table(rows, _ROWS[name, split], texts, str(results))
        dataset = f"{_DATASETS[name]}{'_MP4' * cut}_{count}frame{'_subs' * settings['subtitles']}"
        path = Path(out, model, f"{model}_{dataset}.tsv")
        _write_new(path, _as_tsv(table))
        unanswered = len(table) - sum(row.id in texts and row.answer is not None for row in questions)
        written[path] = Lacking(unanswered, len(rows) - len(table))
    return written


def _require_whole(results: str, settings: Mapping[str, Any]) -> None:
    name, split = settings["benchmark"], settings["split"]
    if (name, split) not in _ROWS:
        known = ", ".join(f"{each} ({of})" for each, of in _ROWS)
        raise DataError(f"{results}: VLMEvalKit has no data set for {name} ({split}), but for {known}")
    if settings["limit"] is not None:
        raise DataError(
            f"{results}: was asked {settings['limit']} rows alone, and VLMEvalKit counts all; evaluate without --limit"
        )
    if settings["answer"] != "generate":
        raise DataError(
            f"{results}: holds logits and no words, which VLMEvalKit reads; evaluate with --answer generate"
        )


def _table(
    rows: Sequence[Question | Unusable],
    as_row: Callable[[Mapping[str, Any], int], Row],
    texts: Mapping[str, str],
    results: str,
) -> list[Row]:
    table: list[Row] = []
    for index, row in enumerate(rows):
        if isinstance(row, Question) and row.answer is None:
            continue
        try:
            fields = _cells(as_row(row.row, index))
        except (KeyError, ValueError, TypeError) as error:
            if row.id in texts:
                raise DataError(
                    f"{results}: {row.where}: VLMEvalKit reads other fields than this row has ({error}); evaluate from"
                    " the list that it reads, see docs/evaluation.md"
                ) from error
            continue
        said = texts.get(row.id, NO_ANSWER)
        # A space more, or pandas would lose it.
        table.append({**fields, "prediction": f"{said} " if said in _READ_AS_MISSING else said})
    if not table:
        raise DataError(f"{results}: not one row with a key and what VLMEvalKit reads; give the list that it reads")
    return table


def _cells(row: Row) -> Row:
    """Values as pandas writes them. Raises TypeError and KeyError for what VLMEvalKit cannot read.

    It runs the text of the options as code, so that it may be nothing but a list of texts.
    """
    options = row["candidates"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise TypeError(f"'candidates' is {options!r:.80}, not a list of texts")
    cells = {name: "" if value is None else str(value) for name, value in row.items()}
    for name, value in row.items():
        if not isinstance(value, str | bool | int | float | None) and name != "candidates":
            raise TypeError(f"{name!r} is {value!r:.80}, neither a text nor a number")
    if empty := [name for name in ("question", "answer", "correct_choice") if cells.get(name) == ""]:
        raise KeyError(empty[0])
    return cells


def _as_tsv(table: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in table for name in row if name != "prediction"))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [*columns, "prediction"], "", delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _write_new(path: Path, text: str) -> None:
    """VLMEvalKit keeps scores beside a table and does not see that it has changed."""
    if path.exists():
        if path.read_bytes() != text.encode():
            raise DataError(f"{path}: is there already and says something else; move it away with its scores, or --out")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, text)
