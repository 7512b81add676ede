"""What is done when memory runs out while a network is applied: one step after the other, each said in words.

First fewer tiles at a time, then smaller tiles, then, if the user allows it, the CPU. Every case begins anew with the
settings that were asked for: memory that another program had may be free by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from MedDeepLib.data.preparation import Prepared
from MedDeepLib.devices.memory import is_out_of_memory, make_room
from MedDeepLib.errors import OutOfMemory
from MedDeepLib.inference.sliding import TilingOptions, predict_labels


def predict_labels_within_memory(
    network: torch.nn.Module,
    prepared: Prepared,
    options: TilingOptions,
    device: torch.device,
    step: tuple[int, int, int],
    warn: Callable[[str], None],
    allow_cpu: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Like :func:`predict_labels`, but goes on with less memory when there is not enough.

    Fewer tiles at a time change nothing in the result. Smaller tiles show the network less around each voxel, so labels
    may differ a little, near the borders of tiles above all.

    Args:
        step: sizes of tiles are multiples of it, axis by axis.
        warn: called with one sentence for every step down.
        allow_cpu: compute a case that does not fit on the device on the CPU.

    Raises:
        OutOfMemory: no step is left.
        Stopped: when ``stop_requested`` says so.
    """
    smaller: TilingOptions | None = options
    while smaller is not None:
        labels = _try(network, prepared, smaller, device, progress, stop_requested)
        if labels is not None:
            return labels
        smaller = next_smaller(smaller, step)
        if smaller is not None:
            warn(f"There was not enough memory: applying the network to {_in_words(smaller)} at a time.")
    if device.type == "cpu":
        raise OutOfMemory("There was not enough memory even for the smallest tiles: close other programs.")
    if not allow_cpu:
        raise OutOfMemory(
            f"There was not enough memory on the device {device} even for the smallest tiles: close other programs "
            "that use it, choose the device cpu, or allow the CPU with the option allow_cpu."
        )
    warn("There was not enough memory on the card even for the smallest tiles: computing on the CPU.")
    network.to("cpu")
    try:
        on_cpu = replace(options, batch_size=1, autocast=None)
        return predict_labels(network, prepared, on_cpu, torch.device("cpu"), progress, stop_requested)
    finally:
        network.to(device)


def next_smaller(options: TilingOptions, step: tuple[int, int, int]) -> TilingOptions | None:
    """The next settings that need less memory; None when there are none."""
    if options.batch_size > 1:
        return replace(options, batch_size=options.batch_size // 2)
    # Half of every axis, in whole steps; an axis of one step or, in 2D, of one slice stays as it is.
    size = tuple(
        length if length <= whole else -(-length // (2 * whole)) * whole
        for length, whole in zip(options.size, step, strict=True)
    )
    # Norms cannot be taken over the single voxel that would be left at the coarsest resolution.
    is_single = all(length <= whole for length, whole in zip(size, step, strict=True))
    return replace(options, size=size) if size != options.size and not is_single else None


def _try(network, prepared, options, device, progress, stop_requested) -> np.ndarray | None:
    """The labels, or None when memory did not suffice; what the attempt held is free again then."""
    try:
        return predict_labels(network, prepared, options, device, progress, stop_requested)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    make_room(device)
    return None


def _in_words(options: TilingOptions) -> str:
    if options.batch_size > 1:
        return f"{options.batch_size} tiles"
    return f"one tile of {' x '.join(map(str, options.size))} voxels"
