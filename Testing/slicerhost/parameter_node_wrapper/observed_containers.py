"""List and dictionary that write every change to the parameter node they were read from."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class _Observed:
    """What observed containers share: where they came from, and how a change gets there."""

    def __init__(self, parameterNode: Any, serializer: Any, name: str, values: Any) -> None:
        self._parameter_node = parameterNode
        self._serializer = serializer
        self._name = name
        self._values = values

    def _save(self) -> None:
        try:
            self._serializer.write(self._parameter_node, self._name, self._values)
        finally:
            # A refused change is undone by reading back, and new members become observed ones.
            self._values = self._serializer.read(self._parameter_node, self._name)._values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, type(self)) else other)

    __hash__ = None

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator:
        return iter(self._values)

    def __contains__(self, item: Any) -> bool:
        return item in self._values

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._save()

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        self._save()

    def clear(self) -> None:
        self._values.clear()
        self._save()


def _not_supported(operation: str) -> Callable:
    def method(self: ObservedList, other: Any) -> None:
        # A new list would look like the parameter but no longer be bound to the node.
        raise NotImplementedError(f"ObservedList does not support {operation}; make a plain list of it first.")

    return method


class ObservedList(_Observed, collections.abc.MutableSequence):
    """A list whose changes go to the parameter node; += and *= change it, + and * are not supported."""

    __add__ = _not_supported("+")
    __radd__ = _not_supported("+")
    __mul__ = _not_supported("*")
    __rmul__ = _not_supported("*")

    def __iadd__(self, other: Iterable) -> ObservedList:
        self.extend(other)
        return self

    def __imul__(self, count: int) -> ObservedList:
        self._values *= count
        self._save()
        return self

    def insert(self, index: int, item: Any) -> None:
        self._values.insert(index, item)
        self._save()

    def append(self, item: Any) -> None:
        self._values.append(item)
        self._save()

    def extend(self, items: Iterable) -> None:
        self._values.extend(items)
        self._save()

    def remove(self, item: Any) -> None:
        self._values.remove(item)
        self._save()

    def pop(self, index: int = -1) -> Any:
        item = self._values.pop(index)
        self._save()
        return item

    def reverse(self) -> None:
        self._values.reverse()
        self._save()

    def sort(self, *, key: Callable | None = None, reverse: bool = False) -> None:
        self._values.sort(key=key, reverse=reverse)
        self._save()


class ObservedDict(_Observed, collections.abc.MutableMapping):
    """A dictionary whose changes go to the parameter node; it keeps the order of its keys."""

    def keys(self) -> collections.abc.KeysView:
        return self._values.keys()

    def values(self) -> collections.abc.ValuesView:
        return self._values.values()

    def items(self) -> collections.abc.ItemsView:
        return self._values.items()

    def popitem(self) -> tuple[Any, Any]:
        item = self._values.popitem()
        self._save()
        return item
