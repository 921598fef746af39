"""Settings without credentials, for what leaves the machine or is handed on: a run's record, loggers, messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from liteframe.errors import ConfigError
from liteframe.run_control.run_inputs import texts_of
from liteframe.system.bounded_text import parse_yaml
from liteframe.system.shown_url import USERINFO

REDACTED = "[redacted]"
_SECRET = re.compile(
    r"(?:^|_)(?:key|(?:api|access|secret|private|account)_?keys?|token|passphrase|credentials?|authorization|cookie"
    r"|connection_string)$|(?:password|passwd|secret|apikey|accesskey|secretkey|authtoken|accesstoken)$"
)
"""Names of settings, in snake case, whose values are credentials; `max_tokens` and `key_frames` are none."""
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]+")


def redacted(value: Any, name: str = "") -> Any:
    """The value with `REDACTED` for each credential in it.

    Those are the values of settings that are called so (`api_key`, `hf_token`, `password`, ...), and in every URL what
    stands before the host and behind the question mark, where signed URLs have their signatures.

    Args:
        value: mappings, lists and plain values.
        name: of the setting that it is of.
    """
    if isinstance(value, Mapping):
        return {key: redacted(inner, name if _is_secret(name) else str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner, name) for inner in value]
    if _is_secret(name) and isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        return REDACTED
    return _without_url_secrets(value) if isinstance(value, str) else value


def redacted_words(words: Sequence[str]) -> list[str]:
    """The words of a command line, likewise: `--name=value`, `--name value`, and mappings in YAML or JSON."""
    told, name = [], ""
    for word in words:
        if not word.startswith("-"):
            told.append(_redacted_value(word, name))
            continue
        option, equals, value = word.partition("=")
        name = option.strip("-+")
        told.append(f"{option}={_redacted_value(value, name)}" if equals else word)
    return told


def redacted_settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Dotted names of the settings of which `redacted` has left something out."""
    return (name for name, text in texts_of(config) if REDACTED in text)


def _is_secret(name: str) -> bool:
    last = name.rpartition(".")[2].replace("-", "_")
    return _SECRET.search(_CAPITAL.sub("_", last).lower()) is not None


def _redacted_value(text: str, name: str) -> str:
    if not _is_secret(name) and text.lstrip().startswith(("{", "[")):
        try:
            value = parse_yaml(text, name)
        except ConfigError:
            return _without_url_secrets(text)
        told = redacted(value, name)
        return text if told == value else json.dumps(told, default=str)
    return str(redacted(text, name))


def _without_url_secrets(text: str) -> str:
    if "://" not in text:
        return text
    return _QUERY.sub(rf"\1?{REDACTED}", USERINFO.sub(f"{REDACTED}@", text))
