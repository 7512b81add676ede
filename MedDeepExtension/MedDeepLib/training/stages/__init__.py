"""The three kinds of stages that a method's training is made of.

    def stages(self, prepared, context):
        yield (momenta := DataStage("momenta", count=len(prepared.data), make=partial(shoot, prepared.data)))
        yield (pca := FitStage("pca", lambda context: principal_components(momenta)))
        network = Regressor(pca.arrays["components"]).to(context.device)
        yield TrainStage("regress", {"network": network}, Samples(32, sample=...), loss=..., optimisation=...)

The result of a stage is available when the generator continues: weights in its networks, ``FitStage.arrays``, the items
of a DataStage. All of it survives an interruption. What is computed between two ``yield`` is not kept and is computed
again on resuming: put it into a FitStage or a DataStage if it takes more than a few seconds.
"""

from MedDeepLib.core.stages import Sample, Stateful
from MedDeepLib.training.stages.data import DataStage
from MedDeepLib.training.stages.fit import FitStage
from MedDeepLib.training.stages.train import (
    Optimisation,
    Refresh,
    Samples,
    TrainStage,
    Validation,
    steps_of_epochs,
)

Stage = TrainStage | FitStage | DataStage

__all__ = [
    "DataStage",
    "FitStage",
    "Optimisation",
    "Refresh",
    "Sample",
    "Samples",
    "Stage",
    "Stateful",
    "TrainStage",
    "Validation",
    "steps_of_epochs",
]
