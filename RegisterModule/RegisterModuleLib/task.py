"""The registration task: its inputs, targets and outputs, on pairs of images or single images that a method pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDeepLib.core.task import Metric, Task
from MedDeepLib.data.slots import Slot

if TYPE_CHECKING:
    from MedDeepLib.core import Prediction
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.data.slots import Case

_CHANNELS = "a file or DICOM folder for each channel of the model"


class Alignment:
    """Pairs are evaluated by the overlap of structures, by landmarks, by a known transform, and by the deformation."""

    metrics = {
        "dice": Metric(direction=1, chance=0.0),
        "tre_mm": Metric("mm", -1),
        "field_error_mm": Metric("mm", -1),
        "similarity_after": Metric(direction=1),
        "dice_before": Metric(),
        "hd95_mm": Metric("mm", -1),
        "assd_mm": Metric("mm", -1),
        "landmarks": Metric(),
        "tre_before_mm": Metric("mm"),
        "tre_max_mm": Metric("mm", -1),
        "field_error_before_mm": Metric("mm"),
        "field_error_95_mm": Metric("mm", -1),
        "similarity_before": Metric(),
        "displacement_mean_mm": Metric("mm"),
        "displacement_max_mm": Metric("mm"),
        "folded_percent": Metric("%", -1),
        "jacobian_log_sd": Metric(),
        "inverse_error_mm": Metric("mm", -1),
        "rotation_degrees": Metric("degrees"),
        "volume_ratio": Metric(),
    }
    group = "structure"
    judged = "pairs"

    def cases(self, dataset: Dataset) -> list[Case]:
        from RegisterModuleLib.worker.training_data import test_pairs

        return test_pairs(dataset)

    def rows(self, prediction: Prediction, case: Case, dataset: Dataset) -> list[dict[str, Any]]:
        from RegisterModuleLib.worker.prediction import RegistrationPrediction
        from RegisterModuleLib.worker.scores import case_scores

        assert isinstance(prediction, RegistrationPrediction)
        return case_scores(prediction, case, {segment.value: segment.name for segment in dataset.segments})

    def pooled(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        return {}


TASK = Task(
    name="register",
    title="Deep Registration",
    inputs=(
        Slot("fixed", "image", many=True, required=False, help=f"the fixed image: {_CHANNELS}"),
        Slot("moving", "image", many=True, required=False, help=f"the moving image: {_CHANNELS}"),
        Slot("image", "image", many=True, required=False, help=f"a single image, paired by the method: {_CHANNELS}"),
        Slot("initial", "transform", required=False, help="a transform that is applied first; the result contains it"),
        Slot("labels", "labels", required=False, help="the moving image's label map"),
    ),
    targets=(
        Slot("label", "labels", required=False, help="structures of a single image"),
        Slot("landmarks", "points", required=False, help="named points of a single image"),
        Slot("fixed_label", "labels", required=False, help="structures of the fixed image"),
        Slot("moving_label", "labels", required=False, help="the same structures of the moving image"),
        Slot("fixed_landmarks", "points", required=False, help="named points of the fixed image"),
        Slot("moving_landmarks", "points", required=False, help="points of the same names of the moving image"),
        Slot("transform", "transform", required=False, help="the true transform from fixed to moving"),
    ),
    outputs=(
        Slot("transform", "transform", help="the transform which, in Slicer, puts the moving image onto the fixed one"),
        Slot("volume", "image", required=False, help="the moving image on the fixed image's grid"),
        Slot("inverse", "transform", required=False, help="the inverse of that transform"),
        Slot(
            "labels",
            "labels",
            required=False,
            help="the label map of the moving image on the fixed image's grid",
            made_from="labels",
        ),
        Slot("jacobian", "image", required=False, help="the local change of volume; 0 or less in folds"),
        Slot("difference", "image", required=False, help="fixed minus moved image"),
        Slot("checkerboard", "image", required=False, help="a checkerboard of fixed and moved image"),
    ),
    shared=("atlas",),
    forms=(("fixed", "moving"), ("image",), ("label",)),
    evaluation=Alignment(),
    output_ending=".h5",
)
