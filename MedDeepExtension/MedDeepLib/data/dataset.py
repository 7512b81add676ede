"""Datasets: lists of cases with patient and site, read from JSON, CSV or a folder.

JSON, in MONAI's manner (paths relative to the file)::

    {"name": "Hippocampus T1",
     "channels": ["T1"],
     "labels": {"1": "left hippocampus", "2": {"name": "right hippocampus", "color": [0.9, 0.6, 0.1]}},
     "training":   [{"image": "a_t1.nrrd", "label": "a.seg.nrrd", "patient": "A", "site": "Basel"}],
     "validation": [...],
     "test":       [...]}

``image`` is a file, a DICOM folder, or a list with one of them per channel. A dataset of images alone, without any
label, is one for methods that learn from images alone. Without ``patient`` every image is taken
for a patient of its own. Without ``validation`` a share of the training patients is set aside, the same ones for the
same seed. The lists of the Medical Segmentation Decathlon and of nnU-Net are read as they are.

For registration an entry may name a pair instead: ``fixed`` and ``moving`` (each a file, or a list with one per
channel), ``fixed_label``, ``moving_label``, ``fixed_landmarks``, ``moving_landmarks`` and ``transform``, the true
transform from fixed to moving if it is known. Single images are paired by the method, or all with the list's ``atlas``,
an entry of its own; they may have a label and no image, and "labels" may be left out.

CSV has the columns ``split`` (training, validation or test; training when absent), ``image`` (``image2`` ... for
further channels), ``label``, ``patient``, ``site``, or those of a pair. A folder holds ``images/`` and ``labels/`` (or
``imagesTr/`` and ``labelsTr/``) with equal file names, or a ``dataset.json``.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MedDeepLib.data.classes import classes_in_files, parse_classes
from MedDeepLib.data.files import IMAGE_ENDINGS, stem
from MedDeepLib.data.slots import CaseSlots, Source
from MedDeepLib.data.sources.labels import Segment
from MedDeepLib.errors import UserError

SPLITS = ("training", "validation", "test")
_FOLDER_LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))


@dataclass(frozen=True)
class Case:
    """One case: its images (one file or DICOM folder per channel), its target, and whose it is.

    A pair is the case of its fixed image with that of its ``moving`` image, and the true ``transform`` if it is known.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str = ""
    site: str = ""
    landmarks: Path | None = None
    moving: Case | None = None
    transform: Path | None = None

    @property
    def parts(self) -> tuple[Case, ...]:
        """The case itself, and its moving image if it is a pair."""
        return (self, self.moving) if self.moving else (self,)

    @property
    def inputs(self) -> dict[str, Source]:
        """Sources by the slots of the tasks."""
        if self.moving:
            return {"fixed": Source("image", self.images), "moving": Source("image", self.moving.images)}
        return {"image": Source("image", self.images)} if self.images else {}

    @property
    def targets(self) -> dict[str, Source]:
        """Sources by the slots of the tasks."""
        return {"label": Source("labels", (self.label,))} if self.label else {}

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that it names."""
        listed = (*self.images, self.label, self.landmarks, self.transform)
        return tuple(file for file in listed if file) + (self.moving.files if self.moving else ())


@dataclass(frozen=True)
class Dataset:
    """Cases by split, with the classes and channels they share."""

    name: str
    classes: tuple[Segment, ...]
    channels: tuple[str, ...]
    training: tuple[Case, ...] = ()
    validation: tuple[Case, ...] = ()
    test: tuple[Case, ...] = ()
    description: str = ""
    path: Path = field(default_factory=Path)
    atlas: Case | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The label values of the classes."""
        return self.classes

    def cases(self, split: str | None = None) -> tuple[Case, ...]:
        """The cases of one split, or all of them."""
        return getattr(self, split) if split else self.training + self.validation + self.test


def load_dataset(path: str | Path, slots: CaseSlots | None = None, paired: bool = False) -> Dataset:
    """Read a dataset and check it: files exist, channels agree, no patient is in two splits.

    Args:
        paired: for registration, which takes pairs, cases without images, and lists without structures.

    Raises UserError that names the file and the entry at fault.
    """
    path = Path(path)
    paired = paired or bool(slots is not None and slots.forms)
    if path.is_dir():
        dataset = _from_folder(path)
    elif not path.is_file():
        raise UserError(f"The dataset {path} does not exist: choose a JSON or CSV list, or a folder of images.")
    elif path.suffix.lower() == ".json":
        dataset = _from_json(path, paired)
    elif path.suffix.lower() == ".csv":
        dataset = _from_csv(path, paired)
    else:
        raise UserError(f"The dataset {path.name} is neither .json nor .csv nor a folder.")
    _check(dataset)
    return dataset


