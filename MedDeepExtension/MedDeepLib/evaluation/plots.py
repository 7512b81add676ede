"""Curves of an evaluation as matplotlib figures, for PNG files and reports.

Each takes the curves of one model or more by their names. They are drawn without pyplot, so that nothing global is
touched and no window opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedDeepLib.data.files import atomic_path
from MedDeepLib.evaluation.calibration import DecisionCurve, Reliability
from MedDeepLib.evaluation.froc import RATES, Froc
from MedDeepLib.evaluation.intervals import Interval
from MedDeepLib.evaluation.regression import BlandAltman
from MedDeepLib.evaluation.roc import RocCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INCHES, _DOTS = (5.2, 5.0), 200


def roc_figure(curves: Mapping[str, tuple[RocCurve, Interval]]) -> Figure:
    """ROC curves, with the area under each and its interval."""
    figure, axes = _square("ROC curve", "1 - specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
    for (name, (curve, area)), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        label = f"{name}, AUC {_in_words(area)}"
        axes.step(
            curve.false_positive_rates, curve.sensitivities, where="post", color=colour, label=label, clip_on=False
        )
    axes.legend(loc="lower right", fontsize=8)
    return figure


def reliability_figure(curves: Mapping[str, Reliability]) -> Figure:
    """Observed shares against probabilities, with 95 % intervals; a perfect model is on the diagonal."""
    figure, axes = _square("Calibration", "Predicted probability", "Observed share")
    axes.plot([0, 1], [0, 1], ":", color="grey", label="perfect")
    for (name, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        ends = np.array([(low, high) for _, low, high in curve.observed], float).T
        errors = np.maximum(0, np.stack([curve.shares - ends[0], ends[1] - curve.shares]))
        label = f"{name}, ECE {curve.expected_calibration_error:.3f}"
        axes.errorbar(curve.mean_probabilities, curve.shares, errors, fmt="o-", color=colour, capsize=2, label=label)
    axes.legend(loc="upper left", fontsize=8)
    return figure


def decision_figure(curves: Mapping[str, DecisionCurve]) -> Figure:
    """Net benefit against the probability from which one would treat, beside treating all and treating none."""
    figure, axes = _empty("Decision curve", "Threshold probability", "Net benefit")
    first = next(iter(curves.values()))
    axes.plot(first.thresholds, first.treat_all, "--", color="grey", label="treat all")
    axes.axhline(0, linestyle=":", color="grey", label="treat none")
    for (name, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        axes.plot(curve.thresholds, curve.model, color=colour, label=name)
    highest = max(first.treat_all.max(), *(curve.model.max() for curve in curves.values()), 0.01)
    axes.set(xlim=(0, 1), ylim=(-0.25 * highest, 1.05 * highest))
    axes.legend(loc="upper right", fontsize=8)
    return figure


def froc_figure(curves: Mapping[str, Froc]) -> Figure:
    """FROC curves between 1/8 and 8 false positives per scan, and the CPM of each."""
    figure, axes = _empty("FROC curve (LUNA16 rules)", "False positives per scan", "Sensitivity")
    rates = np.geomspace(RATES[0], RATES[-1], 400)
    for (name, curve), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        read = np.interp(rates, curve.curve_rates, curve.curve_sensitivities)
        axes.plot(rates, read, color=colour, label=f"{name}, CPM {curve.cpm:.3f}")
        axes.plot(curve.rates, curve.sensitivities, "o", color=colour, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set(xlim=(RATES[0], RATES[-1]), ylim=(0, 1.01))
    axes.legend(loc="lower right", fontsize=8)
    return figure


def precision_recall_figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]) -> Figure:
    """Precision against recall; each curve has precision (P,), recall (P,) and its average precision."""
    figure, axes = _square("Precision and recall", "Recall (sensitivity)", "Precision (PPV)")
    for (name, (precision, recall, average)), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        from_zero = (
            np.append(np.zeros(len(recall[:1])), recall),
            np.append(precision[:1], precision),
        )  # no curve has a point at recall 0
        axes.step(*from_zero, where="pre", color=colour, label=f"{name}, AP {average:.3f}", clip_on=False)
    axes.legend(loc="lower left", fontsize=8)
    return figure


def bland_altman_figure(agreement: BlandAltman, unit: str = "") -> Figure:
    """Differences against means, with bias, limits of agreement and their intervals."""
    of = f" [{unit}]" if unit else ""
    figure, axes = _empty("Bland-Altman plot", f"Mean of prediction and reference{of}", f"Prediction - reference{of}")
    axes.plot(agreement.means, agreement.differences, "o", color=_COLOURS[0], markersize=4)
    for line, style, name in (
        (agreement.upper, "--", "upper limit"),
        (agreement.bias, "-", "bias"),
        (agreement.lower, "--", "lower limit"),
    ):
        value, low, high = line
        if value is not None:
            axes.axhline(value, linestyle=style, color=_COLOURS[1], label=f"{name} {_in_words(line)}")
        if low is not None and high is not None:
            axes.axhspan(low, high, color=_COLOURS[1], alpha=0.12, linewidth=0)
    axes.legend(loc="best", fontsize=8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG. Raises UserError when that is not possible."""
    with atomic_path(path, ".png") as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS)


def _empty(title: str, horizontal: str, vertical: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=horizontal, ylabel=vertical)
    axes.grid(alpha=0.25)
    return figure, axes


def _square(title: str, horizontal: str, vertical: str) -> tuple[Figure, Any]:
    """Axes from 0 to 1."""
    figure, axes = _empty(title, horizontal, vertical)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure, axes


def _colours(count: int) -> list[str]:
    return [_COLOURS[n % len(_COLOURS)] for n in range(count)]


def _in_words(interval: Interval) -> str:
    value, low, high = interval
    if value is None:
        return "-"
    return f"{value:.3g}" + ("" if low is None or high is None else f" ({low:.3g} to {high:.3g})")
