"""Datasets: lists of cases with patient and site, read from JSON, CSV or a folder.

The slots of a task define what a case contains; a slot's name is the key of an entry and the column of a CSV list.
JSON, in MONAI's format (paths relative to the file), for segmentation::

    {"name": "Hippocampus T1",
     "channels": ["T1"],
     "labels": {"1": "left hippocampus", "2": {"name": "right hippocampus", "color": [0.9, 0.6, 0.1]}},
     "training":   [{"image": "a_t1.nrrd", "label": "a.seg.nrrd", "patient": "A", "site": "Basel"}],
     "validation": [...],
     "test":       [...]}

An image is a file, a DICOM folder (``FOLDER::SeriesInstanceUID`` where it holds several series), or a list with one of
them per channel. A class or a number is written in the list itself; "classes" may name all classes in order. Without
``patient`` every case counts as its own patient; if a case shows several patients, as a pair of images
may, ``fixed_patient`` and ``moving_patient`` name them. Without ``validation`` a share of the training patients is set
aside, the same ones for the same seed. The lists of the Medical Segmentation Decathlon and of nnU-Net are read as they
are.

CSV has the columns ``split`` (training, validation or test; training when absent), ``patient``, ``site``, ``name`` and
one for each slot (``image2`` ... for further channels), in the dialects of spreadsheets. A folder holds ``images/`` and
``labels/`` (or ``imagesTr/`` and ``labelsTr/``) with equal file names, or a ``dataset.json``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MedDeepLib.data.classes import classes_in_files, classes_of_places, parse_classes
from MedDeepLib.data.formats.pictures import COLORS, channel_count, is_picture
from MedDeepLib.data.patients import patient_groups
from MedDeepLib.data.readers.csv_list import read_csv
from MedDeepLib.data.readers.entries import keys_not_read, named_cases, read_entry
from MedDeepLib.data.readers.folder import read_folder
from MedDeepLib.data.readers.json_list import read_json
from MedDeepLib.data.readers.listing import SPLITS, Listing
from MedDeepLib.data.slots import Case, CaseSlots
from MedDeepLib.data.sources.labels import Segment
from MedDeepLib.errors import UserError

_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Dataset:
    """Cases by split, with the classes and channels they share.

    Attributes:
        channels: names of the channels of an image.
        classes: names of the classes in order; by default those of ``segments``.
        segments: the meaning of label values, by ascending value.
        shared: data shared by all cases, by the names of their entries, e.g. an atlas.
        notes: entries of the list that were ignored, in sentences for the user.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    training: tuple[Case, ...] = ()
    validation: tuple[Case, ...] = ()
    test: tuple[Case, ...] = ()
    description: str = ""
    path: Path = field(default_factory=Path)
    shared: Mapping[str, Case] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.segments and not self.classes:
            object.__setattr__(self, "classes", tuple(segment.name for segment in self.segments))

    def cases(self, split: str | None = None) -> tuple[Case, ...]:
        """The cases of one split, or all of them."""
        return getattr(self, split) if split else self.training + self.validation + self.test


def load_dataset(path: str | Path, slots: CaseSlots) -> Dataset:
    """Read a dataset and check it: files exist, channels agree, no patient is in two splits.

    Args:
        path: a JSON or CSV list, or a folder.
        slots: the slots of a case; usually those of a task.

    Raises a UserError that names the file and the faulty entry.
    """
    listing = _read(Path(path), slots)
    cases: dict[str, Any] = {name: () for name in SPLITS} | named_cases(
        {split: [read_entry(entry, slots) for entry in entries] for split, entries in listing.splits.items()}
    )
    dataset = Dataset(
        name=listing.name,
        description=listing.description,
        path=listing.path,
        segments=_segments(listing, [case for some in cases.values() for case in some], slots),
        channels=listing.channels or _default_channels(cases, slots),
        shared={name: named_cases({name: [read_entry(one, slots)]})[name][0] for name, one in listing.shared.items()},
        notes=(*listing.notes, *_labels_not_read(listing, slots), *keys_not_read(listing, slots)),
        **cases,
    )
    dataset = replace(dataset, classes=_classes(listing, dataset, slots) or dataset.classes)
    _check(dataset, slots)
    return dataset


def with_validation(
    dataset: Dataset, fraction: float, seed: int, stratum: Callable[[Case], str] | None = None
) -> Dataset:
    """The dataset with validation cases: its own, or all cases of some training patients chosen by the seed.

    Patients who share a case are chosen together.

    Args:
        stratum: of a case, such as its class: the same share of patients is chosen in each. The only patient of a
            stratum stays in the training. None: all patients alike.
    """
    group_of = patient_groups(dataset.training)
    groups = sorted(set(group_of.values()))
    if dataset.validation or fraction <= 0 or len(groups) < 2:
        return dataset
    generator = random.Random(seed)
    chosen: set[str] = set()
    for members in _strata(dataset.training, group_of, stratum) if stratum else [groups]:
        generator.shuffle(members)
        chosen |= set(members[: min(len(members) - 1, max(1, round(fraction * len(members))))])
    return replace(
        dataset,
        training=tuple(case for case in dataset.training if group_of[case.patient] not in chosen),
        validation=tuple(case for case in dataset.training if group_of[case.patient] in chosen),
    )


def _strata(cases: Sequence[Case], group_of: Mapping[str, str], stratum: Callable[[Case], str]) -> list[list[str]]:
    """The groups of patients by the most frequent stratum of their cases."""
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        counts.setdefault(group_of[case.patient], Counter())[stratum(case)] += 1
    found: dict[str, list[str]] = {}
    for group in sorted(counts):
        own = counts[group]
        found.setdefault(min(own, key=lambda name: (-own[name], name)), []).append(group)
    return [found[name] for name in sorted(found)]


