"""What detection takes, gives and is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.slots import Slot
from MedDeepLib.evaluation.detection import pooled_detection
from MedDeepLib.evaluation.froc import RATES

from DetectModuleLib.formats.coco import read_coco
from DetectModuleLib.formats.luna16 import read_luna16
from DetectModuleLib.formats.voc import read_voc
from DetectModuleLib.targets import TARGETS, has_findings

if TYPE_CHECKING:
    from MedDeepLib.core import Prediction
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case


class Hits:
    """Findings are counted as hits, misses and false positives, at all thresholds and at the chosen one."""

    metrics = {
        "cpm": Metric(direction=1, chance=0.0, pooled=True),
        "ap": Metric(direction=1, chance=0.0, pooled=True),
        "ap50": Metric(direction=1, chance=0.0, pooled=True),
        "sensitivity": Metric(direction=1, chance=0.0),
        "false_positives": Metric(direction=-1),
        **{f"sensitivity_at_{rate:g}": Metric(direction=1, chance=0.0, pooled=True) for rate in RATES},
        "score": Metric(),
        "diameter_mm": Metric("mm"),
    }
    group = "class"
    judged = "cases, of which one at least has a finding"

    def cases(self, dataset: Dataset) -> list[Case]:
        """All test cases if one of them has a target: those without are negative."""
        return list(dataset.test) if any(map(has_findings, dataset.test)) else []

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> list[dict[str, Any]]:
        from DetectModuleLib.worker.scores import case_scores

        return case_scores(prediction, case)

    def pooled(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        return pooled_detection([dict(row) for row in rows])


TASK = Task(
    name="detect",
    title="Deep Detection",
    inputs=(Slot("image", "image", many=True, help="a file or DICOM folder for each channel of the model"),),
    targets=TARGETS,
    outputs=(
        Slot("findings", "boxes", help="boxes around what the model finds, each with class and score"),
        Slot("masks", "labels", required=False, help="the voxels of the findings, of methods that tell them"),
    ),
    readers=(read_luna16, read_coco, read_voc),
    evaluation=Hits(),
    output_ending=".mrk.json",
)
