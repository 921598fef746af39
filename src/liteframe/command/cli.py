"""The ``liteframe`` command: which verbs there are, and how their errors reach the user."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

import liteframe
from liteframe.command.addresses import require_local_options
from liteframe.command.configs import resolve_config_args
from liteframe.command.remembered_parser import recall
from liteframe.data.decoding.processes.parent_watch import end_with_parent
from liteframe.errors import LiteFrameError, as_one_line
from liteframe.run_control.stop_signals import StopSignals
from liteframe.system.atomic import disk_fault
from liteframe.system.runtime import die_with_parent, first_imports, share_cores, tune_malloc
from liteframe.system.standard_streams import begin_again_in_utf8, open_closed_streams
from liteframe.system.unread_output import drop_unread_output
from liteframe.system.user_path import with_user_paths

STAGE_VERBS = {
    "fit": "train a stage: pretrain, CTD or LMA, as the config says",
    "validate": "measure a stage on its validation data",
    "test": "measure a stage on its test data",
    "predict": "run a stage over all its data; with the cache stage, write the teacher's features",
}
FUNCTION_VERBS = {
    "synth": ("render the tiny world as video files", "liteframe.tiny.synthetic_files:synth_command"),
    "check": ("probe every video of a manifest or folder", "liteframe.data.checking.command:check_command"),
    "cache": (
        "cache a list on the machines of a Ray cluster, shard by shard",
        "liteframe.ray.command:cache_command",
    ),
    "merge": (
        "make one feature store of the shards that jobs of `predict --shard i/n` have made",
        "liteframe.data.store.merge_command:merge_command",
    ),
    "pipeline": ("run a whole recipe, stage after stage", "liteframe.pipeline.command:pipeline_command"),
    "plan": (
        "say what a stage takes: parameters, tokens, operations, memory, store, time",
        "liteframe.planning.command:plan_command",
    ),
    "rehearse": (
        "run the configs of a full-size run here, with every size cut down",
        "liteframe.rehearsal.command:rehearse_command",
    ),
    "rerun": ("repeat a run by its run.json, and compare", "liteframe.command.rerun:rerun_command"),
    "export": (
        "write a finished run as a Hugging Face folder, or its encoder for ONNX, OpenVINO or torch.export",
        "liteframe.command.export:export_command",
    ),
    "upload": (
        "copy a feature store, a model folder or a run to a bucket",
        "liteframe.command.upload:upload_command",
    ),
    "evaluate": (
        "score a model on a benchmark of the field, or compare two that were",
        "liteframe.evaluation.command:evaluate_command",
    ),
    "bench": (
        "measure accuracy and latency of every method on a finished run",
        "liteframe.bench.command:bench_command",
    ),
    "latency": (
        "measure latency at the paper's real shapes, with random weights",
        "liteframe.bench.real_size.command:latency_command",
    ),
    "saliency": (
        "propose a scale for WAP from a few videos, or measure it without the class token on a finished run",
        "liteframe.bench.command:saliency_command",
    ),
    "seeds": ("summarise the reports of several seeds", "liteframe.bench.seeds:seeds_command"),
    "chat": ("ask about a video: one answer, or a conversation", "liteframe.chat.command:chat_command"),
    "serve": ("answer questions about videos over HTTP", "liteframe.serving.command:serve_command"),
    "demo": (
        "ask about videos in the browser, and see where the time goes",
        "liteframe.demo.command:demo_command",
    ),
    "lmms-eval": (
        "write HLVid or the tiny world as a task of lmms-eval",
        "liteframe.lmms_eval.command:task_command",
    ),
    "doctor": ("show versions, devices and decoders, and what is missing", "liteframe.command.doctor:doctor_command"),
}
_TEXTS = ("question", "api_key", "served_model_name")
"""Options that are no paths, however they begin."""
CHILD_ARGS = "LITEFRAME_CHILD_ARGS"
"""Environment variable: the command, as a JSON list, that a DDP child runs in place of its parent's."""


_UNHEARD = 141
"""The exit code of a program that SIGPIPE ends."""
PARENT_PID = "LITEFRAME_PARENT_PID"
"""Environment variable: the process that started the command, and that it must not outlive."""


