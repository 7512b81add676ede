"""The base of the registration methods: data, training stages, application, metrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared
from MedDeepLib.errors import Stopped, UserError

from RegisterModuleLib.parameters import ApplyParameters, TrainingParameters

if TYPE_CHECKING:
    import torch
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.sources.image import Image

    from RegisterModuleLib.worker.alignment import Alignment
    from RegisterModuleLib.worker.prediction import RegistrationPredictor
    from RegisterModuleLib.worker.training import TrainingSet

_LONGEST = 64  # voxels of the longest axis, where the voxel size is left open
_FEWEST_PAIRS_WARNING = 5


class RegistrationMethod(Method):
    """Aligns a moving image with a fixed one.

    A method declares its ``Parameters`` and ``ApplyParameters``, builds its networks (:meth:`build`), yields its
    training stages, and aligns a pair with the trained networks (:meth:`align`). All but the last may be missing: a
    method without networks optimises each pair, and is applied by its name::

        class Demons(RegistrationMethod):
            name, title, summary, trainable = "demons", "Demons", "Follows the difference of the images.", False
            Parameters = NoParameters

            def align(self, alignment, networks, model, options):
                from RegisterModuleLib.worker.similarity import mean_square

                alignment.refine_field(40, mean_square)

    A method that trains on anything else than pairs of images on a common grid overrides :meth:`prepare`.
    """

    task = "register"
    Parameters: ClassVar[type] = TrainingParameters
    ApplyParameters: ClassVar[type] = ApplyParameters
    output_endings = (".h5", ".hdf5", ".tfm", ".txt")
    needs_no_model = True
    needs_overlap: ClassVar[bool] = True
    """Whether images that lie apart in space are refused; False for a method that can align them anyway."""

    def build(self, plan: Mapping[str, Any], channels: int) -> dict[str, torch.nn.Module]:
        """Untrained networks by name, which the stages train and which are then passed to :meth:`align`.

        Args:
            plan: the plan of :meth:`prepare`, as stored with the model.
            channels: of each image.
        """
        return {}

    @abstractmethod
    def align(
        self, alignment: Alignment, networks: dict[str, torch.nn.Module], model: TrainedModel, options: Any
    ) -> None:
        """Find the transform of a pair, by the steps that ``alignment`` offers, or set its ``matrix``.

        Args:
            networks: trained, on the device; none where the model is only the method's name.
            options: an ``ApplyParameters``.
        """

    def check_pair(self, fixed: Image, moving: Image) -> None:
        """Raise UserError for two images that this method cannot align: here a slice with a volume, and images with
        different numbers of channels."""
        from RegisterModuleLib.worker.inputs import check_alike

        check_alike(fixed, moving)

    def check(self, dataset: Dataset) -> None:
        if not self.trainable:
            raise UserError(f"{self.name} is not trained: apply it by its name.")

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        if self.trainable:
            raise NotImplementedError(f"{type(self).__name__} is trainable, but yields no stages")
        return ()

    def configured(self, context: Context) -> RegistrationMethod:
        from RegisterModuleLib.worker.cases import read_raw
        from RegisterModuleLib.worker.training_data import common_box, reference_side

        if not isinstance(self.parameters, TrainingParameters) or self.parameters.spacing:
            return self
        reference = read_raw(reference_side(context.dataset))
        extent = common_box(reference, context.dataset).extent
        spacing = (
            max(0.5, round(float(extent.max()) / _LONGEST * 2) / 2) if extent.max() > 40 else extent.max() / _LONGEST
        )
        return type(self)(replace(self.parameters, spacing=float(spacing)))

    def prepare(self, context: Context) -> Prepared:
        """Read the data onto one grid: training and validation :class:`TrainingSet`, the latter None without
        validation.
        """
        from MedDeepLib.data.dataset import with_validation

        from RegisterModuleLib.worker.training_data import load_training

        dataset: Dataset = with_validation(context.dataset, self.parameters.validation_fraction, context.seed)
        several = len(dataset.training) > 1 and len({who for case in dataset.training for who in case.patients}) > 1
        if self.parameters.validation_fraction > 0 and not dataset.validation and several:
            context.report(
                "warning",
                message="No patient can be set aside for validation, since pairs join all of them: the training is not "
                "validated; list validation pairs of other patients.",
            )
        training, validation, plan = load_training(self.parameters, dataset, context)
        if context.stop_requested():
            raise Stopped
        _advise(training, context)
        return Prepared({"plan": plan}, (training, validation))

    def model_metadata(self, prepared: Prepared, context: Context) -> dict[str, Any]:
        channels, plan = len(context.dataset.channels), prepared.facts.get("plan", {})
        if "shape" not in plan:
            return dict(prepared.facts)  # its networks do not take pairs on a common grid
        image = {
            "type": "image",
            "format": "magnitude",
            "modality": ", ".join(context.dataset.channels),
            "num_channels": 2 * channels,
            "spatial_shape": plan["shape"],
            "dtype": "float32",
            "value_range": [0, 1],
            "is_patch_data": False,
            "channel_def": {"0": "fixed", "1": "moving"},
        }
        field = image | {"format": "displacement", "num_channels": 3, "channel_def": {"0": "i", "1": "j", "2": "k"}}
        return prepared.facts | {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": field}}}

    def predictor(self, model: TrainedModel, context: Context, options: ApplyParameters) -> RegistrationPredictor:
        from RegisterModuleLib.worker.prediction import RegistrationPredictor

        return RegistrationPredictor(self, self.networks(model), model, context, options)

    def untrained_networks(self, prepared: Prepared, context: Context) -> dict[str, torch.nn.Module]:
        """The networks of :meth:`build` for the stages: on the device, with the same weights for the same seed."""
        import torch

        torch.manual_seed(context.seed)
        networks = self.build(prepared.facts.get("plan", {}), len(context.dataset.channels))
        return {name: network.to(context.device) for name, network in networks.items()}

    def networks(self, model: TrainedModel) -> dict[str, torch.nn.Module]:
        """The trained networks by name; none for a model that is only the method's name."""
        if not model.trained:
            return {}
        networks = self.build(model.metadata.get("plan", {}), len(model.channels))
        weights = model.load_weights()
        try:
            networks = {name: network for name, network in networks.items() if name in weights}
            for name, network in networks.items():
                network.load_state_dict(weights[name])
        except (KeyError, RuntimeError, TypeError):
            raise UserError(
                f"The weights of the model {model.folder} do not fit its network: train or copy it again."
            ) from None
        return networks


