"""The training stage of a RetinaNet: random patches with their boxes in, validation on whole cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.core.stages import Stateful
from MedDeepLib.data.preparation import Plan
from MedDeepLib.data.preparation import Prepared as PreparedImage
from MedDeepLib.evaluation.froc import froc, match_luna16
from MedDeepLib.inference.ladder import apply_within_memory
from MedDeepLib.inference.sliding import TilingOptions
from MedDeepLib.training.batches import keeping_lists
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.patches import CachedCase
from MedDeepLib.training.precision import autocast_dtype
from MedDeepLib.training.schedules import cosine
from MedDeepLib.training.stages import Optimisation, Refresh, Samples, TrainStage, Validation

from DetectModuleLib.worker.anchors import Layout
from DetectModuleLib.worker.cases import IMAGE, boxes_of
from DetectModuleLib.worker.patches import BoxPatches, finished
from DetectModuleLib.worker.retina_loss import RetinaLoss
from DetectModuleLib.worker.retina_search import BestBoxes, BoxSink, Candidates

KEY = "validation CPM"
_LARGEST_TILE = 2  # times the patch
_NOTHING_LEARNED = 0.02


def retina_stage(
    network: torch.nn.Module, prepared: Prepared, context: Context, settings: Any, augmentation: Augmentation
) -> TrainStage:
    """The stage that trains ``network``.

    Args:
        prepared: its data is a :class:`~DetectModuleLib.worker.cases.DetectionData`, its facts have "anchors".
        settings: a ``RetinaParameters``.
    """
    classes = len(context.dataset.classes)
    plan, layout = Plan.from_dict(prepared.facts["plan"]), Layout.from_dict(prepared.facts["anchors"])
    data = prepared.data
    patches = BoxPatches(
        data.training,
        plan.patch_size,
        augmentation,
        context.seed,
        share=settings.foreground,
        selective=settings.sampling == "selective",
    )
    refresh = None
    state: dict[str, Stateful] = {}
    if patches.weighted is not None:
        errors = PlaceErrors(BestBoxes(network, layout, classes), patches, context.device)
        refresh = Refresh(errors, settings.sampling_every)
        state["sampling"] = patches.weighted
    validation = None
    if any(len(boxes_of(case)[0]) for case in data.validation):
        measure = WholeCases(BestBoxes(network, layout, classes), layout, data.validation, plan, context)
        validation = Validation(measure, KEY, settings.validate_every, settings.patience, chance=_NOTHING_LEARNED)
    return TrainStage(
        "retina",
        {"network": network},
        Samples(
            settings.batch_size,
            sample=patches,
            augment=finished,
            collate=keeping_lists("boxes", "classes", "ignored"),
        ),
        loss=RetinaLoss(layout, classes, settings.loss),
        optimisation=Optimisation(
            torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay),
            settings.steps,
            seconds=60 * settings.minutes,
            learning_rate=cosine(settings.steps, min(100, max(1, settings.steps // 10))),
            max_gradient_norm=10.0,
            micro_batches=settings.accumulation,
            dtype=autocast_dtype(settings.precision, context.device),
        ),
        validation=validation,
        refresh=refresh,
        state=state,
    )


def search(
    network: BestBoxes,
    layout: Layout,
    prepared: PreparedImage,
    plan: Plan,
    context: Context,
    overlap: float = 0.25,
    merge: tuple[float, float] = (0.22, 0.0),
    batch_size: int = 1,
    whole_image: bool = False,
    allow_cpu: bool = False,
    progress: Any = lambda done, total: None,
) -> Candidates:
    """The candidates of one case.

    Args:
        merge: overlap and distance in mm of boxes that are one finding.

    Raises:
        OutOfMemory: the smallest tile does not fit.
        Stopped: the user asked to stop.
    """
    shape = prepared.image.shape[1:]
    patch = plan.patch_size
    # Twice the patch where the image is that large: tiles overlap by a finding, which small ones are hardly more than.
    i, j, k = (max(p, min(_LARGEST_TILE * p, n)) if p > 1 else 1 for p, n in zip(patch, shape, strict=True))
    options = TilingOptions(
        (i, j, k),
        overlap,
        batch_size if k > 1 else max(batch_size, 4),
        whole_image or shape[2] == 1,
        autocast=autocast_dtype("auto", context.device),
    )
    return apply_within_memory(
        network,
        prepared,
        options,
        context.device,
        BoxSink(layout, options.size, *merge),
        step=(1, 1, 1),
        warn=lambda sentence: context.report("warning", message=sentence),
        allow_cpu=allow_cpu,
        progress=progress,
        stop_requested=context.stop_requested,
    )


class WholeCases:
    """CPM over whole validation cases, the mean over the classes that occur, by LUNA16's rules."""

    def __init__(self, network: BestBoxes, layout: Layout, cases: Sequence[CachedCase], plan: Plan, context: Context):
        self._network, self._layout, self._cases, self._plan = network, layout, cases, plan
        self._context = context

    def __call__(self) -> dict[str, float]:
        spacing = np.where(np.array(self._plan.spacing) > 0, self._plan.spacing, 1.0)
        flat = [axis for axis in range(3) if all(case.shape[axis] == 1 for case in self._cases)]
        counted = [axis for axis in range(3) if axis not in flat]
        hits: dict[int, list] = {}
        for case in self._cases:
            image = PreparedImage(
                case[IMAGE],
                np.diag([*spacing, 1.0]),
                (0, 1, 2),
                (False, False, False),
                case.shape,
                scale=np.ones(3),
                offset=np.zeros(3),
            )
            found = search(self._network, self._layout, image, self._plan, self._context)
            rows, classes = boxes_of(case)
            for kind in range(len(self._context.dataset.classes)):
                own, known = found.classes == kind, classes == kind
                radii = (rows[known, 3:] * spacing)[:, counted].mean(1) / 2
                findings = found.rows[own, :3] * spacing, found.scores[own]
                hits.setdefault(kind, []).append(match_luna16(findings, (rows[known, :3] * spacing, radii)))
        curves = [froc(cases) for cases in hits.values() if any(case.reference_count for case in cases)]
        at_one = [float(curve.sensitivities[list(curve.rates).index(1.0)]) for curve in curves]
        return {
            KEY: float(np.mean([curve.cpm for curve in curves])),
            "validation sensitivity at 1 false positive": float(np.mean(at_one)),
        }


class PlaceErrors:
    """Measures, for selective sampling, how wrong the network is about each place without a finding: its best score."""

    def __init__(self, network: BestBoxes, patches: BoxPatches, device: torch.device):
        self._network, self._patches, self._device = network, patches, device

    def __call__(self) -> None:
        assert self._patches.weighted is not None
        errors = []
        for number in range(len(self._patches.weighted.others)):
            image = self._patches.plain(number).to(self._device)
            errors.append(float(self._network(image[None])[0, :, 0].amax()))
        self._patches.weighted.update(errors)
