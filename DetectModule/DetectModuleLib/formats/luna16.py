"""The JSON lists of MONAI's LUNA16 tutorial: boxes of a case in the list itself.

``{"training": [{"image": "1.3.6.nii.gz", "box": [[x, y, z, w, h, d], ...], "label": [0, ...]}], "validation": [...]}``

A box is the centre and the lengths of its edges in millimetres, in LPS (the world coordinates of LUNA16's annotations);
here it becomes RAS. Lists of MONAI with boxes as corners, ``[xmin, ymin, zmin, xmax, ymax, zmax]``, say so by
``"box_mode": "xyzxyz"``, and boxes in RAS by ``"coordinate_system": "RAS"``. An empty list of boxes is a negative case.
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
from MedDeepLib.data.sources.boxes import Box
from MedDeepLib.errors import UserError

_CLASS = "nodule"  # LUNA16's only one
_SYSTEMS = {"LPS": np.array([-1.0, -1.0, 1.0]), "RAS": np.ones(3)}
_CENTER_MODES, _CORNER_MODES = ("cccwhd", "center"), ("xyzxyz", "corners")


def read_luna16(path: Path, slots: CaseSlots) -> Listing | None:
    """The list, or None if it is none of this kind. Raises UserError for a box that is none."""
    content = _content(path)
    if content is None:
        return None
    where = f"The dataset {path.name}"
    system = str(content.get("coordinate_system", "LPS")).upper()
    mode = str(content.get("box_mode", _CENTER_MODES[0])).lower()
    if system not in _SYSTEMS or mode not in _CENTER_MODES + _CORNER_MODES:
        raise UserError(f'{where}: "coordinate_system" must be LPS or RAS, and "box_mode" cccwhd or xyzxyz.')
    names = content.get("classes") or [_CLASS]
    splits = {}
    for split in SPLITS:
        splits[split] = []
        for number, entry in enumerate(content.get(split, [])):
            place = f"{path.name}, {split} {number}"
            splits[split].append(Entry(_case(entry, place, system, mode, names), place, path.parent))
    corners = mode in _CORNER_MODES
    return Listing(
        name=str(content.get("name", path.stem)),
        where=where,
        path=path,
        splits=splits,
        classes=tuple(map(str, names)),
        notes=(
            f"{where} holds its boxes itself, as MONAI's LUNA16 lists do: they were read as "
            f"{'corners' if corners else 'centre and size'} in {system} mm.",
        ),
    )


def _content(path: Path) -> dict[str, Any] | None:
    """The list if one of its cases has boxes as numbers."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        content = json.loads(decoded(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None  # the common reader says what is wrong
    if not isinstance(content, dict):
        return None
    cases = [case for split in SPLITS for case in content.get(split, []) if isinstance(case, Mapping)]
    return content if any(isinstance(case.get("box"), list) for case in cases) else None


def _case(entry: Any, where: str, system: str, mode: str, names: list[str]) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    listed, labels = entry.get("box") or [], entry.get("label")
    labels = labels if isinstance(labels, list) else [0] * len(listed)
    try:
        numbers = np.array(listed, np.float64).reshape(len(listed), 6)
        kinds = [names[int(label)] for label in labels]
    except (TypeError, ValueError, IndexError):
        raise UserError(f'{where}: every "box" needs six numbers, and every "label" the number of a class.') from None
    if len(kinds) != len(numbers):
        raise UserError(f"{where}: there are {len(numbers)} boxes and {len(kinds)} labels.")
    center, size = numbers[:, :3], numbers[:, 3:]
    if mode in _CORNER_MODES:
        center, size = (numbers[:, :3] + numbers[:, 3:]) / 2, numbers[:, 3:] - numbers[:, :3]
    if not (np.isfinite(numbers).all() and (size > 0).all()):
        raise UserError(f"{where}: a box needs a position and three edges longer than 0 mm.")
    rows = zip(center * _SYSTEMS[system], size, kinds, strict=True)
    boxes = tuple(Box(middle, edges, np.eye(3), class_name=kind) for middle, edges, kind in rows)
    others = {key: value for key, value in entry.items() if key not in ("box", "label")}
    return others | {"findings": Source("boxes", value=boxes)}
