"""The file name endings of outputs."""

from __future__ import annotations

from MedDeepLib.core import registry
from MedDeepLib.core.method import Method

_OF_A_KIND = {
    "image": (".nrrd", ".nii", ".nii.gz", ".mha"),
    "labels": (".seg.nrrd", ".nrrd", ".nii", ".nii.gz", ".mha"),
    "points": (".mrk.json", ".csv"),
    "boxes": (".mrk.json", ".csv", ".json"),
    "transform": (".h5", ".hdf5", ".tfm", ".txt"),
}
_OTHERS = (".csv", ".json")


def endings(method: type[Method] | Method, output: str) -> tuple[str, ...]:
    """The endings that a file of an output slot may have, the usual one first.

    The method declares them for the task's first output and others of its kind. Raises KeyError when the task has no
    such output.
    """
    slots = {slot.name: slot for slot in registry.task(method.task).outputs}
    first = next(iter(slots.values()))
    slot = slots[output]
    return method.output_endings if slot.kind == first.kind else _OF_A_KIND.get(slot.kind, _OTHERS)