def with_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The dataset with validation cases: its own, or all cases of some training patients chosen by the seed."""
    patients = sorted({case.patient for case in dataset.training})
    if dataset.validation or fraction <= 0 or len(patients) < 2:
        return dataset
    random.Random(seed).shuffle(patients)
    chosen = set(patients[: min(len(patients) - 1, max(1, round(fraction * len(patients))))])
    return replace(
        dataset,
        training=tuple(case for case in dataset.training if case.patient not in chosen),
        validation=tuple(case for case in dataset.training if case.patient in chosen),
    )


def _from_json(path: Path, paired: bool = False) -> Dataset:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The dataset {path.name} cannot be read as JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f'The dataset {path.name} must be an object with "labels" and "training".')
    splits = {}
    for split in SPLITS:
        entries = content.get(split, [])
        if not isinstance(entries, list):
            raise UserError(f'The dataset {path.name}: "{split}" must be a list of cases.')
        where = f"{path.name}, {split}"
        splits[split] = tuple(_case(entry, f"{where} {i}", path.parent, paired) for i, entry in enumerate(entries))
    if not any(splits.values()):
        splits["training"] = _cases_in_folders(path.parent)  # nnU-Net's newer lists leave the cases to the folders
    splits = _named(splits)
    labelled = "labels" in content or not paired and any(case.label for cases in splits.values() for case in cases)
    atlas = _case(content["atlas"], f"{path.name}, atlas", path.parent, paired) if content.get("atlas") else None
    return Dataset(
        name=str(content.get("name", path.stem)),
        description=str(content.get("description", "")),
        classes=parse_classes(content.get("labels"), f"The dataset {path.name}") if labelled else (),
        channels=_channels(content, path) or _default_channels(splits.values()),
        path=path,
        atlas=_named({"atlas": [atlas]})["atlas"][0] if atlas else None,
        **splits,
    )


def _from_csv(path: Path, paired: bool = False) -> Dataset:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"The dataset {path.name} cannot be read as CSV: {error}.") from None
    splits: dict[str, list[Case]] = {split: [] for split in SPLITS}
    for number, row in enumerate(rows, start=2):
        row = {(key or "").strip().lower(): (value or "").strip() for key, value in row.items() if key}
        split = row.get("split") or "training"
        if split not in SPLITS:
            raise UserError(f"{path.name}, line {number}: the split '{split}' must be one of {', '.join(SPLITS)}.")
        columns = sorted((key for key in row if key.startswith("image") and row[key]), key=lambda key: (len(key), key))
        entry = {**row, "image": [row[key] for key in columns]}
        splits[split].append(_case(entry, f"{path.name}, line {number}", path.parent, paired))
    named = _named(splits)
    labels = [case.label for cases in named.values() for case in cases if case.label]
    return Dataset(
        name=path.stem,
        classes=() if paired and not labels else classes_in_files(labels, f"The dataset {path.name}"),
        channels=_default_channels(named.values()),
        path=path,
        **named,
    )


def _from_folder(path: Path) -> Dataset:
    if (path / "dataset.json").is_file():
        return _from_json(path / "dataset.json")
    cases = _cases_in_folders(path)
    if not cases:
        raise UserError(
            f"The folder {path} is not a dataset: it needs a dataset.json, or the folders images and labels "
            "with files of equal names."
        )
    classes = classes_in_files([case.label for case in cases if case.label], f"The folder {path}")
    return Dataset(path.name, classes, _default_channels([cases]), training=cases, path=path)


def _cases_in_folders(path: Path) -> tuple[Case, ...]:
    """The cases in ``images/`` and ``labels/`` below ``path``, by the names of the labels; none without these."""
    layout = next(((i, t) for i, t in _FOLDER_LAYOUTS if (path / i).is_dir() and (path / t).is_dir()), None)
    if layout is None:
        return ()
    images, labels = (path / name for name in layout)
    cases = []
    for label in sorted(file for file in labels.iterdir() if _is_image(file)):
        name = stem(label)
        files = [file for file in images.iterdir() if _is_image(file) and stem(file) == name]
        files = files or _channel_files(images, name)
        if not files:
            raise UserError(f"The folder {images} has no image for the label file {label.name}.")
        cases.append(Case(name, tuple(files), label, patient=name))
    if not cases:
        raise UserError(f"The folder {labels} holds no label images.")
    return tuple(cases)


def _channel_files(folder: Path, name: str) -> list[Path]:
    """The files of an image's channels as nnU-Net writes them: name_0000, name_0001, ..."""
    pattern = re.compile(re.escape(name) + r"_\d{4}")
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in files if _is_image(file) and pattern.fullmatch(stem(file)))


