"""Three receptive fields about each candidate, fused by weights (Dou et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedDeepLib.core import parameter, with_defaults
from MedDeepLib.errors import UserError

from DetectModuleLib.patch_method import CascadeParameters, PatchMethod

if TYPE_CHECKING:
    from DetectModuleLib.worker.cascade import Look
    from DetectModuleLib.worker.screening import Screen

LEVELS = ("small", "middle", "large")


@dataclass(frozen=True)
@with_defaults(stride=2)
class MultilevelParameters(CascadeParameters):
    fusion: tuple[float, ...] = parameter(
        (0.3, 0.4, 0.3), "Weights of the small, the middle and the large field; 0 leaves one out.", minimum=0.0
    )


class Multilevel(PatchMethod):
    """Three 3D networks judge each candidate by 20x20x6, 30x30x10 and 40x40x26 voxels (Dou et al. 2017,
    10.1109/TBME.2016.2613502).

    A small lesion is told from a vessel by its surroundings, a large one from the chest wall by its own shape: no
    single field serves both. The probabilities are averaged with the weights .3, .4 and .3 (R). The paper takes the
    candidates of the LUNA16 challenge; here a screening network proposes them, the one of ``microbleed``, from which
    this differs in what judges them.

    Fields, layers and momentum are read in public sources (V), the pooling of two networks is recalled (R), see
    :mod:`DetectModuleLib.worker.networks.windows`. AdamW instead of stochastic gradient descent with momentum .9.
    """

    name, title = "multilevel", "Multi-level contextual networks"
    reference = "Dou et al. 2017, doi 10.1109/TBME.2016.2613502"
    summary = "Judges each candidate by three fields of growing size and fuses the three answers."
    Parameters = MultilevelParameters

    def __init__(self, parameters=None):
        super().__init__(parameters)
        fusion = self.parameters.fusion
        if len(fusion) != len(LEVELS) or not any(fusion):
            raise UserError(f"fusion needs three weights, of which one at least is above 0, not {fusion}.")

    @property
    def patch_size(self) -> tuple[int, int, int]:
        return 16, 16, 10

    def largest_finding(self, plan) -> tuple[float, ...]:
        return 40, 40, 26

    def screens(self, channels: int, outputs: int) -> list[Screen]:
        from DetectModuleLib.worker.networks.windows import microbleed_screen
        from DetectModuleLib.worker.screening import Screen

        network, window = microbleed_screen(channels, outputs, self.parameters.network_width)
        screen = Screen({"screen": network}, window, (self.parameters.stride,) * 3)
        return [screen, screen]

    def looks(self, channels: int, outputs: int) -> list[Look]:
        from DetectModuleLib.worker.cascade import Look
        from DetectModuleLib.worker.networks.windows import level_network

        made = []
        for level, (name, weight) in enumerate(zip(LEVELS, self.parameters.fusion, strict=True)):
            if weight:
                made.append(Look(name, *level_network(level, channels, outputs, self.parameters.network_width), weight))
        return made
