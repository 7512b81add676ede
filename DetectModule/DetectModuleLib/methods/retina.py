"""RetinaNet in 2D and 3D, with anchors from the dataset's own boxes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Explanation, Prepared, parameter
from MedDeepLib.errors import UserError

from DetectModuleLib.method import DetectionMethod
from DetectModuleLib.parameters import DetectionParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage

    from DetectModuleLib.worker.prediction import DetectionPredictor


@dataclass(frozen=True)
class RetinaParameters(DetectionParameters):
    """How a RetinaNet is trained."""

    dimensions: str = parameter(
        "auto",
        "Whether the network sees volumes (3) or single slices (2); auto: slices where the images are pictures.",
        choices=("auto", "2", "3"),
    )
    patch_size: tuple[int, ...] = parameter(
        (0, 0, 0),
        "Size of the patches the network sees, along right, anterior, superior; 0: by image size and device.",
        unit="voxels",
        minimum=0,
        maximum=4096,
    )
    foreground: float = parameter(
        0.6, "Share of patches cut around a finding, each class equally often.", minimum=0.0, maximum=1.0
    )
    width: int = parameter(16, "Channels of the first resolution, a multiple of 8.", minimum=8, maximum=256)
    anchors: int = parameter(
        3, "Anchor shapes at each place, found by k-means of the sizes of the findings.", minimum=1, maximum=32
    )
    stride: int = parameter(
        0,
        "Voxels between two places of the finest level; 0: by the size of small findings.",
        unit="voxels",
        minimum=0,
        maximum=16,
        advanced=True,
    )
    loss: str = parameter(
        "focal",
        "Loss of the scores: focal, or cross-entropy on the hardest negatives.",
        choices=("focal", "hard negatives"),
        advanced=True,
    )


class Retina(DetectionMethod):
    """A one-stage detector: a feature pyramid whose every place says, for some anchor boxes, what lies there and where.

    Anchors come from the sizes of the dataset's findings, and so do the strides of the pyramid. Matching (ATSS), heads,
    box coding and losses are MONAI's; the backbone is small enough for two cores.
    """

    name = "retina"
    title = "RetinaNet"
    reference = "Lin et al. 2017, doi 10.1109/ICCV.2017.324"
    summary = "Finds objects of any size in slices or volumes, in one pass."
    Parameters: ClassVar[type] = RetinaParameters

    def __init__(self, parameters=None):
        super().__init__(parameters)
        if len(self.parameters.patch_size) not in (3, self.dimensions):
            raise UserError(f"patch_size needs {self.dimensions} numbers, not {len(self.parameters.patch_size)}.")
        if self.parameters.width % 8:
            raise UserError(f"width must be a multiple of 8, not {self.parameters.width}.")

    @property
    def dimensions(self) -> int:
        return 2 if self.parameters.dimensions == "2" else 3

    def configured(self, context: Context) -> Retina:
        from DetectModuleLib.worker.configuration import patch_for, typical_grid

        own, shape = typical_grid(context.dataset)
        settings = self.parameters
        if settings.dimensions == "auto":
            settings = replace(settings, dimensions="2" if shape[2] == 1 else "3")
        i, j, k = (float(wanted or found) for wanted, found in zip(settings.spacing, own, strict=True))
        spacing = (i, j, k)
        dimensions = 2 if settings.dimensions == "2" else 3
        found = patch_for(shape, spacing, own, dimensions, context.device.type)
        wanted = (*settings.patch_size, 1)[:3]
        patch = tuple(int(w or f) for w, f in zip(wanted, found, strict=True))
        patch = patch if dimensions == 3 else (*patch[:2], 1)
        configured = type(self)(replace(settings, spacing=spacing, patch_size=patch))
        voxels, size = (" x ".join(f"{v:g}" for v in values) for values in (spacing, patch))
        configured.explanation = Explanation(
            f"{dimensions}D network on patches of {size} voxels of {voxels} mm.",
            facts={"spacing": list(spacing), "patch_size": list(patch), "dimensions": dimensions},
        )
        return configured

    def prepare(self, context: Context) -> Prepared:
        from DetectModuleLib.worker.anchors import layout_for
        from DetectModuleLib.worker.sizes import all_sizes

        prepared = super().prepare(context)
        sizes = all_sizes(prepared.data.training)
        if not len(sizes):
            raise UserError(
                "None of the training cases that are left after some were set aside for validation has a finding: add "
                "cases with findings."
            )
        settings = self.parameters
        layout = layout_for(sizes[:, : self.dimensions], settings.anchors, settings.stride)
        return Prepared(prepared.facts | {"anchors": layout.as_dict()}, prepared.data)

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        import torch

        from DetectModuleLib.worker.retina_training import retina_stage

        torch.manual_seed(context.seed)
        dataset = context.dataset
        network = self.network(len(dataset.channels), len(dataset.classes), prepared.facts["anchors"])
        yield retina_stage(network.to(context.device), prepared, context, self.parameters, self.augmentation())
        prepared.data.remove()

    def network(self, channels: int, classes: int, anchors: dict[str, Any]):
        """The untrained network; ``anchors`` are those of the model's facts."""
        from DetectModuleLib.worker.anchors import Layout
        from DetectModuleLib.worker.networks.retina import retina_net

        layout = Layout.from_dict(anchors)
        return retina_net(channels, classes, layout.strides, layout.anchors_per_place, self.parameters.width)

    def predictor(self, model: TrainedModel, context: Context, options: Any) -> DetectionPredictor:
        from DetectModuleLib.worker.retina_prediction import RetinaPredictor

        network = self.network(len(model.channels), len(model.classes), model.metadata.get("anchors", {}))
        try:
            network.load_state_dict(model.load_weights()["network"])
        except (KeyError, RuntimeError, TypeError):
            raise UserError(
                f"The weights of the model {model.folder} do not fit its network: train or copy it again."
            ) from None
        return RetinaPredictor(network, model, context, options)
