"""``liteframe evaluate``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from liteframe.errors import ConfigError, DataError, as_one_line
from liteframe.evaluation.average import average_of
from liteframe.evaluation.benchmarks.archives import unpack as unpack_archives
from liteframe.evaluation.benchmarks.question import Question, Unusable
from liteframe.evaluation.benchmarks.registry import BENCHMARKS
from liteframe.evaluation.benchmarks.registry import benchmark as benchmark_named
from liteframe.evaluation.prompts.prompt import prompt as prompt_named
from liteframe.evaluation.report import REPORT, compare_reports, comparison_text, not_compared, table, write_report
from liteframe.evaluation.results import Part, ResultFolder, require_same_questions
from liteframe.evaluation.vlmevalkit_files import write_vlmevalkit
from liteframe.system.json_files import write_json
from liteframe.system.own_record import require_own_record
from liteframe.system.progress import say
from liteframe.system.runtime import first_imports

_COMPARED = ("a", "b", "comparison")


def evaluate_command(
    model: str | None = None,
    *,
    benchmark: str | None = None,
    data: str | None = None,
    frames: str | None = None,
    split: str | None = None,
    prompt: str = "liteframe",
    subtitles: bool = False,
    sampler: str | None = None,
    answer: Literal["generate", "likelihood"] = "generate",
    compressor: str | None = None,
    ratio: float = 16.0,
    image_size: int | None = None,
    tiles: int | None = None,
    token_budget: int | None = None,
    tile_order: Literal["frame", "position"] = "frame",
    thumbnail: bool = True,
    out: str | None = None,
    unpack: bool = False,
    limit: int | None = None,
    part: str | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    engine: Literal["torch", "torch-compile", "openvino-int8", "torchao-fp8"] = "torch",
    deadline_s: float = 120.0,
    compare: list[str] | None = None,
    average: list[str] | None = None,
    vlmevalkit: str | None = None,
) -> int:
    """Score a model on a benchmark of the field; killed and run again, it goes on.

    Args:
        model: export folder of an LMA run, its run folder or a pipeline's, what `liteframe export` made of it, or a
            base VLM's folder or hub id.
        benchmark: video-mme, mlvu, longvideobench, hlvid, mvbench, egoschema, tiny-world, or own for questions of your
            own (a test.jsonl whose rows have `questions` with `options`).
        data: folder that the benchmark was downloaded to.
        frames: frame counts to ask with, such as 8,64,512; by default as many as the model was trained on, or 64.
        split: of the benchmark; by default its usual one.
        prompt: whose words are used: liteframe, lmms-eval, vlmevalkit, ...
        subtitles: show them, by the rule of the prompt.
        sampler: chooses the frames; by default the one that the model was trained with, or InternVL's
            (UniformMidpoints). InnerPoints (VLMEvalKit's), SegmentStarts (LongVideoBench's), Linspace, Linspace:by=time
            and FpsCapped:fps=1 are others.
        answer: generate lets the model write; likelihood looks at the logits of the options alone.
        compressor: for an InternVL with its own encoder, a method that makes fewer tokens: wap, average, fastvid, ...
        ratio: how many times fewer.
        image_size: side of the frames in pixels, where it is to be another than the model was made for.
        tiles: cut each frame into so many at most, each as large as the model was made for, so that it sees details.
        token_budget: visual tokens of a video at most; tiles become fewer until they fit.
        tile_order: frame shows all tiles of a frame together; position shows the video of one tile after the other.
        thumbnail: show the whole frame, too, behind its tiles.
        out: folder of the results; by default one below evaluations.
        unpack: unpack the archives in the data folder first.
        limit: so many rows of the list only.
        part: such as 2/4, for several processes that share one --out; torchrun needs none.
        device: cpu, cuda, or auto for a GPU where there is one; cuda:1 is that GPU for every process.
        dtype: of the arithmetic; by default that of the LLM's weights, so that results of several machines compare;
            auto is the faster of float32 and bfloat16 on a CPU.
        engine: that runs the encoder; torch-compile compiles it for a CPU first, which takes a minute or so,
            openvino-int8 is eight bits on a CPU, out of a folder that `liteframe export --calibrate` wrote, torchao-fp8
            float8 on a GPU (pip install 'liteframe-video[fp8]').
        deadline_s: seconds without progress after which a video is given up.
        compare: two folders of results, whose questions are compared in pairs.
        average: four folders of results, for the paper's average.
        vlmevalkit: folder of results, to be written as VLMEvalKit's files into --out, or beside them.
    """
    if compare is not None:
        return _compare(compare, frames, out)
    if average is not None:
        say(average_of(average))
        return 0
    if vlmevalkit is not None:
        return _write_vlmevalkit(Path(vlmevalkit), data, out)
    if model is None or benchmark is None or data is None:
        raise ConfigError(
            "give a model, --benchmark and --data (or --compare A B, --average A B C D or --vlmevalkit A of finished"
            f" ones); benchmarks are {', '.join(BENCHMARKS)}"
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit is {limit}; give 1 or more")
    found = benchmark_named(benchmark)
    if subtitles and found.subtitles is None:
        raise ConfigError(f"{found.title} has no subtitles; leave --subtitles out")
    split = found.splits[0] if split is None else split
    found.require_split(split)
    asks = prompt_named(prompt, benchmark, split)
    share = Part.parse(part)
    if unpack and share.count > 1:
        raise ConfigError("--unpack is for one process: unpack first, with --limit 1, and then share the questions")
    if unpack:
        unpack_archives(data, say)
    rows = found.read(data, split)[:limit]
    with first_imports():
        from liteframe.bench.environment import environment
        from liteframe.evaluation.frames import FrameReader
        from liteframe.evaluation.run import Run, grouped
        from liteframe.evaluation.settings import EvaluationSettings, FrameChoice
        from liteframe.evaluation.subject import EvaluatedModel
        from liteframe.evaluation.turns import Turns
        from liteframe.hf.engine import TORCH, require_engine
        from liteframe.models.video_llm.precision import dtype_named

    device = require_engine(engine, _device(device) if engine == TORCH else device)
    answers_in = dtype_named(dtype, device)
    loaded = _load(model, compressor, ratio, engine, answers_in)
    reduces = None if compressor is None else {"name": compressor, **loaded.describe()}
    subject = EvaluatedModel(loaded, device, answers_in)
    tiling = _tiling(tiles, token_budget, tile_order, thumbnail)
    choice = FrameChoice.of(subject, frames, sampler, image_size, tiling)
    settings = EvaluationSettings(benchmark, split, limit, asks, subtitles, answer, choice, subject, reduces)
    turns = Turns(asks, subject.prompts, Path(data), subtitles)
    folder = ResultFolder(out or _usual_out(model, settings))
    notes = {"model": model, "data": data, "environment": environment(str(subject.device), subject.dtype_name)}
    folder.prepare({**settings.as_dict(), **_subtitled(rows, subtitles)}, notes)
    require_same_questions(folder.lines(), rows, str(folder.path))
    reader = FrameReader(Path(data), choice.sampler, choice.counts, choice.image_size, deadline_s, choice.grid)
    groups = grouped((row for row in rows if isinstance(row, Question)), share)
    with folder.writing(share) as file:
        Run(subject, turns, reader, settings.max_tokens, tiling).ask(groups, folder.answered(), file)
    return _tell(folder, write_report(folder, found, rows))


def _tiling(tiles: int | None, budget: int | None, order: Any, thumbnail: bool) -> Any:
    if tiles is not None:
        from liteframe.models.video_llm.tiling import Tiling

        return Tiling(tiles, budget, thumbnail, order)
    if (budget, order, thumbnail) != (None, "frame", True):
        raise ConfigError("--token_budget, --tile_order and --thumbnail are about tiles; give --tiles, such as 12")
    return None


def _subtitled(rows: Sequence[Question | Unusable], subtitles: bool) -> dict[str, int]:
    """How many questions have subtitles, where they are to be shown. Raises ConfigError where none has."""
    if not subtitles:
        return {}
    count = sum(isinstance(row, Question) and row.subtitles is not None for row in rows)
    if count == 0:
        raise ConfigError("--subtitles: no question has a file of subtitles in --data; unpack them, or leave it out")
    say(f"subtitles: {count} of {sum(isinstance(row, Question) for row in rows)} questions have some")
    return {"questions_with_subtitles": count}


def _tell(folder: ResultFolder, report: dict[str, Any]) -> int:
    if not report["complete"]:
        say(f"{folder.path}: this part is done; other parts are not, and the last one tells the scores")
        return 0
    say(table(report))
    for count, at in report["frames"].items():
        if at["cut_by_context"]:
            say(f"{at['cut_by_context']} answers at {count} frames end where the LLM takes no more tokens")
        if at["not_averaged"]:
            say(f"the mean at {count} frames leaves out, without an answer: {', '.join(at['not_averaged'])}")
    for line in _not_answered(report)[:5]:
        say(line)
    say(str(folder.path / REPORT))
    if not any(at["answered"] for at in report["frames"].values()):
        raise DataError(f"{folder.path}: not one question was answered; its report says why")
    return 0


def _not_answered(report: Mapping[str, Any]) -> list[str]:
    """A line for each question and reason, with the frame counts that it was so at."""
    counts: dict[tuple[str, str], list[str]] = {}
    for item in [*report["left_out"], *report["skipped"]]:
        at = counts.setdefault((str(item.get("id") or item.get("question")), str(item["why"])), [])
        at += [str(item["frames"])] if "frames" in item else []
    return [
        as_one_line(
            "not answered"
            + (f" at {', '.join(at)} frames: " if at else ": ")
            + (why if why.startswith(name) else f"{name}: {why}")
        )
        for (name, why), at in counts.items()
    ]


def _load(model: str, compressor: str | None, ratio: float, engine: str, dtype: str | None) -> Any:
    from liteframe.evaluation.subject_loading import load_subject
    from liteframe.hf.loading import loading_quietly

    with loading_quietly():
        return load_subject(model, compressor, ratio, engine, dtype)


def _device(asked: str) -> str:
    """Where torchrun starts several processes on a machine, each has a GPU of its own."""
    import torch

    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if asked in ("auto", "cuda") and rank and torch.cuda.is_available() else asked


def _usual_out(model: str, settings: Any) -> str:
    words = [_name_of(model, settings.compressor), settings.benchmark, settings.split]
    return str(Path("evaluations") / "-".join([*words, *(["subtitles"] if settings.subtitles else [])]))


def _name_of(model: str, compressor: Mapping[str, Any] | None) -> str:
    path = Path(model)
    name = path.resolve().parent.name if path.name == "export" else path.name or path.resolve().name
    return f"{name}-{compressor['name']}" if compressor else name


def _write_vlmevalkit(results: Path, data: str | None, out: str | None) -> int:
    record = ResultFolder(results).record()
    name = _name_of(record["model"], record["settings"]["compressor"])
    for path, lacking in write_vlmevalkit(results, name, out or results / "vlmevalkit", data).items():
        say(str(path))
        if lacking.unanswered:
            say(f"  {lacking.unanswered} rows have no answer, which VLMEvalKit counts as wrong")
        if lacking.left_out:
            say(f"  {lacking.left_out} rows of the list, without a key or what VLMEvalKit reads, are left out")
    return 0


def _compare(folders: list[str], frames: str | None, out: str | None) -> int:
    if len(folders) != 2:
        raise ConfigError(f"--compare takes two folders, not {len(folders)}")
    if out is not None:
        require_own_record(out, _COMPARED, "--out")
    from liteframe.evaluation.frames import parse_counts

    counts = parse_counts(frames) if frames else ()
    if len(counts) > 2:
        raise ConfigError(f"--compare takes one frame count, or one for each folder, not {frames}")
    found = compare_reports(folders[0], folders[1], counts)
    say(comparison_text(found))
    for line in not_compared(folders[0], folders[1], counts):
        say(line)
    if out is not None:
        told = {count: {rule: asdict(each) for rule, each in rules.items()} for count, rules in found.items()}
        write_json(out, {"a": folders[0], "b": folders[1], "comparison": told})
    return 0
