"""Deep max-pooling pixel classifiers in orientations, and non-maxima suppression (Ciresan et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import parameter, with_defaults

from DetectModuleLib.patch_method import PatchMethod, ScreeningParameters

if TYPE_CHECKING:
    from DetectModuleLib.worker.screening import Screen


@dataclass(frozen=True)
@with_defaults(shift=5.0, rotation=180.0, scaling=0.0)
class MitosisParameters(ScreeningParameters):
    orientations: bool = parameter(
        True, "Average over the eight turned and mirrored copies of the image; eight times the time."
    )


class Mitosis(PatchMethod):
    """Two 2D networks classify each pixel by its surroundings of 101 x 101 pixels (Ciresan et al. 2013,
    10.1007/978-3-642-40763-5_51).

    A first network, of 11 layers, is trained on random places; its false alarms join the training set of two new ones
    (R), of 13 and of 11 layers. Their probabilities are averaged, in eight orientations each, and the peaks of the map
    are the findings: unlike in the cascades nothing judges them again. In RGB, or any number of channels; a volume is
    searched slice by slice.

    Paper: F1 .782 at ICPR 2012 (R). Unlike there the map is not smoothed before its peaks are taken.
    """

    name, title = "mitosis", "Mitosis pixel classifier"
    reference = "Ciresan et al. 2013, doi 10.1007/978-3-642-40763-5_51"
    summary = "Classifies every pixel by a large neighbourhood, averaged over networks and orientations."
    Parameters = MitosisParameters

    @property
    def dimensions(self) -> int:
        return 2

    @property
    def patch_size(self) -> tuple[int, int, int]:
        return 101, 101, 1

    def screens(self, channels: int, outputs: int) -> list[Screen]:
        from DetectModuleLib.worker.networks.windows import mitosis_network
        from DetectModuleLib.worker.screening import Screen

        first, again, deep = (
            mitosis_network(layers, channels, outputs, self.parameters.network_width) for layers in (11, 11, 13)
        )
        stride, window = (self.parameters.stride, self.parameters.stride, 1), self.patch_size
        both: dict[str, Any] = {"of 11 layers": again, "of 13 layers": deep}
        return [Screen({"first": first}, window, stride), Screen(both, window, stride, self.parameters.orientations)]
