"""Our segmentation models for MONAI's command line: the network and the inferer that their inference.json names.

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir FOLDER

The inferer is the panel's own predictor, so that both give the same voxels.
"""

from __future__ import annotations

from typing import Any

import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.core import Context, from_mapping, get
from MedDeepLib.data.sources.image import Image
from monai.data import MetaTensor
from monai.inferers import Inferer

from SegmentModuleLib.parameters import FLIP_AXES, ApplyParameters
from SegmentModuleLib.worker.prediction import SegmentationPredictor


def make_network(method: str, parameters: dict[str, Any], channels: int, classes: int) -> torch.nn.Module:
    """The network of a method of this module; ``classes`` are counted without the background."""
    method_class: Any = get("segment", method)
    return method_class(from_mapping(method_class.Parameters, parameters)).network(channels, classes + 1)


class LabelInferer(Inferer):
    """Turns whole images (1, C, I, J, K), with their positions, into label images (1, 1, I, J, K) on the same grid."""

    def __init__(self, bundle_root: str, **options: Any):
        """``options`` are the method's options of the application, as in ``segment.py apply --set``."""
        super().__init__()
        self._model = open_model(bundle_root, "segment")
        self._options = from_mapping(ApplyParameters, options)

    def __call__(self, inputs: Any, network: torch.nn.Module, *_: Any, **__: Any) -> torch.Tensor:
        method: Any = self._model.make_method()
        context = Context(inputs.device)
        flips = FLIP_AXES[method.parameters.flips]
        predictor = SegmentationPredictor(network, self._model, context, self._options, flips, method.downsampling)
        results = []
        for image, affine in zip(inputs, inputs.affine, strict=True):
            array = (image.as_tensor() if isinstance(image, MetaTensor) else image).cpu().numpy()
            prediction = predictor.predict([Image(array, affine.cpu().numpy().astype(float))], context)
            results.append(torch.from_numpy(prediction.labels.astype("int32"))[None])
        return MetaTensor(torch.stack(results).to(inputs.device), meta=inputs.meta)
