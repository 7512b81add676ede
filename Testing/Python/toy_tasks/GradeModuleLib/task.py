"""The inputs and outputs of grading."""

from MedDeepLib.core.task import Task
from MedDeepLib.data.slots import Slot

TASK = Task(
    name="grade",
    title="Grading",
    inputs=(
        Slot("findings", "table", help="sizes of what was found, a number a line"),
        Slot("age", "value", help="of the patient, in years"),
        Slot("note", "class", required=False, help="what the referring physician suspects"),
        Slot("map", "image", required=False, help="an image of the findings"),
    ),
    targets=(Slot("grade", "class"),),
    outputs=(
        Slot("answer", "class", help="the grade"),
        Slot("volume", "image", required=False, help="the image, graded", made_from="map"),
    ),
    output_ending=".json",
)
