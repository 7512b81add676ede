"""Applies a trained RetinaNet to the images of a case."""

from __future__ import annotations

import torch
from MedDeepLib.core import Context, TrainedModel
from MedDeepLib.data.preparation import Prepared
from MedDeepLib.data.sources.image import Image
from MedDeepLib.inference.progress import TileProgress

from DetectModuleLib.findings import Finding
from DetectModuleLib.parameters import ApplyParameters
from DetectModuleLib.worker.anchors import Layout
from DetectModuleLib.worker.boxes import to_space
from DetectModuleLib.worker.prediction import DetectionPredictor
from DetectModuleLib.worker.retina_search import BestBoxes
from DetectModuleLib.worker.retina_training import search


class RetinaPredictor(DetectionPredictor):
    """A RetinaNet on its device, ready for any number of cases."""

    def __init__(self, network: torch.nn.Module, model: TrainedModel, context: Context, options: ApplyParameters):
        super().__init__(model, options)
        self._layout = Layout.from_dict(model.metadata["anchors"])
        self._network = BestBoxes(network, self._layout, len(model.classes)).to(context.device).eval()

    def find(self, prepared: Prepared, image: Image, context: Context) -> tuple[list[Finding], str]:
        options = self.options
        found = search(
            self._network,
            self._layout,
            prepared,
            self.plan,
            context,
            options.overlap,
            (options.merge, options.merge_distance),
            options.tile_batch,
            options.whole_image,
            options.allow_cpu,
            TileProgress(context),
        )
        names = [self.model.classes[kind] for kind in found.classes]
        return [Finding(box) for box in to_space(found.rows, prepared.affine, names, found.scores.tolist())], ""
