"""The part of the command line that is about pairs of images: what is registered, and what is written."""

from __future__ import annotations

import argparse
from pathlib import Path

from MedDeepLib.core import ApplyItem
from MedDeepLib.data.sources.image import WRITABLE_ENDINGS
from MedDeepLib.errors import UserError

_FURTHER_INPUTS = {
    "initial": "a transform (.h5, .tfm, .txt) that is applied first; the result contains it",
    "labels": "a label map of the moving image, for --output-labels",
}
_FURTHER_OUTPUTS = {
    "volume": "the moving image on the fixed image's grid",
    "inverse": "the transform of the other direction",
    "labels": "the label map of the moving image on the fixed image's grid",
    "jacobian": "a map of the change of volume; 0 or less where the transform folds",
    "difference": "fixed minus moved image",
    "checkerboard": "fixed and moved image by turns",
}


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """What is registered and written; everything may be given again for further pairs, in the same order."""
    for side in ("fixed", "moving"):
        parser.add_argument(
            f"--{side}",
            nargs="+",
            action="append",
            required=True,
            metavar="FILE",
            help=f"the {side} image: nrrd, nii, nii.gz, mha or a DICOM folder, one per channel of the model",
        )
    for name, text in _FURTHER_INPUTS.items():
        parser.add_argument(f"--{name}", action="append", metavar="FILE", help=text)
    parser.add_argument(
        "--output-transform",
        action="append",
        required=True,
        metavar="FILE",
        help="*.h5 or *.tfm: the transform which, in Slicer, puts the moving image onto the fixed one",
    )
    for name, text in _FURTHER_OUTPUTS.items():
        parser.add_argument(f"--output-{name}", action="append", metavar="FILE", help=text)


def pair_items(options: argparse.Namespace, transform_endings: tuple[str, ...]) -> tuple[ApplyItem, ...]:
    """The pairs of a command line. Raises UserError when something is not given as often as --fixed, or a file cannot
    be written under its name."""
    count = len(options.fixed)

    def listed(name: str, needed: bool) -> list:
        values = getattr(options, name) or []
        if len(values) != count and (needed or values):
            flag = name.replace("_", "-")
            raise UserError(f"There are {count} fixed images and {len(values)} of --{flag}: give one for each pair.")
        return values

    movings, outputs = listed("moving", True), listed("output_transform", True)
    inputs = {name: listed(name, False) for name in _FURTHER_INPUTS}
    further = {name: listed(f"output_{name}", False) for name in _FURTHER_OUTPUTS}
    if further["labels"] and not inputs["labels"]:
        raise UserError("--output-labels needs the moving image's label map: name it with --labels.")
    if inputs["labels"] and not further["labels"]:
        raise UserError("--labels has no effect without --output-labels: name the file to write, or leave it out.")
    for name, files in further.items():
        allowed = transform_endings if name == "inverse" else WRITABLE_ENDINGS
        for file in files:
            if not file.lower().endswith(allowed):
                raise UserError(f"The output {file} of --output-{name} must end in one of {', '.join(allowed)}.")
    items = []
    for n, fixed in enumerate(options.fixed):
        named = {"moving": movings[n]} | {name: [files[n]] for name, files in inputs.items() if files}
        items.append(
            ApplyItem(
                tuple(map(_absolute, fixed)),
                _absolute(outputs[n]),
                {name: tuple(map(_absolute, files)) for name, files in named.items()},
                {name: _absolute(files[n]) for name, files in further.items() if files},
            )
        )
    return tuple(items)


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())
