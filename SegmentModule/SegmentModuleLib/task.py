"""What segmentation takes, gives and is trained on."""

from MedDeepLib.core.task import Task
from MedDeepLib.data.slots import Slot

TASK = Task(
    name="segment",
    title="Deep Segmentation",
    inputs=(Slot("image", "image", many=True, help="a file or DICOM folder for each channel of the model"),),
    targets=(Slot("label", "labels", required=False, help="the structures, drawn on the image's grid"),),
    outputs=(Slot("segmentation", "labels", help="the structures that the model finds"),),
    output_ending=".seg.nrrd",
)
