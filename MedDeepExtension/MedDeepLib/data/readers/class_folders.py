"""A folder for each class: ``benign/a.nrrd``, ``malignant/b.nrrd``; the name of a folder is the class.

A level above may name the split (``train/benign/a.nrrd``). A folder of DICOM files is one case.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from MedDeepLib.data.files import IMAGE_ENDINGS
from MedDeepLib.data.formats.dicom import is_dicom
from MedDeepLib.data.readers.folder import stem_of
from MedDeepLib.data.readers.listing import SPLITS, Entry, Listing
from MedDeepLib.data.slots import CaseSlots, Slot
from MedDeepLib.errors import UserError

_SPLIT_OF = {
    "train": "training", "training": "training", "val": "validation", "valid": "validation",
    "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_MATRICES = (".csv", ".tsv", ".npy")
_LOOKED_AT = 20  # files of a folder, to tell whether it holds DICOM


def read_class_folders(path: Path, slots: CaseSlots) -> Listing | None:
    """The listing of a folder whose sub-folders are classes; None for anything else.

    Files are images, or matrices where there are no images. Raises UserError when a class has no case.
    """
    target = next((slot for slot in slots.targets if slot.kind == "class"), None)
    if target is None or not path.is_dir() or (path / "dataset.json").exists():
        return None
    folders = _sub_folders(path)
    if not folders or any(folder.name in _layouts(slots) for folder in folders):
        return None
    of_split: dict[str, list[Path]] = {"training": folders}
    if all(folder.name.lower() in _SPLIT_OF for folder in folders):
        of_split = {}
        for folder in folders:
            of_split.setdefault(_SPLIT_OF[folder.name.lower()], []).extend(_sub_folders(folder))
    classes = [folder for some in of_split.values() for folder in some]
    slot = next((slot for slot in _kinds(slots) if any(_cases(folder, slot) for folder in classes)), None)
    if slot is None:
        return None
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for split, some in of_split.items():
        for folder in some:
            splits[split] += _entries(folder, slot, target, path)
    note = (
        f"The folder {path.name} says nothing of patients: each file counts as a patient of its own. If a patient has "
        "several files, write a list with a column patient, or the metrics are too optimistic."
    )
    return Listing(path.name, f"The folder {path}", path, splits, notes=(note,))


def _entries(folder: Path, slot: Slot, target: Slot, root: Path) -> list[Entry]:
    cases = _cases(folder, slot)
    if not cases:
        raise UserError(f"The folder {folder} contains no {slot.name}: add some, or remove the folder of this class.")
    where = f"{root.name}, {folder.relative_to(root)}"
    return [Entry({slot.name: files, target.name: folder.name}, f"{where}/{files[0].name}", root) for files in cases]


def _cases(folder: Path, slot: Slot) -> list[list[Path]]:
    """The files of each case: one, or one for each channel where they are called a_0000, a_0001, b_0000, ..."""
    found = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    if slot.kind == "matrix":
        return [[file] for file in found if file.suffix.lower() in _MATRICES]
    series = [[entry] for entry in found if entry.is_dir() and _holds_dicom(entry)]
    images = [file for file in found if file.is_file() and file.name.lower().endswith((*IMAGE_ENDINGS, ".dcm"))]
    return series + (_by_channel(images) if slot.many else [[file] for file in images])


def _by_channel(images: list[Path]) -> list[list[Path]]:
    """Files as nnU-Net names them, by case. Numbered files of one name, or of different counts, are cases."""
    groups: dict[str, list[str]] = {}
    for file in images:
        name, _, number = stem_of(file, "image").rpartition("_")
        groups.setdefault(name, []).append(number)
    first = next(iter(groups.values()), [])
    numbered = first == [f"{n:04}" for n in range(len(first))]
    if not numbered or len(groups) < 2 or any(numbers != first for numbers in groups.values()):
        return [[file] for file in images]
    return [images[n : n + len(first)] for n in range(0, len(images), len(first))]


def _holds_dicom(folder: Path) -> bool:
    files = islice((entry for entry in sorted(folder.iterdir()) if entry.is_file()), _LOOKED_AT)
    return any(is_dicom(file) for file in files)


def _kinds(slots: CaseSlots) -> list[Slot]:
    """The inputs that a file of a class may be, images first."""
    kinds = {kind: number for number, kind in enumerate(("image", "matrix"))}
    return sorted((slot for slot in slots.inputs if slot.kind in kinds), key=lambda slot: kinds[slot.kind])


def _layouts(slots: CaseSlots) -> set[str]:
    """The names of folders of other layouts: "images", "imagesTr"."""
    return {f"{slot.name}{end}" for slot in (*slots.inputs, *slots.targets) for end in ("s", "sTr")}


def _sub_folders(path: Path) -> list[Path]:
    return [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
