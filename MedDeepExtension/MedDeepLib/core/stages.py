"""The parts of a training, defined without torch: stages, samples, and what a checkpoint can keep.

A method yields stages of three kinds, in any number and order. They are declared in :mod:`MedDeepLib.training.stages`,
which imports torch; code that only passes stages on uses the protocol here.

==============  ========================================================  ============================================
TrainStage      networks trained step by step                             U-Net, GAN, restricted Boltzmann machine
FitStage        arrays that are computed in one go                        PCA, SVM, hidden Markov model
DataStage       items that later stages train on, a file for each         candidates, momenta, simulated radiographs
==============  ========================================================  ============================================
"""

from __future__ import annotations

from typing import Any, Protocol

Sample = dict[str, Any]
"""One training sample, or the ``collate`` of several (a batch): tensors, lists and plain values by name."""


class Stage(Protocol):
    """A part of a method's training that is checkpointed as a whole.

    Attributes:
        name: unique within the method; shown to the user.
    """

    name: str


class Stateful(Protocol):
    """Anything that a checkpoint can keep: a sampler, persistent chains, running statistics."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` has returned."""
