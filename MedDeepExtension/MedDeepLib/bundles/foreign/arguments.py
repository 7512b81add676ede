"""Checks the arguments of components: without trust, none of them leads to a file or to the network.

The values themselves are checked when a component is made, and the expressions that make calls are checked before
anything is evaluated. Neither torch nor MONAI is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeGuard

# References are written as in expressions that Python can parse, see expressions.REFERENCES.
Entries = Callable[[str], Any]  # returns the entry of a configuration by name; raises KeyError

FILE = "its argument '{}' names a file or an address"
ADDRESS = "it is given an address on the network"
UNNAMED = "it is given text without the name of an argument"
HANDED_ON = "it passes '{}' on, to be called with unchecked arguments"
DEBUGGER = "it starts a debugger"
CALLED_LATER = "it makes a function to be called later with unchecked arguments"
_FILE_NAME = re.compile(
    r"(?:^|_)(?:url|uri|path|file|filename|filepath|folder|dir|directory|root|repo|repo_id)s?$", re.IGNORECASE
)
_NO_FILES = frozenset(["drop_path"])  # a probability
_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://|\s*(?:\\\\|//)[^\\/]")  # also \\\\server\\share
_MOST_DEPTH = 20
_MOST_PARTS = 10_000
_NUMBERS = frozenset(["bool", "float", "int", "len", "range"])


def mode_problem(mode: Any) -> str:
    """Why a component may not have this ``_mode_``; empty if it may."""
    if mode == "default":
        return ""
    return DEBUGGER if mode == "debug" else CALLED_LATER


def named_problem(name: str, value: Any) -> str:
    """Why a component may not be given ``value`` as its argument ``name``; empty if it may."""
    if name == "_debug_" and value:
        return DEBUGGER
    if _leads_to_file(name) and not (value is None or value is False or (isinstance(value, str) and not value)):
        return FILE.format(name)
    return ADDRESS if any(_ADDRESS.match(text) for text in _texts(value)) else ""


def positional_problem(value: Any) -> str:
    """Why a component may not be given ``value`` as a positional argument; empty if it may.

    Numbers, tensors and components are harmless wherever they end up; text may be a path or an address.
    """
    return UNNAMED if any(True for _ in _texts(value)) else ""


def call_problem(component: str, call: ast.Call, references: str, entries: Entries) -> str:
    """Why an expression may not call ``component`` like this, as far as can be told without evaluating it.

    Args:
        component: its name, for the sentence.
        call: the call, in a tree without forbidden parts.
        references: the name through which expressions refer to entries.
        entries: the entries that these references stand for; expressions among them as text with ``$``.
    """
    reader = _Reader(references, entries)
    if any(reader.may_be_text(argument) for argument in call.args):
        return f"'{component}' is called with an argument that may be text and has no name"
    for keyword in call.keywords:
        for name, value in [(keyword.arg, keyword.value)] if keyword.arg else reader.named(keyword.value):
            constant = value.value if isinstance(value, ast.Constant) else value
            if reason := named_problem(name, constant):
                return f"'{component}' is called, and {reason}"
            if not name:
                return f"'{component}' is called with arguments whose names cannot be told"
    return ""


class _Reader:
    """Infers the possible types of an expression's parts without evaluating them; in doubt, they may be anything."""

    def __init__(self, references: str, entries: Entries):
        self._references, self._entries = references, entries
        self._parts = 0

    def named(self, node: ast.expr) -> list[tuple[str, Any]]:
        """The arguments in ``**node``; one without a name stands for unknown ones."""
        if isinstance(node, ast.Dict):
            names = [name for name in map(_text, node.keys) if name is not None]
            if len(names) == len(node.keys):
                return list(zip(names, node.values, strict=True))
        value = self._referred(node)
        return list(value.items()) if isinstance(value, dict) and "_target_" not in value else [("", None)]

    def may_be_text(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether ``node`` may evaluate to text, or to a list with text."""
        self._parts += 1
        if depth > _MOST_DEPTH or self._parts > _MOST_PARTS:  # references may repeat or be circular
            return True
        parts = _PARTS.get(type(node))
        if parts is not None:
            return any(part is None or self.may_be_text(part, depth + 1) for part in parts(node))
        if isinstance(node, ast.Constant):
            return isinstance(node.value, (str, bytes))
        if isinstance(node, ast.Call):
            return self._call_may_give_text(node, depth)
        if isinstance(node, ast.Attribute):
            return _root(node) not in ("math", "monai", "np", "numpy", "torch")
        if isinstance(node, ast.Subscript) and not self._is_reference(node):
            return self.may_be_text(node.value, depth + 1)
        return self._value_may_be_text(self._referred(node), depth)

    def _call_may_give_text(self, node: ast.Call, depth: int) -> bool:
        function = node.func
        if isinstance(function, ast.Name):
            return function.id not in _NUMBERS and not function.id[0].isupper()
        if not isinstance(function, ast.Attribute):
            return True
        root = _root(function)
        if root == "monai":
            return False  # components return networks, transforms and tensors
        if root in ("math", "np", "numpy", "torch"):
            return function.attr != "device" and any(self.may_be_text(part, depth + 1) for part in node.args)
        return self.may_be_text(function.value, depth + 1)

    def _value_may_be_text(self, value: Any, depth: int) -> bool:
        if value is None or isinstance(value, (bool, int, float)):
            return False
        if isinstance(value, str) and value.startswith("$"):
            try:
                return self.may_be_text(ast.parse(value[1:].strip(), mode="eval").body, depth + 1)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return True
        if isinstance(value, dict) and "_target_" in value:
            return False
        if isinstance(value, (list, dict)):
            parts = value if isinstance(value, list) else value.values()
            return isinstance(value, dict) or any(
                isinstance(part, str) or self._value_may_be_text(part, depth + 1) for part in parts
            )
        return True

    def _is_reference(self, node: ast.expr) -> TypeGuard[ast.Subscript]:
        return (
            isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == self._references
        )

    def _referred(self, node: ast.expr) -> Any:
        """The entry that a reference stands for; some text when there is none or it is unknown."""
        name = _text(node.slice) if self._is_reference(node) else None
        if name is None:
            return "?"
        try:
            return self._entries(name)
        except KeyError:
            return "?"


# The parts of which one must be text for the whole to be text; None among them may be anything.
_PARTS: Mapping[type, Callable[[Any], list]] = {
    ast.List: lambda node: node.elts,
    ast.Tuple: lambda node: node.elts,
    ast.Set: lambda node: node.elts,
    ast.Starred: lambda node: [node.value],
    ast.Dict: lambda node: [*node.keys, *node.values],
    ast.BinOp: lambda node: [node.left, node.right],
    ast.IfExp: lambda node: [node.body, node.orelse],
    ast.BoolOp: lambda node: node.values,
    ast.UnaryOp: lambda node: [],
    ast.Compare: lambda node: [],
    ast.Lambda: lambda node: [],
}


def _leads_to_file(name: str) -> bool:
    return bool(_FILE_NAME.search(name)) and name not in _NO_FILES


def _texts(value: Any) -> Iterator[str]:
    """All text and paths in a value, also in lists and dictionaries."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, (str, PurePath)):
            yield str(current)
        elif isinstance(current, (bytes, bytearray)):
            yield current.decode("latin-1")
        elif isinstance(current, Mapping) and "_target_" not in current:  # else a component, checked separately
            waiting += [*current.keys(), *current.values()]
        elif isinstance(current, (list, tuple, set, frozenset)):
            waiting += current


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
