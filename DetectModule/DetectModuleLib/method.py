"""The base of the detection methods: datasets, cases on the network's grid, what is known to go wrong with them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared
from MedDeepLib.errors import UserError

from DetectModuleLib.parameters import FLIP_AXES, ApplyParameters, DetectionParameters
from DetectModuleLib.targets import has_findings

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.preparation import Plan
    from MedDeepLib.training.dense.augmentation import Augmentation

    from DetectModuleLib.worker.prediction import DetectionPredictor
    from DetectModuleLib.worker.references import Reading


class DetectionMethod(Method):
    """A method that finds things in images, trained on cases with boxes around them.

    It declares its ``Parameters``, derived from :class:`DetectionParameters`, yields its stages, and has a
    :class:`~DetectModuleLib.worker.prediction.DetectionPredictor`. ``prepare`` reads the cases: ``prepared.data`` is a
    :class:`~DetectModuleLib.worker.cases.DetectionData`, ``prepared.facts`` have "plan" and "sizes".
    """

    task = "detect"
    Parameters: ClassVar[type] = DetectionParameters
    ApplyParameters: ClassVar[type] = ApplyParameters
    output_endings = (".mrk.json", ".csv", ".dcm")

    def __init__(self, parameters=None):
        super().__init__(parameters)
        if len(self.parameters.spacing) != 3:
            raise UserError(
                f"spacing needs three numbers (right, anterior, superior), not {len(self.parameters.spacing)}."
            )
        window = self.parameters.window
        if len(window) != 2 or not window[0] < window[1]:
            raise UserError("window needs two numbers, the lower one first.")

    @abstractmethod
    def predictor(self, model: TrainedModel, context: Context, options: Any) -> DetectionPredictor:
        """The trained model, ready to be applied; ``options`` is an ``ApplyParameters``."""

    @property
    def dimensions(self) -> int:
        """2 for networks that see single slices, 3 for volumes."""
        return getattr(self.parameters, "dimensions", 3)

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Voxels (I, J, K) that a network sees at a time, K is 1 in 2D; the method must have been configured."""
        size = tuple(self.parameters.patch_size)
        i, j, k = size if self.dimensions == 3 else (*size[:2], 1)
        return i, j, k

    def check(self, dataset: Dataset) -> None:
        if not any(map(has_findings, dataset.training)):
            raise UserError(
                f"The dataset {dataset.name} has images but no findings: add boxes, points or a label map to some of "
                'its training cases, as "findings", "points" or "label".'
            )
        if not dataset.classes:
            raise UserError(
                f"The findings of the dataset {dataset.name} are all empty: mark them in some of the cases."
            )

    def plan(self) -> Plan:
        """How images become network input; the method must have been configured."""
        from MedDeepLib.data.preparation import Plan

        i, j, k = map(float, self.parameters.spacing)
        low, high = self.parameters.window
        k = k if self.dimensions == 3 else 0.0  # slices are taken as they come
        return Plan((i, j, k), self.patch_size, self.parameters.normalization, (float(low), float(high)))

    def reading(self, dataset: Dataset) -> Reading:
        """How the targets of its cases are read."""
        from DetectModuleLib.worker.references import Reading

        settings = self.parameters
        return Reading(dataset.classes, dataset.segments, settings.point_diameter, settings.smallest_piece)

    def prepare(self, context: Context) -> Prepared:
        from MedDeepLib.data.dataset import with_validation
        from MedDeepLib.training.dense.cache import CaseCache

        from DetectModuleLib.worker.advice import advise
        from DetectModuleLib.worker.cases import DetectionData, load_cases
        from DetectModuleLib.worker.sizes import sizes_of

        settings, plan, reading = self.parameters, self.plan(), self.reading(context.dataset)
        dataset = with_validation(context.dataset, settings.validation_fraction, context.seed)
        cache = CaseCache(context.folder / "cache", int(settings.cache_memory * 1e9))
        context.report("phase", phase="Reading the training images")
        training = load_cases(dataset.training, plan, reading, context, cache)
        validation = load_cases(dataset.validation[: settings.validation_cases], plan, reading, context, cache)
        advise(training, dataset, plan, self.largest_finding(plan), context)
        return Prepared(
            {"plan": plan.as_dict(), "sizes": sizes_of(training, plan)}, DetectionData(training, validation, cache)
        )

    def largest_finding(self, plan: Plan) -> tuple[float, ...]:
        """The largest finding, in voxels along each axis, that a network can see whole; larger ones are warned of."""
        return plan.patch_size

    def augmentation(self) -> Augmentation:
        """How training patches are changed at random; boxes follow."""
        from MedDeepLib.training.dense.augmentation import Augmentation

        settings = self.parameters
        axes = tuple(axis for axis in FLIP_AXES[settings.flips] if axis < self.dimensions)
        return Augmentation(settings.rotation, settings.scaling, 0.0, axes, settings.intensity)
