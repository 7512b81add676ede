"""Turns the entries of a list into cases, according to a task's slots."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedDeepLib.data.files import stem
from MedDeepLib.data.formats.dicom import SEPARATOR
from MedDeepLib.data.readers.folder import channel_files, stem_of
from MedDeepLib.data.readers.listing import Entry, Listing
from MedDeepLib.data.slots import VALUES, Case, CaseSlots, Slot, Source
from MedDeepLib.errors import UserError

_IDENTITY = ("name", "patient", "site")


@dataclass(frozen=True)
class Draft:
    """A case as given by its entry; its name and patients may still be missing.

    Attributes:
        leading: the slots whose files give the case its name: one, or those of a pair.
        patient: of the whole case, patients: of single inputs by their slots; empty where the entry does not say.
    """

    name: str
    inputs: dict[str, Source]
    targets: dict[str, Source]
    leading: tuple[str, ...]
    patient: str
    patients: dict[str, str]
    site: str

    def named_after(self) -> list[tuple[Path, str]]:
        """The first file of each leading slot with the case name derived from it; none without files."""
        sources = [(self.inputs | self.targets)[slot] for slot in self.leading]
        return [(source.files[0], own_name(source.files[0], source.kind)) for source in sources if source.files]


def read_entry(entry: Entry, slots: CaseSlots) -> Draft:
    """The draft of one entry. Raises UserError when something is missing, does not exist or is invalid."""
    content, where = entry.content, entry.where
    if isinstance(content, str):  # the Decathlon's lists of test cases
        content = {_single_input(slots): content}
    if not isinstance(content, Mapping):
        content = {}
    needed = _needed(content, slots, where)
    inputs, targets = (
        {slot.name: _source(content[slot.name], slot, entry) for slot in some if _given(content, slot.name)}
        for some in (slots.inputs, slots.targets)
    )
    if not inputs and not targets:
        raise UserError(f"{where}: a case needs {_alternatives([(s.name,) for s in slots.inputs], slots)}.")
    files = [name for name, source in (inputs | targets).items() if source.files]
    return Draft(
        name=_text(content, "name"),
        inputs=inputs,
        targets=targets,
        leading=needed if slots.forms else tuple(files[:1]),
        patient=_text(content, "patient"),
        patients={name: _text(content, f"{name}_patient") for name in inputs if _text(content, f"{name}_patient")},
        site=_text(content, "site"),
    )


def named_cases(splits: Mapping[str, Sequence[Draft]]) -> dict[str, tuple[Case, ...]]:
    """All drafts as cases with a name and patients; by default the name is that of the leading file.

    If each patient has a folder and the files have the same names, the folder becomes part of the name. A case
    without a patient counts as its own patient, and so does every further image of a pair.
    """
    files_of_name: dict[str, set[Path]] = {}
    for draft in (draft for drafts in splits.values() for draft in drafts):
        for file, name in draft.named_after()[:1]:
            files_of_name.setdefault(name, set()).add(file)

    def named(draft: Draft, number: int, split: str) -> Case:
        files = draft.named_after()
        own = [name for _, name in files]
        if len(own) == 1 and len(files_of_name[own[0]]) > 1:
            own = [f"{files[0][0].parent.name}/{own[0]}"]
        name = draft.name or " and ".join(own) or draft.patient or f"{split} {number}"
        patients = dict.fromkeys(draft.leading, draft.patient) | draft.patients
        others = iter(own[1:])  # of the pair's further images
        for place, slot in enumerate(draft.leading):
            default = name if place == 0 else next(others)
            patients[slot] = patients[slot] or default
        known = tuple(dict.fromkeys(patients.values())) or (draft.patient or name,)
        return Case(name, draft.inputs, draft.targets, known, draft.site)

    return {
        split: tuple(named(draft, number, split) for number, draft in enumerate(drafts))
        for split, drafts in splits.items()
    }


def own_name(file: Path, kind: str = "image") -> str:
    """The case name from a file: its name without ending; for a DICOM folder, with the series."""
    folder, _, series = str(file).partition(SEPARATOR)
    return f"{stem(folder)}_{series}" if series else stem_of(file, kind)


def keys_not_read(listing: Listing, slots: CaseSlots) -> list[str]:
    """One sentence for each key that is not a slot: typing errors and entries of other tasks."""
    names = [slot.name for slot in (*slots.inputs, *slots.targets)]
    known = {*names, *_IDENTITY, *(f"{slot.name}_patient" for slot in slots.inputs)}
    entries = [*(entry for entries in listing.splits.values() for entry in entries), *listing.shared.values()]
    contents = [entry.content for entry in entries if isinstance(entry.content, Mapping)]
    others = Counter(key for content in contents for key in content if key not in known and _given(content, key))
    return [
        f'{listing.where} has "{key}" in {count} case{"s" if count > 1 else ""}, which was ignored: a case has '
        f"{', '.join([*names, *_IDENTITY])}."
        for key, count in others.items()
    ]


def _single_input(slots: CaseSlots) -> str:
    """The input that a plain file name stands for."""
    single = [form[0] for form in slots.forms if len(form) == 1]
    return single[0] if single else slots.inputs[0].name


def _needed(content: Mapping[str, Any], slots: CaseSlots, where: str) -> tuple[str, ...]:
    """The slots that the entry must have, and has. Raises UserError when one is missing."""
    forms = slots.forms or (tuple(slot.name for slot in (*slots.inputs, *slots.targets) if slot.required),)
    form = next((form for form in slots.forms if any(_given(content, name) for name in form)), None)
    if slots.forms and form is None:
        raise UserError(f"{where}: a case needs {_alternatives(forms, slots)}.")
    form = form or forms[0]
    missing = [name for name in form if not _given(content, name)]
    if missing and slots.forms:
        raise UserError(f'{where}: a pair needs both "{form[0]}" and "{form[1]}".')
    if missing:
        raise UserError(f"{where}: a case needs {_alternatives([missing[:1]], slots)}.")
    return form


def _alternatives(forms: Iterable[Sequence[str]], slots: CaseSlots) -> str:
    """The possible inputs of a case, in words: 'an "image" (a file, or a list of files: one per channel)'."""
    of_name = {slot.name: slot for slot in (*slots.inputs, *slots.targets)}
    words = []
    for form in forms:
        named = " and ".join(f'{"an" if name[0] in "aeiou" else "a"} "{name}"' for name in form)
        words.append(f"{named} ({_what(of_name[form[0]])})" if len(form) == 1 else named)
    return ", or ".join(words)


def _what(slot: Slot) -> str:
    if slot.kind in VALUES:
        return {"class": "the name of a class", "value": "a number"}[slot.kind]
    return "a file, or a list of files: one per channel" if slot.many else "a file"


def _given(content: Mapping[str, Any], key: str) -> bool:
    return content.get(key) not in (None, "", [], {})


def _text(content: Mapping[str, Any], key: str) -> str:
    return "" if content.get(key) is None else str(content[key])


def _source(said: Any, slot: Slot, entry: Entry) -> Source:
    if isinstance(said, Source):
        return said
    if slot.kind in VALUES:
        return Source(slot.kind, value=_value(said, slot, entry.where))
    listed = said if isinstance(said, list) else [said]
    if len(listed) > 1 and not slot.many:
        raise UserError(f'{entry.where}: "{slot.name}" takes one file, not {len(listed)}.')
    files = [_resolved(one, entry.folder) for one in listed]
    if slot.many and len(files) == 1 and not _exists(files[0]):
        files = channel_files(files[0].parent, stem(files[0])) or files
    for file in files:
        if not _exists(file):
            raise UserError(f"{entry.where}: the file {str(file).partition(SEPARATOR)[0]} does not exist.")
    return Source(slot.kind, tuple(files))


def _value(said: Any, slot: Slot, where: str) -> Any:
    if isinstance(said, (dict, list)):
        raise UserError(f'{where}: "{slot.name}" must be {_what(slot)}, not a list.')
    if slot.kind == "class":
        return str(said)
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: \"{slot.name}\" must be a number, not '{said}'.")
    return number


def _resolved(named: Any, folder: Path) -> Path:
    """The full path of a file or ``folder::SeriesInstanceUID``; Windows paths work everywhere."""
    if isinstance(named, Path):
        return named
    file, separator, series = str(named).partition(SEPARATOR)
    path = (folder / Path(file).expanduser()).resolve()
    if not path.exists() and "\\" in file:
        other = (folder / file.replace("\\", "/")).resolve()
        path = other if other.exists() else path
    return Path(f"{path}{separator}{series}")


def _exists(file: Path) -> bool:
    return Path(str(file).partition(SEPARATOR)[0]).exists()
