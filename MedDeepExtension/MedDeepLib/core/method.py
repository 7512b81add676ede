"""The interface of a method: one class in one file, named after the publication it implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from MedDeepLib.core.context import Context
from MedDeepLib.core.explanation import Explanation

if TYPE_CHECKING:
    from MedDeepLib.core.model import TrainedModel
    from MedDeepLib.core.stages import Stage
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Source


class Prediction(ABC):
    """The result of a model for one case, on the case's own grid where it has one::

        class ErrorMap(Prediction):
            def save(self, outputs):
                write_image(outputs["segmentation"], self.errors, self.affine)
                return list(outputs.values())

            def summary(self):
                return {"largest error": float(self.errors.max())}

    ``unit`` is the unit of the numbers in its summary.
    """

    unit: ClassVar[str] = ""

    @abstractmethod
    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        """Write the requested outputs, by the names of the task's output slots, and return the written files.

        Slicer reads each of them. A file that could not be written leaves nothing behind. Raises UserError for an
        output that this method does not have, or that this case does not allow.
        """

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The numbers worth showing beside the result (a volume in ml, a probability), as JSON values."""

    def in_words(self) -> str:
        """Remarks on the result in a sentence or two; usually empty, since the numbers suffice."""
        return ""


class Predictor(ABC):
    """A trained model ready to be applied to any number of cases; networks are loaded once::

        class ErrorPredictor(Predictor):
            def read(self, inputs):
                return [read_image(file) for file in inputs["image"].files]

            def predict(self, images, context, wanted=()):
                return ErrorMap(self.network(...), images[0].affine)

    A predictor may outlive the job that it was made for: it must not keep that job's context.
    """

    @abstractmethod
    def read(self, inputs: Mapping[str, Source]) -> Any:
        """Read the input of :meth:`predict` from the files of a job's item or of a dataset's case, by the task's slots.

        Raises UserError when one of them is missing, cannot be read, or does not fit the others.
        """

    @abstractmethod
    def predict(self, inputs: Any, context: Context, wanted: Collection[str] = ()) -> Prediction:
        """Apply the model to one case, as :meth:`read` has returned it.

        Args:
            wanted: names of the outputs that will be saved; whatever only other outputs need may be skipped.

        Raises:
            UserError: the inputs do not fit the model (number of channels, dimensions).
            Stopped: the user asked to stop; nothing has been written.
        """

    def computed_with(self) -> str:
        """What has computed the networks so far, with versions ("OpenVINO 2026.2.0"); empty where it does not say."""
        return ""

    def with_options(self, options: Any) -> Predictor | None:
        """The same networks with other ``ApplyParameters``; None when they would have to be loaded again.

        Raises UserError when the options do not fit the model.
        """
        return None


@dataclass(frozen=True)
class NoParameters:
    """For methods without parameters."""


_METADATA = frozenset(
    (
        *("version", "task", "method", "reference", "parameters", "inputs", "outputs", "channels", "classes"),
        *("network", "training_data", "figures", "made", "files", "findings"),
    )
)


@dataclass(frozen=True)
class Prepared:
    """What a method has read and derived before its first stage.

    Attributes:
        facts: what is needed, besides the weights, to apply the model (JSON values); part of its metadata. Under
            "plan", by convention, how an image becomes the network's input.
        data: whatever the stages need of it: cases on the network's grid, lists of files.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    data: Any = None

    def __post_init__(self):
        """Raise ValueError for a fact that would replace other metadata of the model."""
        for name in self.facts:
            if name in _METADATA:
                raise ValueError(f"a fact may not be called '{name}', which is other metadata of the model: rename it")


class Method(ABC):
    """A published system that can be trained, applied and evaluated.

    A subclass states what it is (the class variables), declares the frozen dataclasses ``Parameters`` (training) and
    ``ApplyParameters`` made of :func:`MedDeepLib.core.parameter` fields if it has any, and implements the abstract
    methods. The file may not import torch or MONAI at its top: panels list methods in a process that has neither.

    A training calls :meth:`check`, :meth:`configured`, :meth:`prepare`, :meth:`stages` and :meth:`model_metadata`, in
    this order. What one of them finds out reaches the next as an argument, never as an attribute of the method::

        class Autoencoder(Method):
            task, name, title = "segment", "autoencoder", "Autoencoder"

            def prepare(self, context):
                images = [read_image(case.files("image")[0]).array for case in context.dataset.training]
                return Prepared({"plan": {"mean": float(np.mean(images))}}, images)

            def stages(self, prepared, context):
                network = build(self.parameters).to(context.device)
                yield TrainStage("reproduce", {"network": network}, Samples(8, sample=...), loss=..., optimisation=...)

            def predictor(self, model, context, options):
                return Reproducer(model.load_weights()["network"], model.metadata["plan"]["mean"])
    """

    task: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    Parameters: ClassVar[type] = NoParameters
    ApplyParameters: ClassVar[type] = NoParameters
    output_endings: ClassVar[tuple[str, ...]] = (".nrrd", ".nii.gz", ".csv", ".json")
    """The endings of the first output's file, the usual one first."""
    trainable: ClassVar[bool] = True
    """False for a third-party program that serves as a reference."""
    needs_no_model: ClassVar[bool] = False
    """Whether it can be applied untrained: its name then stands for a model."""
    explanation = Explanation()  # a configured method has its own

    def __init__(self, parameters=None):
        """``parameters`` is a ``Parameters``; raises UserError when its values do not fit together."""
        self.parameters = self.Parameters() if parameters is None else parameters

    def check(self, dataset: Dataset) -> None:  # noqa: B027 - most methods take any dataset
        """Raise UserError when the dataset does not suit this method; called before anything else, reads no images."""

    def used_inputs(self, dataset: Dataset) -> tuple[str, ...]:
        """The names of the inputs that a model trained on ``dataset`` takes.

        Only for tasks whose models may be of any form, see :attr:`MedDeepLib.core.task.Task.any_form`.
        """
        return ()

    def configured(self, context: Context) -> Method:
        """The method with its automatic parameters chosen from the data and the device.

        Its ``explanation`` says what was chosen, and why.
        """
        return self

    def trial(self, context: Context) -> str:
        """A sentence on how long the training of this configured method takes, as measured; empty if that is unknown.

        For a plan: it may compute for some seconds, but not on a GPU, which another job may be using.
        """
        return ""

    def prepare(self, context: Context) -> Prepared:
        """Read the data and derive what the stages and the model need; called once, after :meth:`configured`.

        Raises:
            UserError: a file cannot be used.
            Stopped: the user asked to stop.
        """
        return Prepared()

    @abstractmethod
    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        """The training stages in their order, see :mod:`MedDeepLib.training.stages`.

        Usually a generator: a stage may use the results of earlier stages. Code between two ``yield`` runs again when a
        training is resumed.
        """

    def model_metadata(self, prepared: Prepared, context: Context) -> dict[str, Any]:
        """What is needed, besides the weights, to apply the model (JSON values): the facts.

        Under ``network_data_format`` MONAI's description of the network's inputs and outputs, if it adds anything to
        the names of the channels.
        """
        return dict(prepared.facts)

    def inference_config(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """How MONAI's command line applies a model, as its inference.json; empty where it cannot.

        ``metadata`` are the model's own, as in "meddeep". Needs neither torch nor MONAI.
        """
        return {}

    @abstractmethod
    def predictor(self, model: TrainedModel, context: Context, options: Any) -> Predictor:
        """The trained model, ready to be applied on ``context.device``; ``options`` is an ``ApplyParameters``."""
