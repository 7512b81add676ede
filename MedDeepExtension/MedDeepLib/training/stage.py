"""One stage of training: its networks, its data, its update rule, its validation and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Sample = dict[str, torch.Tensor]


@dataclass
class Stage:
    """A part of a method's training that has its own optimiser and data.

    Attributes:
        name: unique within the method; shown to the user.
        networks: what this stage trains or uses, by name. They are saved in checkpoints and, at the end, in the
            model. With the default update rule the first one is trained.
        sample: ``sample(number)`` returns training sample ``number`` as a dictionary of tensors without batch axis.
            It must depend on nothing but the seed and the number: this is what makes training resumable at any step
            and independent of the number of loading threads.
        batch_size: samples per step.
        steps: how many steps the stage takes.
        optimizer: of the trained network's parameters.
        loss: ``loss(output, batch)`` returns a scalar tensor; ``output`` is the network's for ``batch["image"]``.
        update: ``update(engine, batch)``, where loss.backward() is not the rule: replaces the default update and
            returns a dictionary whose "loss" is shown.
        learning_rate: the factor on the optimiser's learning rate as a function of the step, from 0.
        validate: returns figures of the networks as they are, by name.
        key_figure: which of these figures is to be maximised; the weights with the best one are kept.
        validate_every: steps between two validations.
        patience: end the stage after so many validations without a better key figure; 0: never.
        autocast: number type for the forward pass (torch.bfloat16), None for float32.
        max_gradient_norm: gradients are clipped to this norm; 0: they are not.
        parts: a batch goes through the network in so many parts, whose gradients are added up: less memory for the same
            batch. When memory runs out it is doubled. Not with an own ``update``.
    """

    name: str
    networks: dict[str, torch.nn.Module]
    sample: Callable[[int], Sample]
    batch_size: int
    steps: int
    optimizer: torch.optim.Optimizer
    loss: Callable[[Any, Sample], torch.Tensor] | None = None
    update: Callable[[Any, Sample], dict[str, Any]] | None = None
    learning_rate: Callable[[int], float] = lambda step: 1.0
    validate: Callable[[], dict[str, float]] | None = None
    key_figure: str = ""
    validate_every: int = 100
    patience: int = 0
    autocast: torch.dtype | None = None
    max_gradient_norm: float = 0.0
    parts: int = 1
    collate: Callable[[list[Sample]], Sample] = field(default=torch.utils.data.default_collate)

    @property
    def trained_network(self) -> torch.nn.Module:
        return next(iter(self.networks.values()))


def cosine_with_warmup(steps: int, warmup: int) -> Callable[[int], float]:
    """Learning rate factor: linear from 0 to 1 over ``warmup`` steps, then half a cosine down to 0 at ``steps``."""
    import math

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return factor


def random_state(seed: int, *numbers: int):
    """An independent numpy RandomState for each combination of the seed and the numbers."""
    import numpy as np

    return np.random.RandomState(np.random.SeedSequence([seed, *numbers]).generate_state(4))
