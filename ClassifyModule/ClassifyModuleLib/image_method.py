"""The base of the methods on images: reading, augmentation, heat map. A method adds its network."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context
from MedDeepLib.errors import UserError

from ClassifyModuleLib.method import ClassificationMethod
from ClassifyModuleLib.parameters import ImageApplyParameters, ImageParameters

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.inputs import Input, Read
    from ClassifyModuleLib.worker.prediction import CasePredictor, ClassPrediction


class ImageMethod(ClassificationMethod):
    """A network that classifies whole images, or the surroundings of a region in them."""

    Parameters: ClassVar[type] = ImageParameters
    ApplyParameters: ClassVar[type] = ImageApplyParameters
    takes = ("image",)

    def __init__(self, parameters=None):
        super().__init__(parameters)
        settings = self.parameters
        for name in ("size", "spacing"):
            if len(getattr(settings, name)) not in (2, 3):
                raise UserError(f"{name} needs three numbers (right, anterior, superior), or two for single slices.")
        if any(0 < length < self.least_size for length in settings.size[:2]):
            raise UserError(f"size must be at least {self.least_size} along each axis for this network.")
        if len(settings.window) != 2 or not settings.window[0] < settings.window[1]:
            raise UserError("window needs two numbers, the lower one first.")

    @property
    def least_size(self) -> int:
        """Voxels along each axis that the network needs."""
        return 32

    def input(self, slot: str) -> Input:
        from ClassifyModuleLib.worker.images import ImageInput

        return ImageInput(self.parameters, getattr(self.parameters, "dimensions", "automatic"), self.least_size)

    def evidence(
        self,
        predictor: CasePredictor,
        inputs: Read,
        prediction: ClassPrediction,
        context: Context,
        wanted: Collection[str],
    ) -> dict[str, Any]:
        from ClassifyModuleLib.worker.evidence import grad_cam, occlusion

        if "heatmap" not in wanted:
            return {}
        index, image = predictor.index_to_explain(prediction), inputs.tensor.to(context.device)
        if predictor.options.evidence == "occlusion" or not predictor.network.evidence_layer:
            found = occlusion(predictor.network, image, index, context)
        else:
            found = grad_cam(predictor.network, image, index)
        array = found.numpy() if found.ndim == 3 else found[..., None].numpy()
        return {"heatmap": (inputs.grid.to_native(array), inputs.grid.native_affine)}