def align_by_matrix(
    alignment: Alignment,
    networks: dict[str, Any],
    model: TrainedModel,
    kind: str,
    options: ApplyParameters,
    to_finest: bool,
) -> None:
    """A matrix by network, if there is one, and gradient steps on the similarity that the options name."""
    from RegisterModuleLib.worker.similarity import similarity

    candidates = []
    plan = model.metadata["plan"]
    if "structures" in networks:
        candidates.append(alignment.structure_matrix(networks["structures"], float(plan["spacing"]), kind))
    if "points" in networks:
        count = plan["structures"] or None
        candidates.append(alignment.network_matrix(networks["points"], float(plan["spacing"]), count, kind))
    metric = similarity(options.similarity_or("mutual-information"))
    alignment.refine_matrix(kind, options.matrix_steps, metric, *candidates, to_finest=to_finest)


def painted_structures(plan: Mapping[str, Any]) -> int:
    """How many structures a model was trained to find in painted images; 0: it was trained on real ones."""
    return plan["structures"] if plan["painted"] else 0


def _advise(training: TrainingSet, context: Context) -> None:
    """Warn of settings that are known to give a useless model."""
    count = len(training.pairs) or len(training.images)
    if count < _FEWEST_PAIRS_WARNING:
        what = "pair" if training.pairs else "image"
        context.report(
            "warning",
            message=f"Only {count} training {what}{'s' if count > 1 else ''}: the network may memorise them; "
            "more patients, or stronger augmentation, help it to generalise.",
        )
