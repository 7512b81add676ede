"""A method without training or a network: large findings give a high grade, at a lower threshold with age."""

from __future__ import annotations

import json

from MedDeepLib.core import Method, Prediction, Predictor
from MedDeepLib.errors import UserError


class Answer(Prediction):
    def __init__(self, largest: float, grade: str):
        self.largest, self.grade = largest, grade

    def save(self, outputs):
        for path in outputs.values():
            path.write_text(json.dumps(self.summary()), encoding="utf-8")
        return list(outputs.values())

    def summary(self):
        return {"grade": self.grade, "largest": self.largest}

    def in_words(self):
        return f"Grade {self.grade}."


class RulePredictor(Predictor):
    def read(self, inputs):
        (file,) = inputs["findings"].files
        try:
            sizes = [float(line) for line in file.read_text(encoding="utf-8").split()]
        except (OSError, ValueError) as error:
            raise UserError(f"The findings {file} cannot be read ({error}): write a number a line.") from None
        return sizes, inputs["age"].value, inputs["note"].value if "note" in inputs else ""

    def predict(self, inputs, context, wanted=()):
        sizes, age, note = inputs
        high = max(sizes) > (5 if age > 60 else 10) or note == "relapse"
        return Answer(max(sizes), "high" if high else "low")


class Rule(Method):
    task, name, title = "grade", "rule", "A rule"
    reference, summary = "Toy 2026", "Grades by the largest finding."
    output_endings = (".json",)
    trainable, needs_no_model = False, True

    def stages(self, prepared, context):
        return ()

    def predictor(self, model, context, options):
        return RulePredictor()
