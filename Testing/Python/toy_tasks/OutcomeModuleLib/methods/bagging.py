"""Logistic regression on bootstrapped cases: one stage makes the items, another fits them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from MedDeepLib.core import Method, Prediction, Predictor, Prepared, parameter
from MedDeepLib.data.sources.table import read_table
from MedDeepLib.errors import UserError


@dataclass(frozen=True)
class Parameters:
    bags: int = parameter(20, "Bootstrapped sets of cases.", minimum=1, maximum=1000)


class Bagging(Method):
    task, name, title = "outcome", "bagging", "Bagged logistic regression"
    reference, summary = "Breiman 1996, doi 10.1007/BF00058655", "Averages regressions on bootstrapped cases."
    Parameters = Parameters
    output_endings = (".json",)

    def check(self, dataset):
        if len(dataset.classes) != 2:
            raise UserError(f"Bagging tells two classes apart, but {dataset.name} has {len(dataset.classes)}.")

    def prepare(self, context):
        cases = [case for case in context.dataset.training if "outcome" in case.targets]
        columns = read_table(cases[0].files("features")[0]).columns
        features = np.array([read_features(case.inputs, columns) for case in cases])
        answers = np.array([case.targets["outcome"].value == "relapse" for case in cases])
        mean, scale = features.mean(0), features.std(0) + 1e-9
        facts = {"columns": list(columns), "mean": mean.tolist(), "scale": scale.tolist()}
        return Prepared(facts, ((features - mean) / scale, answers))

    def stages(self, prepared, context):
        import torch
        from MedDeepLib.training.randomness import random_state
        from MedDeepLib.training.stages import DataStage, FitStage

        features, answers = prepared.data

        def bag(number):
            rows = random_state(context.seed, number).randint(len(answers), size=len(answers))
            return {"features": torch.from_numpy(features[rows]), "answers": torch.from_numpy(answers[rows])}

        def fit(context):
            from sklearn.linear_model import LogisticRegression

            of_both = [bag for bag in bags if len(set(bag["answers"].tolist())) == 2]
            fits = [LogisticRegression().fit(bag["features"].numpy(), bag["answers"].numpy()) for bag in of_both]
            return {
                "weights": torch.from_numpy(np.mean([one.coef_[0] for one in fits], 0)),
                "bias": torch.tensor(np.mean([one.intercept_[0] for one in fits])),
            }

        yield (bags := DataStage("bags", self.parameters.bags, bag))
        yield FitStage("regression", fit)

    def predictor(self, model, context, options):
        return RelapsePredictor(model.metadata, model.load_weights()["regression"])


class RelapsePredictor(Predictor):
    def __init__(self, facts, arrays):
        self.facts, self.arrays = facts, arrays

    def read(self, inputs):
        return read_features(inputs, self.facts["columns"])

    def predict(self, inputs, context, wanted=()):
        scaled = (inputs - self.facts["mean"]) / self.facts["scale"]
        score = scaled @ self.arrays["weights"].numpy() + float(self.arrays["bias"])
        return Relapse(float(1 / (1 + np.exp(-score))))


class Relapse(Prediction):
    def __init__(self, probability: float):
        self.probability = probability

    def save(self, outputs):
        outputs["answer"].write_text(json.dumps(self.summary()), encoding="utf-8")
        return [outputs["answer"]]

    def summary(self):
        return {"relapse": round(self.probability, 4)}


def read_features(inputs, columns) -> np.ndarray:
    """The first row of the table and the age. Raises UserError when the table has other columns."""
    table = read_table(inputs["features"].files[0])
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UserError(f"{inputs['features'].files[0].name} has no column '{missing[0]}', which the model needs.")
    return np.array([*(table.column(name)[0] for name in columns), float(inputs["age"].value)])
