"""Rules, then a support vector machine, as arrays: fitted with scikit-learn, applied with numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

_FOLDS = 5
_LOOSE = 0.25  # of the lesions' range, by which a candidate may lie outside it


def fit_judge(features: np.ndarray, lesion: np.ndarray, ruled: slice) -> dict[str, torch.Tensor]:
    """Arrays by which :func:`judge` tells lesions from others.

    Args:
        features: (N, F); lesion: (N,) bool, with some of each.
        ruled: features that have rules: a candidate far outside of what lesions have is none.
    """
    from sklearn.model_selection import cross_val_predict
    from sklearn.svm import SVC

    low, high = (limit(features[lesion], axis=0) for limit in (np.min, np.max))
    loose = _LOOSE * (high - low) + 1e-9
    low, high = low - loose, high + loose
    free = np.ones(features.shape[1], bool)
    free[ruled] = False
    low[free], high[free] = -np.inf, np.inf
    kept = ((features >= low) & (features <= high)).all(1)
    features, lesion = features[kept], lesion[kept]
    mean, scale = features.mean(0), features.std(0) + 1e-9
    scaled = (features - mean) / scale
    arrays = {"low": low, "high": high, "mean": mean, "scale": scale}
    if lesion.all():  # the rules alone have sorted out all others
        return _tensors(arrays | {"platt": np.array([0.0, 3.0])})
    gamma = 1 / features.shape[1]
    machine = SVC(kernel="rbf", C=1.0, gamma=gamma, class_weight="balanced").fit(scaled, lesion)
    decided, folds = machine.decision_function(scaled), min(_FOLDS, int(lesion.sum()), int((~lesion).sum()))
    if folds > 1:
        decided = cross_val_predict(machine, scaled, lesion, cv=folds, method="decision_function")
    arrays |= {"support": machine.support_vectors_, "dual": machine.dual_coef_[0], "intercept": machine.intercept_}
    return _tensors(arrays | {"gamma": np.array([gamma]), "platt": _platt(np.asarray(decided), lesion)})


def judge(features: np.ndarray, arrays: Mapping[str, torch.Tensor]) -> np.ndarray:
    """Probabilities (N,) of features (N, F); 0 for those that the rules sort out."""
    made = {name: tensor.numpy() for name, tensor in arrays.items()}
    kept = ((features >= made["low"]) & (features <= made["high"])).all(1)
    scaled = (features - made["mean"]) / made["scale"]
    decided = np.zeros(len(features))
    if "support" in made:
        apart = ((scaled[:, None] - made["support"][None]) ** 2).sum(-1)
        decided = np.exp(-made["gamma"] * apart) @ made["dual"] + made["intercept"]
    slope, offset = made["platt"]
    return np.where(kept, 1 / (1 + np.exp(-np.clip(slope * decided + offset, -50, 50))), 0.0)


def _platt(decided: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Slope and offset of the logistic curve that turns decisions into probabilities (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression().fit(decided[:, None], lesion)
    return np.array([max(float(curve.coef_[0, 0]), 1e-3), float(curve.intercept_[0])])  # never upside down


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array, np.float64)) for name, array in arrays.items()}
