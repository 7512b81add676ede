"""Repeatable computation: the same input gives the same result to the last bit, also on a GPU.

On a CPU this holds anyway, as long as the number of threads is the same. On a GPU some operations sum in whatever order
their threads finish; deterministic versions are slower, and a few operations have none.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator

_NOT_REPEATABLE = re.compile(r"^(\S+) does not have a deterministic implementation")


@contextlib.contextmanager
def repeatable_operations(wanted: bool, report: Callable[..., None]) -> Iterator[None]:
    """Make torch choose deterministic operations inside the block, if ``wanted``.

    An operation without a deterministic version still runs, and is reported in one warning when it first
    occurs. Must be entered before anything is computed on a GPU.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it on first use
    import torch

    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with _reported(report):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:]


@contextlib.contextmanager
def _reported(report: Callable[..., None]) -> Iterator[None]:
    known: set[str] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".* does not have a deterministic implementation")
        show = warnings.showwarning

        def show_or_report(message, *arguments, **options) -> None:
            match = _NOT_REPEATABLE.match(str(message))
            if match is None:
                show(message, *arguments, **options)
            elif match.group(1) not in known:
                known.add(match.group(1))
                report(
                    "warning",
                    message=f"The operation {match.group(1)} has no deterministic version on this device: the same "
                    "training may give weights that differ in the last bits.",
                )

        warnings.showwarning = show_or_report
        yield
