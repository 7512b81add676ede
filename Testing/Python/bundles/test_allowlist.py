"""The allow-list for untrusted bundles, against the installed MONAI."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator
from typing import Any

import torch
from MedDeepLib.bundles.foreign import allowlist
from MedDeepLib.bundles.foreign.arguments import named_problem
from MedDeepLib.bundles.foreign.components import is_component
from monai.transforms import SaveClassificationd


def components(root: str) -> Iterator[tuple[str, Any]]:
    """Every class and function below a package that needs no trust, once, with its name."""
    seen = set()
    for package in (name for name in allowlist.COMPONENT_MODULES if name.startswith(root)):
        path = getattr(importlib.import_module(package), "__path__", ())
        inner = pkgutil.walk_packages(path, package + ".")
        names = [package, *(info.name for info in inner if allowlist.is_component_module(info.name))]
        for module in map(importlib.import_module, names):
            for name, value in vars(module).items():
                if is_component(value) and not value.__name__.startswith("_") and (name, id(value)) not in seen:
                    seen.add((name, id(value)))
                    yield name, value


@functools.cache
def definitions(module: str) -> dict[str, list[str]]:
    """The source of all classes and functions of a module by name, with their decorators; parsed once.

    ``inspect.getsource`` parses the whole file again for every class.
    """
    text = inspect.getsource(importlib.import_module(module))
    lines, found = text.splitlines(keepends=True), {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found.setdefault(node.name, []).append("".join(lines[first - 1 : node.end_lineno]))
    return found


def source(value: Any) -> str:
    known = definitions(value.__module__).get(value.__name__)
    return "".join(known) if known else inspect.getsource(value)  # which raises OSError where there is none


def test_nothing_of_monai_that_may_be_made_writes_loads_fetches_or_waits():
    """The source of every class and function that needs no trust is searched for dangerous words: review new ones."""
    words = re.compile(
        r"\bopen\(|\.write|Saver|output_dir|sleep\(|subprocess|os\.system|(?:torch|np|pickle)\.load|download|\bexec\("
    )
    text = re.compile(r'""".*?"""', re.DOTALL)
    found, count = {}, 0
    for _, value in components("monai."):
        count += 1
        if hit := words.search(text.sub("", source(value))):
            found[value.__name__] = hit[0]
    assert not found and count > 500
    assert words.search(source(SaveClassificationd)), "which is on the list of those that are not made"


def test_sources_are_those_that_python_finds():
    for value in (SaveClassificationd, importlib.import_module("monai.networks.nets").resnet50):
        assert inspect.getsource(value).rstrip() in source(value)


def test_arguments_that_name_files_or_addresses_are_refused():
    """Review each new argument of a new class."""
    words = re.compile(r"url|path|file|folder|dir(?!ection)|weights_|hub|repo", re.IGNORECASE)
    probabilities = {"drop_path", "drop_path_rate", "dropout_path_rate"}
    names = set()
    for _, value in [*components("monai."), *components("torch.")]:
        names |= {name for name in inspect.signature(value).parameters if words.search(name)}
    assert {name for name in names - probabilities if not named_problem(name, "x")} == {"bidirectional"} & names
    assert "pretrained_url" in names


def test_names_tell_what_the_objects_are():
    """Every allowed class has an allowed name, so the verdict is the same before and after it is looked up."""
    for name, value in components("monai."):
        if value.__name__ != "sync_batch_norm":
            assert allowlist.is_known_name(name) or isinstance(value, type), name
    small = {name for name, value in components("monai.") if isinstance(value, type) and name[0].islower()}
    assert small - {"sync_batch_norm"} <= allowlist._CLASSES_IN_SMALL_LETTERS
    functions = [value for _, value in components("torch.") if isinstance(value, types.FunctionType)]
    assert not functions and not is_component(torch.nn.modules.module.register_module_forward_hook)
