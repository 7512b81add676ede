"""U-Net for slices and volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from MedDeepLib.core import parameter
from MedDeepLib.errors import UserError

from SegmentModuleLib.method import SegmentationMethod
from SegmentModuleLib.parameters import TrainingParameters
from SegmentModuleLib.worker import topology

if TYPE_CHECKING:
    import numpy as np
    import torch
    from MedDeepLib.data.preparation import Plan

_AUTOMATIC = topology.AUTOMATIC
_ENTRIES = {"features": "numbers", "strides": "entries", "kernels": "entries"}
_FIRST_FEATURES = {"cpu": 16}
_FIRST_FEATURES_ON_CARDS = 32
_MOST_FEATURES = {3: 320, 2: 512}
_MOST_COARSER_OUTPUTS = 3


@dataclass(frozen=True)
class UNetParameters(TrainingParameters):
    dimensions: int = parameter(3, "2: the network sees single axial slices; 3: volumes.", choices=(2, 3))
    features: tuple[int, ...] = parameter(
        (0,),
        "Feature maps at each resolution, the finest first, such as 16,32,64,128; their number is the depth of the "
        "network. 0: by patch size and device.",
        minimum=0,
        maximum=2048,
        advanced=True,
    )
    strides: str = parameter(
        _AUTOMATIC,
        "Downsampling factor of each axis on entering each resolution, such as 1x1x1, 2x2x1, 2x2x2; automatic: by "
        "patch and voxel size.",
        advanced=True,
    )
    kernels: str = parameter(
        _AUTOMATIC,
        "Kernel size of the convolutions along each axis at each resolution, such as 3x3x1, 3x3x3, 3x3x3; automatic: "
        "1 along axes whose voxels are much longer than the others'.",
        advanced=True,
    )
    resolution: str = parameter(
        "automatic",
        "full: as published; half: the network computes at half the resolution and its result is interpolated, about "
        "ten times faster with slightly softer borders; automatic: half on a CPU, full on a GPU.",
        choices=("automatic", "full", "half"),
    )
    deep_supervision: bool = parameter(
        False, "Train up to three coarser outputs too, each half as important as the finer one.", advanced=True
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
    def downsampling(self) -> tuple[int, int, int]:
        steps = self._topology.steps if self._depth else ()
        i, j, k = (*steps, 1, 1, 1)[:3]
        return i, j, k

    @property
    def _depth(self) -> int:
        """The number of resolutions as the user or :meth:`fitted` has chosen it, 0 while it is open."""
        features, strides, kernels = self._features, self._entries("strides"), self._entries("kernels")
        return len(features or strides or kernels)

    @property
    def _features(self) -> tuple[int, ...]:
        return () if self.parameters.features == (0,) else self.parameters.features

    @property
    def _topology(self) -> topology.Topology:
        """From the parameters; what they leave open is as in models from before these parameters existed."""
        at_half = self.parameters.resolution == "half"
        plain = topology.isotropic(self._depth, self.dimensions, at_half)
        return topology.Topology(self._entries("strides") or plain.strides, self._entries("kernels") or plain.kernels)

    def _entries(self, name: str) -> tuple[topology.Axes, ...]:
        text = getattr(self.parameters, name)
        allowed = {"strides": (1, 2), "kernels": (1, 3)}[name]
        return () if text == _AUTOMATIC else topology.from_words(text, name, self.dimensions, allowed)

    def fitted(self, size: tuple[int, ...], spacing: tuple[float, ...], device_type: str) -> SegmentationMethod:
        resolution = self.parameters.resolution
        if self._entries("strides"):
            resolution = "half" if max(self._entries("strides")[0]) > 1 else "full"
        elif resolution == _AUTOMATIC and device_type == "cpu":
            try:
                return self._fitted(size, spacing, "half", _FIRST_FEATURES["cpu"])
            except UserError:
                resolution = "full"  # a patch size that the user has chosen does not fit one more halving
        elif resolution == _AUTOMATIC:
            resolution = "full"
        return self._fitted(size, spacing, resolution, _FIRST_FEATURES.get(device_type, _FIRST_FEATURES_ON_CARDS))

    def _fitted(
        self, size: tuple[int, ...], spacing: tuple[float, ...], resolution: str, first_features: int
    ) -> SegmentationMethod:
        settings = self.parameters
        wanted = settings.patch_size[: self.dimensions]
        size = tuple(w or n for w, n in zip(wanted, size, strict=True))
        strides, kernels = self._entries("strides"), self._entries("kernels")
        if not strides or not kernels:
            given, at_half = [bool(w) for w in wanted], resolution == "half"
            chosen = topology.chosen_topology(size, given, spacing, self._depth, at_half, strides)
            strides, kernels = strides or chosen.strides, kernels or chosen.kernels
        most = _MOST_FEATURES[self.dimensions]
        features = self._features or tuple(min(first_features * 2**level, most) for level in range(len(strides)))
        words = {"strides": topology.in_words(strides), "kernels": topology.in_words(kernels)}
        return type(self)(replace(settings, features=features, resolution=resolution, **words)).with_patch(size)

    def reasons(self) -> dict[str, str]:
        at_half = self.parameters.resolution == "half"
        most = _MOST_FEATURES[self.dimensions]
        reasons = {
            "resolution": "on a CPU the full one takes about ten times as long" if at_half else "as published",
            "features": f"{len(self.parameters.features)} resolutions, as many as the patch has voxels for; twice as "
            f"many features at each, up to {most}",
            "strides": "an axis is halved while its voxels are less than twice as long as the shortest and at least "
            "eight of them are left",
            "kernels": "convolutions reach to the neighbours along all axes",
        }
        if "1" in self.parameters.kernels:
            reasons["kernels"] = "1 along an axis whose neighbours are still twice as far away as along the others"
        return reasons

    def check_parameters(self) -> None:
        settings, depth = self.parameters, self._depth
        if self._features and not all(self._features):
            raise UserError("features needs a number of at least 1 for every resolution, or 0 alone to have it chosen.")
        if depth and not topology.FEWEST_LEVELS <= depth <= topology.MOST_LEVELS:
            name = "features" if self._features else "strides" if self._entries("strides") else "kernels"
            raise UserError(f"{name} needs three to eight {_ENTRIES[name]}, one per resolution, not {depth}.")
        for name in ("strides", "kernels"):
            entries = self._entries(name)
            if entries and len(entries) != depth:
                raise UserError(f"{name} has {len(entries)} entries for {depth} resolutions: give one for each.")
        strides = self._entries("strides")
        if strides and settings.resolution != _AUTOMATIC and (max(strides[0]) > 1) != (settings.resolution == "half"):
            raise UserError(
                f"resolution is {settings.resolution}, but strides begin with {topology.in_words(strides[:1])}: change "
                "one of them, or leave the resolution automatic."
            )
        super().check_parameters()

    def _check_steps(self) -> None:
        # Strides that are still open will follow the patch.
        if self._entries("strides"):
            super()._check_steps()

    def network(self, channels: int, classes: int) -> torch.nn.Module:
        import torch
        from monai.networks.nets import DynUNet

        from SegmentModuleLib.worker.outputs import DeepOutputs

        if not self._features:
            raise UserError("This U-Net has no features: its settings are incomplete; copy or train the model again.")
        settings, layout = self.parameters, self._topology
        strides = [list(axes) for axes in layout.strides]
        unet = DynUNet(
            spatial_dims=settings.dimensions,
            in_channels=channels,
            out_channels=classes,
            kernel_size=[list(axes) for axes in layout.kernels],
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=settings.features,
            dropout=settings.dropout or None,
            deep_supervision=settings.deep_supervision,
            deep_supr_num=min(_MOST_COARSER_OUTPUTS, len(strides) - 2),
        )
        layers: list[torch.nn.Module] = [unet]
        if max(strides[0]) > 1:
            mode = {2: "bilinear", 3: "trilinear"}[settings.dimensions]
            layers.append(torch.nn.Upsample(scale_factor=tuple(map(float, strides[0])), mode=mode))
        if settings.deep_supervision:
            return DeepOutputs(*layers)
        return torch.nn.Sequential(*layers) if len(layers) > 1 else unet

    def voxel_weights(self, labels: np.ndarray, plan: Plan) -> np.ndarray | None:
        from SegmentModuleLib.worker.separation import separation_weights

        if not self.parameters.separation_weight:
            return None
        settings = self.parameters
        return separation_weights(labels, settings.separation_weight, settings.separation_sigma, settings.dimensions)
