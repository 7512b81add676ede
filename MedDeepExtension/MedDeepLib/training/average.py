"""A running average of the weights of a stage's networks, which often holds better than the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


class WeightAverage:
    """Exponential moving average of all parameters of some networks (Polyak & Juditsky 1992, 10.1137/0330046).

    The average of a young training must not remember the random weights that it began with, so after n steps at most
    n / (n + 10) of the old average stays. Buffers, such as running statistics, are not averaged: they are averages.
    """

    def __init__(self, networks: dict[str, torch.nn.Module], decay: float):
        """
        Args:
            decay: what stays of the average at each step, e.g. 0.999; 0 to 1.
        """
        self._decay = decay
        self._count = 0
        parameters = [parameter for network in networks.values() for parameter in network.parameters()]
        # Networks of one stage may share parts, whose weights count once.
        self._parameters = list({id(p): p for p in parameters if p.is_floating_point()}.values())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average."""
        self._count += 1
        kept = min(self._decay, self._count / (self._count + 10))
        torch._foreach_lerp_(self._averages, [p.detach() for p in self._parameters], 1 - kept)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """The networks with the averaged weights; afterwards they have their own again."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def use(self) -> None:
        """Give the networks the averaged weights for good."""
        self._exchange()

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "averages": [average.clone() for average in self._averages]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count = int(state["count"])
        for average, saved in zip(self._averages, state["averages"], strict=True):
            average.copy_(saved)

    def _exchange(self) -> None:
        """Swap the memory behind the two; optimisers and the networks' structure notice nothing."""
        for number, parameter in enumerate(self._parameters):
            parameter.data, self._averages[number] = self._averages[number], parameter.data
