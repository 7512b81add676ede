"""What detection takes, gives and is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.slots import Slot

if TYPE_CHECKING:
    from MedDeepLib.core import Prediction
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case


class Hits:
    """Findings are counted as hits, misses and false positives, at all thresholds and at the chosen one."""

    metrics = {
        "cpm": Metric(direction=1, chance=0.0, pooled=True),
        "sensitivity": Metric(direction=1, chance=0.0),
        "false_positives": Metric(direction=-1),
        "references": Metric(),
    }
    group = "class"
    judged = "cases, of which one at least has a finding"

    def cases(self, dataset: Dataset) -> list[Case]:
        """All test cases if one of them has a target: those without are negative."""
        return list(dataset.test) if any(case.targets for case in dataset.test) else []

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> list[dict[str, Any]]:
        from DetectModuleLib.worker.scores import case_scores

        return case_scores(prediction, case)

    def pooled(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        from DetectModuleLib.worker.scores import pooled_scores

        return pooled_scores(rows)


TASK = Task(
    name="detect",
    title="Deep Detection",
    inputs=(Slot("image", "image", many=True, help="a file or DICOM folder for each channel of the model"),),
    targets=(
        Slot("findings", "boxes", required=False, help="boxes around the findings: ROIs, or a table in RAS mm"),
        Slot("points", "points", required=False, help="the middles of the findings, with their diameters"),
        Slot("label", "labels", required=False, help="a label map: each connected piece is a finding"),
    ),
    outputs=(
        Slot("findings", "boxes", help="boxes around what the model finds, each with class and score"),
        Slot("masks", "labels", required=False, help="the voxels of the findings, of methods that tell them"),
    ),
    evaluation=Hits(),
    output_ending=".mrk.json",
)
