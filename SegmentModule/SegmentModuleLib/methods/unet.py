"""U-Net for slices and volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from MedDeepLib.errors import UserError
from MedDeepLib.methods import parameter

from SegmentModuleLib.parameters import TrainingParameters
from SegmentModuleLib.segmentation import SegmentationMethod

if TYPE_CHECKING:
    import numpy as np
    import torch
    from MedDeepLib.data.preparation import Plan
    from MedDeepLib.methods import Context


@dataclass(frozen=True)
class UNetParameters(TrainingParameters):
    dimensions: int = parameter(3, "2: the network sees single axial slices; 3: volumes.", choices=(2, 3))
    features: tuple[int, ...] = parameter(
        (16, 32, 64, 128, 256),
        "Feature maps at each resolution, the finest first; their number is the depth of the network.",
        minimum=1,
        maximum=2048,
        advanced=True,
    )
    resolution: str = parameter(
        "automatic",
        "full: as published; half: the network computes at half the resolution and its result is interpolated, about "
        "ten times faster with slightly softer borders; automatic: half on a CPU, full on a card.",
        choices=("automatic", "full", "half"),
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

    @property
    def downsampling(self) -> int:
        return 2 ** (len(self.parameters.features) - 1 + self._at_half_resolution)

    @property
    def _at_half_resolution(self) -> bool:
        return self.parameters.resolution == "half"

    def configured(self, context: Context) -> SegmentationMethod:
        method = self
        if self.parameters.resolution == "automatic":
            chosen = "half" if context.device.type == "cpu" and self._allows_half_resolution() else "full"
            method = UNet(replace(self.parameters, resolution=chosen))
        return super(UNet, method).configured(context)

    def _allows_half_resolution(self) -> bool:
        try:
            UNet(replace(self.parameters, resolution="half"))
        except UserError:
            return False  # a patch size that the user has chosen does not fit one more halving
        return True

    def check_parameters(self) -> None:
        levels = len(self.parameters.features)
        if not 3 <= levels <= 8:
            raise UserError(f"features needs three to eight numbers, one per resolution, not {levels}.")
        super().check_parameters()

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        import torch
        from monai.networks.nets import DynUNet

        settings = self.parameters
        levels = len(settings.features)
        strides = [2 if self._at_half_resolution else 1] + [2] * (levels - 1)
        unet = DynUNet(
            spatial_dims=settings.dimensions,
            in_channels=channels,
            out_channels=classes,
            kernel_size=[3] * levels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=settings.features,
            dropout=settings.dropout or None,
        )
        if not self._at_half_resolution:
            return unet
        mode = {2: "bilinear", 3: "trilinear"}[settings.dimensions]
        return torch.nn.Sequential(unet, torch.nn.Upsample(scale_factor=2, mode=mode))

    def voxel_weights(self, labels: np.ndarray, plan: Plan) -> np.ndarray | None:
        from SegmentModuleLib.separation import separation_weights

        if not self.parameters.separation_weight:
            return None
        settings = self.parameters
        return separation_weights(labels, settings.separation_weight, settings.separation_sigma, settings.dimensions)
