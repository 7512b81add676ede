"""Classification by the conventions of diagnostic studies: an operating point with Wilson intervals, predictive values
for a prevalence, confusion matrix, several classes, and the rows of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedDeepLib.evaluation.intervals import Interval, proportion_with_interval
from MedDeepLib.evaluation.roc import Labels, Scores, auc, auc_with_interval, checked

_NORMAL_975 = 1.959963984540054

Row = dict[str, Any]


@dataclass(frozen=True)
class OperatingPoint:
    """Counts at a threshold: a case is called positive whose score is at or above it.

    The properties are proportions with Wilson's 95 % interval, None where they do not exist. Predictive values hold for
    a population with the prevalence of these cases; for another one see :func:`predictive_values`.
    """

    threshold: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def sensitivity(self) -> Interval:
        return proportion_with_interval(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Interval:
        return proportion_with_interval(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def ppv(self) -> Interval:
        """Positive predictive value."""
        return proportion_with_interval(self.true_positives, self.true_positives + self.false_positives)

    @property
    def npv(self) -> Interval:
        """Negative predictive value."""
        return proportion_with_interval(self.true_negatives, self.true_negatives + self.false_negatives)

    @property
    def accuracy(self) -> Interval:
        right = self.true_positives + self.true_negatives
        return proportion_with_interval(right, right + self.false_positives + self.false_negatives)


def operating_point(labels: Labels, scores: Scores, threshold: float) -> OperatingPoint:
    """Counts of cases with labels (N,) and scores (N,) at a threshold that was chosen on other cases."""
    truth, values = checked(labels, scores)
    called = values >= threshold
    counts = (truth & called, ~truth & called, ~truth & ~called, truth & ~called)
    return OperatingPoint(float(threshold), *(int(count.sum()) for count in counts))


def choose_threshold(
    labels: Labels, scores: Scores, sensitivity: float | None = None, specificity: float | None = None
) -> float:
    """The threshold for an operating point, to be chosen on validation cases.

    The highest one that reaches ``sensitivity``, or the lowest one that reaches ``specificity``; without either the one
    with the highest sum of both (Youden 1950, doi 10.1002/1097-0142(1950)3:1<32::aid-cncr2820030106>3.0.co;2-3).

    Raises ValueError with one class only, and where both are given.
    """
    if sensitivity is not None and specificity is not None:
        raise ValueError("Choose a threshold by sensitivity or by specificity, not by both.")
    from MedDeepLib.evaluation.roc import roc_curve

    curve = roc_curve(labels, scores)
    if sensitivity is not None:
        return float(curve.thresholds[np.argmax(curve.sensitivities >= sensitivity - 1e-12)])
    if specificity is not None:
        return float(curve.thresholds[np.flatnonzero(1 - curve.false_positive_rates >= specificity - 1e-12)[-1]])
    return float(curve.thresholds[np.argmax(curve.sensitivities - curve.false_positive_rates)])


def predictive_values(point: OperatingPoint, prevalence: float) -> tuple[Interval, Interval]:
    """Positive and negative predictive value for a population with this prevalence, by Bayes' rule.

    The 95 % intervals are those of the logits (Mercaldo et al. 2007, doi 10.1002/sim.2677); there are none where
    sensitivity or specificity is 0 or 1. Raises ValueError unless the prevalence lies between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"A prevalence lies between 0 and 1; it is not {prevalence}.")
    sensitivity, specificity = point.sensitivity[0], point.specificity[0]
    if sensitivity is None or specificity is None:
        return (None, None, None), (None, None, None)
    with_it, without = point.true_positives + point.false_negatives, point.true_negatives + point.false_positives
    odds = prevalence / (1 - prevalence)
    found = []
    for right, right_count, wrong, wrong_count, prior in (
        (sensitivity, with_it, 1 - specificity, without, odds),
        (specificity, without, 1 - sensitivity, with_it, 1 / odds),
    ):
        if not right + wrong:
            found.append((None, None, None))
            continue
        value = right * prior / (right * prior + wrong)
        if min(right, wrong, 1 - right, 1 - wrong) <= 0:
            found.append((value, None, None))
            continue
        reach = _NORMAL_975 * math.sqrt((1 - right) / (right * right_count) + (1 - wrong) / (wrong * wrong_count))
        logit = math.log(value / (1 - value))
        found.append((value, *(1 / (1 + math.exp(-(logit + sign * reach))) for sign in (-1, 1))))
    return found[0], found[1]


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """How often (K, K) a class in truth (row) was called another (column), in the order of ``classes``.

    Raises ValueError for a class that is not among them, and where the lists differ in length.
    """
    unknown = sorted({*truth, *predicted} - {*classes})
    if unknown:
        raise ValueError(f"'{unknown[0]}' is none of the classes {', '.join(classes)}.")
    index = {name: n for n, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), int)
    for true, called in zip(truth, predicted, strict=True):
        matrix[index[true], index[called]] += 1
    return matrix


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean over classes that occur of the share that was called right; chance is one over their number."""
    totals = matrix.sum(1)
    present = totals > 0
    return float(np.mean(np.diag(matrix)[present] / totals[present])) if present.any() else float("nan")


def class_aucs(truth: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Interval]:
    """The area under each class's ROC curve against all others, with DeLong's interval; None where a class is missing.

    ``probabilities``: (N, K) in the order of ``classes``.
    """
    names = np.asarray(truth, str)
    return {name: auc_with_interval(names == name, probabilities[:, k]) for k, name in enumerate(classes)}


def macro_auc(truth: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> float:
    """The mean area over all classes, each against the others, that occur; NaN where there are less than two. Of two
    classes it is the usual area."""
    names = np.asarray(truth, str)
    areas = [auc(names == name, probabilities[:, k]) for k, name in enumerate(classes)]
    areas = [area for area in areas if np.isfinite(area)]
    return float(np.mean(areas)) if areas else float("nan")


def classification_row(truth: str, probabilities: Mapping[str, float]) -> Row:
    """The row of one case for a report: ``truth``, ``predicted``, ``accuracy`` (1 or 0), ``brier`` (squared distance of
    the probabilities from the truth, summed over classes and halved) and ``probability_<class>`` for every class.

    The caller adds case, patient and site. Raises ValueError where the probabilities lack the true class.
    """
    if truth not in probabilities:
        raise ValueError(f"There is no probability of '{truth}', only of {', '.join(probabilities)}.")
    predicted = max(probabilities, key=lambda name: probabilities[name])
    brier = sum((value - (name == truth)) ** 2 for name, value in probabilities.items()) / 2
    row = {"truth": truth, "predicted": predicted, "accuracy": float(truth == predicted), "brier": float(brier)}
    return row | {f"probability_{name}": float(value) for name, value in probabilities.items()}


def pooled_classification(rows: Sequence[Row]) -> dict[str, float]:
    """``auc`` (of several classes the mean of each against the others) and ``balanced_accuracy`` of rows of
    :func:`classification_row`; NaN where they do not exist."""
    classes = class_names(rows)
    truth = [row["truth"] for row in rows]
    matrix = confusion_matrix(truth, [row["predicted"] for row in rows], classes)
    area = macro_auc(truth, probabilities_of(rows), classes)
    alone = len({*truth}) < 2
    return {"auc": area, "balanced_accuracy": float("nan") if alone else balanced_accuracy(matrix)}


def class_names(rows: Sequence[Row]) -> list[str]:
    """The classes that rows have a probability of, in their order."""
    return [name.removeprefix("probability_") for name in (rows[0] if rows else ()) if name.startswith("probability_")]


def probabilities_of(rows: Sequence[Row]) -> np.ndarray:
    """The probabilities (N, K) of rows, in the order of :func:`class_names`."""
    names = class_names(rows)
    return np.array([[row[f"probability_{name}"] for name in names] for row in rows]).reshape(len(rows), len(names))
