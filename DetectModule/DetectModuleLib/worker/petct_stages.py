"""The stages of PET/CT detection: limits of the filters, candidates, the network of several views, rules and SVM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.core.stages import Stage
from MedDeepLib.data.preparation import Prepared as PreparedImage
from MedDeepLib.data.sources.image import Image
from MedDeepLib.errors import UserError
from MedDeepLib.training.stages import FitStage

from DetectModuleLib.findings import Finding
from DetectModuleLib.worker.boxes import to_space
from DetectModuleLib.worker.candidates import thinned
from DetectModuleLib.worker.cascade import Cascade, CascadeMethod, discriminate
from DetectModuleLib.worker.cascade_prediction import SCREENING, CascadePredictor, warning
from DetectModuleLib.worker.support_vectors import fit_judge, judge
from DetectModuleLib.worker.uptake import FEATURES, RULED, TwoStreams, measured, radii_of
from DetectModuleLib.worker.windows import Pool

LIMITS, JUDGE = "limits", "judge"


def petct_stages(method: CascadeMethod, prepared: Prepared, context: Context) -> Iterable[Stage]:
    """All stages; ``method.search()`` is a :class:`~DetectModuleLib.worker.uptake.TwoStreams`."""
    cascade = Cascade(method, prepared, context)
    search, (views,) = cascade.search, cascade.looks
    assert isinstance(search, TwoStreams)

    def limits(context: Context) -> dict[str, torch.Tensor]:
        answers = [search.answers(case, cascade.affine, radii_of(cascade.how.diameters)) for case in cascade.training]
        return {"limits": torch.from_numpy(search.limits_of(np.concatenate(answers)))}

    yield (fitted := FitStage(LIMITS, limits))
    search.limits = tuple(fitted.arrays["limits"].tolist())
    yield (candidates := cascade.proposals("candidates", None, len(cascade.cases)))
    pools = cascade.pools_of(candidates)
    yield cascade.stage(views.name, {views.name: views.network}, views.size, pools, method.parameters.steps)

    def fit(context: Context) -> dict[str, torch.Tensor]:
        features, labels = [], []
        for case, pool in zip(cascade.cases, _by_case(cascade, candidates), strict=True):
            if len(pool):
                image = case["image"]
                own = discriminate([views], image, pool.voxels, context)
                features.append(features_of(own, image.numpy(), cascade.affine, pool.voxels, cascade.how.diameters))
                labels.append(pool.labels > 0)
        lesion = np.concatenate(labels) if labels else np.zeros(0, bool)
        if not lesion.any() or lesion.all():
            raise UserError(
                "The candidates are all alike, lesions or none: more cases are needed, or more candidates in each."
            )
        return fit_judge(np.concatenate(features), lesion, RULED)

    views.network.eval()
    yield FitStage(JUDGE, fit)


def features_of(own: np.ndarray, image: np.ndarray, affine: np.ndarray, voxels: np.ndarray, diameters) -> np.ndarray:
    """All features (N, 8) of candidates, of which ``own`` (N, classes with background) the network has said."""
    lesion = np.clip(1 - own[:, 0], 1e-6, 1 - 1e-6)
    return np.concatenate([np.log(lesion / (1 - lesion))[:, None], measured(image, affine, voxels, diameters)], 1)


class PetCtPredictor(CascadePredictor):
    """Candidates from both images, judged by network, rules and support vectors."""

    search: TwoStreams

    def __init__(self, method: CascadeMethod, model, context: Context, options: Any):
        super().__init__(method, model, context, options)
        weights = model.load_weights()
        try:
            self.search.limits = tuple(weights[LIMITS]["limits"].tolist())
            self._judge = weights[JUDGE]
        except KeyError:
            raise UserError(f"The model {model.folder} lacks what was fitted: train or copy it again.") from None

    def find(self, prepared: PreparedImage, image: Image, context: Context) -> tuple[list[Finding], str]:
        context.report("phase", phase="Searching both images")
        how = self.how(prepared)
        candidates = self.search.propose(None, prepared, how, context, warning(context))
        if not len(candidates):
            return [], ""
        voxels = candidates.voxels(prepared.affine)
        own = discriminate(self.looks, prepared.image, voxels, context)
        features = features_of(own, prepared.image.numpy(), prepared.affine, voxels, how.diameters)
        scores, classes = judge(features, self._judge), own[:, 1:].argmax(1)
        kept = thinned(candidates.points, scores, how.distance, len(scores))
        kept = kept[scores[kept] > 0]  # the rules have sorted out the others
        rows = np.concatenate([voxels, self.sizes[classes]], 1)[kept]
        boxes = to_space(rows, prepared.affine, [self.model.classes[index] for index in classes[kept]], scores[kept])
        listed = zip(boxes, features[kept], candidates.scores[kept], strict=True)
        return [
            Finding(box, facts={SCREENING: float(first)} | dict(zip(FEATURES[1:], map(float, row[1:]), strict=True)))
            for box, row, first in listed
        ], ""


def _by_case(cascade: Cascade, candidates) -> list[Pool]:
    """The certain candidates of every case, training and validation."""
    pools = cascade.judged(candidates)
    found = [pools[0][pools[0].cases == number] for number in range(len(cascade.training))]
    return found + [pools[1][pools[1].cases == number] for number in range(len(cascade.validation))]
