"""Checks the objects that a configuration refers to: what may be instantiated, called, and read from values.

The names were checked before (:mod:`~MedDeepLib.bundles.foreign.allowlist`); here the objects themselves are, since a
name may be misleading: ``monai.transforms.io.array.locate`` is no transform.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import math
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle.config_item import ComponentLocator

from MedDeepLib.bundles.foreign import allowlist, arguments
from MedDeepLib.bundles.foreign.expressions import MODULES, RefusedExpression
from MedDeepLib.data.formats.tensor_file import load_tensors


class RefusedComponent(Exception):
    """A component that may not be instantiated; the message says why."""


class UnknownComponent(Exception):
    """A component that does not exist."""


@dataclass(frozen=True)
class _Namespace:
    """The harmless part of a module."""

    members: Mapping[str, Any]


def find(target: Any, locator: ComponentLocator) -> Any:
    """The class or function that ``_target_`` names.

    Raises:
        RefusedComponent: it may not be used without trust.
        UnknownComponent: there is none of that name.
    """
    if not isinstance(target, str):
        raise RefusedComponent("it is not a name")
    path = target
    if "." not in target:
        found = locator.get_component_module_name(target)
        if found is None:
            reason = "it is one of Python's own functions" if hasattr(builtins, target) else ""
            if reason or not allowlist.is_component(target):
                raise RefusedComponent(reason or "it is not on the list of those that only compute")
            raise UnknownComponent(target)
        path = f"{found if isinstance(found, str) else found[0]}.{target}"
    if not allowlist.is_component(path):
        raise RefusedComponent("it is not on the list of those that only compute")
    if path == "torch.device":
        return torch.device
    module, _, name = path.rpartition(".")
    try:
        component = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise UnknownComponent(target) from None
    if not is_component(component):
        raise RefusedComponent("it is not on the list of those that only compute")
    return component


def is_component(value: Any) -> bool:
    """Whether a value is a class or function that may be called without trust."""
    if isinstance(value, types.FunctionType):
        return allowlist.is_function(value.__module__, value.__name__)
    if not isinstance(value, type):
        return False
    return allowlist.is_component_module(value.__module__) and not allowlist.is_denied_name(value.__name__)


def only_called(value: Any) -> bool:
    """Whether a value must not be passed on: its caller would not check the arguments.

    This holds for every class and function of MONAI's and torch's modules, even if it is not a component.
    """
    if isinstance(value, functools.partial):
        return True
    if not isinstance(value, (type, types.FunctionType)):
        return False
    return not (isinstance(value, type) and issubclass(value, Enum)) and _is_from_modules(value)


def call(component: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Call a component without pretrained weights from the network: the bundle brings its own.

    Raises RefusedComponent for arguments that may lead to a file, to the network or to a debugger.
    """
    for name, value in named.items():
        if reason := arguments.named_problem(name, value):
            raise RefusedComponent(reason)
    for value in positional:
        if reason := arguments.positional_problem(value):
            raise RefusedComponent(reason)
    if any(only_called(value) for value in [*positional, *named.values()]):
        raise RefusedComponent("it is given a function to call")
    named = {name: False if name == "pretrained" else value for name, value in named.items()}
    parameters = _parameters(component)
    if "pretrained" in list(parameters)[: len(positional)]:
        raise RefusedComponent("it asks for pretrained weights")
    if "pretrained" in parameters:
        named["pretrained"] = False
    result = component(*positional, **named)
    if only_called(result):
        raise RefusedComponent("it gives a function to be called later")
    return result


