"""The part of the apply command that follows from the task's slots: a flag for each input, and one for each output.

An input has the flag of its slot's name, an output ``--output-NAME``. Where a case needs one image, its flag is
``--input``, and that of the first output ``--output``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.model import Model
from MedDeepLib.core import ApplyItem, Task
from MedDeepLib.core.endings import endings
from MedDeepLib.data.files import stem
from MedDeepLib.data.formats.pictures import files_per_case
from MedDeepLib.data.slots import VALUES, Slot, Source
from MedDeepLib.errors import UserError

_FORMATS = {
    "image": "nrrd, nii, nii.gz, mha or a DICOM folder",
    "labels": "seg.nrrd, nrrd, nii or nii.gz",
    "transform": "h5, tfm or txt",
    "table": "csv",
    "value": "a number",
}
_EXAMPLES = {"image": "{}.nrrd", "labels": "{}.seg.nrrd", "transform": "{}.h5", "value": "1.5", "class": "{}"}


class SlotArguments:
    """The flags of one task.

    Attributes:
        single: the name of the only image that a case needs, whose flag is ``--input``; empty where it needs none, or
            several.
    """

    def __init__(self, task: Task):
        self._task = task
        images = [slot.name for slot in task.applied if slot.kind == "image" and slot.required]
        if task.any_form:
            images = [form[0] for form in task.forms if len(form) == 1 and task.slot(form[0]).kind == "image"]
        self.single = images[0] if len(images) == 1 else ""
        self._first = task.outputs[0]

    @property
    def needed(self) -> list[str]:
        """The flags that every case needs; where models differ in the form of their cases, one form is an example."""
        forms = self._task.forms[:1] if self._task.any_form else ()
        return [*self._flags_of(self._task.applied, forms), self.output_flag(self._first)]

    def _flags_of(self, slots: Sequence[Slot], forms: Sequence[Sequence[str]] = ()) -> list[str]:
        """The flags of the inputs that are required or belong to one of the forms."""
        of_forms = {name for form in forms for name in form}
        return [self.input_flag(slot) for slot in slots if slot.required or slot.name in of_forms]

    def input_flag(self, slot: Slot) -> str:
        return "--input" if slot.name == self.single else f"--{slot.name.replace('_', '-')}"

    def output_flag(self, slot: Slot) -> str:
        return "--output" if self.single and slot == self._first else f"--output-{slot.name.replace('_', '-')}"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add all flags. :meth:`items` checks the required ones, since a cohort uses other flags."""
        for slot in self._task.applied:
            again = " for each further case" if slot.required else ", in the same order, for each further case"
            text = f"{slot.help}; {_FORMATS[slot.kind]}" if slot.kind in _FORMATS else slot.help
            several = ", or a list of cases for a model with one channel" if slot.name == self.single else ""
            parser.add_argument(
                self.input_flag(slot),
                dest=_input_dest(slot),
                nargs="+" if slot.many else None,
                action="append",
                type=float if slot.kind == "value" else str,
                metavar="VALUE" if slot.kind in VALUES else "FILE",
                help=f"{text}{several}; again{again}",
            )
        for slot in self._task.outputs:
            help = slot.help
            if slot == self._first:
                folder = ", one for each case, or one folder for all" if self.single else ", one for each case"
                help = f"*{self._task.output_ending}: {help}{folder}"
            flag = self.output_flag(slot)
            parser.add_argument(flag, dest=_output_dest(slot), action="append", metavar="FILE", help=help)

    def given(self, options: argparse.Namespace) -> list[str]:
        """The flags that a command line has."""
        inputs = [self.input_flag(slot) for slot in self._task.applied if getattr(options, _input_dest(slot))]
        return inputs + [self.output_flag(slot) for slot in self._task.outputs if getattr(options, _output_dest(slot))]

    def items(self, options: argparse.Namespace, model: Model) -> tuple[ApplyItem, ...]:
        """The cases of a command line.

        Raises UserError when something is missing, is not given once for each case, or cannot be written under its
        name.
        """
        of_model = model.inputs if self._task.any_form and model.trained else self._task.applied
        needed = [*self._flags_of(of_model), self.output_flag(self._first)]
        if set(needed) - set(self.given(options)):
            raise UserError(f"apply needs {in_a_row(needed)}, or --inputs and --output-dir for a cohort.")
        known = {slot.name for slot in of_model}
        unused = [slot for slot in self._task.applied if getattr(options, _input_dest(slot)) and slot.name not in known]
        if unused:
            raise UserError(
                f"The model takes {in_a_row([self.input_flag(slot) for slot in of_model])}, not "
                f"{self.input_flag(unused[0])}: leave that out."
            )
        slots = {slot.name: slot for slot in self._task.applied}
        inputs = {name: getattr(options, _input_dest(slot)) or [] for name, slot in slots.items()}
        if self.single:
            named = [name for case in inputs[self.single] for name in case]
            inputs[self.single] = _by_case(inputs[self.single], files_per_case(model.channels, named))
        leading = next(name for name in (self.single, *slots) if name and inputs[name])
        count = len(inputs[leading])
        outputs = {slot.name: getattr(options, _output_dest(slot)) or [] for slot in self._task.outputs}
        if self.single:
            first = outputs[self._first.name]
            outputs[self._first.name] = _named(first, inputs[leading], self._task.output_ending)
        by_flag = [(self.input_flag(slots[name]), values) for name, values in inputs.items()]
        by_flag += [(self.output_flag(slot), outputs[slot.name]) for slot in self._task.outputs]
        for flag, values in by_flag:
            if values and len(values) != count:
                raise UserError(
                    f"There are {count} of {self.input_flag(slots[leading])} and {len(values)} of {flag}: give one of "
                    "each for every case."
                )
        self._check_outputs(inputs, outputs, model)
        return tuple(
            ApplyItem(
                {name: _source(slots[name], values[n]) for name, values in inputs.items() if values},
                {name: _absolute(files[n]) for name, files in outputs.items() if files},
            )
            for n in range(count)
        )

    def _check_outputs(self, inputs: dict[str, list], outputs: dict[str, list], model: Model) -> None:
        slots = {slot.name: slot for slot in self._task.applied}
        for slot in self._task.outputs:
            flag, source = self.output_flag(slot), slots.get(slot.made_from)
            if source is not None and outputs[slot.name] and not inputs[source.name]:
                raise UserError(f"{flag} needs {source.help}: name it with {self.input_flag(source)}.")
            if source is not None and inputs[source.name] and not outputs[slot.name]:
                raise UserError(
                    f"{self.input_flag(source)} has no effect without {flag}: name the file to write, or leave it out."
                )
            allowed = endings(model.method_class(), slot.name)
            for file in outputs[slot.name] if slot != self._first else ():
                if not file.lower().endswith(allowed):
                    raise UserError(f"The output {file} of {flag} must end in one of {', '.join(allowed)}.")

    def example(self, name: Callable[[Slot], str] | None = None) -> str:
        """The flags of one case with example file names, for a help text."""
        name = name or (lambda slot: _EXAMPLES.get(slot.kind, "{}.csv").format(slot.name))
        first = self._task.forms[0] if self._task.any_form else ()
        shown = [slot for slot in self._task.applied if slot.required or slot.name in first]
        parts = [f"{self.input_flag(slot)} {name(slot)}" for slot in shown]
        return " ".join([*parts, f"{self.output_flag(self._first)} result{self._task.output_ending}"])


