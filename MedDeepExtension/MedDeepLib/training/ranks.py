"""Several processes that train together, each on its own samples and, if there are GPUs, on its own GPU.

They are started by torch's elastic launcher and compute the same steps at the same time; gradients are averaged over
all of them by torch's ``DistributedDataParallel``. One of them leads: it validates, fits, writes checkpoints and
events, and decides when a stage ends. The items of a DataStage are shared out among all. Without a launcher there is
one process, which leads. A stage with an update rule of its own gains nothing: every process does the same work.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed


def rank() -> int:
    """The number of this process, from 0; 0 leads."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def leads() -> bool:
    return rank() == 0


def count_here() -> int:
    """How many of them share the memory of this computer, as set by torch's launcher."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if distributed.is_initialized() else 1


def from_leader(make: Callable[[], Any]) -> Any:
    """The leader's result of ``make``, sent to all: plain values and tensors on the CPU. Only the leader calls
    ``make``.
    """
    if count() == 1:
        return make()
    box = [make() if leads() else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def any_of(flag: bool) -> bool:
    """Whether ``flag`` is true in any of the processes; each waits for all others."""
    if count() == 1:
        return flag
    flags: list[Any] = [None] * count()
    distributed.all_gather_object(flags, flag)
    return any(flags)


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, on each of them; gradients flow through it.

    For losses that are not a mean over samples, such as Dice over a batch: built from such sums, each process has the
    loss of all samples, and the averaged gradients are those of one process with the whole batch. All processes must
    call it equally often.
    """
    if count() == 1:
        return tensor
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(tensor)


class Decisions:
    """What the leader decides after each step, sent to all in one cheap message."""

    def __init__(self):
        # Sent from the CPU even with GPUs: a GPU would have to finish its queued work first.
        alone = count() == 1
        one_group = alone or distributed.get_backend() == "gloo"
        self._group: Any = None if one_group else distributed.new_group(backend="gloo")

    def share(self, *numbers: float) -> tuple[float, ...]:
        """The leader's numbers, on all processes."""
        if count() == 1:
            return numbers
        message = torch.tensor(numbers, dtype=torch.float64)
        distributed.broadcast(message, src=0, group=self._group)
        return tuple(message.tolist())


def share_weights(networks: dict[str, torch.nn.Module]) -> None:
    """Give all processes the leader's weights and running statistics."""
    if count() > 1:
        with torch.no_grad():
            for network in networks.values():
                for tensor in (*network.parameters(), *network.buffers()):
                    distributed.broadcast(tensor.detach(), src=0)


def in_parallel(network: torch.nn.Module) -> torch.nn.Module:
    """The module wrapped so that its gradients are averaged over all processes."""
    if count() == 1:
        return network
    return torch.nn.parallel.DistributedDataParallel(network)


def without_exchange(network: Any):
    """A context in which a network from :func:`in_parallel` accumulates its gradients locally, without exchange."""
    return network.no_sync() if count() > 1 else contextlib.nullcontext()
