"""Dataset lists in JSON: in the formats of this program, MONAI, the Medical Segmentation Decathlon and nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from MedDeepLib.data.delimited import decoded
from MedDeepLib.data.readers.folder import folder_entries
from MedDeepLib.data.readers.listing import SPLITS, Entry, Listing
from MedDeepLib.data.slots import CaseSlots
from MedDeepLib.errors import UserError

_CHANNELS = ("channels", "modality", "channel_names")


def read_json(path: Path, slots: CaseSlots) -> Listing:
    """Read a JSON list. Raises UserError when it is not valid."""
    where = f"The dataset {path.name}"
    try:
        content = json.loads(decoded(path.read_bytes()))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} cannot be read as JSON: {error.msg.lower()} in line {error.lineno}, column {error.colno}; JSON "
            "has no comments, and no comma after the last entry of a list."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read as JSON: {error}.") from None
    if not isinstance(content, dict):
        raise UserError(f'{where} must be an object with "labels" and "training".')
    splits = {split: _entries(content.get(split, []), split, path) for split in SPLITS}
    if not any(splits.values()):
        splits["training"] = folder_entries(path.parent, slots)  # nnU-Net's newer lists leave the cases to the folders
    shared = {
        name: Entry(content[name], f"{path.name}, {name}", path.parent) for name in slots.shared if content.get(name)
    }
    return Listing(
        name=str(content.get("name", path.stem)),
        where=where,
        path=path,
        splits=splits,
        description=str(content.get("description", "")),
        shared=shared,
        says_labels="labels" in content,
        labels=content.get("labels"),
        names_labels=True,
        classes=_names(content.get("classes", []), "classes", where),
        channels=_channels(content, where),
        notes=_lists_not_read(content, where),
    )


def _entries(listed: Any, split: str, path: Path) -> list[Entry]:
    if not isinstance(listed, list):
        raise UserError(f'The dataset {path.name}: "{split}" must be a list of cases.')
    return [Entry(entry, f"{path.name}, {split} {number}", path.parent) for number, entry in enumerate(listed)]


def _channels(content: dict[str, Any], where: str) -> tuple[str, ...]:
    """Names of the channels under any of the keys in use; none when there is no such key."""
    key = next((key for key in _CHANNELS if content.get(key)), "channels")
    return _names(content.get(key) or [], key, where)


def _names(listed: Any, key: str, where: str) -> tuple[str, ...]:
    listed = list(listed.values()) if isinstance(listed, dict) else listed
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list):
        raise UserError(f'{where}: "{key}" must be a list of names.')
    return tuple(map(str, listed))


def _lists_not_read(content: dict[str, Any], where: str) -> tuple[str, ...]:
    """Lists of cases under keys that are not a split, e.g. "train"."""
    others = [
        key
        for key, value in content.items()
        if key not in SPLITS and isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    ]
    keys = ", ".join(f'"{key}"' for key in others)
    return (f"{where}: {keys} was ignored; cases are listed under {', '.join(SPLITS)}.",) if others else ()