def in_a_row(words: Sequence[str]) -> str:
    """The words as in a sentence: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _by_case(inputs: list[list[str]], channels: int) -> list[list[str]]:
    """The images of each case: one --input per case, or a list of files for a model with one channel."""
    cases = [[name] for name in inputs[0]] if len(inputs) == 1 and channels == 1 else inputs
    for case in cases:
        if channels and len(case) != channels:
            raise UserError(
                f"The model needs {channels} input channel{'s' if channels > 1 else ''}, but --input names "
                f"{len(case)}: give one file per channel, and --input again for each further case."
            )
    return cases


def _named(outputs: list[str], cases: Sequence[list[str] | str], ending: str) -> list[str]:
    """The output of each case; inside the folder if only a folder is named."""
    in_folder = len(outputs) == 1 and _is_folder(outputs[0])
    if in_folder:
        first = [case if isinstance(case, str) else case[0] for case in cases]
        return [str(Path(outputs[0]) / (_case_name(name) + ending)) for name in first]
    if len(outputs) != len(cases):
        raise UserError(
            f"There are {len(cases)} inputs and {len(outputs)} outputs: give one --output for each input, or one "
            "folder for all."
        )
    return outputs


def _source(slot: Slot, given: Any) -> Source:
    if slot.kind in VALUES:
        return Source(slot.kind, value=given)
    files: Sequence[str] = given if slot.many else [given]
    return Source(slot.kind, tuple(Path(_absolute(file)) for file in files))


def _is_folder(name: str) -> bool:
    return os.path.isdir(name) or name.endswith(("/", "\\")) or "." not in Path(name).name


def _case_name(name: str) -> str:
    path = Path(name).absolute()
    # DICOM folders keep their whole name, files lose their ending.
    return path.name if os.path.isdir(path) else stem(path)


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute())


def _input_dest(slot: Slot) -> str:
    return f"input_slot_{slot.name}"


def _output_dest(slot: Slot) -> str:
    return f"output_slot_{slot.name}"
