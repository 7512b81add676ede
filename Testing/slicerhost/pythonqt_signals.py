"""PythonQt's `object.connect('signal(types)', callable)` and `disconnect` on PySide6 objects.

Only a signature that the object really has is accepted: Slicer prints a warning for any other and never calls the
function; here a ValueError is raised at once. As in PythonQt, a plain function or method receives no more arguments
than it declares, and any other callable (functools.partial, a built-in) receives all that the signature names.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Any, NamedTuple

from PySide6 import QtCore

CODE_HAS_VARIABLE_ARGUMENTS = 0x04  # inspect.CO_VARARGS


class Connection(NamedTuple):
    """One connection made with the string form: what was asked for and what PySide6 was given."""

    signature: str
    target: Callable
    signal: Any
    relay: Callable


def accepted_argument_count(target: Callable) -> int | None:
    """How many positional arguments a function or method takes; None for any number and other callables."""
    function = target.__func__ if isinstance(target, types.MethodType) else target
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    if code.co_flags & CODE_HAS_VARIABLE_ARGUMENTS:
        return None
    return code.co_argcount - (1 if isinstance(target, types.MethodType) else 0)


def signal_signatures(source: QtCore.QObject) -> dict[str, str]:
    """Signatures as C++ spells them, each with the name of the PySide6 attribute that emits it.

    A stand-in lists signatures with types unknown to PySide6 in `CPP_SIGNALS`.
    """
    signatures: dict[str, str] = {}
    meta = source.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            signatures[bytes(method.methodSignature().data()).decode()] = bytes(method.name().data()).decode()
    for cls in reversed(type(source).__mro__):
        declared = cls.__dict__.get("CPP_SIGNALS", {})
        replaced = set(declared.values())
        signatures = {text: name for text, name in signatures.items() if name not in replaced}
        signatures.update(declared)
    return signatures


def _normalized(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def _find_signal(source: QtCore.QObject, signature: str):
    wanted = _normalized(signature)
    known = signal_signatures(source)
    if wanted not in known:
        name = signature.split("(")[0].strip()
        alike = sorted(text for text in known if text.startswith(name + "("))
        hint = f"; it has {', '.join(alike)}" if alike else ""
        raise ValueError(f"{type(source).__name__} has no signal '{signature}'{hint}")
    arguments = wanted[wanted.index("(") + 1 : -1]
    count = 0 if not arguments else len(_split_arguments(arguments))
    signal = getattr(source, known[wanted])
    overloaded = sum(name == known[wanted] for name in known.values()) > 1
    if overloaded and count:
        signal = signal[arguments]  # otherwise PySide6 prefers the overload without arguments
    return signal, wanted, count


def _split_arguments(arguments: str) -> list[str]:
    """Split at the commas that are not inside a template such as QList<QPair<int,int>>."""
    return re.split(r",(?![^<]*>)", arguments)


def _target_of(arguments: tuple) -> Callable:
    if len(arguments) == 2:  # (receiver, 'slot(types)')
        receiver, slot = arguments
        return getattr(receiver, slot.split("(")[0])
    (target,) = arguments
    if not callable(target):
        raise TypeError(f"{target!r} cannot be called, so no signal can be connected to it")
    return target


def connect(source: QtCore.QObject, signature: str, *arguments) -> bool:
    """Call the target at each emission. Raises ValueError if there is no signal of this signature."""
    target = _target_of(arguments)
    signal, wanted, signal_count = _find_signal(source, signature)
    accepted = accepted_argument_count(target)
    count = signal_count if accepted is None else min(signal_count, accepted)

    def relay(*values):
        return target(*values[:count])

    signal.connect(relay)
    source.__dict__.setdefault("_connections", []).append(Connection(wanted, target, signal, relay))
    return True


def disconnect(source: QtCore.QObject, signature: str, *arguments) -> bool:
    """Undo `connect`; without a target, every connection of the signature. False if there was none."""
    target = _target_of(arguments) if arguments else None
    _, wanted, _ = _find_signal(source, signature)
    connections = source.__dict__.get("_connections", [])
    chosen = [item for item in connections if item.signature == wanted and target in (None, item.target)]
    for item in chosen:
        connections.remove(item)
        item.signal.disconnect(item.relay)
    return bool(chosen)


def install_connect(classes: list[type]) -> None:
    """Let QObject.connect and disconnect understand the string form.

    shiboken finds these two names in C, past any Python attribute, so `__getattribute__` has to be replaced;
    on QObject, and on the few classes that bring their own.
    """
    replacements = {"connect": connect, "disconnect": disconnect}
    for cls in classes:
        if cls is QtCore.QObject or "__getattribute__" in cls.__dict__:
            cls.__getattribute__ = _attribute_lookup(cls.__getattribute__, replacements)


def _attribute_lookup(original, replacements):
    def lookup(self, name):
        replacement = replacements.get(name)
        if replacement is None:
            return original(self, name)

        def call(first, *rest):
            # SignalInstance.connect of PySide6 calls source.connect(source, ...): that one stays as it is.
            if isinstance(first, str):
                return replacement(self, first, *rest)
            return original(self, name)(first, *rest)

        return call

    return lookup
