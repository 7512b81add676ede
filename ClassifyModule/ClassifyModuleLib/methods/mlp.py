"""Feed-forward network on tables, in three sizings: as it is, pruned from a large one, or grown from a small one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context, Prepared, parameter, with_defaults
from MedDeepLib.errors import UserError

from ClassifyModuleLib.method import ClassificationMethod
from ClassifyModuleLib.parameters import ArrayParameters

if TYPE_CHECKING:
    from MedDeepLib.core.stages import Stage

    from ClassifyModuleLib.worker.inputs import Input
    from ClassifyModuleLib.worker.networks.perceptron import Perceptron

_GAIN = 1e-3  # of the validation loss that growth must bring


@dataclass(frozen=True)
@with_defaults(steps=600, batch_size=32, learning_rate=3e-3, weight_decay=1e-2, noise=0.1, validate_every=25)
class PerceptronParameters(ArrayParameters):
    sizing: str = parameter(
        "direct",
        "direct: the network as it is; pruning: the smallest weights are removed step by step; growth: hidden units "
        "are added until validation stops improving.",
        choices=("direct", "pruning", "growth"),
    )
    hidden: tuple[int, ...] = parameter(
        (64, 32),
        "Units of each hidden layer; with growth, the first number is the most that one layer may get.",
        minimum=1,
        maximum=65536,
    )
    dropout: float = parameter(0.3, "Share of hidden units dropped in training.", minimum=0.0, maximum=0.9)
    scaling_of_features: str = parameter(
        "ranks",
        "ranks: each feature by its rank among the training cases, as a normal score; zscore: by its mean and standard "
        "deviation.",
        choices=("ranks", "zscore"),
    )
    kept: float = parameter(0.15, "Pruning: share of the weights to keep.", minimum=0.001, maximum=1.0)
    rounds: int = parameter(5, "Pruning: rounds of removing and training again.", minimum=1, maximum=100, advanced=True)
    retraining_steps: int = parameter(
        200, "Training steps after each round of pruning or growth.", minimum=1, maximum=10_000_000, advanced=True
    )
    growth: int = parameter(2, "Growth: units to begin with, and to add each time.", minimum=1, maximum=4096)
    growth_patience: int = parameter(
        2, "Growth: ends after this many additions without a lower validation loss.", minimum=1, advanced=True
    )


class FeedForward(ClassificationMethod):
    """Feed-forward network (multilayer perceptron) on a row of features, in the three sizings of Bebis and
    Georgiopoulos 1994, 10.1109/45.329294.

    Direct: hidden layers with ReLU and dropout, trained with AdamW. Pruning: iterative magnitude pruning (Han et al.
    2015, arXiv 1506.02626): in each round the smallest weights of all layers together are set to 0 for good and the
    others are trained again, down to the wanted share. Growth: a constructive network of one hidden layer that begins
    with few units; units are added whose outgoing weights are 0, so that nothing learned is lost, until the validation
    loss stops improving (after Ash 1989, 10.1080/09540098908915647); the best size is kept. Features are scaled and
    missing values imputed by the training cases alone.
    """

    name = "mlp"
    title = "Feed-forward network"
    reference = "Bebis and Georgiopoulos 1994, doi 10.1109/45.329294; Han et al. 2015, arXiv 1506.02626"
    summary = "A perceptron on tables of features, of fixed size, pruned or grown."
    Parameters = PerceptronParameters
    takes = ("table",)

    def input(self, slot: str) -> Input:
        from ClassifyModuleLib.worker.tables import TableInput

        return TableInput(self.parameters.scaling_of_features, self.parameters.noise)

    def network(self, plan: dict[str, Any], outputs: int) -> Perceptron:
        from ClassifyModuleLib.worker.networks.perceptron import Perceptron

        settings = self.parameters
        hidden = settings.hidden[:1] if settings.sizing == "growth" else settings.hidden
        return Perceptron(len(plan["reading"]["columns"]), hidden, outputs, settings.dropout)

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.reference import reference_stage
        from ClassifyModuleLib.worker.training import untrained

        network: Any = untrained(self, prepared, context)
        train = {"direct": self._direct, "pruning": self._pruned, "growth": self._grown}[self.parameters.sizing]
        yield from train(network, prepared, context)
        yield reference_stage(network, prepared, context)

    def _direct(self, network: Perceptron, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.training import class_stage

        yield class_stage(self.name, network, self.parameters, prepared, context)

    def _pruned(self, network: Perceptron, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.training import class_stage

        settings = self.parameters
        yield class_stage("dense", network, settings, prepared, context)
        again = replace(settings, learning_rate=settings.learning_rate / 2)
        for number in range(1, settings.rounds + 1):
            share = settings.kept ** (number / settings.rounds)
            network.prune(max(1, round(share * network.connections)))
            yield class_stage(
                f"pruned to {network.kept} weights",
                network,
                again,
                prepared,
                context,
                steps=settings.retraining_steps,
                offset=number * settings.steps * settings.batch_size,
            )
        context.report(
            "message",
            message=f"{network.kept} of {network.connections} weights are left "
            f"({network.kept / network.connections:.0%}).",
        )

    def _grown(self, network: Perceptron, prepared: Prepared, context: Context) -> Iterable[Stage]:
        import copy

        from ClassifyModuleLib.worker.data import outputs_of
        from ClassifyModuleLib.worker.training import class_stage, validation_loss

        settings, data = self.parameters, prepared.data
        if not len(data.validation):
            raise UserError(
                "Growth ends when validation stops improving, but there are no validation cases: set "
                "validation_fraction above 0, or choose another sizing."
            )
        most = settings.hidden[0]
        units, best, best_units, waited = 0, float("inf"), 0, 0
        kept = copy.deepcopy(network.state_dict())
        while units < most and waited < settings.growth_patience:
            # By half, once there are many: steps of two would take forever.
            units = min(most, units + max(settings.growth, units // 2))
            network.use_units(units)
            yield class_stage(
                f"{units} units",
                network,
                settings,
                prepared,
                context,
                steps=settings.steps if units == settings.growth else settings.retraining_steps,
                offset=units * settings.steps * settings.batch_size,
            )
            network.eval()
            loss = float(validation_loss(outputs_of(network, data.validation, context.device), data.validation, data))
            if loss < best - _GAIN:
                best, best_units, waited, kept = loss, units, 0, copy.deepcopy(network.state_dict())
            else:
                waited += 1
        network.load_state_dict(kept)
        ended = "more did not lower the validation loss" if waited else "the most that hidden allows"
        context.report("message", message=f"The network has grown to {best_units} hidden units: {ended}.")
