"""The interface of the trained model that a method applies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from MedDeepLib.data.sources.labels import Segment


class TrainedModel(Protocol):
    """A model on disk, as :meth:`Method.predictor` gets it; ``MedDeepLib.bundles.model.Model`` is one::

        def predictor(self, model: TrainedModel, context, options):
            network = self.network(len(model.channels), len(model.classes) + 1)
            network.load_state_dict(model.load_weights()["network"])
            return MyPredictor(network.to(context.device).eval(), model.metadata["plan"])
    """

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        ...

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The method's ``model_metadata``, such as "plan", and what every model has, such as "parameters"."""
        ...

    @property
    def trained(self) -> bool:
        """False for a method that is applied as it is: such a model has no weights and no channels."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the input image's channels, in their order."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the dataset that it was trained on."""
        ...

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The same as coloured values of a label map, if they are such values."""
        ...

    def load_weights(self) -> dict[str, dict[str, Any]]:
        """State dictionaries of its networks by name. Raises UserError when the file is damaged."""
        ...
