"""Whether the classes of a dataset can be told apart by how images were acquired, without looking at the patient.

A classifier gets nothing but size, spacing, range of intensities and border of each image. Where that suffices, a
network may learn the scanner in place of the disease, and a good result with these cases proves nothing (Zech et al.
2018, doi 10.1371/journal.pmed.1002683). Reading images is the caller's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedDeepLib.evaluation.classification import classification_row, macro_auc, probabilities_of
from MedDeepLib.evaluation.intervals import Interval, pooled_with_intervals

_FOLDS = 5
_SUSPICIOUS = 0.6  # an AUC below is not worth a warning, however certain


@dataclass(frozen=True)
class ShortcutProbe:
    """Attributes:
    auc: out of fold, with its 95 % interval over patients; of several classes the mean of each against the others.
        None where there are too few cases.
    telling: features by how much the classifier uses them, the most telling first.
    is_suspicious: whether acquisition tells the classes apart.
    sentence: for the user.
    """

    auc: Interval
    telling: tuple[str, ...]
    is_suspicious: bool
    sentence: str


def acquisition_features(image: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """What an image (I, J, K), or a picture (I, J), says of its acquisition.

    ``spacing``: mm along each axis. Intensities are those of the file, before any normalisation.
    """
    values = np.asarray(image)
    border = np.concatenate([np.take(values, place, axis).ravel() for axis in range(values.ndim) for place in (0, -1)])
    lowest, low, middle, high, highest = np.percentile(values, (0, 1, 50, 99, 100))
    features = {f"size {axis}": float(length) for axis, length in zip("ijk", values.shape, strict=False)}
    features |= {f"spacing {axis}": float(step) for axis, step in zip("ijk", spacing, strict=False)}
    return features | {
        "lowest intensity": float(lowest),
        "1st percentile": float(low),
        "median": float(middle),
        "99th percentile": float(high),
        "highest intensity": float(highest),
        "border mean": float(border.mean(dtype=np.float64)),
        "border deviation": float(border.std(dtype=np.float64)),
        "border at lowest": float(np.mean(border == values.min())),
    }


def probe_shortcuts(
    features: Sequence[Mapping[str, float]], classes: Sequence[str], patients: Sequence[str], seed: int = 0
) -> ShortcutProbe:
    """Cross-validate a random forest on acquisition alone, by patient.

    Args:
        features: of N images, of :func:`acquisition_features`; what an image lacks counts as 0.
        classes: N names.
        patients: N names.
    """
    names = list(dict.fromkeys(name for own in features for name in own))
    table = np.array([[own.get(name, 0.0) for name in names] for own in features]).reshape(len(features), len(names))
    truth = np.asarray(classes, str)
    patients_of = [len({p for p, c in zip(patients, classes, strict=True) if c == name}) for name in {*classes}]
    folds = min([_FOLDS, *patients_of])
    if len(patients_of) < 2 or folds < 2:
        return ShortcutProbe(
            (None, None, None), (), False, "Too few patients to test whether acquisition tells the classes apart."
        )
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    rows, importance, order = [], np.zeros(len(names)), np.unique(truth).tolist()
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(table, truth, patients):
        forest = RandomForestClassifier(100, min_samples_leaf=2, class_weight="balanced", random_state=seed)
        forest.fit(table[train], truth[train])
        importance += forest.feature_importances_
        for n, own in zip(test, np.asarray(forest.predict_proba(table[test])), strict=True):
            said = dict.fromkeys(order, 0.0) | {name: float(p) for name, p in zip(forest.classes_, own, strict=True)}
            rows.append(classification_row(str(truth[n]), said) | {"patient": patients[n], "case": str(n)})

    def pooled(some: Sequence[dict]) -> dict[str, float]:
        return {"auc": macro_auc([row["truth"] for row in some], probabilities_of(some), order)}

    auc = pooled_with_intervals(rows, pooled, seed)["auc"]
    telling = tuple(names[n] for n in np.argsort(-importance, kind="stable"))
    suspicious = auc[0] is not None and auc[0] >= _SUSPICIOUS and (auc[1] is None or auc[1] > 0.5)
    return ShortcutProbe(auc, telling, suspicious, _sentence(auc, telling, suspicious))


def _sentence(auc: Interval, telling: Sequence[str], suspicious: bool) -> str:
    value, low, high = auc
    interval = "" if low is None or high is None else f", {low:.2f} to {high:.2f}"
    found = f"AUC {value:.2f}{interval}; chance .5" if value is not None else "no AUC"
    if not suspicious:
        return f"Image size, spacing, intensity range and border alone do not tell the classes apart ({found})."
    return (
        f"Image size, spacing, intensity range and border alone tell the classes apart ({found}), most of all "
        f"{' and '.join(telling[:2])}: a model may learn the scanner in place of the disease. Compare it with this "
        "AUC, and test it on images that were acquired alike for all classes."
    )
