"""The base of the segmentation methods: data, training stage, application, metrics. A method adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared, to_mapping
from MedDeepLib.errors import Stopped, UserError

from SegmentModuleLib.parameters import AXES, FLIP_AXES, ApplyParameters, TrainingParameters

if TYPE_CHECKING:
    import numpy as np
    import torch
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.preparation import Plan
    from MedDeepLib.data.slots import Case
    from MedDeepLib.training.dense.augmentation import Augmentation
    from MedDeepLib.training.dense.cache import CaseCache
    from MedDeepLib.training.dense.patches import CachedCase

    from SegmentModuleLib.worker.prediction import SegmentationPredictor


class SegmentationMethod(Method):
    """A network that gives every voxel a class, trained on patches and applied in tiles.

    A method declares its ``Parameters`` (derived from :class:`TrainingParameters`) and builds its network; it may
    also weight voxels.
    """

    task = "segment"
    Parameters: ClassVar[type] = TrainingParameters
    ApplyParameters: ClassVar[type] = ApplyParameters
    output_endings = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha")

    def __init__(self, parameters=None):
        super().__init__(parameters)
        self.check_parameters()

    def check_parameters(self) -> None:
        """Raise UserError for settings without a valid network; needs neither torch nor data."""
        self._patch_size()
        self._check_steps()
        _three(self.parameters.spacing, "spacing")
        _two(self.parameters.window)

    @abstractmethod
    def network(self, channels: int, classes: int) -> torch.nn.Module:
        """The network: (B, channels, I, J[, K]) to scores (B, classes, I, J[, K]); class 0 is background."""

    def voxel_weights(self, labels: np.ndarray, plan: Plan) -> np.ndarray | None:
        """Loss weights (I, J, K) float32 for class indices (I, J, K); None: all voxels count the same."""
        return None

    @property
    @abstractmethod
    def downsampling(self) -> tuple[int, int, int]:
        """Voxels along each axis that one voxel of the network's coarsest resolution covers; 1 across slices in 2D.

        Patches are multiples of it.
        """

    def fitted(self, size: tuple[int, ...], spacing: tuple[float, ...], device_type: str) -> SegmentationMethod:
        """The method with its network chosen for patches of about ``size`` voxels of ``spacing``.

        A patch size that the user left open becomes ``size``, rounded up so that the network can halve it.
        """
        return self.with_patch(size)

    def reasons(self) -> dict[str, str]:
        """The reasons for the choices of :meth:`fitted`: half a sentence for each parameter of the network, by name."""
        return {}

    def with_patch(self, size: tuple[int, ...]) -> SegmentationMethod:
        """The method with patches of ``size`` voxels, rounded up, along the axes whose size the user has left open."""
        wanted, steps = self.parameters.patch_size[: self.dimensions], self.downsampling[: self.dimensions]
        rounded = [w or -(-n // step) * step for w, n, step in zip(wanted, size, steps, strict=True)]
        if rounded == list(steps):  # normalisation needs more than one voxel
            rounded = [w or 2 * step for w, step in zip(wanted, steps, strict=True)]
        return type(self)(replace(self.parameters, patch_size=tuple(map(int, rounded))))

    @property
    def dimensions(self) -> int:
        """2 for networks that see single slices, 3 for volumes."""
        return getattr(self.parameters, "dimensions", 3)

    def check(self, dataset: Dataset) -> None:
        if not dataset.classes:
            if any("label" in case.targets for case in dataset.training):
                raise UserError(
                    f"The labels of the dataset {dataset.name} are all empty: draw the structures in some of the cases."
                )
            raise UserError(
                f"The dataset {dataset.name} has images but no labels: draw the structures in some of them, "
                'and add "label" to these cases and "labels" to the list.'
            )

    def configured(self, context: Context) -> SegmentationMethod:
        from SegmentModuleLib.worker.configuration import configure
        from SegmentModuleLib.worker.memory import counted_dtype

        configured = configure(self, context, counted_dtype(self.parameters.precision, context.device))
        assert isinstance(configured, SegmentationMethod)
        return configured

    def trial(self, context: Context) -> str:
        from SegmentModuleLib.worker.trial import time_of_training

        return time_of_training(self, context)

    def prepare(self, context: Context) -> Prepared:
        from MedDeepLib.data.dataset import with_validation

        from SegmentModuleLib.worker import case_facts
        from SegmentModuleLib.worker.memory import check_training_memory, counted_dtype
        from SegmentModuleLib.worker.training import TrainingData

        settings = self.parameters
        dataset = with_validation(context.dataset, settings.validation_fraction, context.seed)
        plan = self.plan()
        dtype = counted_dtype(settings.precision, context.device)
        check_training_memory(self, context, plan.patch_size[: self.dimensions], dtype)
        context.report("phase", phase="Reading the training images")
        cache = self._cache(context)
        training = self._load(dataset.training, plan, context, cache)
        validation = self._load(dataset.validation[: settings.validation_cases], plan, context, cache)
        single_piece = case_facts.single_pieces([*training, *validation], dataset)
        self._advise(training, context)
        case_facts.tell_padding([*training, *validation], context)
        case_facts.tell_healthy(dataset, training, validation, context)
        case_facts.tell_post_processing(single_piece, context)
        facts = {"plan": plan.as_dict(), "single_piece": single_piece}
        return Prepared(facts, TrainingData(training, validation, cache))

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from SegmentModuleLib.worker.training import patch_stage

        yield patch_stage(self, prepared, context)
        prepared.data.remove()

    def plan(self) -> Plan:
        """How images become network input; the method must have been configured."""
        from MedDeepLib.data.preparation import Plan

        settings = self.parameters
        spacing = _three(settings.spacing, "spacing")
        if self.dimensions == 2:
            spacing = (*spacing[:2], 0.0)  # slices are not resampled along the third axis
        return Plan(spacing, self._patch_size(), settings.normalization, _two(settings.window))

    def model_metadata(self, prepared: Prepared, context: Context) -> dict[str, Any]:
        shape = list(prepared.facts["plan"]["patch_size"][: self.dimensions])
        channels, classes = context.dataset.channels, context.dataset.segments
        image = {
            "type": "image",
            "format": "magnitude",
            "modality": ", ".join(channels),
            "num_channels": len(channels),
            "spatial_shape": shape,
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": True,
            "channel_def": {str(i): name for i, name in enumerate(channels)},
        }
        names = ["background", *(segment.name for segment in classes)]
        scores = image | {
            "format": "segmentation",
            "num_channels": len(names),
            "channel_def": {str(i): name for i, name in enumerate(names)},
        }
        return prepared.facts | {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": scores}}}

    def inference_config(self, metadata: dict[str, Any]) -> dict[str, Any]:
        from SegmentModuleLib.worker.inference_config import inference_config

        return inference_config(metadata)

    def predictor(self, model: TrainedModel, context: Context, options: ApplyParameters) -> SegmentationPredictor:
        from SegmentModuleLib.worker.prediction import SegmentationPredictor

        network = self.network(len(model.channels), len(model.classes) + 1)
        try:
            network.load_state_dict(model.load_weights()["network"])
        except (KeyError, RuntimeError, TypeError):
            raise UserError(
                f"The weights of the model {model.folder} do not fit its network: train or copy it again."
            ) from None
        flip_axes = FLIP_AXES[self.parameters.flips]
        return SegmentationPredictor(
            network, model, context, options, flip_axes, self.downsampling, self.parameters.resample_labels
        )

    def _cache(self, context: Context) -> CaseCache:
        from MedDeepLib.training.dense.cache import CaseCache

        return CaseCache(context.folder / "cache", int(self.parameters.cache_memory * 1e9))

    def _load(self, cases: tuple[Case, ...], plan: Plan, context: Context, cache: CaseCache) -> list[CachedCase]:
        from MedDeepLib.training.dense.cache import cache_key

        from SegmentModuleLib.worker.cases import load_case

        def load(number_and_case):
            if context.stop_requested():
                raise Stopped
            number, case = number_and_case
            classes, resample = context.dataset.segments, self.parameters.resample_labels
            files = [*case.files("image"), *case.files("label")]
            settings = [plan.as_dict(), [segment.name for segment in classes], context.seed + number]
            key = cache_key(*files, settings=settings, method=to_mapping(self.parameters))
            kept = cache.find(key)
            if kept is None:
                loaded = load_case(case, plan, classes, context.seed + number, resample, self.voxel_weights)
                kept = cache.keep(key, loaded)
            return kept

        loaded = []
        with ThreadPoolExecutor(2) as pool:
            for case in pool.map(load, enumerate(cases)):
                loaded.append(case)
                context.report("progress", step=len(loaded), total=len(cases), remaining=None)
        return loaded

    def _patch_size(self) -> tuple[int, int, int]:
        size = self.parameters.patch_size
        size = (*size[:2], 1) if self.dimensions == 2 and len(size) >= 2 else size
        if len(size) != 3:
            raise UserError(f"patch_size needs {self.dimensions} numbers, not {len(size)}.")
        return size

    def _check_steps(self) -> None:
        """Raise UserError for a patch that the network cannot halve as often as it needs to."""
        size, steps = self._patch_size()[: self.dimensions], self.downsampling[: self.dimensions]
        for axis, (length, step) in enumerate(zip(size, steps, strict=True)):
            if length % step:
                along = "" if len(set(steps)) == 1 else f" along {AXES[axis]}"
                raise UserError(f"patch_size must be multiples of {step} for {self.title}{along}, not {length}.")
        if size == steps:
            # Normalisation cannot work on the single voxel that is left at the coarsest resolution.
            words = " x ".join(map(str, steps)) if len(set(steps)) > 1 else steps[0]
            raise UserError(f"patch_size must be larger than {words} along one axis at least for these settings.")

    def augmentation(self) -> Augmentation:
        """The random augmentation of training patches."""
        from MedDeepLib.training.dense.augmentation import Augmentation

        settings = self.parameters
        axes = tuple(axis for axis in FLIP_AXES[settings.flips] if axis < self.dimensions)
        return Augmentation(settings.rotation, settings.scaling, settings.elastic, axes, settings.intensity)

    def _advise(self, training: list[CachedCase], context: Context) -> None:
        """Warn of settings that are known to give a useless model."""
        if len(training) < 5:
            context.report(
                "warning",
                message=f"Only {len(training)} training case{'s' if len(training) > 1 else ''}: the network may "
                "memorise them; more patients, or stronger augmentation, help it to generalise.",
            )
        names = [name.lower() for name in context.dataset.classes]
        sided = any("left" in name for name in names) and any("right" in name for name in names)
        if sided and 0 in FLIP_AXES[self.parameters.flips]:
            context.report(
                "warning",
                message="Left and right have separate labels, but training mirrors them: set flips to none.",
            )


def _three(values: tuple[float, ...], name: str) -> tuple[float, float, float]:
    if len(values) != 3:
        raise UserError(f"{name} needs three numbers (right, anterior, superior), not {len(values)}.")
    first, second, third = map(float, values)
    return first, second, third


def _two(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] < values[1]:
        raise UserError("window needs two numbers, the lower one first.")
    return float(values[0]), float(values[1])
