"""The training stage of a classifier: cases drawn in balance, validation by loss and discrimination."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from MedDeepLib.core import Context, Prepared
from MedDeepLib.core.stages import Sample
from MedDeepLib.evaluation.classification import balanced_accuracy, confusion_matrix, macro_auc
from MedDeepLib.training.precision import autocast_dtype
from MedDeepLib.training.samplers import ClassBalanced, EachOnce
from MedDeepLib.training.schedules import schedule
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage, Validation

from ClassifyModuleLib.worker.data import Part, TrainingData, outputs_of

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.case_method import CaseMethod
    from ClassifyModuleLib.worker.networks.classifier import Classifier

_LOSS = "validation loss"
_GRADIENT_NORM = 5.0


def untrained(method: CaseMethod, prepared: Prepared, context: Context) -> Classifier:
    """The method's network on the device; the same weights for the same seed."""
    torch.manual_seed(context.seed)
    return method.network(prepared.facts["plan"], outputs_for(prepared.data)).to(context.device)


def outputs_for(data: TrainingData) -> int:
    """How many outputs a network needs: the classes, or 1 for a value."""
    return len(data.classes) or 1


def class_stage(
    name: str,
    network: torch.nn.Module,
    settings: Any,
    prepared: Prepared,
    context: Context,
    steps: int = 0,
    parameters: Any = None,
    offset: int = 0,
) -> TrainStage:
    """The stage that trains ``network`` on the cases of ``prepared.data``.

    Args:
        settings: a ``ClassificationParameters``.
        steps: of this stage; 0: those of the settings.
        parameters: what is trained, as an optimiser takes it; None: the whole network.
        offset: the number of its first training sample, so that a later stage does not see the same samples again.
    """
    data: TrainingData = prepared.data
    steps = steps or settings.steps
    optimizer = torch.optim.AdamW(
        parameters or network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    return TrainStage(
        name,
        {"network": network},
        _samples(data, settings.batch_size, context.seed, offset),
        forward=lambda networks, batch: networks["network"](batch["input"]),
        loss=Loss(data, settings.label_smoothing),
        optimisation=Optimisation(
            optimizer,
            steps,
            learning_rate=schedule(settings.schedule, steps, min(100, max(1, steps // 10))),
            max_gradient_norm=_GRADIENT_NORM,
            micro_batches=settings.accumulation,
            dtype=autocast_dtype(settings.precision, context.device),
        ),
        validation=validation_of(network, data, context, settings) if len(data.validation) else None,
    )


class Loss:
    """Weighted cross-entropy of the classes, or the squared error of the standardised value (Huber beyond 2)."""

    def __init__(self, data: TrainingData, label_smoothing: float = 0.0):
        self._weights = data.weights if data.classes else None
        self._smoothing = label_smoothing

    def __call__(self, output: torch.Tensor, batch: Sample) -> torch.Tensor:
        return self.of(output, batch["answer"])

    def of(self, output: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """The mean over cases of ``output`` (B, K) against ``answers`` (B,)."""
        if self._weights is None:
            return F.huber_loss(output[:, 0], answers, delta=2.0)
        losses = F.cross_entropy(output, answers, reduction="none", label_smoothing=self._smoothing)
        return (self._weights.to(output.device)[answers] * losses).mean()


def validation_of(network: torch.nn.Module, data: TrainingData, context: Context, settings: Any) -> Validation:
    """Loss on all validation cases, with every class counting as in the training; AUC and balanced accuracy beside."""

    def measure() -> dict[str, float]:
        return metrics_of(outputs_of(network, data.validation, context.device), data.validation, data)

    return Validation(measure, _LOSS, settings.validate_every, settings.patience, direction=-1, chance=_chance(data))


def metrics_of(output: torch.Tensor, part: Part, data: TrainingData) -> dict[str, float]:
    """The validation metrics of outputs (N, K)."""
    loss = float(validation_loss(output, part, data))
    if not data.classes:
        error = float((output[:, 0] - part.answers).abs().mean()) * data.scale
        return {_LOSS: loss, "validation error": error}
    truth = [data.classes[index] for index in part.answers.tolist()]
    called = [data.classes[index] for index in output.argmax(1).tolist()]
    matrix = confusion_matrix(truth, called, data.classes)
    metrics = {_LOSS: loss, "validation balanced accuracy": balanced_accuracy(matrix)}
    area = macro_auc(truth, output.softmax(1).numpy(), data.classes)
    return metrics | ({"validation AUC": area} if math.isfinite(area) else {})


def validation_loss(output: torch.Tensor, part: Part, data: TrainingData) -> torch.Tensor:
    """The loss of outputs (N, K), with the classes in balance if the training has them so."""
    if not data.classes:
        return F.huber_loss(output[:, 0], part.answers, delta=2.0)
    weights = balanced_weights(data)[part.answers]
    return (weights * F.cross_entropy(output, part.answers, reduction="none")).sum() / weights.sum()


def balanced_weights(data: TrainingData) -> torch.Tensor:
    """(K,) float32: the weights of the loss; those that a balanced sampler amounts to."""
    if not data.balanced_sampler:
        return data.weights
    return torch.where(data.priors > 0, 1 / data.priors.clamp_min(1e-9), torch.zeros(())).float()


def _chance(data: TrainingData) -> float:
    """The validation loss of a network that only knows how frequent the classes are, or the mean value."""
    part = data.validation
    if not data.classes:
        return float(validation_loss(torch.zeros(len(part), 1), part, data))
    shares = (data.priors * balanced_weights(data)).clamp_min(1e-9)
    constant = torch.log(shares / shares.sum()).float()
    return float(validation_loss(constant.expand(len(part), -1), part, data))


def _samples(data: TrainingData, batch_size: int, seed: int, offset: int) -> Samples:
    part = data.training
    answers = part.answers
    order = ClassBalanced(answers.tolist(), seed) if data.balanced_sampler else EachOnce(len(part), seed)

    def sample(number: int) -> Sample:
        index = order(number + offset)
        return part.inputs.sample(index, seed, number + offset) | {"answer": answers[index]}

    return Samples(batch_size, sample=sample, augment=part.inputs.augmented)
