"""BrainNetCNN: convolutions over the edges of a connectivity matrix instead of over neighbouring entries."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context, parameter, with_defaults

from ClassifyModuleLib.method import ClassificationMethod
from ClassifyModuleLib.parameters import ArrayParameters, ExplainedApplyParameters

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.inputs import Input, Read
    from ClassifyModuleLib.worker.networks.brainnet import BrainNet
    from ClassifyModuleLib.worker.prediction import CasePredictor, ClassPrediction


@dataclass(frozen=True)
@with_defaults(steps=400, batch_size=14, learning_rate=1e-3, weight_decay=5e-4, noise=0.2, validate_every=25)
class BrainNetParameters(ArrayParameters):
    edge_maps: tuple[int, ...] = parameter(
        (32, 32), "Maps of each edge-to-edge layer.", minimum=1, maximum=1024, advanced=True
    )
    node_maps: int = parameter(64, "Maps of the edge-to-node layer.", minimum=1, maximum=4096, advanced=True)
    graph_units: int = parameter(30, "Units of the node-to-graph layer.", minimum=1, maximum=4096, advanced=True)
    dense_units: int = parameter(30, "Units of the dense layer.", minimum=1, maximum=4096, advanced=True)
    dropout: float = parameter(0.5, "Share of units dropped in training.", minimum=0.0, maximum=0.9)
    transform: str = parameter(
        "automatic",
        "Entries of the matrices: as they are, or log(1 + x) for numbers of streamlines; automatic: log if they are "
        "very uneven.",
        choices=("automatic", "none", "log"),
    )


class BrainNetCNN(ClassificationMethod):
    """BrainNetCNN (Kawahara et al. 2017, 10.1016/j.neuroimage.2016.09.046) on connectivity matrices.

    Edge-to-edge layers sum a filter along the row and one along the column that meet in an edge (1 x d plus d x 1);
    edge-to-node is 1 x d only, node-to-graph d x 1. Maps (32 for edges, 64 for nodes), dense layers of 30, leaky ReLU
    of slope .33, dropout .5, batches of 14 and weight decay 5e-4 are the paper's, as read in a public source; its two
    edge-to-edge layers are recalled. Unlike the paper, it is trained with AdamW instead of SGD with momentum, each edge
    is standardised by the training matrices, and noise is added to them in training. It gives a class or a value. The
    output "edges" is the derivative of the class's score with respect to every edge.
    """

    name = "brainnet"
    title = "BrainNetCNN"
    reference = "Kawahara et al. 2017, doi 10.1016/j.neuroimage.2016.09.046"
    summary = "Convolutions over the edges of connectivity matrices: each edge with those of its two regions."
    Parameters = BrainNetParameters
    ApplyParameters = ExplainedApplyParameters
    takes = ("matrix",)

    def input(self, slot: str) -> Input:
        from ClassifyModuleLib.worker.matrices import MatrixInput

        return MatrixInput(self.parameters.transform, self.parameters.noise)

    def network(self, plan: dict[str, Any], outputs: int) -> BrainNet:
        from ClassifyModuleLib.worker.networks.brainnet import BrainNet

        settings = self.parameters
        return BrainNet(
            plan["reading"]["size"],
            outputs,
            settings.edge_maps,
            settings.node_maps,
            settings.graph_units,
            settings.dense_units,
            settings.dropout,
        )

    def evidence(
        self,
        predictor: CasePredictor,
        inputs: Read,
        prediction: ClassPrediction,
        context: Context,
        wanted: Collection[str],
    ) -> dict[str, Any]:
        from ClassifyModuleLib.worker.networks.brainnet import edge_weights

        if "edges" not in wanted:
            return {}
        index, reading = predictor.index_to_explain(prediction), predictor.plan["reading"]
        weights = edge_weights(predictor.network, inputs.tensor.to(context.device), index).cpu()
        if not reading["directed"]:
            weights = (weights + weights.T) / 2
        return {"edges": (weights.fill_diagonal_(0).numpy(), reading["nodes"])}
