"""Transfer learning: a pretrained network as feature extractor, or fine-tuned part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import Context, Prepared, parameter, with_defaults

from ClassifyModuleLib.image_method import ImageMethod
from ClassifyModuleLib.parameters import ImageParameters

if TYPE_CHECKING:
    from MedDeepLib.core.stages import Stage

    from ClassifyModuleLib.worker.inputs import Input
    from ClassifyModuleLib.worker.networks.classifier import Classifier


@dataclass(frozen=True)
@with_defaults(batch_size=8, steps=200)
class TransferParameters(ImageParameters):
    source: str = parameter(
        "",
        "Where the weights come from: a run of a classifier, or a file with weights of torchvision, TorchXRayVision or "
        "MedicalNet (.pth, .pt, .safetensors).",
    )
    mode: str = parameter(
        "frozen",
        "frozen: the network only computes features, and a linear model is fitted on them; fine-tuning: the network is "
        "trained further, its last parts first, its first parts slowest.",
        choices=("frozen", "fine-tuning"),
    )
    head: str = parameter(
        "logistic",
        "On frozen features: logistic regression, or a linear support vector machine.",
        choices=("logistic", "svm"),
    )
    penalty: float = parameter(
        0.01, "On frozen features: strength of the penalty on large weights.", minimum=1e-6, maximum=1e6, advanced=True
    )
    rate_decay: float = parameter(
        0.6,
        "Fine-tuning: learning rate of each part of the network, as a share of that of the part behind it.",
        minimum=0.01,
        maximum=1.0,
        advanced=True,
    )


class Transfer(ImageMethod):
    """Transfer learning from a network that was trained on other images.

    Frozen: the features of the pretrained network (Razavian et al. 2014, 10.1109/CVPRW.2014.131), standardised, with a
    logistic regression or linear support vector machine of scikit-learn; nothing but numbers is kept of it.
    Fine-tuning: three stages of equal length train the head alone, then the last half of the network too, then all of
    it, each part slower than the one behind it (gradual unfreezing and discriminative rates, Howard and Ruder 2018,
    arXiv 1801.06146). Parts that are not trained keep their normalisation. A first layer for other channels gets
    the mean of the given one. Weights are read as tensors only. Networks for pictures see volumes slice by slice, each
    with its two neighbours. Without a source the network is untrained, which only serves as a comparison.
    """

    name = "transfer"
    title = "Transfer learning"
    reference = "Razavian et al. 2014, doi 10.1109/CVPRW.2014.131; Howard and Ruder 2018, arXiv 1801.06146"
    summary = "A pretrained network as feature extractor with a linear model, or fine-tuned."
    Parameters = TransferParameters

    def input(self, slot: str) -> Input:
        from ClassifyModuleLib.worker.images import ImageInput
        from ClassifyModuleLib.worker.networks.pretrained import dimensions_for, read_source

        return ImageInput(self.parameters, lambda: dimensions_for(read_source(self.parameters.source)[0]), 32)

    def prepare(self, context: Context) -> Prepared:
        from ClassifyModuleLib.worker.networks.pretrained import read_source

        architecture, _ = read_source(self.parameters.source)
        if not self.parameters.source:
            context.report(
                "warning",
                message="No source is named, so the network is not pretrained: name a run or a file with weights.",
            )
        prepared = super().prepare(context)
        prepared.facts["plan"]["architecture"] = architecture
        return prepared

    def network(self, plan: dict[str, Any], outputs: int) -> Classifier:
        from ClassifyModuleLib.worker.networks.pretrained import pretrained_network

        reading = plan["reading"]
        return pretrained_network(plan["architecture"], reading["dimensions"], len(reading["channels"]), outputs)

    def stages(self, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.networks.pretrained import read_source, take_weights
        from ClassifyModuleLib.worker.reference import reference_stage
        from ClassifyModuleLib.worker.training import untrained

        network = untrained(self, prepared, context)
        weights = read_source(self.parameters.source)[1]
        if weights:
            take_weights(network, weights)
        if self.parameters.mode == "frozen":
            from ClassifyModuleLib.worker.linear import linear_head_stage

            yield (head := linear_head_stage(network, self.parameters, prepared, context))
            network.load_state_dict(head.arrays)
        else:
            yield from self._fine_tuned(network, prepared, context)
        network.freeze([])
        yield reference_stage(network, prepared, context)
        prepared.data.remove()

    def _fine_tuned(self, network: Classifier, prepared: Prepared, context: Context) -> Iterable[Stage]:
        from ClassifyModuleLib.worker.networks.pretrained import parts
        from ClassifyModuleLib.worker.training import class_stage

        settings, found = self.parameters, parts(network)
        for number, (name, trained) in enumerate(
            (("head", 0), ("last parts", -(-len(found) // 2)), ("all", len(found)))
        ):
            network.freeze(found[: len(found) - trained])
            groups: list[dict[str, Any]] = [{"params": list(network.head.parameters())}]
            for depth, part in enumerate(reversed(found[len(found) - trained :]), start=1):
                rate = settings.learning_rate * settings.rate_decay**depth
                groups.append({"params": list(part.parameters()), "lr": rate})
            yield class_stage(
                name,
                network,
                settings,
                prepared,
                context,
                parameters=groups,
                offset=number * settings.steps * settings.batch_size,
            )
