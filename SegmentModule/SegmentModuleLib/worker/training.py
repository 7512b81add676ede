"""The training stage of a segmentation network: random patches in, validation on whole cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.core.stages import Sample
from MedDeepLib.data.preparation import Plan
from MedDeepLib.data.preparation import Prepared as PreparedImage
from MedDeepLib.evaluation.overlap import mean_dice
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.sinks import Labels
from MedDeepLib.inference.sliding import TilingOptions
from MedDeepLib.training.channels import giving_channels
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.cache import CaseCache
from MedDeepLib.training.dense.patches import CachedCase, cut, made, random_center
from MedDeepLib.training.dense.supervision import DeepSupervision
from MedDeepLib.training.precision import autocast_dtype
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.samplers import EachOnce
from MedDeepLib.training.schedules import Plateau, schedule
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage, Validation

from SegmentModuleLib.worker.case_facts import has_structures
from SegmentModuleLib.worker.losses import SegmentationLoss
from SegmentModuleLib.worker.postprocessing import keep_largest_components

if TYPE_CHECKING:
    from SegmentModuleLib.worker.patch_method import PatchMethod

_NOTHING_LEARNED = 0.05  # Dice
_CLEANED_METRIC = "validation Dice as applied"


@dataclass(eq=False)
class TrainingData:
    """The cases of a training on the network's grid, and the files of those that do not fit into memory."""

    training: list[CachedCase]
    validation: list[CachedCase]
    cache: CaseCache

    def remove(self) -> None:
        """Drop the cases and delete the files; they cannot be used for training any more."""
        self.training.clear()
        self.validation.clear()
        self.cache.remove()


def patch_stage(method: PatchMethod, prepared: Prepared, context: Context) -> TrainStage:
    """The stage that trains the method's network on patches of ``prepared.data``, a :class:`TrainingData`."""
    settings, dataset = method.parameters, context.dataset
    plan, data = Plan.from_dict(prepared.facts["plan"]), prepared.data
    torch.manual_seed(context.seed)
    classes = len(dataset.classes)
    network = method.network(len(dataset.channels), classes + 1).to(context.device)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    dtype = autocast_dtype(settings.precision, context.device)
    validation = None
    if any(map(has_structures, data.validation)):  # with healthy cases alone, the best network finds nothing
        single_piece = prepared.facts["single_piece"]
        cleaned = [index for index, name in enumerate(dataset.classes, start=1) if single_piece.get(name)]
        validation = Validation(
            _WholeCases(network, data.validation, plan, method.downsampling, context, cleaned, dtype),
            "validation Dice",
            settings.validate_every,
            settings.patience,
            chance=_NOTHING_LEARNED,
        )
    return TrainStage(
        method.name,
        {"network": network},
        Samples(
            settings.batch_size,
            sample=_PatchSampler(data.training, plan, method.augmentation(), settings.foreground, context.seed),
            augment=made,
        ),
        forward=giving_channels(classes + 1, f"background and {classes} class{'es' if classes > 1 else ''}"),
        loss=DeepSupervision(SegmentationLoss(settings.loss)),
        optimisation=Optimisation(
            optimizer,
            settings.steps,
            seconds=60 * settings.minutes,
            learning_rate=schedule(settings.schedule, settings.steps, min(100, max(1, settings.steps // 10))),
            plateau=Plateau(settings.plateau_patience) if settings.plateau_patience else None,
            max_gradient_norm=12.0,
            micro_batches=settings.accumulation,
            dtype=dtype,
            average=settings.weight_average,
        ),
        validation=validation,
    )


class _PatchSampler:
    """What training sample ``number`` is made from: a pure function of the seed and the number."""

    def __init__(self, cases: list[CachedCase], plan: Plan, augmentation: Augmentation, foreground: float, seed: int):
        self._cases, self._plan, self._augmentation = cases, plan, augmentation
        self._foreground, self._seed = foreground, seed
        self._order = EachOnce(len(cases), seed)

    def __call__(self, number: int) -> Sample:
        case = self._cases[self._order(number)]
        random = random_state(self._seed, 3, number)
        center = random_center(case, random, self._foreground)
        return cut(case, center, self._plan.patch_size, self._augmentation, random)


class _WholeCases:
    """Mean Dice over whole validation cases, on the network's grid; at least one has structures.

    The best weights are chosen by the network's own output. If applying the model also removes small separate pieces,
    the Dice after that is reported too.
    """

    def __init__(
        self,
        network,
        cases: list[CachedCase],
        plan: Plan,
        step: tuple[int, int, int],
        context: Context,
        cleaned: Sequence[int],
        dtype: torch.dtype | None,
    ):
        """
        Args:
            cleaned: indices of the classes of which only the largest piece is kept.
            dtype: of the forward pass, as in training; None for float32.
        """
        self._network, self._cases, self._plan, self._dtype = network, cases, plan, dtype
        self._step, self._context, self._cleaned = step, context, cleaned

    def __call__(self) -> dict[str, float]:
        scores, cleaned_scores = [], []
        classes = len(self._context.dataset.classes)
        for case in self._cases:
            shape = case.shape
            prepared = PreparedImage(
                case["image"], np.eye(4), (0, 1, 2), (False, False, False), shape, scale=np.ones(3), offset=np.zeros(3)
            )
            tiles = 1 if self._plan.patch_size[2] > 1 else 8
            options = TilingOptions(self._plan.patch_size, batch_size=tiles, autocast=self._dtype)
            labels = apply_within_memory(
                self._network,
                prepared,
                options,
                self._context.device,
                Labels(),
                step=self._step,
                warn=lambda sentence: self._context.report("warning", message=sentence),
                stop_requested=self._context.stop_requested,
            )
            if not (has_structures(case) or labels.any()):
                continue  # nothing is there and nothing was found: as in evaluations, no Dice exists
            reference, values = case["label"][0].numpy(), range(1, classes + 1)
            scores.append(mean_dice(labels, reference, values))
            if self._cleaned:
                keep_largest_components(labels, classes, self._cleaned)
                cleaned_scores.append(mean_dice(labels, reference, values))
        metrics = {"validation Dice": float(np.mean(scores))}
        return metrics | ({_CLEANED_METRIC: float(np.mean(cleaned_scores))} if cleaned_scores else {})