class Attributes:
    """The attributes that expressions may read from values, and call.

    Args:
        folder: the bundle; ``torch.load`` reads tensors below it and nothing else.
        device: the job's device, used in place of every device but the CPU.
    """

    def __init__(self, folder: Path, device: torch.device):
        self._folder, self._device = folder.resolve(), device
        path = {name: getattr(os.path, name) for name in allowlist.OS_PATH_FUNCTIONS}
        maths = {name: getattr(math, name) for name in allowlist.MATH_FUNCTIONS}
        self._names: dict[str, Any] = {
            "os": _Namespace({"path": _Namespace(path)}),
            "math": _Namespace(maths),
            "np": np,
            "numpy": np,
            "torch": torch,
            "monai": importlib.import_module("monai"),
        }
        assert set(self._names) == set(MODULES)

    def names(self, imports: Mapping[str, str]) -> dict[str, Any]:
        """The values of names in expressions; ``imports`` maps each to its module or component."""
        names = dict(self._names)
        for alias, path in imports.items():
            parts = path.split(".")
            if parts[0] not in self._names:
                continue  # unused, or else the expression that uses it is refused
            value = self._names[parts[0]]
            try:
                for part in parts[1:]:
                    value = self.attribute(value, part)
            except RefusedExpression:
                continue
            names[alias] = value
        return names

    def attribute(self, value: Any, name: str) -> Any:
        """An attribute of a value; raises RefusedExpression unless it is one of the listed ones."""
        if isinstance(value, _Namespace):
            if name in value.members:
                return value.members[name]
        elif isinstance(value, types.ModuleType):
            return self._module_attribute(value, name)
        elif self._has(value, name):
            return getattr(value, name)
        raise RefusedExpression(f"it uses '{name}'")

    def call(self, function: Any, arguments: list, keywords: dict) -> Any:
        """Call a result of :meth:`attribute`; components are checked again with their arguments."""
        if is_component(function):
            try:
                return call(function, arguments, keywords)
            except RefusedComponent as error:
                raise RefusedExpression(str(error)) from None
        if only_called(function):
            raise RefusedExpression("it calls what is not on the list of what only computes")
        return function(*arguments, **keywords)

    @staticmethod
    def _has(value: Any, name: str) -> bool:
        if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            return name in allowlist.TENSOR_METHODS
        if isinstance(value, torch.nn.Module) and (name in allowlist.MODULE_METHODS or name in value._modules):
            return True
        if isinstance(value, torch.device):
            return name in allowlist.DEVICE_ATTRIBUTES
        if isinstance(value, str):
            return name in allowlist.TEXT_METHODS
        if isinstance(value, (dict, list, tuple)):
            return name in allowlist.CONTAINER_METHODS
        if isinstance(value, type):
            return issubclass(value, Enum) and name in value.__members__
        return allowlist.is_component_module(type(value).__module__) and name in allowlist.COMPONENT_ATTRIBUTES

    def _module_attribute(self, module: types.ModuleType, name: str) -> Any:
        path = f"{module.__name__}.{name}"
        special = {"torch.load": self._load, "torch.device": self._make_device}
        if path in special:
            return special[path]
        value = getattr(module, name, None)
        if isinstance(value, types.ModuleType):
            known = value.__name__ in ("torch.cuda", "torch.nn", "torch.nn.functional")
            leads = allowlist.leads_to_components(path) or allowlist.is_component_module(path)
            if value.__name__ == path and (known or leads):
                return value
            raise RefusedExpression(f"it uses '{path}'")
        listed = path.partition(".")[0] in ("torch", "numpy") and allowlist.is_allowed_chain(path.split("."))
        if is_component(value) or listed:
            return value
        raise RefusedExpression(f"it uses '{path}'")

    def _make_device(self, *arguments, **keywords) -> torch.device:
        device = torch.device(*arguments, **keywords)
        return device if device.type == "cpu" else self._device

    def _load(self, path: Any, map_location: Any = None, weights_only: bool = True) -> Any:
        file = Path(str(path)).resolve()
        if not file.is_relative_to(self._folder):
            raise RefusedExpression(f"it reads the file {file} outside the bundle")
        return load_tensors(file)


def _is_from_modules(value: Any) -> bool:
    module = str(getattr(value, "__module__", ""))
    return module.partition(".")[0] in ("MedDeepLib", "monai") or module.startswith(("torch.nn.modules", "torch.hub"))


def _parameters(component: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(component).parameters
    except (TypeError, ValueError):
        return {}
