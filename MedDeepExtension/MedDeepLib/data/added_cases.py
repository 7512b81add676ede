"""Adds cases to a dataset list, so that what was corrected can be trained on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MedDeepLib.data.dataset import Dataset, load_dataset
from MedDeepLib.data.delimited import decoded
from MedDeepLib.data.files import atomic_path
from MedDeepLib.data.readers.listing import SPLITS
from MedDeepLib.data.slots import CaseSlots
from MedDeepLib.errors import UserError

_LONGEST_STEM = 60


def add_case(
    path: str | Path, name: str, write: Callable[[Path], Mapping[str, Any]], slots: CaseSlots, patient: str = ""
) -> Dataset:
    """Append a training case to a JSON list, which is made if it does not exist.

    The files of the case go into a new folder beside the list: nothing is ever overwritten. The list is replaced at
    the end, if it can be read with the new case; if not, it stays as it is, and the files are removed.

    Args:
        name: of the case; there must be none of that name yet.
        write: writes the files into the folder that it is given and returns them by the names of their slots: each a
            path, or a list of paths for the channels of an image. Paths elsewhere are referred to, not copied.
        slots: of the task.
        patient: of the case; its name by default.

    Returns:
        The dataset with the new case, which is the last one in ``training``.

    Raises:
        UserError: the list is of another kind or faulty, has the case already, or cannot be written.
    """
    path = Path(path).expanduser().absolute()
    content = _content(path)
    if path.exists():
        _check_new(load_dataset(path, slots), name, patient or name)
    folder = _new_folder(path.parent, name)
    try:
        files = {slot: _listed(said, path.parent) for slot, said in write(folder).items()}
        entry = {**files, "name": name, "patient": patient or name}
        content = {**content, "training": [*content.get("training", []), entry]}
        with atomic_path(path, ".json") as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            _checked(temporary, path, slots)
        return load_dataset(path, slots)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _content(path: Path) -> dict[str, Any]:
    """The list as it is in its file. Raises UserError when cases cannot be added to it."""
    if path.suffix.lower() != ".json":
        raise UserError(f"Cases can only be added to a dataset list in JSON: choose a .json file, not {path.name}.")
    if not path.exists():
        return {"name": path.stem, "training": []}
    try:
        content = json.loads(decoded(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise UserError(f"The dataset {path.name} cannot be read as JSON: {error}.") from None
    if not isinstance(content, dict) or not any(isinstance(content.get(split), list) for split in SPLITS):
        raise UserError(
            f'{path.name} does not list its cases under "training": choose a list in this format, or name a new file.'
        )
    return content


def _check_new(dataset: Dataset, name: str, patient: str) -> None:
    for split in SPLITS:
        if any(case.name == name for case in dataset.cases(split)):
            raise UserError(
                f"{dataset.path.name} has a case '{name}' in {split} already: remove it from the list, or rename the "
                "volume if it is another one."
            )
        if split != "training" and any(patient in case.patients for case in dataset.cases(split)):
            raise UserError(
                f"The patient '{patient}' is in {split} of {dataset.path.name}: whom a model is judged by, it must not "
                "be trained on."
            )


def _checked(temporary: Path, path: Path, slots: CaseSlots) -> None:
    """Read the new list as it will be read later."""
    try:
        load_dataset(temporary, slots)
    except UserError as error:
        raise UserError(str(error).replace(temporary.name, path.name)) from None


def _new_folder(parent: Path, name: str) -> Path:
    stem = re.sub(r"[^\w-]+", "_", name).strip("_")[:_LONGEST_STEM] or "case"
    number = 1
    try:
        while True:
            folder = parent / "added" / (stem if number == 1 else f"{stem}-{number}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(f"{parent} cannot be written to ({error.strerror}); choose another list.") from None


def _listed(said: Any, folder: Path) -> Any:
    """Files as a list names them: relative where they are below it."""
    if isinstance(said, (list, tuple)):
        return _listed(said[0], folder) if len(said) == 1 else [_listed(one, folder) for one in said]
    if not isinstance(said, Path):
        return said
    return said.relative_to(folder).as_posix() if said.is_relative_to(folder) else str(said)
