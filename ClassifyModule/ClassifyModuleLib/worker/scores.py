"""Compares answers with the true classes or values of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from MedDeepLib.core import Prediction
from MedDeepLib.data.slots import Case
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.calibration import reliability
from MedDeepLib.evaluation.classification import (
    balanced_accuracy,
    class_names,
    classification_row,
    confusion_matrix,
    macro_auc,
    probabilities_of,
)
from MedDeepLib.evaluation.regression import pooled_regression, regression_row

from ClassifyModuleLib.worker.prediction import ClassPrediction

_REFUSED_FOR_ONE = ("accuracy", "brier", "absolute_error")


def case_scores(prediction: Prediction, case: Case, only_one: bool) -> list[dict[str, Any]]:
    """The row of one case: true and called class with all probabilities, or true and predicted value.

    With ``only_one``, a test set of one case, it has no metrics: they would say nothing of the model.

    Raises UserError when the prediction is no class, or the model does not know the true one.
    """
    if not isinstance(prediction, ClassPrediction) or len(prediction.answers) != 1:
        raise UserError(f"The model gives no single answer for the case {case.name}: it cannot be evaluated by it.")
    (answer,) = prediction.answers
    if answer.value is not None:
        if "value" not in case.targets:
            raise UserError(f"The model gives a value, but the case {case.name} has a class: choose another dataset.")
        row = {"class": "value"} | regression_row(answer.value, case.targets["value"].value)
    else:
        truth = str(case.targets["class"].value) if "class" in case.targets else ""
        if truth not in answer.probabilities:
            known = ", ".join(answer.probabilities)
            raise UserError(
                f"The case {case.name} has the class '{truth}', but the model knows {known}: rename the class, or "
                "leave the case out."
            )
        row = {"class": truth} | classification_row(truth, answer.probabilities)
        row |= {"predicted": answer.called, "accuracy": float(answer.called == truth)}
    row |= {"unlike_training": float(answer.unlike)}
    return [row | dict.fromkeys(name for name in _REFUSED_FOR_ONE if name in row) if only_one else row]


def pooled_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Metrics of many rows together; none where they have one class or are one case."""
    rows = [dict(row) for row in rows]
    if len(rows) < 2:
        return {}
    if "reference" in rows[0]:
        found = pooled_regression(rows)
        references = np.array([row["reference"] for row in rows])
        found["mae_chance"] = float(np.abs(references - np.median(references)).mean())
        return {name: found[name] for name in ("mae", "mae_chance", "r2", "rmse", "bias")}
    classes, truth = class_names(rows), [row["truth"] for row in rows]
    if len(set(truth)) < 2:
        return {}
    probabilities, called = probabilities_of(rows), [row["predicted"] for row in rows]
    matrix = confusion_matrix(truth, called, classes)
    found = {
        "auc": macro_auc(truth, probabilities, classes),
        "balanced_accuracy": balanced_accuracy(matrix),
        "balanced_accuracy_chance": 1 / len(set(truth)),
    }
    if len(classes) == 2:
        found |= {"sensitivity": matrix[1, 1] / matrix[1].sum(), "specificity": matrix[0, 0] / matrix[0].sum()}
    shares = matrix.sum(1) / matrix.sum()
    top = probabilities.argmax(1)
    right = np.array([classes[index] == name for index, name in zip(top, truth, strict=True)])
    found |= {
        "ece": reliability(right, probabilities.max(1)).expected_calibration_error,
        "accuracy_chance": float(shares.max()),
        "brier_chance": float((1 - (shares**2).sum()) / 2),
    }
    return {name: float(value) for name, value in found.items()}
