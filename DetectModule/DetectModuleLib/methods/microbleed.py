"""Two-stage cascade for cerebral microbleeds and other small lesions (Dou et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedDeepLib.core import with_defaults

from DetectModuleLib.patch_method import CascadeParameters, PatchMethod

if TYPE_CHECKING:
    from DetectModuleLib.worker.cascade import Look
    from DetectModuleLib.worker.screening import Screen


@dataclass(frozen=True)
@with_defaults(stride=2)
class MicrobleedParameters(CascadeParameters):
    """As the paper's, where it is known."""


class Microbleed(PatchMethod):
    """A 3D fully convolutional network screens, a 3D network judges (Dou et al. 2016, 10.1109/TMI.2016.2528129).

    The screening is trained twice, the second time on its own false alarms too. Its score map is as coarse as its
    pooling, every second voxel, as in the paper; with stride 1 it is dense. One network judges 20 x 20 x 16 voxels
    about each candidate. Unlike ``multilevel`` it sees a single field; unlike ``mitosis`` it is 3D and judges again.

    Paper: 320 scans, 93.16 % sensitivity at 2.74 false positives (V). The layers are in
    :mod:`DetectModuleLib.worker.networks.windows`; those of the screening are recalled (R). AdamW instead of plain
    gradient descent.
    """

    name, title = "microbleed", "Microbleed cascade"
    reference = "Dou et al. 2016, doi 10.1109/TMI.2016.2528129"
    summary = "Screens the volume with a small 3D network, then judges each candidate with a larger one."
    Parameters = MicrobleedParameters

    @property
    def patch_size(self) -> tuple[int, int, int]:
        return 16, 16, 10

    def screens(self, channels: int, outputs: int) -> list[Screen]:
        from DetectModuleLib.worker.networks.windows import microbleed_screen
        from DetectModuleLib.worker.screening import Screen

        network, window = microbleed_screen(channels, outputs, self.parameters.network_width)
        screen = Screen({"screen": network}, window, (self.parameters.stride,) * 3)
        return [screen, screen]

    def looks(self, channels: int, outputs: int) -> list[Look]:
        from DetectModuleLib.worker.cascade import Look
        from DetectModuleLib.worker.networks.windows import microbleed_discriminator

        return [Look("discriminate", *microbleed_discriminator(channels, outputs, self.parameters.network_width))]
