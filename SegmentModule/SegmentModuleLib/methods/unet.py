"""U-Net for slices and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedDeepLib.errors import UserError
from MedDeepLib.methods import parameter

from SegmentModuleLib.parameters import TrainingParameters
from SegmentModuleLib.segmentation import SegmentationMethod

if TYPE_CHECKING:
    import numpy as np
    import torch
    from MedDeepLib.data.preparation import Plan


@dataclass(frozen=True)
class UNetParameters(TrainingParameters):
    dimensions: int = parameter(3, "2: the network sees single axial slices; 3: volumes.", choices=(2, 3))
    features: tuple[int, ...] = parameter(
        (32, 32, 64, 128, 256, 32),
        "Feature maps of the five resolutions, the finest first, and of the last upsampling.",
        minimum=1,
        maximum=2048,
        advanced=True,
    )
    dropout: float = parameter(0.0, "Share of feature maps dropped.", minimum=0.0, maximum=0.9, advanced=True)
    separation_weight: float = parameter(
        0.0,
        "Weight of the thin background between touching objects (10 in the paper); 0: all voxels count the same.",
        minimum=0.0,
        maximum=1000.0,
    )
    separation_sigma: float = parameter(
        5.0, "Width over which that weight falls off.", unit="voxels", minimum=0.1, maximum=100.0, advanced=True
    )


class UNet(SegmentationMethod):
    """Contracting and expanding path with concatenating skips.

    Two-dimensional: Ronneberger et al. 2015, 10.1007/978-3-319-24574-4_28; three-dimensional: Cicek et al. 2016,
    arXiv 1606.06650. The convolutions are padded and normalised per instance, as is usual today; tiles overlap and are
    mirrored at the border of small images, and the paper's separating weight map is an option.
    """

    name = "unet"
    title = "U-Net"
    reference = "Ronneberger et al. 2015, doi 10.1007/978-3-319-24574-4_28; Çiçek et al. 2016, arXiv 1606.06650"
    summary = "The standard network: contracting and expanding path joined by skips, for slices (2D) or volumes (3D)."
    Parameters = UNetParameters

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        from monai.networks.nets import BasicUNet

        settings = self.parameters
        if len(settings.features) != 6:
            raise UserError(f"features needs six numbers, not {len(settings.features)}.")
        return BasicUNet(
            spatial_dims=settings.dimensions,
            in_channels=channels,
            out_channels=classes,
            features=settings.features,
            dropout=settings.dropout,
        )

    def voxel_weights(self, labels: np.ndarray, plan: Plan) -> np.ndarray | None:
        from SegmentModuleLib.separation import separation_weights

        if not self.parameters.separation_weight:
            return None
        settings = self.parameters
        return separation_weights(labels, settings.separation_weight, settings.separation_sigma, settings.dimensions)
