"""One stage of training: its networks, its data, its update rule, its validation and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from MedDeepLib.training.schedules import Plateau, Schedule, constant

Sample = dict[str, Any]


class Stateful(Protocol):
    """Anything that a checkpoint can keep: a sampler, persistent chains, running statistics."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be again what :meth:`state_dict` has described."""


@dataclass
class Stage:
    """A part of a method's training that has its own networks, data and update rule.

    The way of a batch: ``sample(number)`` or ``batch(number)`` in a background thread, ``augment`` and ``collate`` on
    the device, then either the default rule (network, ``loss``, backward, optimiser) or the stage's own ``update``.

    Attributes:
        name: unique within the method; shown to the user.
        networks: what this stage trains or uses, by name. They are saved in checkpoints and, at the end, in the
            model. With the default update rule the first one is trained.
        batch_size: samples per step.
        steps: how many steps the stage takes at most; see :func:`steps_of_epochs`.

        sample: ``sample(number)`` returns training sample ``number`` as a dictionary whose tensors have no batch axis.
            It must depend on nothing but the seed and the number: this is what makes training resumable at any step
            and independent of the number of loading threads.
        batch: ``batch(number)`` returns a whole batch at once, instead of ``sample``: for data that fit into memory as
            one tensor, see :func:`batches_of`. The same rule holds.
        augment: ``augment(sample, generator)`` turns a sample into another one on the device; everything random in it
            comes from the ``torch.Generator``, which depends on the seed and the sample's number only.
        collate: makes a batch of samples that are on the device.
        threads: that make samples ahead of time; 0: none, the training waits for each; None: as suits the device.

        optimizer: of the trained network's parameters; several of them by name, or None, with an own ``update``.
        loss: ``loss(output, batch)`` returns a scalar tensor; ``output`` is the network's for ``batch["image"]``.
        update: ``update(engine, batch)``, where loss.backward() is not the rule: replaces the default update and
            returns a dictionary whose "loss" is shown, and whatever else is a scalar with it.
        autocast: number type of the forward pass (torch.bfloat16, torch.float16), None for float32.
        max_gradient_norm: gradients are clipped to this norm; 0: they are not.
        parts: a batch goes through the network in so many parts, whose gradients are added up: less memory for the same
            batch. When memory runs out it is doubled. Not with an own ``update``.
        average: share of a running average of the weights that stays at each step, e.g. 0.999. Then the averaged
            weights are validated and kept; 0: there is no average.
        learning_rate: the factor on the optimisers' learning rates as a function of the step, from 0.
        plateau: lowers the learning rate further when validations bring nothing better.

        validate: returns figures of the networks as they are, by name.
        key_figure: which of these figures is to be maximised; the weights with the best one are kept.
        validate_every: steps between two validations.
        patience: end the stage after so many validations without a better key figure; 0: never.
        seconds: end the stage after that time, interruptions not counted; 0: never. The learning rate then falls with
            the time. Such a stage cannot be repeated to the last bit.

        refresh: called every ``refresh_every`` steps with the networks in evaluation mode, to renew what samples are
            made from: weights of a sampler, candidates. Samples of later steps are made after it. What it changes must
            be in ``state``.
        state: whatever else changes in training and belongs into checkpoints, by name.
    """

    name: str
    networks: dict[str, torch.nn.Module]
    batch_size: int = 1
    steps: int = 1

    sample: Callable[[int], Sample] | None = None
    batch: Callable[[int], Sample] | None = None
    augment: Callable[[Sample, torch.Generator], Sample] | None = None
    collate: Callable[[list[Sample]], Sample] = torch.utils.data.default_collate
    threads: int | None = None

    optimizer: torch.optim.Optimizer | dict[str, torch.optim.Optimizer] | None = None
    loss: Callable[[Any, Sample], torch.Tensor] | None = None
    update: Callable[[Any, Sample], dict[str, Any]] | None = None
    autocast: torch.dtype | None = None
    max_gradient_norm: float = 0.0
    parts: int = 1
    average: float = 0.0
    learning_rate: Schedule = field(default_factory=constant)
    plateau: Plateau | None = None

    validate: Callable[[], dict[str, float]] | None = None
    key_figure: str = ""
    validate_every: int = 100
    patience: int = 0
    seconds: float = 0.0

    refresh: Callable[[], None] | None = None
    refresh_every: int = 0
    state: dict[str, Stateful] = field(default_factory=dict)

    def __post_init__(self):
        """Raise ValueError where the author of a method has left out what the stage cannot do without."""
        if (self.sample is None) == (self.batch is None):
            raise ValueError(f"stage '{self.name}' needs either sample or batch")
        if (self.loss is None) == (self.update is None):
            raise ValueError(f"stage '{self.name}' needs either loss or update")
        if self.loss is not None and not isinstance(self.optimizer, torch.optim.Optimizer):
            raise ValueError(f"stage '{self.name}' needs one optimizer for its loss, or an update rule of its own")
        if bool(self.refresh) != bool(self.refresh_every):
            raise ValueError(f"stage '{self.name}' needs both refresh and refresh_every, or neither")

    @property
    def trained_network(self) -> torch.nn.Module:
        return next(iter(self.networks.values()))

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """All optimisers by name; the only one is called "optimizer"."""
        if isinstance(self.optimizer, dict):
            return self.optimizer
        return {} if self.optimizer is None else {"optimizer": self.optimizer}


def steps_of_epochs(epochs: float, samples: int, batch_size: int) -> int:
    """How many steps show ``samples`` samples ``epochs`` times."""
    return max(1, round(epochs * samples / batch_size))
