"""The cascade: screen the whole image, then judge the candidates. Written once, used by all patch methods.

    screen -> candidates -> discriminate -> findings

1. A window network is trained on patches about lesions and in the background; a second round adds its own false alarms.
2. Applied densely, the peaks of its map are the candidates of a case (a DataStage while training: one file a case).
3. One or more networks look at fields about each candidate; their probabilities are fused by weights.

A method says which networks and fields, and how they are fused (:class:`Screen`, :class:`Look`); nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from MedDeepLib.core import Context, Prepared
from MedDeepLib.core.stages import Stage
from MedDeepLib.data.preparation import Prepared as PreparedImage
from MedDeepLib.errors import Stopped, UserError
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.patches import CachedCase
from MedDeepLib.training.precision import autocast_dtype
from MedDeepLib.training.schedules import cosine
from MedDeepLib.training.stages import DataStage, Optimisation, Refresh, Samples, TrainStage, Validation
from torch import nn

from DetectModuleLib.worker.candidates import Candidates, judged
from DetectModuleLib.worker.cases import boxes_of
from DetectModuleLib.worker.screening import Screen, Search, proposing
from DetectModuleLib.worker.windows import (
    Pool,
    Size,
    WindowBatches,
    area_under_curve,
    gathered,
    pool_scores,
)

KEY = "validation AUC of windows"
_VALIDATED = 600  # random places in the background of all validation cases together
_LEAST_RANDOM = 200  # places in the background beside false alarms


class CascadeMethod(Protocol):
    """What the cascade needs to know of a method; see :class:`DetectModuleLib.patch_method.PatchMethod`.

    Written down here, since methods import the worker.
    """

    parameters: Any

    def screens(self, channels: int, outputs: int) -> list[Screen]: ...

    def looks(self, channels: int, outputs: int) -> list[Look]: ...

    def search(self) -> Search: ...

    def augmentation(self) -> Augmentation: ...


@dataclass(frozen=True, eq=False)
class Look:
    """One network that judges candidates.

    Attributes:
        name: of the network, and in progress messages.
        size: voxels of its field about a candidate; (I, J, 1) in 2D.
        weight: of its probabilities among those of the others.
    """

    name: str
    network: nn.Module
    size: Size
    weight: float = 1.0


def discriminate(
    looks: Sequence[Look], image: torch.Tensor, voxels: np.ndarray, context: Context, batch_size: int = 64
) -> np.ndarray:
    """Fused probabilities (N, 1 + classes) of candidates at voxels (N, 3) of an image (C, I, J, K).

    The networks are in evaluation mode. Raises Stopped between two of them.
    """
    pool = Pool.of(0, voxels, 0)
    total: Any = 0
    for look in looks:
        if context.stop_requested():
            raise Stopped
        total = total + look.weight * pool_scores(look.network, [image], pool, look.size, context.device, batch_size)
    return (total / sum(look.weight for look in looks)).numpy()


class Cascade:
    """Builds the stages of a training, all on the same cases and by the same settings."""

    def __init__(self, method: CascadeMethod, prepared: Prepared, context: Context):
        """``prepared.data`` is a :class:`~DetectModuleLib.worker.cases.DetectionData`."""
        channels, outputs = len(context.dataset.channels), 1 + len(context.dataset.classes)
        torch.manual_seed(context.seed)
        self.screens, self.looks = method.screens(channels, outputs), method.looks(channels, outputs)
        for networks in (*(one.networks for one in self.screens), {one.name: one.network for one in self.looks}):
            for network in networks.values():
                network.to(context.device)
        self.training, self.validation = list(prepared.data.training), list(prepared.data.validation)
        self.cases = [*self.training, *self.validation]
        self.search, self._settings, self._context = method.search(), method.parameters, context
        self._augmentation = method.augmentation()
        spacing = np.where(np.array(prepared.facts["plan"]["spacing"]) > 0, prepared.facts["plan"]["spacing"], 1.0)
        self.affine = np.diag([*spacing, 1.0])  # candidates are in mm along the axes of each case's own grid
        self.how = proposing(self._settings, np.array(prepared.facts["class_sizes"]), spacing)
        self._warn = _Once(context)

    def stages(self) -> Iterable[Stage]:
        """All of them: screening in one or two rounds, candidates, and the networks that judge."""
        settings, pools = self._settings, self.patches()
        for number, (name, screen) in enumerate(zip(("screen", "screen again"), self.screens, strict=False)):
            if number:
                yield (alarms := self.proposals("false alarms", self.screens[0], len(self.training)))
                pools = _with_false_alarms(pools[0], self.judged(alarms)[0]), pools[1]
            steps = settings.hard_steps if number else settings.steps
            yield self.stage(name, screen.networks, screen.window, pools, steps)
        if self.looks:
            yield (candidates := self.proposals("candidates", self.screens[-1], len(self.cases)))
            pools = self.pools_of(candidates)
            for look in self.looks:
                yield self.stage(look.name, {look.name: look.network}, look.size, pools, settings.discriminate_steps)

    def patches(self) -> tuple[Pool, Pool]:
        """Lesions and other places, of the training and of the validation cases."""

        def pool(cases: Sequence[CachedCase], most: int, seed: int) -> Pool:
            share = -(-most // max(1, len(cases)))
            return gathered([self.search.places(case, n, share, seed) for n, case in enumerate(cases)])

        seed = self._context.seed
        return pool(self.training, self._settings.negatives, seed), pool(self.validation, _VALIDATED, seed + 1)

    def proposals(self, name: str, screen: Screen | None, count: int) -> DataStage:
        """The stage that makes the candidates of the first ``count`` cases; those for validation are the last."""

        def make(number: int) -> dict[str, torch.Tensor]:
            image = self.cases[number]["image"]
            shape = (image.shape[1], image.shape[2], image.shape[3])
            grid = PreparedImage(image, self.affine, (0, 1, 2), (False, False, False), shape, np.ones(3), np.zeros(3))
            return self.search.propose(screen, grid, self.how, self._context, self._warn).tensors()

        return DataStage(name, count, make)

    def voxels(self, item: dict[str, torch.Tensor]) -> np.ndarray:
        """(N, 3) voxels of the network's grid, of the candidates in an item of a stage."""
        return Candidates.from_tensors(item).voxels(self.affine)

    def judged(self, items: Iterable[dict[str, torch.Tensor]]) -> tuple[Pool, Pool]:
        """Candidates of the training and of the validation cases with what they show; undecided ones are left out."""
        pools: tuple[list[Pool], list[Pool]] = ([], [])
        for number, (case, item) in enumerate(zip(self.cases, items, strict=False)):
            held_out = number >= len(self.training)
            voxels = self.voxels(item)
            labels = judged(voxels, *boxes_of(case))
            certain = labels >= 0
            own = number - len(self.training) * held_out
            pools[held_out].append(Pool.of(own, voxels[certain], labels[certain]))
        return gathered(pools[0]), gathered(pools[1])

    def pools_of(self, candidates: DataStage) -> tuple[Pool, Pool]:
        """What networks that judge candidates are trained on, lesions too, and what they are validated by."""
        pool, held_out = self.judged(candidates)
        patches, _ = self.patches()
        if not (pool.labels == 0).any():
            self._context.report("message", message="There are no false candidates: random places stand for them.")
            pool = pool + patches[patches.labels == 0]
        return pool + patches[patches.labels > 0], held_out

    def stage(
        self, name: str, networks: dict[str, nn.Module], size: Size, pools: tuple[Pool, Pool], steps: int
    ) -> TrainStage:
        """A stage that trains networks, each by its own cross-entropy, on windows of ``size`` about places of a pool.

        Args:
            pools: for training, and to choose the best weights by; the latter is not used if it lacks lesions, or
                anything else.
        """
        settings, context = self._settings, self._context
        pool, held_out = pools
        for kind, missing in (("with a finding", not pool.labels.any()), ("without one", pool.labels.all())):
            if missing:
                raise UserError(
                    f"Stage '{name}' has no place {kind} to train on: add cases, or settings that leave more places (a "
                    "lower threshold, more candidates)."
                )
        images, held_out_images = ([case["image"] for case in cases] for cases in (self.training, self.validation))
        weights = [parameter for network in networks.values() for parameter in network.parameters()]
        batches = WindowBatches(
            images, pool, size, settings.batch_size, self._augmentation, settings.shift, context.seed
        )

        def forward(networks: dict[str, nn.Module], batch: dict[str, Any]) -> dict[str, torch.Tensor]:
            return {name: network(batch["image"]).flatten(1) for name, network in networks.items()}

        def loss(output: dict[str, torch.Tensor], batch: dict[str, Any]) -> torch.Tensor:
            return torch.stack([F.cross_entropy(scores, batch["label"]) for scores in output.values()]).sum()

        def lesion_scores(images: Sequence[torch.Tensor], places: Pool) -> np.ndarray:
            scores = [pool_scores(network, images, places, size, context.device) for network in networks.values()]
            return 1 - torch.stack(scores).mean(0)[:, 0].numpy()

        def renew() -> None:
            """The weight of a place without a finding is its present error, |p - 0|."""
            batches.errors.update(lesion_scores(images, pool[batches.errors.others]))

        def measured() -> dict[str, float]:
            return {KEY: area_under_curve(lesion_scores(held_out_images, held_out), held_out.labels > 0)}

        judges = 0 < int((held_out.labels > 0).sum()) < len(held_out)
        every, patience = settings.validate_every, settings.patience
        return TrainStage(
            name,
            networks,
            Samples(settings.batch_size, batch=batches),
            forward=forward,
            loss=loss,
            optimisation=Optimisation(
                torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay),
                steps,
                seconds=60 * settings.minutes,
                learning_rate=cosine(steps, warmup=min(100, max(1, steps // 10))),
                max_gradient_norm=12.0,
                micro_batches=settings.accumulation,
                dtype=autocast_dtype(settings.precision, context.device),
            ),
            validation=Validation(measured, KEY, every, patience, chance=0.5) if judges else None,
            refresh=Refresh(renew, settings.sampling_every) if settings.sampling == "selective" else None,
            state={"errors": batches.errors},
        )


class _Once:
    """Reports the first warning of many that are alike."""

    def __init__(self, context: Context):
        self._context, self._said = context, False

    def __call__(self, sentence: str) -> None:
        if not self._said:
            self._context.report("warning", message=sentence)
        self._said = True


def _with_false_alarms(pool: Pool, proposed: Pool) -> Pool:
    """The lesions, the false alarms, and at most as many of the random places: half of what is not a lesion is hard."""
    alarms, others = proposed[proposed.labels == 0], np.flatnonzero(pool.labels == 0)
    kept = others[np.linspace(0, len(others) - 1, min(len(others), max(len(alarms), _LEAST_RANDOM))).astype(int)]
    return pool[pool.labels > 0] + pool[kept] + alarms
