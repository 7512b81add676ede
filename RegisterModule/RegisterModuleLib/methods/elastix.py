"""Classical registration by elastix, to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import parameter
from MedDeepLib.core.method import NoParameters

from RegisterModuleLib.method import RegistrationMethod
from RegisterModuleLib.parameters import ApplyParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel

    from RegisterModuleLib.worker.alignment import Alignment


@dataclass(frozen=True)
class ElastixApplyParameters(ApplyParameters):
    transform: str = parameter(
        "b-spline",
        "rigid, affine (after a rigid one), or b-spline: a deformation after both.",
        choices=("rigid", "affine", "b-spline"),
    )
    control_spacing: float = parameter(
        10.0, "Distance of the B-spline's control points.", unit="mm", minimum=0.1, maximum=200.0
    )
    iterations: int = parameter(
        256, "Steps at each resolution.", unit="steps", minimum=1, maximum=100_000, advanced=True
    )
    resolutions: int = parameter(4, "Number of resolutions.", minimum=1, maximum=10, advanced=True)


class Elastix(RegistrationMethod):
    """elastix through itk-elastix, in a process of its own; it is not trained and needs that package."""

    name = "elastix"
    title = "elastix (classical)"
    reference = "Klein et al. 2010, doi 10.1109/TMI.2009.2035616"
    summary = "The classical toolbox, not trained: a reference to compare with; needs the package itk-elastix."
    Parameters = NoParameters
    ApplyParameters = ElastixApplyParameters
    trainable = False

    def align(
        self, alignment: Alignment, networks: dict[str, Any], model: TrainedModel, options: ElastixApplyParameters
    ) -> None:
        from RegisterModuleLib.worker.elastix_job import run_elastix

        run_elastix(alignment, options)
