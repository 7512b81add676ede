"""Datasets: lists of cases with patient and site, read from JSON, CSV or a folder.

JSON, in MONAI's manner (paths relative to the file)::

    {"name": "Hippocampus T1",
     "channels": ["T1"],
     "labels": {"1": "left hippocampus", "2": {"name": "right hippocampus", "color": [0.9, 0.6, 0.1]}},
     "training":   [{"image": "a_t1.nrrd", "label": "a.seg.nrrd", "patient": "A", "site": "Basel"}],
     "validation": [...],
     "test":       [...]}

``image`` is a file, a DICOM folder, or a list with one of them per channel. Without ``validation`` a share of the
training patients is set aside, the same ones for the same seed. CSV has the columns ``split`` (training, validation
or test; training when absent), ``image`` (``image2`` ... for further channels), ``label``, ``patient``, ``site``. A
folder holds ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``) with equal file names, or a
``dataset.json``.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MedDeepLib.data.segmentation_file import Segment
from MedDeepLib.errors import UserError

SPLITS = ("training", "validation", "test")
_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd")
_FOLDER_LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
_PALETTE = (
    (0.90, 0.33, 0.25), (0.30, 0.60, 0.90), (0.35, 0.75, 0.40), (0.95, 0.75, 0.25), (0.60, 0.40, 0.80),
    (0.20, 0.75, 0.75), (0.95, 0.50, 0.70), (0.60, 0.45, 0.30), (0.70, 0.80, 0.30), (0.45, 0.50, 0.65),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case: its images (one file or DICOM folder per channel), its target, and whose it is."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str = ""
    site: str = ""


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

    def cases(self, split: str | None = None) -> tuple[Case, ...]:
        """The cases of one split, or all of them."""
        return getattr(self, split) if split else self.training + self.validation + self.test


def load_dataset(path: str | Path) -> Dataset:
    """Read a dataset and check it: files exist, channels agree, no patient is in two splits.

    Raises UserError that names the file and the entry at fault.
    """
    path = Path(path)
    if path.is_dir():
        dataset = _from_folder(path)
    elif not path.is_file():
        raise UserError(f"The dataset {path} does not exist: choose a JSON or CSV list, or a folder of images.")
    elif path.suffix.lower() == ".json":
        dataset = _from_json(path)
    elif path.suffix.lower() == ".csv":
        dataset = _from_csv(path)
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


def parse_classes(labels: Any, where: str) -> tuple[Segment, ...]:
    """Classes from the ``labels`` entry of a JSON file: {value: name or {"name", "color", "terminology"}}."""
    if not isinstance(labels, dict) or not labels:
        raise UserError(f'{where} has no classes: add "labels": {{"1": "name of the structure", ...}}.')
    classes = []
    for key, entry in labels.items():
        # nnU-Net's newer lists are written the other way round: {"liver": 1}.
        text, entry = (str(entry), str(key)) if isinstance(entry, int) else (str(key), entry)
        if not text.isdecimal() or int(text) > 65535:
            raise UserError(f"{where}: the label value '{text}' must be a whole number from 0 to 65535.")
        entry = {"name": entry} if isinstance(entry, str) else dict(entry)
        value = int(text)
        if value == 0:
            continue  # background is what is left
        color = tuple(float(part) for part in entry.get("color", _PALETTE[(value - 1) % len(_PALETTE)]))
        if len(color) != 3 or not all(0 <= part <= 1 for part in color):
            raise UserError(f"{where}: the colour of label {value} must be three numbers from 0 to 1.")
        classes.append(Segment(value, str(entry.get("name", f"label {value}")), color, entry.get("terminology", "")))
    if not classes:
        raise UserError(f'{where} names only the background: add "labels": {{"1": "name of the structure", ...}}.')
    return tuple(sorted(classes, key=lambda segment: segment.value))


def _from_json(path: Path) -> Dataset:
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
        splits[split] = tuple(_case(entry, f"{path.name}, {split} {i}", path.parent) for i, entry in enumerate(entries))
    channels = content.get("channels", content.get("modality", content.get("channel_names", ())))
    channels = channels.values() if isinstance(channels, dict) else channels
    return Dataset(
        name=str(content.get("name", path.stem)),
        description=str(content.get("description", "")),
        classes=parse_classes(content.get("labels"), f"The dataset {path.name}"),
        channels=tuple(map(str, channels)) or _default_channels(splits.values()),
        path=path,
        **splits,
    )


def _from_csv(path: Path) -> Dataset:
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
        splits[split].append(_case(entry, f"{path.name}, line {number}", path.parent))
    return Dataset(
        name=path.stem,
        classes=_classes_in_files(case for cases in splits.values() for case in cases),
        channels=_default_channels(splits.values()),
        path=path,
        **{split: tuple(cases) for split, cases in splits.items()},
    )


def _from_folder(path: Path) -> Dataset:
    if (path / "dataset.json").is_file():
        return _from_json(path / "dataset.json")
    for images, labels in _FOLDER_LAYOUTS:
        if (path / images).is_dir() and (path / labels).is_dir():
            break
    else:
        raise UserError(
            f"The folder {path} is not a dataset: it needs a dataset.json, or the folders images and labels "
            "with files of equal names."
        )
    by_stem = {_stem(file): file for file in sorted((path / labels).iterdir()) if _is_image(file)}
    cases = []
    for stem, file in by_stem.items():
        # nnU-Net writes channels as name_0000, name_0001.
        files = [f for f in sorted((path / images).iterdir()) if _is_image(f) and _stem(f) in (stem, stem + ".seg")]
        files = files or [f for f in sorted((path / images).glob(f"{stem}_????.*")) if _is_image(f)]
        if not files:
            raise UserError(f"The folder {path / images} has no image for the label file {file.name}.")
        cases.append(Case(stem, tuple(files), file, patient=stem))
    if not cases:
        raise UserError(f"The folder {path / labels} holds no label images.")
    classes = _classes_in_files(cases)
    return Dataset(path.name, classes, _default_channels([cases]), training=tuple(cases), path=path)


def _case(entry: Any, where: str, folder: Path) -> Case:
    if not isinstance(entry, dict) or not entry.get("image"):
        raise UserError(f'{where}: a case needs an "image" (a file, or a list of files: one per channel).')
    listed = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    images = tuple((folder / str(image)).resolve() for image in listed)
    label = (folder / str(entry["label"])).resolve() if entry.get("label") else None
    for file in (*images, label):
        if file is not None and not file.exists():
            raise UserError(f"{where}: the file {file} does not exist.")
    name = str(entry.get("name") or _stem(images[0]))
    return Case(name, images, label, str(entry.get("patient") or name), str(entry.get("site") or ""))


def _check(dataset: Dataset) -> None:
    for case in dataset.cases():
        if len(case.images) != len(dataset.channels):
            raise UserError(
                f"The case {case.name} has {len(case.images)} images, but the dataset has "
                f"{len(dataset.channels)} channels ({', '.join(dataset.channels)})."
            )
    owner: dict[str, str] = {}
    for split in SPLITS:
        for case in dataset.cases(split):
            if owner.setdefault(case.patient, split) != split:
                raise UserError(
                    f"The patient '{case.patient}' is both in {owner[case.patient]} and in {split}: every patient "
                    "may be in one split only, or the figures would be too good."
                )


def _classes_in_files(cases: Iterable[Case]) -> tuple[Segment, ...]:
    """Classes named by the label files themselves; only for lists that cannot name them."""
    import numpy as np

    from MedDeepLib.data.segmentation_file import read_segmentation

    found: dict[int, Segment] = {}
    for case in cases:
        if case.label is None:
            continue
        labels, _, segments = read_segmentation(case.label)
        named = {segment.value: segment for segment in segments}
        for value in (int(v) for v in np.unique(labels) if v):
            color = _PALETTE[(value - 1) % len(_PALETTE)]
            found.setdefault(value, named.get(value) or Segment(value, f"label {value}", color))
    return tuple(found[value] for value in sorted(found))


def _default_channels(splits: Iterable[Sequence[Case]]) -> tuple[str, ...]:
    count = max((len(case.images) for cases in splits for case in cases), default=1)
    return tuple(f"channel {i + 1}" for i in range(count)) if count > 1 else ("image",)


def _is_image(file: Path) -> bool:
    return file.name.lower().endswith(_SUFFIXES) and not file.name.startswith(".")


def _stem(file: Path) -> str:
    for suffix in _SUFFIXES:
        if file.name.lower().endswith(suffix):
            return file.name[: -len(suffix)]
    return file.stem
