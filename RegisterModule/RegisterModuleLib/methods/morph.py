"""Deformable registration by a stationary velocity field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context, Prepared, parameter
from MedDeepLib.errors import UserError

from RegisterModuleLib.method import RegistrationMethod, align_by_matrix, painted_structures
from RegisterModuleLib.parameters import ApplyParameters, TrainingParameters
from RegisterModuleLib.worker.stages import field_stage, point_stage, structure_stage

if TYPE_CHECKING:
    import torch
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage

    from RegisterModuleLib.worker.alignment import Alignment

_SHOWN_STRUCTURES = 12


@dataclass(frozen=True)
class MorphParameters(TrainingParameters):
    steps: int = parameter(2000, "Training steps of the field's network.", minimum=1, maximum=10_000_000)
    structure_steps: int = parameter(
        2000,
        "For painted images: training steps of a network that finds the structures, by which images of any contrast "
        "are then aligned.",
        minimum=1,
        maximum=10_000_000,
    )
    point_steps: int = parameter(
        500,
        "For real images: training steps of a network that finds the matrix applied before the field; 0: train "
        "none, the matrix is then found by gradient steps alone.",
        minimum=0,
        maximum=10_000_000,
    )
    loss: str = parameter(
        "local-correlation",
        "Similarity of the images that training maximises (not used for painted images, which have only their "
        "structures in common).",
        choices=("local-correlation", "correlation", "mutual-information", "mean-square", "none"),
    )
    label_weight: float = parameter(
        1.0, "Weight of the overlap of structures (Dice) where there are label maps.", minimum=0.0, maximum=1000.0
    )
    smoothness: float = parameter(0.5, "Weight of the field's roughness.", minimum=0.0, maximum=1e6)
    regularization: str = parameter(
        "diffusion",
        "Roughness: first derivatives (diffusion) or second ones (bending).",
        choices=("diffusion", "bending"),
    )
    elastic: float = parameter(
        3.0, "Augmentation: elastic deformation (standard deviation).", unit="mm", minimum=0.0, maximum=50.0
    )
    features: tuple[int, ...] = parameter(
        (16, 32, 48, 64),
        "Feature maps at each resolution, the finest first; their number is the depth of the network.",
        minimum=1,
        maximum=2048,
        advanced=True,
    )
    points: int = parameter(48, "Points that the matrix is fitted to.", minimum=6, maximum=1024, advanced=True)


@dataclass(frozen=True)
class MorphApplyParameters(ApplyParameters):
    steps: int = parameter(
        40,
        "Instance optimisation: gradient steps on the deformation of this pair at each resolution, a quarter more at "
        "the finest; 0: the network alone.",
        unit="steps",
        minimum=0,
        maximum=100_000,
    )
    smoothness: float = parameter(1.0, "Weight of the field's roughness in these steps.", minimum=0.0, maximum=1e6)
    regularization: str = parameter(
        "diffusion",
        "Roughness: first derivatives (diffusion) or second ones (bending).",
        choices=("diffusion", "bending"),
        advanced=True,
    )
    field_spacing: float = parameter(
        0.0,
        "Distance of the deformation's grid points; 0: twice the finest voxel size of the gradient steps.",
        unit="mm",
        minimum=0.0,
        maximum=100.0,
        advanced=True,
    )
    window: int = parameter(
        5, "Edge of the window of the local similarities.", unit="voxels", minimum=3, maximum=51, advanced=True
    )


class Morph(RegistrationMethod):
    """A U-Net predicts a stationary velocity field, whose flow over unit time is the deformation.

    Balakrishnan et al. 2019, 10.1109/TMI.2019.2897538; Dalca et al. 2019, 10.1016/j.media.2019.07.006. Trained on
    painted images: Hoffmann et al. 2022, 10.1109/TMI.2021.3116879. Such a flow does not fold, and it can be inverted.
    """

    name = "morph"
    title = "Deformable (velocity field)"
    reference = (
        "Balakrishnan et al. 2019, doi 10.1109/TMI.2019.2897538; Hoffmann et al. 2022, doi 10.1109/TMI.2021.3116879"
    )
    summary = "A matrix, then a smooth invertible deformation; by network, by gradient steps on the pair, or by both."
    Parameters = MorphParameters
    ApplyParameters = MorphApplyParameters

    def __init__(self, parameters=None):
        super().__init__(parameters)
        if not 3 <= len(self.parameters.features) <= 4:
            raise UserError(
                f"features needs three or four numbers, one per resolution, not {len(self.parameters.features)}."
            )

    def build(self, plan: Mapping[str, Any], channels: int) -> dict[str, torch.nn.Module]:
        from RegisterModuleLib.worker.networks import FieldNetwork, PointNetwork, StructureNetwork

        features = self.parameters.features
        if structures := painted_structures(plan):
            return {
                "structures": StructureNetwork(channels, structures, features),
                "field": FieldNetwork(2 * structures, features),
            }
        return {
            "points": PointNetwork(channels, self.parameters.points),
            "field": FieldNetwork(2 * channels, features),
        }

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from RegisterModuleLib.worker.objectives import FieldLoss
        from RegisterModuleLib.worker.similarity import similarity
        from RegisterModuleLib.worker.training import Changes, MapSampler, PairSampler

        settings = self.parameters
        training, validation = prepared.data
        labelled = len(training.structures) > 0
        if training.paint and not labelled:
            raise UserError('Painted images are aligned by their structures: name these in the dataset\'s "labels".')
        metric = None if training.paint or settings.loss == "none" else similarity(settings.loss)
        label_weight = settings.label_weight or float(training.paint)
        if metric is None and not (labelled and label_weight):
            raise UserError("There is nothing to train on: choose a loss, or add label maps and label_weight.")
        networks = self.untrained_networks(prepared, context)
        near = self._changes(Changes, apart=0.2)
        if training.paint:
            yield structure_stage(
                networks["structures"], training, validation, near, context, settings, settings.structure_steps
            )
        elif settings.point_steps:
            far = self._changes(Changes, 1.0, 2.0)
            yield point_stage(networks["points"], training, validation, far, context, settings, settings.point_steps)
        make = MapSampler if training.paint else partial(PairSampler, structures=_SHOWN_STRUCTURES)
        held_out = MapSampler if training.paint else PairSampler
        yield field_stage(
            networks["field"],
            make(training, near, context.seed),
            held_out(validation, near, context.seed + 1) if validation is not None else None,
            FieldLoss(metric, label_weight, settings.smoothness, settings.regularization == "bending"),
            context,
            settings,
            settings.steps,
        )

    def _changes(self, make: type, apart: float, factor: float = 1.0) -> Any:
        settings = self.parameters
        rotation, shift = factor * settings.rotation, factor * settings.shift
        return make(rotation, settings.scaling, shift, apart, settings.elastic, settings.intensity, settings.bare)

    def align(
        self, alignment: Alignment, networks: dict[str, Any], model: TrainedModel, options: MorphApplyParameters
    ) -> None:
        from RegisterModuleLib.worker.similarity import similarity

        align_by_matrix(alignment, networks, model, "affine", options, to_finest=alignment.flat)
        start = None
        if "field" in networks:
            spacing = float(model.metadata["plan"]["spacing"])
            start = alignment.network_field(networks["field"], spacing, networks.get("structures"))
        if start is not None or options.steps:
            metric = similarity(options.similarity_or("local-information"), options.window)
            bending = options.regularization == "bending"
            spacing = options.field_spacing
            alignment.refine_field(options.steps, metric, start, options.smoothness, bending, spacing)
