"""liteframe can be imported where Python has not what only Linux or Unix gives it."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers.models.auto import modeling_auto
from transformers.models.auto.auto_factory import _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

import liteframe
from ranks import run_ranks

PACKAGE = Path(liteframe.__file__).parent
UNIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
LINUX_OS = (
    *("copy_file_range", "eventfd", "getrandom", "memfd_create", "pidfd_open", "posix_fadvise", "posix_fallocate"),
    *("preadv", "sched_getaffinity", "sched_setaffinity", "splice"),
)
UNIX_OS = (
    *("WIFEXITED", "WIFSIGNALED", "WNOHANG", "chown", "confstr", "fchdir", "fchmod", "fchown", "fork", "forkpty"),
    *("getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getpgrp", "getpriority", "getsid", "getuid", "killpg"),
    *("lchown", "lockf", "major", "mkfifo", "mknod", "nice", "openpty", "pathconf", "posix_spawn", "pread", "pwrite"),
    *("register_at_fork", "sched_yield", "sendfile", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync"),
    *("sysconf", "sysconf_names", "ttyname", "uname", "wait", "wait4", "writev"),
)
UNIX_SIGNALS = (
    *("SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
    *("SIGUSR1", "SIGUSR2", "ITIMER_PROF", "ITIMER_REAL", "alarm", "pthread_sigmask", "setitimer", "siginterrupt"),
)
LINUX_SIGNALS = ("SIGPWR", "SIGRTMAX", "SIGRTMIN", "pidfd_send_signal", "sigtimedwait")
WINDOWS_LACKS = {"os": LINUX_OS + UNIX_OS, "signal": LINUX_SIGNALS + UNIX_SIGNALS, "socket": ("AF_UNIX",)}
"""macOS lacks less: what is for Linux alone."""

FILES = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
NEEDS_MORE = {"liteframe.lmms_eval.model"}
"""Modules that import what is in no environment of the tests."""
EXTRAS = ("gradio", "ray", "vllm")
"""What only some environments of the tests have."""


def runs_on_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module without those of functions and those for type checkers."""
    flat: list[ast.stmt] = []
    for node in body:
        flat.append(node)
        if isinstance(node, (ast.If, ast.Try)) and "TYPE_CHECKING" not in ast.unparse(node):
            flat += runs_on_import(node.body)
    return flat


def imports_of_others(source: str) -> set[str]:
    nodes = [node for node in runs_on_import(ast.parse(source).body) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {
        line for node in nodes if not (line := ast.unparse(node)).split()[1].startswith(("liteframe", "__future__"))
    }


def module_name(path: Path) -> str:
    return ".".join(("liteframe", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def import_all(rank: int, others: list[str], modules: list[str], answer: Path) -> None:
    """Imports modules of liteframe anew in this process, which then has no more than Windows."""
    for line in others:
        with suppress(ImportError):
            exec(line, {})
    for name in [name for name in sys.modules if name.partition(".")[0] == "liteframe"]:
        del sys.modules[name]
    for mapping in (CONFIG_MAPPING, *vars(modeling_auto).values(), PROCESSOR_MAPPING):
        if isinstance(mapping, (type(CONFIG_MAPPING), _LazyAutoMapping)):
            mapping._extra_content.clear()  # what liteframe.hf has registered there
    sys.modules.update(dict.fromkeys(UNIX_MODULES))  # type: ignore[arg-type]
    for module in (os, signal, socket):
        for name in WINDOWS_LACKS[module.__name__]:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"
    specs = {name: find_spec(name) for name in EXTRAS}
    extras = {name for name, spec in specs.items() if spec is None or spec.origin is None}  # or a folder of tests
    failed = {}
    for name in modules:
        try:
            import_module(name)
        except Exception as error:
            if not (isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] in extras):
                failed[name] = repr(error)
    answer.write_text(json.dumps({"imported": [name for name in modules if name in sys.modules], "failed": failed}))
    os._exit(0)  # what others do at the end is not for this system


def test_every_module_is_imported_without_what_windows_lacks(tmp_path: Path) -> None:
    modules = sorted({module_name(path) for path in FILES if path.name != "__main__.py"} - NEEDS_MORE)
    others = sorted(set().union(*map(imports_of_others, FILES.values())))
    assert run_ranks(import_all, 1, others, modules, tmp_path / "answer.json") == [0]
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["failed"] == {} and len(answer["imported"]) > 0.9 * len(modules)


_LACKED = re.compile(
    rf"(?:from|import) (?:{'|'.join(UNIX_MODULES)})\b.*"
    + "".join(rf"|{module}\.(?:{'|'.join(names)})\b" for module, names in WINDOWS_LACKS.items())
)


def unguarded_uses(source: str) -> list[str]:
    """Uses of what Windows lacks in functions that do not ask for it, and do not say that they are not for Windows."""
    if not _LACKED.search(source):
        return []
    uses = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        text = ast.get_source_segment(source, function) or ""
        if re.search(r"sys\.platform|os\.name|hasattr\(|AttributeError|not on Windows", text):
            continue
        for node in ast.walk(function):
            said = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Import, ast.ImportFrom)) else ""
            if _LACKED.fullmatch(said):
                uses.append(f"{function.name}: {said}")
    return uses


def test_no_function_uses_what_windows_lacks_without_asking() -> None:
    assert {path.name: uses for path, source in FILES.items() if (uses := unguarded_uses(source))} == {}


@pytest.mark.parametrize("use", ["os.killpg(1, 9)", "import fcntl", "signal.signal(signal.SIGCHLD, print)"])
def test_the_law_sees_a_use(use: str) -> None:
    assert unguarded_uses(f"def f():\n    {use}\n")
    assert not unguarded_uses(f"def f():\n    if sys.platform != 'win32':\n        {use}\n")


def test_the_lists_name_what_there_is() -> None:
    """On Linux, where all of it should be; else a misspelled name would hide."""
    if sys.platform == "linux":
        gone = {"getrandom", "preadv", "eventfd", "splice", "lchown", "posix_spawn"}  # of newer or other builds
        names = [(os, name) for name in WINDOWS_LACKS["os"]] + [(signal, name) for name in WINDOWS_LACKS["signal"]]
        assert {name for module, name in names if not hasattr(module, name)} <= gone
