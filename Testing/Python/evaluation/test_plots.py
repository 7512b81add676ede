"""Curves as PNG files: they say what they show, and touch nothing global."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from MedDeepLib.errors import UserError
from MedDeepLib.evaluation.average_precision import match_boxes, precision_recall
from MedDeepLib.evaluation.calibration import decision_curve, reliability
from MedDeepLib.evaluation.froc import froc, match_luna16
from MedDeepLib.evaluation.plots import (
    bland_altman_figure,
    decision_figure,
    froc_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    save_figure,
)
from MedDeepLib.evaluation.regression import bland_altman
from MedDeepLib.evaluation.roc import auc_with_interval, roc_curve


def forecast():
    random = np.random.default_rng(0)
    said = random.random(200)
    return random.random(200) < said, said


def roc():
    return roc_figure({"cnn": (roc_curve(*forecast()), auc_with_interval(*forecast()))})


def calibration():
    return reliability_figure({"cnn": reliability(*forecast())})


def decision():
    return decision_figure({"cnn": decision_curve(*forecast())})


def free_response():
    case = match_luna16(([[0, 0, 0], [50, 0, 0]], [0.5, 0.9]), ([[0, 0, 0], [9, 9, 9]], [5, 5]))
    return froc_figure({"retina": froc([case]), "multilevel": froc([case, case])})


def precision():
    matching = match_boxes([], [], [])
    assert matching.outcomes.shape == (0, 9)
    values = precision_recall(np.array([0.9, 0.8, 0.7]), np.array(list("mfm")), 2)
    return precision_recall_figure({"retina": (*values[:2], 0.8333)})


def agreement():
    random = np.random.default_rng(0)
    return bland_altman_figure(bland_altman(random.normal(50, 9, 30), random.normal(50, 9, 30)), "ml")


@pytest.mark.parametrize(
    ("make", "title", "legend"),
    [
        (roc, "ROC curve", "cnn, AUC 0.8"),
        (calibration, "Calibration", "cnn, ECE 0."),
        (decision, "Decision curve", "treat all"),
        (free_response, "FROC curve (LUNA16 rules)", "multilevel, CPM 0."),
        (precision, "Precision and recall", "retina, AP 0.833"),
        (agreement, "Bland-Altman plot", "bias"),
    ],
)
def test_a_figure_says_what_it_shows(make, title, legend, tmp_path):
    figure = make()
    (axes,) = figure.axes
    assert axes.get_title() == title and axes.get_xlabel() and axes.get_ylabel()
    assert any(text.get_text().startswith(legend) for text in axes.get_legend().get_texts())
    save_figure(figure, tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        save_figure(roc(), tmp_path / "file" / "figure.png")


def test_without_pyplot():
    """Slicer's own pyplot, if any, keeps its figures and its backend."""
    code = (
        "import sys; from MedDeepLib.evaluation import plots; assert 'matplotlib' not in sys.modules; "
        "plots.decision_figure({'a': __import__('MedDeepLib.evaluation.calibration', fromlist=['x'])"
        ".decision_curve([0, 1], [0.2, 0.8])}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
