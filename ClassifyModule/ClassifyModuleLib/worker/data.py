"""Training and validation cases as a network takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from MedDeepLib.core.stages import Sample
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.cache import CaseCache
from MedDeepLib.training.dense.patches import CachedCase, cut, made
from MedDeepLib.training.randomness import random_state

_EVALUATED_TOGETHER = 16
_IMAGE = "image"


class Inputs(Protocol):
    """The inputs of some cases, in memory or in files."""

    def __len__(self) -> int: ...

    def of(self, index: int) -> torch.Tensor:
        """The input of one case, as the network takes it but without the batch axis."""
        ...

    def sample(self, index: int, seed: int, number: int) -> Sample:
        """Training sample ``number``, which is made from the case ``index``: "input", or what :meth:`augmented` makes
        it from."""
        ...

    def augmented(self, sample: Sample, generator: torch.Generator) -> Sample:
        """The sample as the network takes it, computed on the training's device."""
        ...


@dataclass(eq=False)
class Arrays:
    """Rows of a table, or matrices.

    Attributes:
        values: (N, ...) float32, standardised.
        noise: standard deviation of what augmentation adds.
    """

    values: torch.Tensor
    noise: float = 0.0

    def __len__(self) -> int:
        return len(self.values)

    def of(self, index: int) -> torch.Tensor:
        return self.values[index]

    def sample(self, index: int, seed: int, number: int) -> Sample:
        return {"input": self.values[index]}

    def augmented(self, sample: Sample, generator: torch.Generator) -> Sample:
        if not self.noise:
            return sample
        values = sample["input"]
        noise = torch.randn(values.shape, generator=generator, device=values.device)
        return sample | {"input": values + self.noise * noise}


@dataclass(eq=False)
class Images:
    """Images (C, I, J, K) on the network's grid; a single slice is (C, I, J)."""

    cases: list[CachedCase]
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.cases)

    def of(self, index: int) -> torch.Tensor:
        image = self.cases[index][_IMAGE].float()
        return image[..., 0] if image.shape[-1] == 1 else image

    def sample(self, index: int, seed: int, number: int) -> Sample:
        case = self.cases[index]
        middle = (np.array(case.shape) - 1) / 2
        return cut(case, middle, case.shape, self.augmentation, random_state(seed, 3, number))

    def augmented(self, sample: Sample, generator: torch.Generator) -> Sample:
        kept = {name: value for name, value in sample.items() if name in ("answer", "weight")}
        return {"input": made(sample, generator)[_IMAGE]} | kept


@dataclass(eq=False)
class Part:
    """The training or the validation cases.

    Attributes:
        answers: (N,) index of the class (int64), or the standardised value (float32).
        names: of the cases.
    """

    inputs: Inputs
    answers: torch.Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.answers)

    def batches(self, device: torch.device, size: int = _EVALUATED_TOGETHER) -> Iterator[torch.Tensor]:
        """All inputs (B, ...) in their order."""
        for first in range(0, len(self), size):
            some = [self.inputs.of(index) for index in range(first, min(first + size, len(self)))]
            yield torch.stack(some).to(device)


@dataclass(eq=False)
class TrainingData:
    """What the stages of a method train on.

    Attributes:
        classes: in the order of their indices; none for a value.
        priors: (K,) how frequent the classes are among the training cases.
        weights: (K,) what each class counts in the loss.
        arrays: what is needed besides the plan to read further cases, saved with the model: large tables of numbers.
        scale: of a value: standard deviation; the standardised value times it is in the value's own unit.
    """

    training: Part
    validation: Part
    classes: tuple[str, ...]
    priors: torch.Tensor
    weights: torch.Tensor
    balanced_sampler: bool
    arrays: dict[str, torch.Tensor] = field(default_factory=dict)
    scale: float = 1.0
    cache: CaseCache | None = None

    def remove(self) -> None:
        """Delete files of cases that did not fit into memory."""
        if self.cache is not None:
            self.cache.remove()


@torch.inference_mode()
def outputs_of(
    network: torch.nn.Module, part: Part, device: torch.device, of: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """What the network, or ``of``, gives for all cases of a part: (N, ...) on the CPU in float32."""
    compute = of or network
    found: Sequence[torch.Tensor] = [compute(batch).float().cpu() for batch in part.batches(device)]
    return torch.cat(list(found)) if found else torch.zeros(0, 1)
