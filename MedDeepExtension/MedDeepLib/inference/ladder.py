"""The out-of-memory ladder for applying a network: one step after the other, each reported.

First fewer tiles at a time, then smaller tiles, then, if the user allows it, the CPU. Every case starts again with the
settings that were asked for: memory that another program had may be free by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.devices.memory import is_out_of_memory, make_room
from MedDeepLib.errors import OutOfMemory
from MedDeepLib.inference.sinks import Sink
from MedDeepLib.inference.sliding import TilingOptions, apply_network

Result = TypeVar("Result")


def apply_within_memory(
    network: torch.nn.Module,
    prepared: Prepared,
    options: TilingOptions,
    device: torch.device,
    sink: Sink[Result],
    step: tuple[int, int, int],
    warn: Callable[[str], None],
    allow_cpu: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Result:
    """Like :func:`apply_network`, but with less memory when there is not enough.

    Fewer tiles at a time change nothing in the result. Smaller tiles give the network less context around each voxel,
    so the result may differ a little, above all near the borders of tiles.

    Args:
        step: sizes of tiles are multiples of it, axis by axis.
        warn: called with one sentence for every step down, and for what the sink leaves out of the result.
        allow_cpu: compute a case that does not fit on the device on the CPU.

    Raises:
        OutOfMemory: no step is left.
        Stopped: ``stop_requested`` returned True.
    """
    result = _stepping_down(network, prepared, options, device, sink, step, warn, allow_cpu, progress, stop_requested)
    for remark in sink.remarks():
        warn(remark)
    return result


def next_smaller(options: TilingOptions, step: tuple[int, int, int], smallest: int = 1) -> TilingOptions | None:
    """The next settings that need less memory; None when there are none.

    Args:
        smallest: the fewest voxels that an axis may be shortened to.
    """
    if options.batch_size > 1:
        return replace(options, batch_size=options.batch_size // 2)
    # Half of every axis, in whole steps; an axis of one step or, in 2D, of one slice stays as it is.
    size = tuple(_halved(length, whole, smallest) for length, whole in zip(options.size, step, strict=True))
    # Normalisation layers cannot work on the single voxel that would be left at the coarsest resolution.
    is_single = all(length <= whole for length, whole in zip(size, step, strict=True))
    return replace(options, size=size) if size != options.size and not is_single else None


def _halved(length: int, step: int, smallest: int) -> int:
    half = length if length <= step else -(-length // (2 * step)) * step
    return half if half >= smallest else length


def _stepping_down(
    network, prepared, options, device, sink, step, warn, allow_cpu, progress, stop_requested
) -> Any:
    smaller: TilingOptions | None = options
    while smaller is not None:
        succeeded, result = _try(network, prepared, smaller, device, sink, progress, stop_requested)
        if succeeded:
            return result
        smaller = next_smaller(smaller, step, sink.smallest_tile)
        if smaller is not None:
            warn(f"There was not enough memory: applying the network to {_in_words(smaller)} at a time.")
    if device.type == "cpu":
        raise OutOfMemory("There was not enough memory even for the smallest tiles: close other programs.")
    if not allow_cpu:
        raise OutOfMemory(
            f"There was not enough memory on the device {device} even for the smallest tiles: close other programs "
            "that use it, choose the device cpu, or allow the CPU with the option allow_cpu."
        )
    warn("There was not enough GPU memory even for the smallest tiles: computing on the CPU.")
    network.to("cpu")
    try:
        on_cpu = replace(options, batch_size=1, autocast=None)
        return apply_network(network, prepared, on_cpu, torch.device("cpu"), sink, progress, stop_requested)
    finally:
        network.to(device)


def _try(network, prepared, options, device, sink, progress, stop_requested):
    """Whether memory sufficed, and the result; after a failure the memory of the attempt is freed."""
    try:
        return True, apply_network(network, prepared, options, device, sink, progress, stop_requested)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    make_room(device)
    return False, None


def _in_words(options: TilingOptions) -> str:
    if options.batch_size > 1:
        return f"{options.batch_size} tiles"
    return f"one tile of {' x '.join(map(str, options.size))} voxels"
