"""Cases whose label is suspicious, by confident learning (Northcutt et al. 2021, doi 10.1613/jair.1.12125).

A model that did not train on a case (out of fold) says how probable each class is. A case is counted with another class
than its label's where that class is as probable as it usually is for cases that bear its label; so a class that the
model is never sure of has a low threshold. It needs a model that is right more often than not: the list of a model near
chance is a list of chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Suspicions:
    """Attributes:
    order: (N,) indices of all cases, the most suspicious first: those that confident learning counts with another
        class, then the others, each by their margin.
    is_suspicious: (N,) whether a case is counted with another class.
    suggested: (N,) index of the class that is counted, or of the label.
    margins: (N,) probability of the label minus that of the most probable other class, from -1 to 1.
    thresholds: (K,) mean probability of each class for the cases that bear its label, NaN where none does.
    joint: (K, K) how many cases with a label (row) are counted with a class (column); cases that reach no
        threshold are missing.
    """

    order: np.ndarray
    is_suspicious: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray
    thresholds: np.ndarray
    joint: np.ndarray


def suspicious_labels(probabilities: np.ndarray, labels: Sequence[int] | np.ndarray) -> Suspicions:
    """Rank cases by how suspicious their label is.

    Args:
        probabilities: (N, K) of models that did not train on the case.
        labels: (N,) index of the class that a case bears.

    Raises ValueError where the arrays do not belong together, for less than two classes, and for values that are not
    finite.
    """
    values, given = np.asarray(probabilities, float), np.asarray(labels)
    if values.ndim != 2 or given.shape != values.shape[:1] or values.shape[1] < 2:
        raise ValueError(
            f"Probabilities {values.shape} must be (N, K) with two classes or more, for N labels {given.shape}."
        )
    if not np.isfinite(values).all() or not np.isin(given, np.arange(values.shape[1])).all():
        raise ValueError("Probabilities must be finite, and labels must be indices of their columns.")
    given = given.astype(int)
    count, classes = values.shape
    thresholds = np.array([values[given == k, k].mean() if (given == k).any() else np.nan for k in range(classes)])
    reached = values >= np.nan_to_num(thresholds, nan=np.inf) - 1e-12
    counted = reached.any(1)
    suggested = np.where(counted, np.where(reached, values, -1.0).argmax(1), given)
    others = values.copy()
    others[np.arange(count), given] = -np.inf
    margins = values[np.arange(count), given] - others.max(1, initial=-np.inf)
    is_suspicious = suggested != given
    joint = np.zeros((classes, classes), int)
    np.add.at(joint, (given[counted], suggested[counted]), 1)
    order = np.lexsort((margins, ~is_suspicious))
    return Suspicions(order, is_suspicious, suggested, margins, thresholds, joint)
