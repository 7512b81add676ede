"""What a model keeps of its training and validation cases: calibration, their features, how far apart they lie.

* Temperature: Guo et al. 2017 (https://proceedings.mlr.press/v70/guo17a.html), fitted on the validation cases. Where
  the classes were balanced in training, their true frequencies come back into the probabilities (Saerens et al. 2002,
  doi 10.1162/089976602753284446).
* Distance from the training cases: Mahalanobis, between the features of the penultimate layer and the nearest class
  (Lee et al. 2018, arXiv 1807.03888), within the principal components of the training features; what lies outside these
  counts as one more component. It is compared with the distances of the validation cases (a conformal p-value).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prepared
from MedDeepLib.training.stages import FitStage

from ClassifyModuleLib.worker.data import TrainingData, outputs_of
from ClassifyModuleLib.worker.networks.classifier import Classifier

STAGE = "reference"
CASES_FILE = "training_cases.json"
"""The names of the training cases, in the run folder: no part of the model, since they often are those of patients."""

_FEWEST_TO_CALIBRATE = 10
_TEMPERATURES = (0.05, 20.0)
_MOST_COMPONENTS = 32
_CASES_PER_COMPONENT = 4
_UNLIKE = 0.05
_FAR = 1.5  # times the largest known distance: unlike where there are too few cases for a share
_COVERAGE = 0.9  # of the interval around a value
_MOST_KEPT = 2000  # training cases whose features are kept


def reference_stage(network: Classifier, prepared: Prepared, context: Context) -> FitStage:
    """The stage that computes, with the trained network, what :class:`Reference` needs."""
    data: TrainingData = prepared.data

    def fit(context: Context) -> dict[str, torch.Tensor]:
        network.eval()
        embedded = [
            outputs_of(network, part, context.device, network.embed) for part in (data.training, data.validation)
        ]
        scores = outputs_of(network, data.validation, context.device)
        return fitted(data, embedded[0], embedded[1], scores, prepared.facts["plan"], context) | {
            f"input.{name}": array for name, array in data.arrays.items()
        }

    return FitStage(STAGE, fit)


def fitted(
    data: TrainingData,
    training: torch.Tensor,
    validation: torch.Tensor,
    scores: torch.Tensor,
    plan: dict,
    context: Context,
) -> dict[str, torch.Tensor]:
    """The arrays of :class:`Reference`, from features (N, F) and (M, F), and the scores (M, K) of validation cases."""
    arrays = {"temperature": torch.tensor(1.0), "residuals": torch.zeros(0)}
    if data.classes and len(scores) >= _FEWEST_TO_CALIBRATE:
        offset = _log_priors(plan, scores.shape[1])
        temperature = _temperature(scores.double().numpy(), data.validation.answers.numpy(), offset)
        arrays["temperature"] = torch.tensor(temperature)
    elif data.classes and len(scores):
        context.report(
            "warning",
            message=f"{len(scores)} validation cases are too few to calibrate probabilities: they are as the network "
            "gives them.",
        )
    elif len(scores):
        arrays["residuals"] = (scores[:, 0] - data.validation.answers).abs().sort().values * data.scale
    labels = data.training.answers if data.classes else torch.zeros(len(training), dtype=torch.long)
    geometry = _geometry(training.double().numpy(), labels.numpy())
    known = validation if len(validation) else training
    distances = np.sort(_distances(known.double().numpy(), geometry))
    kept = np.linspace(0, len(training) - 1, min(len(training), _MOST_KEPT)).round().astype(int)
    return (
        arrays
        | {name: torch.from_numpy(array.astype(np.float32)) for name, array in geometry.items()}
        | {
            "distances": torch.from_numpy(distances.astype(np.float32)),
            "features": training[kept].half(),
            "answers": data.training.answers[kept],
            "kept": torch.from_numpy(kept),
        }
    )


@dataclass(eq=False)
class Reference:
    """A trained model's knowledge of its training and validation cases.

    Attributes:
        arrays: of :func:`fitted`.
        plan: the model's.
    """

    arrays: Mapping[str, torch.Tensor]
    plan: Mapping

    @property
    def input_arrays(self) -> dict[str, torch.Tensor]:
        """What reading a case needs besides the plan."""
        return {name[6:]: array for name, array in self.arrays.items() if name.startswith("input.")}

    def probabilities(self, scores: torch.Tensor) -> np.ndarray:
        """Calibrated probabilities (N, K) of the network's scores (N, K)."""
        logits = scores.double().numpy() / float(self.arrays["temperature"])
        return _softmax(logits + _log_priors(self.plan, logits.shape[1]))

    def decisions(self, probabilities: np.ndarray) -> np.ndarray:
        """The class (N,) that is called: the most probable one or, where training balanced the classes, the one whose
        probability exceeds its frequency most."""
        if self.plan["balanced"]:
            probabilities = probabilities / np.maximum(self.plan["priors"], 1e-12)
            probabilities = np.where(np.array(self.plan["priors"]) > 0, probabilities, -1.0)
        return probabilities.argmax(1)

    def half_width(self) -> float | None:
        """Around a value, the half width of the interval that holds 90 % of the validation cases; None if unknown."""
        residuals = self.arrays["residuals"].numpy()
        rank = int(np.ceil((len(residuals) + 1) * _COVERAGE))
        return float(residuals[rank - 1]) if 0 < rank <= len(residuals) else None

    def nearest(self, features: torch.Tensor, count: int) -> list[tuple[int, int | float, float]]:
        """The training cases whose features are most similar to ``features`` (F,).

        Returns:
            For each: its number among the training cases, its class index or value, the cosine of the angle between the
            centred features.
        """
        known = self.arrays["features"].float()
        mean = known.mean(0)
        known, own = known - mean, features - mean
        similarity = torch.nn.functional.cosine_similarity(known, own[None], dim=1)
        best = similarity.argsort(descending=True)[:count].tolist()
        answers, kept = self.arrays["answers"], self.arrays["kept"]
        return [(int(kept[n]), answers[n].item(), float(similarity[n])) for n in best]

    def typicality(self, features: torch.Tensor) -> tuple[float, bool]:
        """How typical a case with features (F,) is.

        Returns:
            The share of cases that lie at least as far from the training cases, and whether it is unlike them.
        """
        known = self.arrays["distances"].numpy()
        geometry = {name: self.arrays[name].double().numpy() for name in _GEOMETRY}
        distance = float(_distances(features[None].double().numpy(), geometry)[0])
        share = (1 + int((known >= distance).sum())) / (len(known) + 1)
        if len(known) + 1 < 1 / _UNLIKE:
            return share, bool(distance > _FAR * known.max())
        return share, share <= _UNLIKE


