"""The inputs, outputs and evaluation of outcome prediction."""

from __future__ import annotations

import math

import numpy as np
from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.slots import Slot


class Discrimination:
    metrics = {"auc": Metric(direction=1, chance=0.5, pooled=True), "brier": Metric(direction=-1, chance=0.25)}
    group = "outcome"
    judged = "cases with an outcome"

    def cases(self, dataset):
        return [case for case in dataset.test if "outcome" in case.targets]

    def rows(self, prediction, case, dataset):
        truth = float(case.targets["outcome"].value == "relapse")
        probability = prediction.probability
        return [{"outcome": "relapse", "probability": probability, "truth": truth, "brier": (probability - truth) ** 2}]

    def pooled(self, rows):
        relapsed = np.array([row["truth"] == 1 for row in rows])
        probability = np.array([row["probability"] for row in rows])
        higher = probability[relapsed][:, None] - probability[~relapsed]
        return {"auc": float((np.sign(higher).mean() + 1) / 2) if higher.size else math.nan}


TASK = Task(
    name="outcome",
    title="Outcome",
    inputs=(
        Slot("features", "table", help="one row of numbers"),
        Slot("age", "value", help="of the patient, in years"),
    ),
    targets=(Slot("outcome", "class", required=False, help="relapse or none"),),
    outputs=(Slot("answer", "table", help="the probability of a relapse"),),
    evaluation=Discrimination(),
    output_ending=".json",
)
