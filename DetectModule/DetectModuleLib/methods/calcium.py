"""Paired networks for coronary calcium, and its scores (Wolterink et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import parameter, with_defaults
from MedDeepLib.errors import UserError

from DetectModuleLib.patch_method import PatchMethod, PatchParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel

    from DetectModuleLib.worker.calcification import BrightPieces, CalciumPredictor
    from DetectModuleLib.worker.cascade import Look
    from DetectModuleLib.worker.screening import Screen


@dataclass(frozen=True)
@with_defaults(normalization="window", window=(-200.0, 1000.0), shift=0.0)
class CalciumParameters(PatchParameters):
    discriminate_steps: int = parameter(
        2000, "Steps of the second network, which removes look-alikes.", minimum=1, maximum=10_000_000
    )
    candidate_threshold: float = parameter(
        0.3, "Score of the first network above which a bright voxel is a candidate.", minimum=0.0, maximum=1.0
    )
    field: int = parameter(25, "Edge of the field that both networks see.", unit="voxels", minimum=11, maximum=129)
    threshold: float = parameter(
        130.0,
        "Calcium is at least this bright: 130 without contrast agent; more in angiography, where blood is bright.",
        unit="HU",
        minimum=-1000.0,
        maximum=3000.0,
    )
    minimum_area: float = parameter(
        1.0, "Pieces in a slice that are smaller than this count in no score.", unit="mm2", minimum=0.0, maximum=100.0
    )


class Calcium(PatchMethod):
    """Two networks that look at three orthogonal slices, one that finds and one that removes look-alikes, and calcium
    scores (Wolterink et al. 2016, 10.1016/j.media.2016.04.004).

    Only voxels of at least ``threshold`` are trained on and found. The first network goes through the whole image; the
    second one sees only what the first one takes for calcium. Both have the same layers, not the same weights. What is
    left, connected, is a finding with its voxels; the other cascades find places. Its facts are its part of the
    Agatston score and of the volume score, see :mod:`DetectModuleLib.worker.agatston`. Of several channels the first
    one is the CT.

    A successor's 130 HU and the 2.5D views are read in public sources (V). Recalled (R): the paper works on contrast CT
    angiography within a box around the heart, which has to be cut out beforehand here; layers and field of 25 voxels
    are our choice. Paper: 72 % of the lesions at .48 false positives, the right risk category in 83 % (R).
    """

    name, title = "calcium", "Paired networks for calcium"
    reference = "Wolterink et al. 2016, doi 10.1016/j.media.2016.04.004"
    summary = "Finds calcifications in CT with two networks and computes Agatston and volume scores."
    Parameters = CalciumParameters

    def __init__(self, parameters=None):
        super().__init__(parameters)
        settings = self.parameters
        low, high = settings.window
        if settings.normalization == "window" and not low < settings.threshold < high:
            raise UserError(f"threshold must be within the window from {low:g} to {high:g} HU: widen the window.")
        if settings.normalization != "window":
            raise UserError("calcium needs normalization window: HU must mean the same in every image.")

    @property
    def patch_size(self) -> tuple[int, int, int]:
        return (self.parameters.field,) * 3

    def search(self) -> BrightPieces:
        from DetectModuleLib.worker.calcification import BrightPieces

        low, high = self.parameters.window
        return BrightPieces((self.parameters.threshold - (low + high) / 2) / ((high - low) / 2))

    def screens(self, channels: int, outputs: int) -> list[Screen]:
        from DetectModuleLib.worker.networks.windows import three_planes
        from DetectModuleLib.worker.screening import Screen

        network, window = three_planes(self.parameters.field, channels, outputs, self.parameters.network_width)
        return [Screen({"find": network}, window)]

    def looks(self, channels: int, outputs: int) -> list[Look]:
        from DetectModuleLib.worker.cascade import Look
        from DetectModuleLib.worker.networks.windows import three_planes

        return [
            Look("distinguish", *three_planes(self.parameters.field, channels, outputs, self.parameters.network_width))
        ]

    def predictor(self, model: TrainedModel, context, options: Any) -> CalciumPredictor:
        from DetectModuleLib.worker.calcification import CalciumPredictor

        settings = self.parameters
        return CalciumPredictor(
            self, model, context, options, threshold=settings.threshold, minimum_area=settings.minimum_area
        )
