"""JSON and YAML of files that nobody vouches for: bounded in size and depth, with errors by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from liteframe.errors import ConfigError, LiteFrameError

if TYPE_CHECKING:
    from yaml.nodes import Node

MAX_DEPTH = 64
"""Levels of nesting; no list, config or model that people write comes near it."""
MAX_YAML_BYTES = 1_000_000
MAX_YAML_ITEMS = 256
"""Of one list: the time that the parser of configs takes grows with their square, to a minute at a thousand."""
_MAX_YAML_NODES = 100_000
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_NO_FILE = ' in "<unicode string>",'


def parse_json(data: bytes | str, where: str, error: type[LiteFrameError] = ConfigError) -> Any:
    """The value of a JSON text.

    Args:
        data: the text, UTF-8.
        where: file, or file and line, for messages.
        error: class of what is raised.

    Raises:
        LiteFrameError: of class `error`, if it is not UTF-8, not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text)
    except RecursionError:
        raise error(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it") from None
    except json.JSONDecodeError as cause:
        raise error(f"{where}: not JSON ({cause.msg}: line {cause.lineno}, column {cause.colno}); repair it") from cause
    except ValueError as cause:  # not UTF-8, or a number of thousands of digits
        raise error(f"{where}: not JSON ({cause}); repair it") from cause
    # Counting brackets is cheap, and nearly every text has too few of them to be looked at again.
    if text.count("[") + text.count("{") > MAX_DEPTH and depth_of(value) > MAX_DEPTH:
        raise error(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it")
    return value


def depth_of(value: Any) -> int:
    """Levels of nesting of lists and dicts; 0 for anything else. Stops counting just above `MAX_DEPTH`."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH + 1:
        level = [inner for item in level for inner in _inside(item)]
        depth += 1
    return depth - 1


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values() if value else (None,)
    return (value or (None,)) if isinstance(value, list) else ()


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Raises:
        ConfigError: it is not YAML, larger than a megabyte, nested deeper than `MAX_DEPTH`, has a list of more than
            `MAX_YAML_ITEMS` or a number that YAML reads to the base 8 or 60, or its aliases would make it so large (or
            endless) that nobody can have meant it.
    """
    import yaml

    if len(text) > MAX_YAML_BYTES:
        raise ConfigError(f"{where}: {len(text):,} characters; a config has at most {MAX_YAML_BYTES:,}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _require_small(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels; flatten it") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not YAML ({_yaml_fault(error)}); repair it") from error


def _yaml_fault(error: Exception) -> str:
    """What a YAML parser found and where, in one line; its own words are five, with the text around the place."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).replace(_NO_FILE, "").split())
    return f"{problem}: line {mark.line + 1}, column {mark.column + 1}"


def _require_no_key_twice(node: Node, where: str) -> None:
    """Of a key that is written twice, one value would count and the other be gone without a word."""
    if node.id != "mapping":
        return
    keys: set[str] = set()
    for key, _ in node.value:
        if key.id == "scalar" and key.value in keys and key.value != "<<":
            raise ConfigError(f"{where}: line {key.start_mark.line + 1}: {key.value} is given twice; drop one of them")
        keys.add(str(key.value))


def _require_plain_number(node: Node, where: str) -> None:
    """YAML 1.1 reads 010 as 8, and 1:30 as 90, which nobody means who writes a config today."""
    if base := _old_base(node):
        raise ConfigError(f"{where}: line {node.start_mark.line + 1}: {old_base_fault(node.value, base)}")


def _old_base(node: Node) -> int:
    """The base, 8 or 60, to which YAML reads a scalar; 0 where it is no number or a decimal one."""
    if node.id != "scalar" or not str(node.tag).endswith((":int", ":float")):
        return 0
    if ":" in node.value:
        return 60
    return 8 if _OCTAL.fullmatch(node.value) else 0


def old_base_fault(number: str, base: int) -> str:
    """What is wrong with a number that YAML reads to the base 8 or 60."""
    return (
        f"YAML reads {number} as a number to the base {base}; write it without the zero or the colon, or in quotes if"
        " it is a text"
    )


def numbers_to_old_bases(text: str) -> tuple[bool, list[tuple[str, int]]]:
    """The numbers in a YAML text that are read to the base 8 or 60.

    Returns:
        Whether the text is a list or mapping, and each number as it is written with its base; none if it is not YAML.
    """
    import yaml

    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False, []
    found, seen, to_visit = [], set[int](), [root] if root is not None else []
    while to_visit:
        node = to_visit.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if base := _old_base(node):
            found.append((node.value, base))
        elif node.id != "scalar":
            to_visit += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    return root is not None and root.id != "scalar", found


def _require_few_items(node: Node, where: str) -> None:
    if node.id == "sequence" and len(node.value) > MAX_YAML_ITEMS:
        raise ConfigError(
            f"{where}: line {node.start_mark.line + 1}: a list of {len(node.value):,} items, and a config has at most"
            f" {MAX_YAML_ITEMS} in one; sources of data go into one list (JSONL) or folder"
        )


def _require_small(root: Node, where: str) -> None:
    """Sizes with every alias written out, without writing them out."""
    sizes: dict[int, int] = {}

    def size(node: Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: nested deeper than {MAX_DEPTH} levels, or an alias that holds itself")
        if id(node) not in sizes:
            _require_no_key_twice(node, where)
            _require_few_items(node, where)
            _require_plain_number(node, where)
            children = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children if not isinstance(child, str))
        return sizes[id(node)]

    if size(root, 0) > _MAX_YAML_NODES:
        raise ConfigError(
            f"{where}: its aliases (`*name`) make more than {_MAX_YAML_NODES:,} values of it; spell it out"
        )
