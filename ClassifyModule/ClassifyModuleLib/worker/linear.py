"""A linear model on the features of a frozen network, fitted in one go; only its numbers are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.training.stages import FitStage

from ClassifyModuleLib.worker.data import TrainingData, outputs_of
from ClassifyModuleLib.worker.networks.classifier import Classifier

_ITERATIONS = 5000


def linear_head_stage(network: Classifier, settings: Any, prepared: Prepared, context: Context) -> FitStage:
    """The stage that fits the network's head on its features of the training cases.

    Its arrays are the state of the whole network, under the name that a trained network has. ``settings`` has ``head``,
    ``penalty`` and ``balance``.
    """
    data: TrainingData = prepared.data

    def fit(context: Context) -> dict[str, torch.Tensor]:
        network.eval()
        features = outputs_of(network, data.training, context.device, network.embed).double().numpy()
        mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
        weight, bias = _fitted((features - mean) / scale, data, settings, context.seed)
        weight = weight / scale
        bias = bias - weight @ mean
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(weight))
            network.head.bias.copy_(torch.from_numpy(bias))
        return {name: tensor.cpu() for name, tensor in network.state_dict().items()}

    return FitStage("network", fit)


def _fitted(features: np.ndarray, data: TrainingData, settings: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, F) and biases (K,) of a linear model of the answers; K is 1 for a value."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.svm import LinearSVC

    answers = data.training.answers.numpy()
    if not data.classes:
        ridge = Ridge(settings.penalty * len(answers)).fit(features, answers)
        return ridge.coef_[None], np.array([ridge.intercept_])
    strength = 1 / (settings.penalty * len(answers))
    balanced = "balanced" if settings.balance != "none" else None
    model: Any
    if settings.head == "svm":
        model = LinearSVC(C=strength, class_weight=balanced, max_iter=_ITERATIONS, random_state=seed)
    else:
        model = LogisticRegression(C=strength, class_weight=balanced, max_iter=_ITERATIONS)
    model.fit(features, answers)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:  # of two classes, the score of the second one
        coefficients, intercepts = (
            np.stack([-coefficients[0], coefficients[0]]) / 2,
            np.stack([-intercepts, intercepts])[:, 0] / 2,
        )
    weight, bias = np.zeros((len(data.classes), features.shape[1])), np.full(len(data.classes), -10.0)
    weight[model.classes_], bias[model.classes_] = coefficients, intercepts
    return weight, bias
