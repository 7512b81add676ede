"""Reads the configuration files of bundles from elsewhere: JSON or YAML, of a bounded size and depth."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from MedDeepLib.errors import UserError

_MOST_BYTES = 10_000_000
_MOST_ITEMS = 200_000
_MOST_DEPTH = 64
_MACRO = re.compile(r"%(.*\.(?:json|yaml|yml))?(.*)", re.DOTALL)
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def read_config(path: Path) -> dict[str, Any]:
    """The object in a JSON or YAML file.

    Raises UserError when the file is missing, damaged, no object, or larger or deeper than any configuration is.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is too large for a configuration: it was not read.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} is missing or cannot be read: copy the whole bundle again.") from None
    content = _yaml(path, text) if path.suffix in (".yaml", ".yml") else _json(path, text)
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one object with names and values.")
    _check_extent(path, content)
    return content


def resolve_macros(config: dict[str, Any], root: Path) -> dict[str, Any]:
    """The configuration with its ``%`` entries replaced by the entries or files of the bundle that they name.

    Raises UserError for a file outside the bundle, and for an entry that is not there.
    """
    budget = [_MOST_ITEMS]

    def resolved(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {key: resolved(part, f"{place}::{key}") for key, part in value.items()}
        if isinstance(value, list):
            return [resolved(part, f"{place}::{number}") for number, part in enumerate(value)]
        if isinstance(value, str) and value.startswith("%"):
            target = copy.deepcopy(_macro_target(value, place[2:], config, root))
            budget[0] -= sum(1 for _ in items(target))
            if budget[0] < 0:
                raise UserError(f"The configuration in {root} includes itself through its entry '{value}'.")
            return target
        return value

    return resolved(config, "")


def items(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a configuration with its path, such as ``preprocessing::transforms::0``; outer values first."""
    waiting = [(where, value)]
    while waiting:
        place, current = waiting.pop()
        yield place, current
        pairs = (
            current.items() if isinstance(current, dict) else enumerate(current) if isinstance(current, list) else ()
        )
        waiting.extend((f"{place}::{key}" if place else str(key), part) for key, part in pairs)


def entry(config: Any, name: str) -> Any:
    """The entry called ``a::b::0`` (or ``a#b#0``); raises KeyError when there is none."""
    for key in re.split("::|#", name):
        try:
            config = config[int(key)] if isinstance(config, list) else config[key]
        except (IndexError, TypeError, ValueError):
            raise KeyError(name) from None
    return config


def _macro_target(value: str, place: str, config: dict[str, Any], root: Path) -> Any:
    macro = _MACRO.fullmatch(value)
    assert macro is not None  # it was recognised by this pattern
    file, name = macro.groups()
    if file:
        path = (root / file).resolve()
        if not path.is_relative_to(root.resolve()):
            raise UserError(f"The configuration in {root} wants to read {path}, outside its folder: it was not run.")
        config = read_config(path)
    name = name.replace("#", "::")
    levels = (len(name) - len(name.lstrip(":"))) // 2
    if levels and not file:  # levels upwards from its own position
        name = "::".join([*place.split("::")[:-levels], name.lstrip(":")])
    name = name.lstrip(":")
    try:
        return entry(config, name) if name else config
    except KeyError:
        raise UserError(f"The configuration in {root} refers to '{value}', which is not there.") from None


def _json(path: Path, text: str) -> Any:
    depth = deepest = 0
    for character in _JSON_STRING.sub("", text):  # before the parser, which has its own recursion limit
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > _MOST_DEPTH:
        raise UserError(f"{path} is nested {deepest} levels deep, deeper than any configuration: it was not read.")
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy the bundle again.") from None


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise UserError(f"{path} is in YAML: install the Python package PyYAML to read it.") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML ({reason}): copy the bundle again.") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{double}' is there twice")
    return content


def _check_extent(path: Path, content: Any) -> None:
    """YAML aliases can repeat a value many times, so that a small file becomes a huge configuration."""
    for number, (place, _) in enumerate(items(content)):
        if number > _MOST_ITEMS or place.count("::") > _MOST_DEPTH:
            raise UserError(f"{path} has more, or more deeply nested, values than any configuration: it was not read.")
