"""Folders of files with equal names: ``images/`` and ``labels/``, or ``imagesTr/`` and ``labelsTr/`` as nnU-Net has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from MedDeepLib.data.files import images_among, stem
from MedDeepLib.data.readers.listing import Entry, Listing
from MedDeepLib.data.slots import VALUES, CaseSlots, Slot
from MedDeepLib.errors import UserError

_LAYOUTS = ("s", "sTr")  # suffixes that a folder's name may have after the slot's name


def read_folder(path: Path, slots: CaseSlots) -> Listing:
    """The cases of a folder, all for training. Raises UserError when there are none."""
    entries = folder_entries(path, slots)
    if not entries:
        needed = " and ".join(f"{slot.name}s" for slot in _needed(path, slots)) or "of its files"
        raise UserError(
            f"The folder {path} is not a dataset: it needs a dataset.json, or the folders {needed} with files of equal "
            "names."
        )
    return Listing(path.name, f"The folder {path}", path, {"training": entries})


def folder_entries(path: Path, slots: CaseSlots) -> list[Entry]:
    """The cases in the folders of a task's slots below ``path``, by the names of their targets; none without these."""
    needed = _needed(path, slots)
    layout = next((end for end in _LAYOUTS if all(_folder(path, slot, end).is_dir() for slot in needed)), None)
    if layout is None or not needed:
        return []
    others = [slot for slot in (*slots.inputs, *slots.targets) if slot not in needed and slot.kind not in VALUES]
    folders = {slot: _folder(path, slot, layout) for slot in (*needed, *others)}
    *_, leading = needed
    entries = []
    for file in _files(folders[leading], leading):
        name = stem_of(file, leading.kind)
        content: dict[str, object] = {"name": name, "patient": name}
        for slot, folder in folders.items():
            files = [file] if slot is leading else _files_of(folder, slot, name)
            if not files and slot in needed:
                what = "label file" if leading.kind == "labels" else f"{leading.name} file"
                raise UserError(f"The folder {folder} has no {slot.name} for the {what} {file.name}.")
            if files:
                content[slot.name] = files if slot.many else files[0]
        entries.append(Entry(content, f"{path.name}, {name}", path))
    if not entries:
        what = "label images" if leading.kind == "labels" else f"{leading.name} files"
        raise UserError(f"The folder {folders[leading]} contains no {what}.")
    return entries


def channel_files(folder: Path, name: str) -> list[Path]:
    """The files of an image's channels as nnU-Net writes them: name_0000, name_0001, ..."""
    pattern = re.compile(re.escape(name) + r"_\d{4}")
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in images_among(files) if pattern.fullmatch(stem(file)))


def stem_of(file: str | Path, kind: str) -> str:
    """A file's name without its endings: ``head.nii.gz`` of an image gives head, ``a.1.mrk.json`` gives a.1."""
    return stem(file) if kind in ("image", "labels") else re.sub(r"(\.[A-Za-z][A-Za-z0-9]*)+$", "", Path(file).name)


def _folder(path: Path, slot: Slot, layout: str) -> Path:
    """The folder of a slot's files: "images" for the slot "image", and "boxes" for the slot "boxes"."""
    own = path / f"{slot.name}{layout.removeprefix('s')}"
    return own if slot.name.endswith("s") and own.is_dir() else path / f"{slot.name}{layout}"


def _needed(path: Path, slots: CaseSlots) -> list[Slot]:
    """The slots that must have a folder; the last one defines the cases: the first target that has one."""
    single = [form[0] for form in slots.forms if len(form) == 1]
    inputs = [slot for slot in slots.inputs if slot.kind not in VALUES and (slot.required or slot.name in single[:1])]
    targets = [slot for slot in slots.targets if slot.kind not in VALUES]
    present = [slot for slot in targets if any(_folder(path, slot, end).is_dir() for end in _LAYOUTS)]
    return [*inputs, *(present or targets)[:1]]


def _files(folder: Path, slot: Slot) -> Iterator[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if slot.kind in ("image", "labels"):
        return iter(images_among(found))
    return (file for file in found if file.is_file() and not file.name.startswith("."))


def _files_of(folder: Path, slot: Slot, name: str) -> list[Path]:
    files = [file for file in _files(folder, slot) if stem_of(file, slot.kind) == name]
    return files or (channel_files(folder, name) if slot.kind == "image" and slot.many else [])