def main(args: list[str] | None = None) -> int:
    """Runs the command and returns its exit code; 141 where whatever read its output has ended, as ``head`` does.

    Args:
        args: the words after ``liteframe``; those of the process by default.
    """
    open_closed_streams()
    if args is None:
        begin_again_in_utf8()
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not drop_unread_output():
            raise
        return _UNHEARD


def _run(args: list[str] | None) -> int:
    try:
        if "LOCAL_RANK" in os.environ:
            die_with_parent()
        if parent := os.environ.pop(PARENT_PID, ""):
            end_with_parent(int(parent))
        tune_malloc()
        share_cores()
        with StopSignals():
            return dispatch(_process_args() if args is None else args)
    except LiteFrameError as error:
        if os.environ.get("LITEFRAME_DEBUG") == "1":
            raise
        print(f"liteframe: error: {as_one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("liteframe: interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:
        return _exit_code(leaving)
    except Exception as error:
        said = _of_the_system(error)
        if said is None or os.environ.get("LITEFRAME_DEBUG") == "1":
            raise
        print(f"liteframe: error: {said}", file=sys.stderr)
        return 1


def dispatch(args: Sequence[str]) -> int:
    """Runs one verb in this process and returns its exit code.

    Raises:
        LiteFrameError: what the verb raises.
        SystemExit: on arguments that do not parse, and after ``--help``.
    """
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        print(f"liteframe {liteframe.__version__}")
        return 0
    verb, rest = args[0], list(args[1:])
    if verb in STAGE_VERBS:
        words = resolve_config_args(rest)
        _answer_from_memory(verb, words)
        with first_imports():
            from liteframe.command.lightning_cli import import_stages, run_stage

            import_stages()
        run_stage(verb, words)
        return 0
    if verb in FUNCTION_VERBS:
        return _run_function(verb, rest)
    near = difflib.get_close_matches(verb, [*STAGE_VERBS, *FUNCTION_VERBS], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    print(f"liteframe: error: no verb {verb!r}{meant}\n\n{_overview()}", file=sys.stderr)
    return 2


def _answer_from_memory(verb: str, words: list[str]) -> None:
    """Prints help, or what is wrong with the words, and raises SystemExit, where the stage's parser is not needed."""
    parser = recall(verb)
    if parser is None:
        return
    if words in (["--help"], ["-h"]):
        print(parser.help, end="")
        raise SystemExit(0)
    if fault := parser.fault(words):
        print(f"liteframe: error: {fault}; `liteframe {verb} --help` lists the settings", file=sys.stderr)
        raise SystemExit(2)


def _of_the_system(error: Exception) -> str | None:
    """What the system said of a file or a disk, in one line; None where it is another error."""
    name = getattr(error, "filename", None)
    if reason := disk_fault(error):
        return f"{name or 'a file of this run'}: {reason}; free some space or give another place"
    if isinstance(error, OSError) and name is not None:
        return as_one_line(f"{name}: {error.strerror or error}; give another place")
    return None


def _process_args() -> list[str]:
    # A launcher starts the ranks above 0 with the words of the first process, which for a pipeline are not the stage's.
    if os.environ.get("LOCAL_RANK", "0") != "0" and CHILD_ARGS in os.environ:
        return list(json.loads(os.environ[CHILD_ARGS]))
    return sys.argv[1:]


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    print(leaving.code, file=sys.stderr)
    return 1


def _overview() -> str:
    lines = ["usage: liteframe VERB [options]", "", "Fast video encoders for Video LLMs.", ""]
    for title, verbs in (
        ("stages (--config FILE says which; several merge; options on the command line come last):", STAGE_VERBS),
        ("other verbs:", {verb: text for verb, (text, _) in FUNCTION_VERBS.items()}),
    ):
        lines += [title, *(f"  {verb:<10} {text}" for verb, text in verbs.items()), ""]
    lines += [
        "Configs out of run folders, and recipes of others, name classes of liteframe and Lightning only; with",
        "--allow-code, fit, validate, test, predict and pipeline let them name any, which runs as you.",
        "",
    ]
    lines += ["liteframe VERB --help tells the options of a verb, liteframe --version the version."]
    return "\n".join(lines)


def _run_function(verb: str, args: list[str]) -> int:
    module, _, name = FUNCTION_VERBS[verb][1].partition(":")
    function = getattr(import_module(module), name)
    return int(function(**_parse_function_args(verb, function, args)) or 0)


def _parse_function_args(verb: str, function: Callable[..., Any], args: list[str]) -> dict[str, Any]:
    """Options from the signature, their help from the docstring; an option that is a list takes several words.

    Where a signature has keyword-only parameters, those with a default before them are words that may be left out.
    """
    import docstring_parser
    from jsonargparse import ArgumentError, ArgumentParser

    from liteframe.command.parse_errors import parse_error_line

    docstring = docstring_parser.parse(function.__doc__ or "")
    types = typing.get_type_hints(function)
    parameters = signature(function).parameters
    lists = {name: item for name, kind in types.items() if name != "return" and (item := _list_item(kind)) is not None}
    words = [name for name, parameter in parameters.items() if _is_optional_word(parameter, parameters.values())]
    parser = ArgumentParser(prog=f"liteframe {verb}", description=docstring.short_description, exit_on_error=False)
    flags = [name for name, parameter in parameters.items() if types[name] is bool and parameter.default is False]
    # As they stand: read as YAML, a text such as "# of balls?" is a comment, and so nothing.
    plain = {name: str for name, kind in types.items() if kind == str | None and name != "return"}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip={*lists, *words, *flags, *plain})
    texts = {parameter.arg_name: parameter.description for parameter in docstring.params}
    for name in words:
        kind = plain.get(name, types[name])
        parser.add_argument(name, nargs="?", type=kind, default=parameters[name].default, help=texts.get(name))
    for name in (name for name in plain if name not in words):
        parser.add_argument(f"--{name}", type=str, default=parameters[name].default, help=texts.get(name))
    for name in flags:
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spellings, nargs="?", const=True, type=bool, default=False, help=texts.get(name))
    for name, item in lists.items():
        default = parameters[name].default
        if default is Parameter.empty:
            parser.add_argument(name, nargs="+", type=item, help=texts.get(name))
        else:
            options = {"nargs": "+", "action": _Words, "type": item, "default": default, "help": texts.get(name)}
            parser.add_argument(f"--{name}", **options)
    try:
        given = _changes_as_set(args) if "set" in lists else args
        values = dict(parser.parse_args([_as_file(word) for word in given]).as_dict())
    except ArgumentError as error:
        said = parse_error_line(error.message, args)
        print(f"liteframe: error: {said}; `liteframe {verb} --help` lists the options", file=sys.stderr)
        raise SystemExit(2) from error
    require_local_options(verb, {name: value for name, value in values.items() if name not in _TEXTS})
    return {name: value if name in _TEXTS else with_user_paths(value, f"--{name}") for name, value in values.items()}


