"""The classification task: its inputs, targets, outputs and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.readers.class_folders import read_class_folders
from MedDeepLib.data.readers.table_rows import read_table_rows
from MedDeepLib.data.slots import Slot

if TYPE_CHECKING:
    from MedDeepLib.core import Prediction
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case


class Diagnosis:
    """Classes and probabilities, or values, are compared with the true ones of whole cases.

    Sensitivity and specificity are those of two classes, of which the last one in the dataset's order is the positive
    one. Columns that end in ``_chance`` have the metric of a model that only knows how frequent the classes are.
    """

    metrics = {
        "auc": Metric(direction=1, chance=0.5, pooled=True),
        "balanced_accuracy": Metric(direction=1, pooled=True),
        "sensitivity": Metric(direction=1, pooled=True),
        "specificity": Metric(direction=1, pooled=True),
        "ece": Metric(direction=-1, pooled=True),
        "accuracy": Metric(direction=1),
        "brier": Metric(direction=-1),
        "mae": Metric(direction=-1, pooled=True),
        "r2": Metric(direction=1, chance=0.0, pooled=True),
        "rmse": Metric(direction=-1, pooled=True),
        "bias": Metric(pooled=True),
        "absolute_error": Metric(direction=-1),
    }
    group = "class"
    judged = "cases with a class or a value"

    def cases(self, dataset: Dataset) -> list[Case]:
        return [case for case in dataset.test if case.targets.keys() & {"class", "value"}]

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> list[dict[str, Any]]:
        from ClassifyModuleLib.worker.scores import case_scores

        return case_scores(prediction, case, only_one=len(self.cases(dataset)) < 2)

    def pooled(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        from ClassifyModuleLib.worker.scores import pooled_scores

        return pooled_scores(rows)


TASK = Task(
    name="classify",
    title="Deep Classification",
    inputs=(
        Slot("image", "image", many=True, required=False, help="a file or DICOM folder for each channel of the model"),
        Slot("table", "table", required=False, help="features, a named column each; a row for each case"),
        Slot("matrix", "matrix", required=False, help="a connectivity matrix, regions by regions"),
        Slot("region", "labels", required=False, help="a segment or label map; the image is cropped around it"),
    ),
    targets=(
        Slot("class", "class", required=False, help="the class of the case"),
        Slot("value", "value", required=False, help="a number instead of a class, e.g. an age"),
    ),
    outputs=(
        Slot("answer", "class", help="probabilities of the classes, or the value; the nearest training cases"),
        Slot("heatmap", "image", required=False, help="what in the image speaks for the answer, on the image's grid"),
        Slot("edges", "matrix", required=False, help="how each connection of a matrix speaks for the answer"),
    ),
    forms=(("image",), ("table",), ("matrix",)),
    any_form=True,
    readers=(read_table_rows, read_class_folders),
    evaluation=Diagnosis(),
    output_ending=".json",
)
