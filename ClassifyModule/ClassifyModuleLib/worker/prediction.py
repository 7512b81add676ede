"""Applies a trained classifier to a case: probabilities or a value, nearest training cases, how typical the case is."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from MedDeepLib.core import Context, Prediction, Predictor, TrainedModel
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.slots import Source
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.errors import UserError
from MedDeepLib.training.channels import channels_in_words

from ClassifyModuleLib.worker.inputs import Read
from ClassifyModuleLib.worker.reference import CASES_FILE, STAGE, Reference

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.case_method import CaseMethod
    from ClassifyModuleLib.worker.networks.classifier import Classifier

_DIGITS = 4
_TOGETHER = 256


@dataclass(frozen=True)
class Neighbour:
    """A training case that resembles this one.

    Attributes:
        case: its name, or its number where the run folder with the names is not there.
        answer: its class or value.
        similarity: cosine of the angle between the features, at most 1.
    """

    case: str
    answer: str | float
    similarity: float


@dataclass(frozen=True)
class Answer:
    """The answer for one case.

    Attributes:
        case: its name; empty where the prediction has only one.
        called: the class; empty for a value.
        probabilities: by class.
        frequencies: of the classes in training; with classes that were balanced there, a class is called when its
            probability exceeds its frequency more than others do. Empty where the most probable one is called.
        value, interval: a number, and the interval around it that held 90 % of the validation cases; None if unknown.
        typical: the share of validation cases that lie at least as far from the training cases.
        unlike: whether the case is unlike the training cases.
        nearest: training cases.
        notes: sentences on what was guessed or is out of range.
    """

    case: str = ""
    called: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    frequencies: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None
    interval: tuple[float, float] | None = None
    typical: float = 1.0
    unlike: bool = False
    nearest: tuple[Neighbour, ...] = ()
    notes: tuple[str, ...] = ()

    def in_words(self) -> str:
        sentences = list(self.notes)
        if self.unlike:
            sentences.insert(
                0,
                "The case is unlike the training cases (fewer than "
                f"{max(self.typical, 0.01):.0%} of the validation cases lie as far away): do not rely on the answer.",
            )
        if self.frequencies and len(self.frequencies) == 2 and self.called:
            positive = list(self.frequencies)[-1]
            sentences.append(
                f"{positive} is called from a probability of {self.frequencies[positive]:.2f} on, its frequency in the "
                "training."
            )
        return " ".join(sentences)


@dataclass(eq=False)
class ClassPrediction(Prediction):
    """The answers of a model: one, or one for each row of a table.

    Attributes:
        heatmap: (I, J, K) float32 on the image's own grid, 0 to 1, and the affine of that grid.
        edges: (d, d) float32: how each edge of a matrix speaks for the answer; with the names of the regions.
    """

    answers: list[Answer]
    heatmap: tuple[np.ndarray, np.ndarray] | None = None
    edges: tuple[np.ndarray, Sequence[str]] | None = None

    def save(self, outputs: Mapping[str, Path]) -> list[Path]:
        writers = {"answer": self._write_answers, "heatmap": self._write_heatmap, "edges": self._write_edges}
        if "heatmap" in outputs and self.heatmap is None:
            raise UserError("This model has no heat map: it takes no image. Leave this output out.")
        if "edges" in outputs and self.edges is None:
            raise UserError(
                "This model weights no edges: it takes no matrix, or is not a BrainNetCNN. Leave this output out."
            )
        for name, path in outputs.items():
            writers[name](path)
        return list(outputs.values())

    def summary(self) -> dict[str, Any]:
        """Class, probabilities and value of the only case; of several, the answer for each."""
        if len(self.answers) > 1:
            return {
                answer.case: answer.called if answer.value is None else round(answer.value, _DIGITS)
                for answer in self.answers
            }
        (answer,) = self.answers
        if answer.value is not None:
            found: dict[str, Any] = {"value": round(answer.value, _DIGITS)}
            if answer.interval:
                found |= dict(zip(("from", "to"), (round(end, _DIGITS) for end in answer.interval), strict=True))
            return found
        return {"class": answer.called} | {name: round(value, _DIGITS) for name, value in answer.probabilities.items()}

    def in_words(self) -> str:
        if len(self.answers) == 1:
            return self.answers[0].in_words()
        unlike = [answer.case for answer in self.answers if answer.unlike]
        if not unlike:
            return ""
        return f"{len(unlike)} of {len(self.answers)} rows are unlike the training cases: {', '.join(unlike[:5])}."

    def _write_answers(self, path: Path) -> None:
        if path.suffix.lower() == ".csv":
            rows = [_row(answer, number) for number, answer in enumerate(self.answers, start=1)]
            columns = list(dict.fromkeys(name for row in rows for name in row))
            with atomic_path(path, ".csv") as part, part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(rows)
            return
        content = [asdict(answer) for answer in self.answers]
        with atomic_path(path, ".json") as part:
            part.write_text(
                json.dumps(content[0] if len(content) == 1 else content, indent=2, ensure_ascii=False) + "\n",
                encoding="utf-8",
            )

    def _write_heatmap(self, path: Path) -> None:
        assert self.heatmap is not None
        array, affine = self.heatmap
        write_image(path, array, affine)

    def _write_edges(self, path: Path) -> None:
        assert self.edges is not None
        values, names = self.edges
        names = list(names) or [str(n + 1) for n in range(len(values))]
        with atomic_path(path, ".csv") as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["", *names])
            writer.writerows(
                [name, *(f"{value:.6g}" for value in row)] for name, row in zip(names, values, strict=True)
            )


def _row(answer: Answer, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"case": answer.case or number}
    if answer.value is None:
        row |= {"class": answer.called}
        row |= {f"probability_{name}": f"{value:.4f}" for name, value in answer.probabilities.items()}
    else:
        row |= {"value": f"{answer.value:.6g}"}
        if answer.interval:
            row |= {"from": f"{answer.interval[0]:.6g}", "to": f"{answer.interval[1]:.6g}"}
    nearest = "; ".join(f"{one.case} ({one.answer})" for one in answer.nearest)
    return row | {"unlike_training": int(answer.unlike), "nearest": nearest, "notes": " ".join(answer.notes)}


class CasePredictor(Predictor):
    """A classifier on its device, ready for any number of cases."""

    def __init__(self, method: CaseMethod, model: TrainedModel, context: Context, options: Any):
        plan = model.metadata["plan"]
        weights = model.load_weights()
        self._plan, self._classes = plan, model.classes if plan["answer"] == "class" else ()
        self.network: Classifier = method.network(plan, len(self._classes) or 1)
        try:
            self.network.load_state_dict(weights["network"])
            self._reference = Reference(weights[STAGE], plan)
        except (KeyError, RuntimeError, TypeError):
            raise UserError(
                f"The weights of the model {model.folder} do not fit its network: train or copy it again."
            ) from None
        self.network.to(context.device).eval()
        self._reader = method.input(plan["input"])
        self._names = _case_names(model.folder)
        self.method, self.options = method, options

    def with_options(self, options: Any) -> CasePredictor:
        other = copy.copy(self)
        other.options = options
        return other

    def read(self, inputs: Mapping[str, Source]) -> Read:
        return self._reader.read(
            inputs, self._plan["reading"] | self._options_of_reading(), self._reference.input_arrays
        )

    def _options_of_reading(self) -> dict[str, Any]:
        return {"resample_inputs": getattr(self.options, "resample_inputs", False)}

    def predict(self, inputs: Read, context: Context, wanted: Collection[str] = ()) -> ClassPrediction:
        scores, features = self._computed(inputs.tensor, context)
        prediction = ClassPrediction(self._answers(scores, features, inputs))
        evidence = self.method.evidence(self, inputs, prediction, context, wanted)
        for name, found in evidence.items():
            setattr(prediction, name, found)
        return prediction

    def index_to_explain(self, prediction: ClassPrediction) -> int:
        """The network's output that evidence is to speak for. Raises UserError for a class that there is none of."""
        wanted = getattr(self.options, "explained", "") or prediction.answers[0].called
        if not self._classes:
            return 0
        if wanted not in self._classes:
            raise UserError(f"The model does not know the class '{wanted}': choose one of {', '.join(self._classes)}.")
        return self._classes.index(wanted)

    @property
    def plan(self) -> Mapping[str, Any]:
        return self._plan

    @torch.inference_mode()
    def _computed(self, tensor: torch.Tensor, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (N, K) and features (N, F) on the CPU."""
        scores, features = [], []
        for some in tensor.split(_TOGETHER):
            with channels_in_words({"network": self.network}):
                embedded = self.network.embed(some.to(context.device))
            features.append(embedded.float().cpu())
            scores.append(self.network.head(embedded).float().cpu())
        return torch.cat(scores), torch.cat(features)

    def _answers(self, scores: torch.Tensor, features: torch.Tensor, inputs: Read) -> list[Answer]:
        names = inputs.names or ("",) * len(scores)
        common = []
        for n, name in enumerate(names):
            typical, unlike = self._reference.typicality(features[n])
            nearest = self._reference.nearest(features[n], self.options.neighbours)
            common.append(
                {
                    "case": name,
                    "typical": round(typical, _DIGITS),
                    "unlike": unlike,
                    "nearest": tuple(self._neighbour(*one) for one in nearest),
                    "notes": inputs.notes[n],
                }
            )
        if not self._classes:
            values = scores[:, 0].double().numpy() * self._plan["scale"] + self._plan["mean"]
            width = self._reference.half_width()
            return [
                Answer(value=float(value), interval=None if width is None else (value - width, value + width), **more)
                for value, more in zip(values.tolist(), common, strict=True)
            ]
        probabilities = self._reference.probabilities(scores)
        called = self._reference.decisions(probabilities)
        frequencies = dict(zip(self._classes, self._plan["priors"], strict=True)) if self._plan["balanced"] else {}
        return [
            Answer(
                called=self._classes[called[n]],
                probabilities=dict(zip(self._classes, probabilities[n].tolist(), strict=True)),
                frequencies=frequencies,
                **more,
            )
            for n, more in enumerate(common)
        ]

    def _neighbour(self, number: int, answer: int | float, similarity: float) -> Neighbour:
        name = self._names[number] if number < len(self._names) else f"training case {number + 1}"
        if self._classes:
            return Neighbour(name, self._classes[int(answer)], round(similarity, _DIGITS))
        value = round(answer * self._plan["scale"] + self._plan["mean"], _DIGITS)
        return Neighbour(name, value, round(similarity, _DIGITS))


def _case_names(folder: Path) -> list[str]:
    """The names of the training cases, if the model is still in the run folder that trained it."""
    try:
        names = json.loads((folder.parent / CASES_FILE).read_text(encoding="utf-8"))["training"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
