"""Which case a training sample is made from: reusable rules, each a function from a sample's number to an index.

A rule depends on the seed and the number only, so that training can be resumed at any step and does not depend on the
number of loading threads. :class:`ErrorWeighted` also has a state, which a stage keeps in its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch

from MedDeepLib.core.stages import Sample
from MedDeepLib.training.randomness import random_state


class EachOnce:
    """All of ``count`` cases once, in random order, before any comes again."""

    def __init__(self, count: int, seed: int):
        self._count, self._seed = count, seed
        self._current: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __call__(self, number: int) -> int:
        rounds, place = divmod(number, self._count)
        known, order = self._current  # one object: threads may be in different rounds
        if known != rounds:
            order = random_state(self._seed, 2, rounds).permutation(self._count)
            self._current = rounds, order
        return int(order[place])


class ClassBalanced:
    """Every class equally often, and within a class every case once before any comes again."""

    def __init__(self, classes: Sequence[Hashable], seed: int):
        """``classes``: the class of each case."""
        members: dict[Hashable, list[int]] = {}
        for index, value in enumerate(classes):
            members.setdefault(value, []).append(index)
        self._members = list(members.values())
        self._order = [EachOnce(len(group), seed + 1 + n) for n, group in enumerate(self._members)]
        self._turn = EachOnce(len(self._members), seed)

    def __call__(self, number: int) -> int:
        group = self._turn(number)
        return self._members[group][self._order[group](number // len(self._members))]


class ErrorWeighted:
    """Selective sampling (van Grinsven et al. 2016, 10.1109/TMI.2016.2526689): the larger the error, the more often.

    Cases that are always wanted (lesions, say) are drawn evenly; of the many others, each is drawn with a probability
    proportional to the network's present error on it. A stage passes new errors to :meth:`update` in its ``refresh``;
    before the first update, all others are drawn evenly. Put it into the stage's ``state``.
    """

    def __init__(
        self,
        others: Sequence[int] | np.ndarray,
        seed: int,
        wanted: Sequence[int] | np.ndarray = (),
        share: float = 0.5,
    ):
        """
        Args:
            others: indices of the cases that are weighted.
            wanted: indices of the cases that are drawn evenly.
            share: share of the samples that show a wanted case, if there is any.
        """
        if not len(others):
            raise ValueError("there is nothing to weight")
        self._others = np.asarray(others)
        self._wanted, self._seed, self._share = np.asarray(wanted, int), seed, share if len(wanted) else 0.0
        self._limits = self._cumulated(np.ones(len(others)))

    @property
    def others(self) -> np.ndarray:
        """Indices of the cases whose errors :meth:`update` needs."""
        return self._others

    def __call__(self, number: int) -> int:
        random = random_state(self._seed, 4, number)
        if random.uniform() < self._share:
            return int(self._wanted[random.randint(len(self._wanted))])
        place = int(np.searchsorted(self._limits, random.uniform(), side="right"))
        return int(self._others[min(place, len(self._others) - 1)])

    def several(self, number: int, count: int) -> np.ndarray:
        """The cases (count,) of batch ``number``: the same rule, many times faster than one by one."""
        random = random_state(self._seed, 5, number)
        wanted = random.uniform(size=count) < self._share
        places = np.searchsorted(self._limits, random.uniform(size=count), side="right")
        drawn = self._others[np.minimum(places, len(self._others) - 1)]
        if len(self._wanted):
            drawn = np.where(wanted, self._wanted[random.randint(len(self._wanted), size=count)], drawn)
        return drawn

    def update(self, errors: Sequence[float] | np.ndarray | torch.Tensor) -> None:
        """Set the errors, one for each of the others, 0 or more; if all are 0, all cases count the same.

        Raises ValueError for a wrong number of errors, or one that is negative or not finite.
        """
        values = np.asarray(errors.cpu() if isinstance(errors, torch.Tensor) else errors, float)
        if values.shape != self._others.shape or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"needs {len(self._others)} errors of 0 or more")
        self._limits = self._cumulated(values if values.any() else np.ones_like(values))

    def state_dict(self) -> dict[str, Any]:
        return {"limits": torch.from_numpy(self._limits.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._limits = state["limits"].numpy().copy()

    @staticmethod
    def _cumulated(weights: np.ndarray) -> np.ndarray:
        sums = np.cumsum(weights)
        return sums / sums[-1]


def batches_of(tensors: Sample, batch_size: int, seed: int) -> Callable[[int], Sample]:
    """For ``Samples.batch``: batches of data in memory, every row once before any comes again.

    Args:
        tensors: by name, with rows along their first axis, the same number in each.
    """
    order = EachOnce(len(next(iter(tensors.values()))), seed)

    def batch(number: int) -> Sample:
        rows = torch.tensor([order(number * batch_size + n) for n in range(batch_size)])
        return {name: tensor[rows] for name, tensor in tensors.items()}

    return batch