def _changes_as_set(args: Iterable[str]) -> Iterator[str]:
    """Settings as `liteframe fit` takes them, `--data.frames=8` or `--data.frames 8`, as words of `--set`."""
    left = iter(args)
    for word in left:
        name, equals, value = word.partition("=")
        if re.fullmatch(r"--\w+\+?(\.\w+\+?)+", name):
            yield f"--set={name[2:]}={value if equals else next(left, '')}"
        else:
            yield word


def _as_file(word: str) -> str:
    """The name of a file that looks like short options, such as `-i.mp4`, as a path that does not."""
    return f"./{word}" if re.match(r"-[^-].", word) and os.path.lexists(word) else word


class _Words(argparse.Action):
    """Words of an option: where it is given twice those of both, in place of its default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        self.words = [*getattr(self, "words", []), *values]
        setattr(namespace, self.dest, self.words)


def _is_optional_word(parameter: Parameter, among: Iterable[Parameter]) -> bool:
    if parameter.kind is Parameter.KEYWORD_ONLY or parameter.default is Parameter.empty:
        return False
    return any(other.kind is Parameter.KEYWORD_ONLY for other in among)


def _list_item(kind: Any) -> Any:
    """The type of the items if ``kind`` is a list, or a list or None; else None."""
    for choice in (kind, *typing.get_args(kind)):
        if typing.get_origin(choice) is list:
            return typing.get_args(choice)[0]
    return None
