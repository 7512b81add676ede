"""Applies a trained cascade to an image: screen, judge, and of findings that are close keep the likeliest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from MedDeepLib.core import Context, TrainedModel
from MedDeepLib.data.geometry import spacing_of
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.data.sources.image import Image
from MedDeepLib.errors import UserError
from MedDeepLib.inference.progress import TileProgress

from DetectModuleLib.findings import Finding
from DetectModuleLib.worker.boxes import to_space
from DetectModuleLib.worker.candidates import thinned
from DetectModuleLib.worker.cascade import CascadeMethod, discriminate
from DetectModuleLib.worker.prediction import DetectionPredictor
from DetectModuleLib.worker.screening import Proposing, proposing

if TYPE_CHECKING:
    from torch import nn

SCREENING = "screening score"


class CascadePredictor(DetectionPredictor):
    """A cascade on its device.

    Findings have the fact "screening score": what the first stage alone said of them.
    """

    def __init__(self, method: CascadeMethod, model: TrainedModel, context: Context, options: Any):
        """Raises UserError for weights that do not fit the networks."""
        super().__init__(model, options)
        channels, outputs = len(model.channels), 1 + len(model.classes)
        self.search = method.search()
        self.screen = next(reversed(method.screens(channels, outputs)), None)
        self.looks = method.looks(channels, outputs)
        self.sizes = np.array(model.metadata["class_sizes"], float)  # (classes, 3) voxels of the network's grid
        self._settings = method.parameters
        judging = {look.name: look.network for look in self.looks}
        screening = self.screen.networks if self.screen else {}
        self._load({**screening, **judging}, context)

    def _load(self, networks: dict[str, nn.Module], context: Context) -> None:
        weights = self.model.load_weights()
        for name, network in networks.items():
            try:
                network.load_state_dict(weights[name])
            except (KeyError, RuntimeError, TypeError):
                raise UserError(
                    f"The weights of the model {self.model.folder} do not fit its network '{name}': train or copy it "
                    "again."
                ) from None
            network.to(context.device).eval()

    def find(self, prepared: Prepared, image: Image, context: Context) -> tuple[list[Finding], str]:
        context.report("phase", phase="Screening")
        how = self.how(prepared)
        candidates = self.search.propose(self.screen, prepared, how, context, warning(context), TileProgress(context))
        voxels, scores, classes = candidates.voxels(prepared.affine), candidates.scores, candidates.classes
        if self.looks and len(candidates):
            context.report("phase", phase=f"Judging {len(candidates)} candidates")
            fused = discriminate(self.looks, prepared.image, voxels, context)
            scores, classes = 1 - fused[:, 0], fused[:, 1:].argmax(1)
        kept = thinned(candidates.points, scores, how.distance, len(scores))
        rows = np.concatenate([voxels, self.sizes[classes]], 1)[kept]
        names = [self.model.classes[index] for index in classes[kept]]
        boxes = to_space(rows, prepared.affine, names, scores[kept])
        screened = candidates.scores[kept]
        return [Finding(box, facts={SCREENING: float(one)}) for box, one in zip(boxes, screened, strict=True)], ""

    def how(self, prepared: Prepared) -> Proposing:
        """How candidates of a case are taken."""
        how = proposing(self._settings, self.sizes, spacing_of(prepared.affine))
        return replace(how, whole_image=self.options.whole_image, allow_cpu=self.options.allow_cpu)


def warning(context: Context) -> Callable[[str], None]:
    return lambda sentence: context.report("warning", message=sentence)
