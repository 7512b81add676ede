"""The base of the registration methods: data, training stages, application, metrics."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core import Context, Method, Prepared
from MedDeepLib.errors import Stopped, UserError

from RegisterModuleLib.parameters import ApplyParameters, TrainingParameters

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel
    from MedDeepLib.data.dataset import Dataset

    from RegisterModuleLib.worker.alignment import Alignment
    from RegisterModuleLib.worker.prediction import RegistrationPredictor
    from RegisterModuleLib.worker.training import TrainingSet

_LONGEST = 64  # voxels of the longest axis, where the voxel size is left open
_FEWEST_PAIRS_WARNING = 5


class RegistrationMethod(Method):
    """Aligns a moving image with a fixed one.

    A method declares its ``Parameters`` and ``ApplyParameters`` and yields its training stages.
    """

    task = "register"
    Parameters: ClassVar[type] = TrainingParameters
    ApplyParameters: ClassVar[type] = ApplyParameters
    output_endings = (".h5", ".hdf5", ".tfm", ".txt")
    needs_no_model = True

    def configured(self, context: Context) -> RegistrationMethod:
        from RegisterModuleLib.worker.cases import read_raw
        from RegisterModuleLib.worker.training_data import common_box, reference_side

        if self.parameters.spacing:
            return self
        reference = read_raw(reference_side(context.dataset))
        extent = common_box(reference, context.dataset).extent
        spacing = (
            max(0.5, round(float(extent.max()) / _LONGEST * 2) / 2) if extent.max() > 40 else extent.max() / _LONGEST
        )
        return type(self)(replace(self.parameters, spacing=float(spacing)))

    def prepare(self, context: Context) -> Prepared:
        """What to train on and to validate with, on one grid: its data are a pair of :class:`TrainingSet` (or None)."""
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
        channels = len(context.dataset.channels)
        image = {
            "type": "image",
            "format": "magnitude",
            "modality": ", ".join(context.dataset.channels),
            "num_channels": 2 * channels,
            "spatial_shape": prepared.facts["plan"]["shape"],
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

    @abstractmethod
    def align(self, alignment: Alignment, networks: dict[str, Any], model: TrainedModel, options: Any) -> None:
        """Find the transform of a pair, by the steps that ``alignment`` offers."""

    def networks(self, model: TrainedModel) -> dict[str, Any]:
        """The trained networks by name; none for a model that is but the method's name."""
        if not model.trained:
            return {}
        networks = self.make_networks(len(model.channels), painted_structures(model.metadata["plan"]))
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

    def make_networks(self, channels: int, structures: int = 0) -> dict[str, Any]:
        """Untrained networks by name: "points" or "structures" give a matrix, "field" a velocity field.

        ``structures``: how many of them, for a model that is trained on painted images; else 0.
        """
        return {}


def align_by_matrix(
    alignment: Alignment, networks: dict[str, Any], model: TrainedModel, kind: str, steps: int, to_finest: bool
) -> None:
    """A matrix by network, if there is one, and gradient steps."""
    candidates = []
    plan = model.metadata["plan"]
    if "structures" in networks:
        candidates.append(alignment.structure_matrix(networks["structures"], float(plan["spacing"]), kind))
    if "points" in networks:
        count = plan["structures"] or None
        candidates.append(alignment.network_matrix(networks["points"], float(plan["spacing"]), count, kind))
    alignment.refine_matrix(kind, steps, to_finest, *candidates)


def painted_structures(plan: dict[str, Any]) -> int:
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