def _case(entry: Any, where: str, folder: Path, paired: bool) -> Case:
    """A case with the name and the patient that its entry gives, which may be none."""
    entry = {"image": entry} if isinstance(entry, str) else entry  # the Decathlon's lists of test cases
    if paired and isinstance(entry, dict) and (entry.get("fixed") or entry.get("moving")):
        return _pair(entry, where, folder)
    if not isinstance(entry, dict) or not (entry.get("image") or paired and entry.get("label")):
        raise UserError(f'{where}: a case needs an "image" (a file, or a list of files: one per channel).')
    listed = entry.get("image") or []
    listed = listed if isinstance(listed, list) else [listed]
    images = [(folder / str(image)).resolve() for image in listed]
    if len(images) == 1 and not images[0].exists():
        images = _channel_files(images[0].parent, stem(images[0])) or images
    others = (entry.get(key) for key in ("label", "landmarks", "transform"))
    label, landmarks, transform = ((folder / str(file)).resolve() if file else None for file in others)
    name, patient, site = ("" if entry.get(key) is None else str(entry[key]) for key in ("name", "patient", "site"))
    case = Case(name, tuple(images), label, patient, site, landmarks, transform=transform)
    for file in case.files:
        if not file.exists():
            raise UserError(f"{where}: the file {file} does not exist.")
    return case


def _pair(entry: dict[str, Any], where: str, folder: Path) -> Case:
    """The case of a pair's fixed image, with that of its moving image."""
    for side in ("fixed", "moving"):
        if not entry.get(side):
            raise UserError(f'{where}: a pair needs both "fixed" and "moving".')
    whose = {key: entry.get(key) for key in ("patient", "site")}

    def part(side: str, **more: Any) -> Case:
        target = {key: entry.get(f"{side}_{key}") for key in ("label", "landmarks")}
        patient = entry.get(f"{side}_patient") or whose["patient"]
        return _case({"image": entry[side], **target, **whose, "patient": patient, **more}, where, folder, True)

    fixed = part("fixed", name=entry.get("name"), transform=entry.get("transform"))
    moving = _named({"moving": [part("moving")]})["moving"][0]
    name = fixed.name or f"{stem(fixed.images[0])} and {moving.name}"
    return replace(fixed, name=name, moving=moving)


def _named(splits: Mapping[str, Sequence[Case]]) -> dict[str, tuple[Case, ...]]:
    """All cases with a name and a patient: where none is given, that of the image's file.

    Where patients have a folder each and their files the same names, the folder becomes part of the name.
    """
    images_of_stem: dict[str, set[Path]] = {}
    for case in (case for cases in splits.values() for case in cases):
        image = _main_file(case)
        images_of_stem.setdefault(stem(image), set()).add(image)

    def named(case: Case) -> Case:
        image = _main_file(case)
        own = stem(image) if len(images_of_stem[stem(image)]) == 1 else f"{image.parent.name}/{stem(image)}"
        name = case.name or own
        return replace(case, name=name, patient=case.patient or name)

    return {split: tuple(named(case) for case in cases) for split, cases in splits.items()}


def _main_file(case: Case) -> Path:
    return case.images[0] if case.images else case.label


def _check(dataset: Dataset) -> None:
    for case in (part for whole in dataset.cases() for part in whole.parts if part.images):
        if len(case.images) != len(dataset.channels):
            raise UserError(
                f"The case {case.name} has {_count(case.images, 'image')}, but the dataset has "
                f"{_count(dataset.channels, 'channel')} ({', '.join(dataset.channels)})."
            )
    owner: dict[str, str] = {}
    for split in SPLITS:
        for case in (part for whole in dataset.cases(split) for part in whole.parts):
            if owner.setdefault(case.patient, split) != split:
                raise UserError(
                    f"The patient '{case.patient}' is both in {owner[case.patient]} and in {split}: every patient "
                    "may be in one split only, or the figures would be too good."
                )


def _channels(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Names of the channels under any of the keys in use; none when there is no such key."""
    key = next((key for key in ("channels", "modality", "channel_names") if content.get(key)), None)
    channels = content.get(key, [])
    channels = list(channels.values()) if isinstance(channels, dict) else channels
    channels = [channels] if isinstance(channels, str) else channels
    if not isinstance(channels, list):
        raise UserError(f'The dataset {path.name}: "{key}" must be a list of names.')
    return tuple(map(str, channels))


def _default_channels(splits: Iterable[Sequence[Case]]) -> tuple[str, ...]:
    count = max((len(case.images) for cases in splits for case in cases), default=1)
    return tuple(f"channel {i + 1}" for i in range(count)) if count > 1 else ("image",)


def _is_image(file: Path) -> bool:
    return file.name.lower().endswith(IMAGE_ENDINGS) and not file.name.startswith(".")


def _count(things: Sequence, word: str) -> str:
    return f"{len(things)} {word}{'s' if len(things) > 1 else ''}"
