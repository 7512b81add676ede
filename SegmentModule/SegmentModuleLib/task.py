"""The segmentation task: its inputs, targets, outputs and evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.slots import Slot

if TYPE_CHECKING:
    from MedDeepLib.core import Prediction
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case


class Overlap:
    """Label maps are compared structure by structure."""

    metrics = {
        "dice": Metric(direction=1, chance=0.0),
        "hd95_mm": Metric("mm", -1),
        "assd_mm": Metric("mm", -1),
        "volume_ml": Metric("ml", across_groups=False),
        "reference_ml": Metric("ml", across_groups=False),
        "volume_error_ml": Metric("ml", across_groups=False),
        "volume_error_percent": Metric("%"),
    }
    group = "structure"
    judged = "cases with labels"

    def cases(self, dataset: Dataset) -> list[Case]:
        return [case for case in dataset.test if "label" in case.targets]

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> list[dict[str, Any]]:
        from SegmentModuleLib.worker.scores import case_scores

        return case_scores(prediction, case)

    def pooled(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        return {}


TASK = Task(
    name="segment",
    title="Deep Segmentation",
    inputs=(Slot("image", "image", many=True, help="a file or DICOM folder for each channel of the model"),),
    targets=(Slot("label", "labels", required=False, help="the structures, drawn on the image's grid"),),
    outputs=(Slot("segmentation", "labels", help="the structures that the model finds"),),
    evaluation=Overlap(),
    output_ending=".seg.nrrd",
)
