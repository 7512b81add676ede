"""A running average of the weights of a stage's networks, which often generalises better than the last weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


class WeightAverage:
    """Exponential moving average of all parameters of some networks (Polyak & Juditsky 1992, 10.1137/0330046).

    Early in training, the average must forget the random initial weights, so after n steps at most n / (n + 10) of the
    old average is kept. Buffers such as running statistics are not averaged: they already are averages.
    """

    def __init__(self, networks: dict[str, torch.nn.Module], decay: float):
        """
        Args:
            decay: share of the old average that is kept at each step, e.g. 0.999; 0 to 1.
        """
        self._decay = decay
        self._count = 0
        parameters = [parameter for network in networks.values() for parameter in network.parameters()]
        # Networks of one stage may share parameters; each counts once.
        self._parameters = list({id(p): p for p in parameters if p.is_floating_point()}.values())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the current weights."""
        self._count += 1
        kept = min(self._decay, self._count / (self._count + 10))
        torch._foreach_lerp_(self._averages, [p.detach() for p in self._parameters], 1 - kept)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the networks the averaged weights inside the context, and their own again afterwards."""
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
        """Swap the memory of weights and averages; the parameter objects, which optimisers refer to, stay the same."""
        for number, parameter in enumerate(self._parameters):
            parameter.data, self._averages[number] = self._averages[number], parameter.data