_GEOMETRY = ("center", "components", "class_means", "precision", "beyond")


def _geometry(features: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Principal components (P, F), the classes' means (K, P), the inverse covariance (P, P) within classes, and the
    typical length of what lies outside the components."""
    from sklearn.covariance import ledoit_wolf

    center = features.mean(0)
    centered = features - center
    count = max(1, min(_MOST_COMPONENTS, len(features) // _CASES_PER_COMPONENT, features.shape[1]))
    _, lengths, rows = np.linalg.svd(centered, full_matrices=False)
    components = rows[:count] * (lengths[:count, None] > 1e-6 * max(float(lengths[0]), 1e-12))
    inside = centered @ components.T
    values = np.unique(labels)
    means = np.stack([inside[labels == value].mean(0) for value in values])
    within = inside - means[np.searchsorted(values, labels)]
    covariance = ledoit_wolf(within)[0] if len(within) > 1 else np.eye(count)
    covariance = covariance + np.eye(count) * (1e-6 * np.trace(covariance) / count + 1e-12)
    outside = np.linalg.norm(centered - inside @ components, axis=1)
    beyond = np.array([max(float(np.sqrt((outside**2).mean())), 1e-3 * float(np.sqrt(np.trace(covariance))), 1e-6)])
    parts = (center, components, means, np.linalg.inv(covariance), beyond)
    return dict(zip(_GEOMETRY, parts, strict=True))


def _distances(features: np.ndarray, geometry: Mapping[str, np.ndarray]) -> np.ndarray:
    """Distances (N,) from the nearest class's mean."""
    centered = features - geometry["center"]
    inside = centered @ geometry["components"].T
    apart = inside[:, None] - geometry["class_means"]
    squared = np.einsum("nkp,pq,nkq->nk", apart, geometry["precision"], apart).min(1)
    outside = np.linalg.norm(centered - inside @ geometry["components"], axis=1)
    return np.sqrt(np.maximum(squared, 0) + (outside / geometry["beyond"]) ** 2)


def _log_priors(plan: Mapping, count: int) -> np.ndarray:
    """What brings the frequencies of the classes (K,) back into scores of a balanced training; otherwise 0."""
    if not plan["balanced"]:
        return np.zeros(count)
    return np.log(np.maximum(np.array(plan["priors"]), 1e-9))


def _temperature(scores: np.ndarray, truth: np.ndarray, offset: np.ndarray) -> float:
    """The temperature at which the true classes (N,) are most likely, ``offset`` (K,) being added to the scores."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        probabilities = _softmax(scores / np.exp(logarithm) + offset)
        return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean())

    found: Any = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
