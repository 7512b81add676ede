"""The items of ``job.json``: read, written, and checked against the slots of their task.

An item names its inputs and outputs by the task's slots. An input is a list of files, or a value (a number, a class)::

    {"inputs": {"image": ["t1.nrrd", "t2.nrrd"], "age": 63}, "outputs": {"segmentation": "brain.seg.nrrd"}}

Files of version 1 had ``images``, ``output`` and, for registration, further ``inputs`` and ``outputs``: these are the
first input, the first output, and further slots by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from MedDeepLib.core import ApplyItem, Task
from MedDeepLib.data.slots import VALUES, Slot, Source
from MedDeepLib.errors import UserError


def to_json(item: ApplyItem) -> dict[str, Any]:
    """The item as JSON values."""
    inputs = {
        name: source.value if source.kind in VALUES else [str(file) for file in source.files]
        for name, source in item.inputs.items()
    }
    return {"inputs": inputs, "outputs": dict(item.outputs)}


def from_json(entry: Any, task: Task, where: str) -> ApplyItem:
    """The item that :func:`to_json` wrote. Raises UserError, which begins with ``where``, when it is not valid."""
    inputs, outputs = (entry.get("inputs"), entry.get("outputs")) if isinstance(entry, dict) else (None, None)
    if not isinstance(inputs, dict) or not isinstance(outputs, dict):
        raise UserError(f"{where}: each of the 'items' needs 'inputs' and 'outputs', objects keyed by slot name.")
    if not all(isinstance(file, str) for file in outputs.values()):
        raise UserError(f"{where}: each of the 'outputs' of 'items' must name one file.")
    slots = {slot.name: slot for slot in task.inputs}
    return ApplyItem({name: _source(slots.get(name), name, value, where) for name, value in inputs.items()}, outputs)


def from_version_1(entry: Any, task: Task, where: str) -> ApplyItem:
    """The same from an entry of version 1."""
    images, output = (entry.get("images"), entry.get("output")) if isinstance(entry, dict) else (None, None)
    if not isinstance(images, list) or not isinstance(output, str):
        raise UserError(f"{where}: each of the 'items' needs 'images', a list of files, and an 'output'.")
    inputs, outputs = entry.get("inputs", {}), entry.get("outputs", {})
    if not isinstance(inputs, dict) or not isinstance(outputs, dict):
        raise UserError(f"{where}: 'inputs' and 'outputs' of 'items' must be objects that name files.")
    first_input, first_output = task.applied[0].name, task.outputs[0].name
    content = {"inputs": {first_input: images} | inputs, "outputs": {first_output: output} | outputs}
    return from_json(content, task, where)


def check_item(item: ApplyItem, task: Task) -> None:
    """Raise UserError unless an item has exactly the slots that an application of the task needs; reads no file."""
    _check_names(item.inputs, [slot.name for slot in task.applied], "input")
    _check_names(item.outputs, [slot.name for slot in task.outputs], "output")
    for slot in task.applied:
        source = item.inputs.get(slot.name)
        if source is None or not (source.files or source.value is not None):
            if slot.required or source is not None:
                raise UserError(f"Applying needs the input '{slot.name}'{_in_brackets(slot.help)}: name it.")
        elif len(source.files) > 1 and not slot.many:
            raise UserError(f"The input '{slot.name}' is one file, but {len(source.files)} are named: choose one.")
    if task.any_form and not any(all(name in item.inputs for name in form) for form in task.forms):
        forms = ", ".join(" and ".join(f"'{name}'" for name in form) for form in task.forms)
        raise UserError(f"Applying needs one of the inputs {forms}: name the one that the model was trained on.")
    first = task.outputs[0].name
    if not all(item.outputs.get(name) for name in (first, *item.outputs)):
        raise UserError(f"Applying needs a file to write for the output '{first}': name it.")


def check_files(items: Iterable[ApplyItem]) -> None:
    """Raise UserError when an output would overwrite an input, or another output."""
    items = tuple(items)
    inputs = {os.path.abspath(file) for item in items for file in item.files_read}
    outputs = set()
    for file in (file for item in items for file in item.files_written):
        output = os.path.abspath(file)
        if output in inputs:
            raise UserError(f"The input {file} would be overwritten: give the output another name.")
        if output in outputs:
            raise UserError(f"Two inputs would write to the same output {file}: give each its own.")
        outputs.add(output)


def _source(slot: Slot | None, name: str, value: Any, where: str) -> Source:
    if slot is None:
        raise UserError(f"{where}: there is no input '{name}' for this task.")
    if slot.kind in VALUES:
        return Source(slot.kind, value=value)
    if not isinstance(value, list) or not all(isinstance(file, str) for file in value):
        raise UserError(f"{where}: the input '{name}' of 'items' must be a list of files.")
    return Source(slot.kind, tuple(map(Path, value)))


def _check_names(named: Mapping[str, Any], known: list[str], what: str) -> None:
    for name in named:
        if name not in known:
            raise UserError(f"There is no {what} '{name}' for this task: choose from {', '.join(known)}.")


def _in_brackets(help: str) -> str:
    return f" ({help})" if help else ""
