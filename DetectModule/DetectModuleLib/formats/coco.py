"""COCO lists of boxes in pictures: ``{"images": [...], "annotations": [...], "categories": [...]}``.

A box is [x, y, width, height] in pixels, from the outer edge of the first pixel. Images are looked for beside the list,
and in the folder ``images`` there. An image may say its ``split`` (training, validation or test) and its ``patient``.
Boxes of crowds (``iscrowd``) are regions that evaluations leave out. An image without boxes is a negative case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.data.delimited import decoded
from MedDeepLib.data.readers.listing import SPLITS, Entry, Listing
from MedDeepLib.data.slots import CaseSlots, Source
from MedDeepLib.data.sources.boxes import IndexBox
from MedDeepLib.errors import UserError

_FOLDERS = ("", "images")
_SPLITS = {"train": "training", "val": "validation", "valid": "validation"}


def read_coco(path: Path, slots: CaseSlots) -> Listing | None:
    """The list, or None if it is no COCO list. Raises UserError for an annotation that cannot be read."""
    content = _content(path)
    if content is None:
        return None
    where = f"The dataset {path.name}"
    try:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        boxes: dict[Any, list[tuple[IndexBox, bool]]] = {key: [] for key in images}
        for number, one in enumerate(content["annotations"]):
            x, y, width, height = map(float, one["bbox"])
            place = f"{path.name}, annotation {number}"
            box = pixel_box(x, y, width, height, names[one["category_id"]], place)
            boxes[one["image_id"]].append((box, bool(one.get("iscrowd", 0))))
        splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        for number, (key, one) in enumerate(images.items()):
            split = str(one.get("split") or "training")
            found = {
                "image": _image(path.parent, str(one["file_name"])),
                "findings": Source("boxes", value=tuple(box for box, crowd in boxes[key] if not crowd)),
                "patient": one.get("patient"),
                "site": one.get("site"),
            }
            excluded = tuple(box for box, crowd in boxes[key] if crowd)
            found |= {"excluded": Source("boxes", value=excluded)} if excluded else {}
            splits[_SPLITS.get(split, split)].append(Entry(found, f"{path.name}, image {number}", path.parent))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where} cannot be read as a COCO list: every annotation needs the id of an image and of a category and a "
            '"bbox" of four numbers, and every image a "file_name".'
        ) from None
    used = {box.class_name for listed in boxes.values() for box, _ in listed}
    classes = tuple(name for name in names.values() if name in used)
    return Listing(path.stem, where, path, splits, classes=classes)


def pixel_box(x: float, y: float, width: float, height: float, class_name: str, where: str) -> IndexBox:
    """A box of pixels as one of voxels, whose centres are whole numbers. Raises UserError when it is empty."""
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        raise UserError(f"{where}: a box needs a position and two edges longer than 0 pixels.")
    low = np.array([x - 0.5, y - 0.5, -0.5])
    return IndexBox(low, low + [width, height, 1.0], class_name)


def _content(path: Path) -> dict[str, Any] | None:
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        content = json.loads(decoded(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None  # the common reader says what is wrong
    keys = ("images", "annotations", "categories")
    is_coco = isinstance(content, Mapping) and all(isinstance(content.get(key), list) for key in keys)
    return dict(content) if is_coco else None


def _image(folder: Path, name: str) -> Path:
    """Where an image lies; beside the list if nowhere, so that the message names that place."""
    places = [(folder / part / name).resolve() for part in _FOLDERS]
    return next((place for place in places if place.is_file()), places[0])
