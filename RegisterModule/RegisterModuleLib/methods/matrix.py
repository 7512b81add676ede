"""Rigid and affine registration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context, Prepared, parameter

from RegisterModuleLib.method import RegistrationMethod, align_by_matrix, painted_structures
from RegisterModuleLib.parameters import ApplyParameters, TrainingParameters
from RegisterModuleLib.worker.stages import point_stage, structure_stage

if TYPE_CHECKING:
    import torch
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage

    from RegisterModuleLib.worker.alignment import Alignment


@dataclass(frozen=True)
class GlobalParameters(TrainingParameters):
    steps: int = parameter(1000, "Training steps, one batch each.", minimum=1, maximum=10_000_000)
    elastic: float = parameter(
        3.0, "Augmentation: elastic deformation (standard deviation).", unit="mm", minimum=0.0, maximum=50.0
    )
    points: int = parameter(48, "Points that the matrix is fitted to.", minimum=6, maximum=1024, advanced=True)
    features: tuple[int, ...] = parameter(
        (12, 24, 48, 64),
        "For painted images: feature maps of the network of structures at each resolution, the finest first.",
        minimum=1,
        maximum=2048,
        advanced=True,
    )


@dataclass(frozen=True)
class GlobalApplyParameters(ApplyParameters):
    transform: str = parameter(
        "affine",
        "rigid: rotation and translation; similarity: also uniform scaling; affine: also shear and scaling along each "
        "axis.",
        choices=("rigid", "similarity", "affine"),
    )


class Global(RegistrationMethod):
    """A network finds corresponding points in both images; the matrix that fits them is refined by gradient steps.

    Trained on painted images, the points are the centres of the structures that it finds.

    After KeyMorph (Yu et al. 2022, arXiv 2304.09941) and SynthMorph (Hoffmann et al. 2024, 10.1162/imag_a_00197):
    fitting points is exact, whereas GlobalNet (Hu et al. 2018, 10.1016/j.media.2018.07.002) has to learn translations.
    """

    name = "global"
    title = "Rigid or affine (matrix)"
    reference = "Hoffmann et al. 2024, doi 10.1162/imag_a_00197; Hu et al. 2018, doi 10.1016/j.media.2018.07.002"
    summary = "A rigid, similarity or affine matrix; by network, by gradient steps on the pair, or by both."
    Parameters = GlobalParameters
    ApplyParameters = GlobalApplyParameters

    def build(self, plan: Mapping[str, Any], channels: int) -> dict[str, torch.nn.Module]:
        from RegisterModuleLib.worker.networks import PointNetwork, StructureNetwork

        if structures := painted_structures(plan):
            return {"structures": StructureNetwork(channels, structures, self.parameters.features)}
        return {"points": PointNetwork(channels, self.parameters.points)}

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from RegisterModuleLib.worker.training import Changes

        settings = self.parameters
        training, validation = prepared.data
        changes = Changes(
            settings.rotation,
            settings.scaling,
            settings.shift,
            1.0,
            settings.elastic,
            settings.intensity,
            settings.bare,
        )
        networks = self.untrained_networks(prepared, context)
        data = (training, validation, changes, context, settings, settings.steps)
        yield (
            structure_stage(networks["structures"], *data) if training.paint else point_stage(networks["points"], *data)
        )

    def align(
        self, alignment: Alignment, networks: dict[str, Any], model: TrainedModel, options: GlobalApplyParameters
    ) -> None:
        align_by_matrix(alignment, networks, model, options.transform, options, to_finest=True)
