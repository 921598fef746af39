"""Renders chat templates in a process of its own, of bounded time and memory. Run as a script, without liteframe.

Each line of standard input is a request in JSON: `template` and `conversations`, messages and variables each; each line
of standard output its answer: `texts` and `variables` (the names that the template asks for), or `error`. Before the
first stands the number of the process. Endless templates end it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the model said, for those who count its tokens; here it is its body."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class PlainNamespace(jinja2.utils.Namespace):
    """A namespace without attributes that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        fields = dict(*args[1:], **kwargs)
        for name in fields:
            _require_plain(name)
        jinja2.utils.Namespace.__init__(args[0], fields)

    def __setitem__(self, name: str, value: Any) -> None:
        _require_plain(name)
        super().__setitem__(name, value)


def _require_plain(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no field {name!r}")


class DictMaker:
    """`dict` in templates, without the attributes of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _raise(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers has it, which a test compares."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise, strftime_now=_now, dict=DictMaker(), namespace=PlainNamespace)
    return environment


@lru_cache(maxsize=8)
def _compiled(template: str) -> tuple[jinja2.Template, list[str]]:
    environment = _environment()
    names = jinja2.meta.find_undeclared_variables(environment.parse(template))
    return environment.from_string(template), sorted(names)


def answer(request: dict[str, Any], most_characters: int) -> dict[str, Any]:
    """The rendered texts, or why there are none."""
    texts = []
    try:
        template, names = _compiled(request["template"])
        for messages, variables in request["conversations"]:
            text = template.render(messages=messages, **variables)
            if len(text) > most_characters:
                return {
                    "error": f"it makes {len(text):,} characters of a conversation; {most_characters:,} are the most"
                }
            texts.append(text)
    except MemoryError:
        return {"error": "it needs too much memory"}
    except RecursionError:
        return {"error": "it calls itself without end"}
    except Exception as error:  # a template can raise whatever Python's operators raise
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"texts": texts, "variables": names}


def main() -> None:
    """Answers until standard input ends.

    A request that takes too long kills the process by SIGPROF. With limits of 0 there are none: the parent watches.
    """
    seconds, most_bytes, most_characters = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if most_bytes:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # Time of the processor, not of the clock: a machine that stalls is no fault of the template.
        if seconds:
            signal.setitimer(signal.ITIMER_PROF, seconds * len(request["conversations"]))
        reply = json.dumps(answer(request, most_characters))
        if seconds:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(reply, flush=True)


if __name__ == "__main__":
    main()