def _read(path: Path, slots: CaseSlots) -> Listing:
    for reader in slots.readers if path.exists() else ():
        listing = reader(path, slots)
        if listing is not None:
            return listing
    if path.is_dir():
        listed = path / "dataset.json"
        return read_json(listed, slots) if listed.is_file() else read_folder(path, slots)
    if not path.is_file():
        raise UserError(f"The dataset {path} does not exist: choose a JSON or CSV list, or a folder of images.")
    if path.suffix.lower() == ".json":
        return read_json(path, slots)
    if path.suffix.lower() in _TABLES:
        return read_csv(path, slots)
    raise UserError(f"The dataset {path.name} is neither .json nor .csv nor a folder.")


def _segments(listing: Listing, cases: Sequence[Case], slots: CaseSlots) -> tuple[Segment, ...]:
    """The meaning of label values: from the list, or from the label maps if the list cannot name it."""
    names = [slot.name for slot in slots.targets if slot.kind == "labels"]
    first = [next((file for name in names for file in case.files(name)), None) for case in cases]
    files = [file for file in first if file is not None]
    if not names:
        return ()
    if not listing.names_labels:
        return classes_in_files(files, listing.where)
    answers = slots.outputs[0].kind if slots.outputs else ""
    if answers == "boxes" and not listing.says_labels:
        return classes_in_files(files, listing.where)
    answers = answers == "labels"  # then the label values must be named
    return parse_classes(listing.labels, listing.where) if listing.says_labels or answers and files else ()


def _labels_not_read(listing: Listing, slots: CaseSlots) -> list[str]:
    if not listing.says_labels or any(slot.kind == "labels" for slot in slots.targets):
        return []
    return [f'{listing.where} has "labels", which was ignored: name the classes as a list under "classes".']


def _classes(listing: Listing, dataset: Dataset, slots: CaseSlots) -> tuple[str, ...]:
    """The names of the classes: from the list, or those that occur in its cases."""
    if slots.outputs and slots.outputs[0].kind == "boxes" and not listing.classes:
        names = [slot.name for slot in slots.targets if not slot.classless]
        sources = [case.targets[name] for case in dataset.cases() for name in names if name in case.targets]
        return tuple(dict.fromkeys((*dataset.classes, *classes_of_places(sources))))
    slot = next((slot for slot in slots.targets if slot.kind == "class"), None)
    if slot is None:
        return listing.classes
    values = {case.targets[slot.name].value: case for case in dataset.cases() if slot.name in case.targets}
    for value, case in values.items():
        if listing.classes and value not in listing.classes:
            raise UserError(
                f"The case {case.name} has the {slot.name} '{value}', but the classes of {listing.path.name} are "
                f"{', '.join(listing.classes)}."
            )
    numbers = all(value.isdecimal() for value in values)
    return listing.classes or tuple(sorted(values, key=int if numbers else None))


def _channel_slots(slots: CaseSlots) -> list[str]:
    """The inputs whose files are the channels of one image."""
    images = [slot.name for slot in slots.inputs if slot.kind == "image" and slot.many]
    in_forms = {name for form in slots.forms for name in form}
    return [name for name in images if name in in_forms] if slots.forms else images[:1]


def _default_channels(splits: Mapping[str, Sequence[Case]], slots: CaseSlots) -> tuple[str, ...]:
    names = _channel_slots(slots)
    listed = [case.files(name) for cases in splits.values() for case in cases for name in names if case.files(name)]
    if listed and all(len(files) == 1 for files in listed) and _channel_count(listed[0]) == len(COLORS):
        return COLORS
    needed = {name for form in slots.forms for name in form}
    others = {slot.name for slot in slots.inputs if slot.name in needed and slot.kind in ("table", "matrix", "signals")}
    cases = [case for cases in splits.values() for case in cases]
    if cases and not listed and all(others & case.inputs.keys() for case in cases):
        return ()  # cases of a form that has no image
    count = max((_channel_count(files) for files in listed), default=1)
    return tuple(f"channel {i + 1}" for i in range(count)) if count > 1 else ("image",)


def _channel_count(files: Sequence[Path]) -> int:
    """How many channels the files of an image have together: a coloured picture has three, any other file one."""
    return sum(channel_count(file) if is_picture(file) else 1 for file in files)


def _check(dataset: Dataset, slots: CaseSlots) -> None:
    for case in (*dataset.cases(), *dataset.shared.values()):
        for name in _channel_slots(slots):
            files = case.files(name)
            if files and _channel_count(files) != len(dataset.channels):
                has = _count(files, "image") if _channel_count(files) == len(files) else _with_channels(files)
                raise UserError(
                    f"The case {case.name} has {has}{'' if name == 'image' else f' as {name}'}, but "
                    f"the dataset has {_count(dataset.channels, 'channel')} ({', '.join(dataset.channels)})."
                )
    owner: dict[str, str] = {}
    for split in SPLITS:
        for patient in (patient for case in dataset.cases(split) for patient in case.patients):
            if owner.setdefault(patient, split) != split:
                raise UserError(
                    f"The patient '{patient}' is both in {owner[patient]} and in {split}: every patient may be in one "
                    "split only, or the metrics would be too optimistic."
                )


def _with_channels(files: Sequence[Path]) -> str:
    return f"a picture of {_channel_count(files)} channels"


def _count(things: Sequence, word: str) -> str:
    return f"{len(things)} {word}{'s' if len(things) > 1 else ''}"
