"""Tensors inside dictionaries, lists and tuples: batches and outputs of networks may be any nesting of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def mapped(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """The same nesting with ``function`` applied to every tensor; whatever else is in it stays as it is."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: mapped(function, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [mapped(function, item) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)  # a named tuple keeps its names
    return value


def in_float32(value: Any) -> Any:
    """The same nesting with all floating-point tensors in float32."""
    return mapped(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor, value)


def split(batch: Any, count: int) -> list[tuple[Any, int]]:
    """A batch in ``count`` pieces of nearly equal size, each with its number of samples.

    Tensors are split along their first axis and lists between their entries, if they have as many of them as there are
    samples (see :func:`length`). Anything else is the same in all pieces.
    """
    size = length(batch)
    if size is None:
        raise ValueError("a batch without tensors or lists cannot be split into micro-batches")
    if count == 1:
        return [(batch, size)]
    sizes = [size // count + (number < size % count) for number in range(count)]
    ends = [sum(sizes[: number + 1]) for number in range(count)]
    return [(_piece(batch, size, end - part, end), part) for part, end in zip(sizes, ends, strict=True)]


def length(value: Any) -> int | None:
    """The number of samples in a batch: as many as its first tensor has rows or its first list has entries."""
    if isinstance(value, torch.Tensor):
        return len(value) if value.ndim else None
    if isinstance(value, list):
        return len(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return next((found for item in items if (found := length(item)) is not None), None)


def _piece(value: Any, size: int, begin: int, end: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value[begin:end] if value.ndim and len(value) == size else value
    if isinstance(value, list) and len(value) == size:
        return value[begin:end]
    if isinstance(value, dict):
        return {key: _piece(item, size, begin, end) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_piece(item, size, begin, end) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
