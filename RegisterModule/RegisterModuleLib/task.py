"""What registration takes, gives and is trained on: pairs of images, or single images that a method pairs."""

from MedDeepLib.core.task import Task
from MedDeepLib.data.slots import Slot

_CHANNELS = "a file or DICOM folder for each channel of the model"

TASK = Task(
    name="register",
    title="Deep Registration",
    inputs=(
        Slot("fixed", "image", many=True, required=False, help=f"the fixed image: {_CHANNELS}"),
        Slot("moving", "image", many=True, required=False, help=f"the moving image: {_CHANNELS}"),
        Slot("image", "image", many=True, required=False, help=f"a single image, paired by the method: {_CHANNELS}"),
        Slot("initial", "transform", required=False, help="a transform that is applied first; the result contains it"),
        Slot("labels", "labels", required=False, help="a label map of the moving image, carried over to the fixed one"),
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
        Slot("inverse", "transform", required=False, help="the transform of the other direction"),
        Slot("labels", "labels", required=False, help="the label map of the moving image on the fixed image's grid"),
        Slot("jacobian", "image", required=False, help="a map of the change of volume; 0 or less where it folds"),
        Slot("difference", "image", required=False, help="fixed minus moved image"),
        Slot("checkerboard", "image", required=False, help="fixed and moved image by turns"),
    ),
    shared=("atlas",),
    forms=(("fixed", "moving"), ("image",), ("label",)),
    output_ending=".h5",
)
