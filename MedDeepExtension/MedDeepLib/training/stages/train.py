"""A stage that trains networks step by step: what it trains on, how it optimises, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from MedDeepLib.core.stages import Sample, Stateful
from MedDeepLib.training.schedules import Plateau, Schedule, constant

Networks = dict[str, torch.nn.Module]


@dataclass
class Samples:
    """What a stage trains on.

        Samples(8, sample=draw)                                         # 8 samples a step, one at a time
        Samples(2, sample=cut, augment=patches.made)                    # finished on the GPU
        Samples(32, batch=batches_of({"image": images}, 32, seed))      # data in memory, a batch at a time
        Samples(4, sample=draw, collate=keeping_lists("boxes"))         # a different number of boxes in each sample

    A batch is made by ``sample(number)`` or ``batch(number)`` in a background thread, then by ``augment`` and
    ``collate`` on the device. When memory is short, samples are dealt to micro-batches before they are collated, so a
    batch may hold whatever ``collate`` makes of samples.

    Attributes:
        batch_size: samples per step.
        sample: ``sample(number)`` returns training sample ``number``; its tensors have no batch axis. It must depend
            on nothing but the seed and the number: this makes training resumable at any step and independent of the
            number of threads. See :func:`~MedDeepLib.training.randomness.random_state`.
        batch: ``batch(number)`` returns a whole batch at once, instead of ``sample``. The same rule holds. It is split
            into micro-batches along the first axis of its tensors and along its lists.
        augment: ``augment(sample, generator)`` turns a sample into another one on the device. Everything random in it
            comes from the ``torch.Generator``, which depends on the seed and the sample's number only.
        collate: makes a batch of a list of samples that are on the device.
        threads: number of threads that make samples ahead of time; 0: none, training waits for each batch; None: as
            suits the device.
    """

    batch_size: int = 1
    sample: Callable[[int], Sample] | None = None
    batch: Callable[[int], Sample] | None = None
    augment: Callable[[Sample, torch.Generator], Sample] | None = None
    collate: Callable[[list[Sample]], Sample] = torch.utils.data.default_collate
    threads: int | None = None


@dataclass
class Optimisation:
    """How the weights change, and for how long.

        Optimisation(torch.optim.Adam(network.parameters(), 1e-3), steps=2000)
        Optimisation(optimizer, steps=2000, learning_rate=cosine(2000, warmup=100), average=0.999, seconds=3600)

    Attributes:
        optimizer: of the trained parameters. With a custom ``update``: several by name, or None.
        steps: how many steps the stage takes at most; see :func:`steps_of_epochs`.
        seconds: end the stage after that time, interruptions not counted; 0: never. The learning rate then follows the
            elapsed time. Such a stage is not bit-reproducible.
        learning_rate: the factor on the optimisers' learning rates as a function of the step, from 0.
        plateau: lowers the learning rate further when validations do not improve.
        max_gradient_norm: gradients are clipped to this norm; 0: no clipping.
        micro_batches: number of micro-batches per batch, whose gradients are summed: less memory for the same batch.
            Doubled when memory runs out.
        dtype: of the forward pass (torch.bfloat16, torch.float16), None for float32; see
            :func:`~MedDeepLib.training.precision.autocast_dtype`.
        average: share of the running average of the weights that is kept at each step, e.g. 0.999. The averaged weights
            are then validated and kept; 0: no averaging.
    """

    optimizer: torch.optim.Optimizer | dict[str, torch.optim.Optimizer] | None = None
    steps: int = 1
    seconds: float = 0.0
    learning_rate: Schedule = field(default_factory=constant)
    plateau: Plateau | None = None
    max_gradient_norm: float = 0.0
    micro_batches: int = 1
    dtype: torch.dtype | None = None
    average: float = 0.0

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """All optimisers by name; the only one is called "optimizer"."""
        if isinstance(self.optimizer, dict):
            return self.optimizer
        return {} if self.optimizer is None else {"optimizer": self.optimizer}


@dataclass
class Validation:
    """How a stage is evaluated while it trains. The weights with the best key metric are kept.

        Validation(mean_dice, "validation Dice", every=200, patience=5, chance=0.0)
        Validation(lambda: {"error in mm": error(network)}, "error in mm", direction=-1)

    Attributes:
        measure: returns metrics of the current networks, by name. The networks are in evaluation mode, with the
            averaged weights if there is an average; no gradients are recorded.
        key_metric: the name of the metric that decides.
        every: steps between two validations; the last step is always validated.
        patience: end the stage after this many validations without a better key metric; 0: never.
        direction: of the key metric: +1 where more is better, -1 where less is better.
        chance: key metric of a network that has learned nothing; the user is warned if it is not exceeded. None:
            unknown.
    """

    measure: Callable[[], dict[str, float]]
    key_metric: str
    every: int = 100
    patience: int = 0
    direction: int = 1
    chance: float | None = None


@dataclass
class Refresh:
    """Renews what samples are made from: weights of a sampler, candidates.

        Refresh(lambda: errors.update(network_errors()), every=20)      # errors: ErrorWeighted, also in ``state``

    Attributes:
        run: called with the networks in evaluation mode; no gradients are recorded. Samples of later steps are made
            after it. What it changes must be in the stage's ``state``.
        every: steps between two calls.
    """

    run: Callable[[], None]
    every: int


@dataclass
class TrainStage:
    """Trains networks step by step, with any networks, batch and loss.

        yield TrainStage(
            "segment",
            {"network": network},
            Samples(2, sample=patch),
            loss=lambda output, batch: F.cross_entropy(output, batch["label"]),
            optimisation=Optimisation(torch.optim.Adam(network.parameters(), 1e-3), steps=2000),
            validation=Validation(mean_dice, "validation Dice", every=200),
        )

    Networks that do not take one image have a ``forward`` of their own::

        def forward(networks, batch):
            features = networks["encoder"](batch["fixed"], batch["moving"])
            return {"boxes": networks["boxes"](features), "scores": networks["scores"](features)}

    Micro-batches, recovery from out-of-memory errors, several processes, half precision and clipping work for all of
    them. A custom ``update``, for rules that are not the gradient of a loss (contrastive divergence) or that alternate
    between optimisers (GANs), forgoes all of that; a warning says so where it matters. It is rarely needed.

    Attributes:
        name: unique within the method; shown to the user.
        networks: what this stage trains or uses, by name. They are saved in checkpoints and, at the end, in the
            model. Those that have parameters in the optimiser are trained; others keep their mode.
        data: what to train on.
        loss: ``loss(output, batch)`` returns a scalar tensor, usually a mean over the samples. It is computed in
            float32; losses that are not such a mean see one micro-batch at a time.
        forward: ``forward(networks, batch)`` returns the output: a tensor, or dictionaries, lists and tuples of them.
            None: the first network on ``batch["image"]``. Parameters that are trained must be used in it.
        optimisation, validation, refresh: see there.
        state: whatever else changes in training and belongs in checkpoints, by name.
        update: ``update(engine, batch)`` replaces ``forward``, ``loss`` and the optimiser's step. It returns a
            dictionary whose "loss" is shown, and whatever else is a scalar with it.
    """

    name: str
    networks: Networks
    data: Samples
    loss: Callable[[Any, Sample], torch.Tensor] | None = None
    forward: Callable[[Networks, Sample], Any] | None = None
    optimisation: Optimisation = field(default_factory=Optimisation)
    validation: Validation | None = None
    refresh: Refresh | None = None
    state: dict[str, Stateful] = field(default_factory=dict)
    update: Callable[[Any, Sample], dict[str, Any]] | None = None

    def __post_init__(self):
        """Raise ValueError when required arguments are missing or contradict each other."""
        if (self.data.sample is None) == (self.data.batch is None):
            raise ValueError(f"stage '{self.name}' needs either sample or batch in its data")
        if (self.loss is None) == (self.update is None):
            raise ValueError(f"stage '{self.name}' needs either loss or update")
        if self.loss is not None and not isinstance(self.optimisation.optimizer, torch.optim.Optimizer):
            raise ValueError(f"stage '{self.name}' needs one optimizer for its loss, or an update rule of its own")
        if self.update is not None and self.forward is not None:
            raise ValueError(f"stage '{self.name}' has an update rule of its own, which would not use forward")
        if self.refresh is not None and self.refresh.every < 1:
            raise ValueError(f"stage '{self.name}' needs a refresh every 1 or more steps")

    @property
    def trained_networks(self) -> Networks:
        """Those with parameters in an optimiser, by name; the first network where there are none."""
        groups = [group for each in self.optimisation.optimizers.values() for group in each.param_groups]
        optimised = {id(parameter) for group in groups for parameter in group["params"]}
        found = {
            name: network
            for name, network in self.networks.items()
            if any(id(parameter) in optimised for parameter in network.parameters())
        }
        return found or dict(list(self.networks.items())[:1])

    def output(self, batch: Sample) -> Any:
        """The output of the networks for a batch, in this process and in float32."""
        return (self.forward or first_on_image)(self.networks, batch)


def first_on_image(networks: Networks, batch: Sample) -> Any:
    """The first network's output for ``batch["image"]``."""
    return next(iter(networks.values()))(batch["image"])


def steps_of_epochs(epochs: float, samples: int, batch_size: int) -> int:
    """The number of steps in ``epochs`` passes over ``samples`` samples."""
    return max(1, round(epochs * samples / batch_size))
