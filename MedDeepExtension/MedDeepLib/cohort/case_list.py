"""The cases of a cohort, from a CSV list or a folder; a bad row affects only its own case."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from MedDeepLib.cohort.columns import check_header, columns_of
from MedDeepLib.core import ApplyItem
from MedDeepLib.data.delimited import read_lines
from MedDeepLib.data.files import IMAGE_ENDINGS, images_among, stem
from MedDeepLib.data.formats.dicom import SEPARATOR, is_dicom
from MedDeepLib.data.formats.pictures import COLORS, files_per_case
from MedDeepLib.data.slots import VALUES, Slot, Source
from MedDeepLib.errors import UserError

_SEGMENTATION = ".seg.nrrd"
_LOOKED_AT = 20  # files of a folder, to tell whether it holds DICOM
_CHANNEL_NUMBER = re.compile(r"(.+)_(\d{4})")
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_LONGEST_NAME = 120


@dataclass(frozen=True)
class CohortCase:
    """One case of a cohort.

    Attributes:
        line: its line in the list (the header is line 1), or its number in the folder.
        name: unique in the cohort, so that its outputs are unique too.
        inputs: by the task's slots.
        outputs: the files to write, by the task's slots.
        problem: why it cannot be computed, in a sentence; empty for most.
        duplicate: whether the problem is that another line has the same inputs.
    """

    line: int
    name: str
    patient: str
    inputs: Mapping[str, Source]
    outputs: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    duplicate: bool = False

    @property
    def item(self) -> ApplyItem:
        return ApplyItem(self.inputs, self.outputs)

    @property
    def files(self) -> tuple[str, ...]:
        """All input files."""
        return tuple(str(file) for source in self.inputs.values() for file in source.files)

    @property
    def output(self) -> str:
        """Its first output."""
        return next(iter(self.outputs.values()))


def read_cases(
    source: str | Path, slots: Sequence[Slot], channels: Sequence[str], output: Path, endings: Mapping[Slot, str]
) -> list[CohortCase]:
    """All cases, in the order of the list or of the names in the folder; reads no image.

    Args:
        source: a CSV file or a folder.
        slots: the inputs of an application.
        channels: of the model, in order; none for a method that needs no training.
        output: the folder of the results, which ``source`` may not be.
        endings: the endings of the outputs' files by their slots, the first output first. Of the others, only outputs
            made from an input are written, for the cases that have this input.

    Raises UserError when there is no case, or the list does not have the required columns.
    """
    source = Path(source)
    if source.is_dir():
        if _same(source, output):
            raise UserError(
                f"The results cannot go into the folder of the images {source}: name another output folder."
            )
        cases = _from_folder(source, _single_image(source, slots), channels, output)
    elif source.is_file():
        cases = _from_list(source, slots, channels)
    else:
        needed = ", ".join(slot.name for slot in slots if slot.required)
        raise UserError(f"{source} does not exist: give a CSV list with the columns {needed}, or a folder of images.")
    return _checked(_named(cases), output, endings)


def _from_list(path: Path, slots: Sequence[Slot], channels: Sequence[str]) -> list[CohortCase]:
    lines = [(line.number, line.cells) for line in read_lines(path, f"The list {path}")]
    if not lines:
        needed = ", ".join(slot.name for slot in slots if slot.required)
        raise UserError(f"The list {path} is empty: its first line must name the columns, at least {needed}.")
    header = [cell.strip().lower() for cell in lines[0][1]]
    if tuple(channels) == COLORS and not any(name in (*COLORS, f"{slot.name}2") for name in header for slot in slots):
        channels = ()  # pictures, which have their colours in one file
    found = check_header(path, header, columns_of(slots, channels, header), channels)
    cases = [_from_row(path, number, header, cells, found) for number, cells in lines[1:]]
    if not cases:
        raise UserError(f"The list {path} names no case: add a line for each below the header.")
    return cases


def _from_row(
    path: Path, line: int, header: list[str], cells: Sequence[str], wanted: list[tuple[str, Slot]]
) -> CohortCase:
    row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    given: dict[str, list[str]] = {}
    problem = ""
    for name, slot in wanted:
        if row.get(name):
            given.setdefault(slot.name, []).append(row[name])
        elif slot.required or slot.name in given:
            nothing = f"Line {line} of the list has an empty column '{name}': name the {slot.kind} there."
            problem = problem or nothing
    inputs = {}
    for slot in dict.fromkeys(slot for _, slot in wanted):
        if slot.name in given:
            try:
                inputs[slot.name] = _source(slot, given[slot.name], path.parent)
            except ValueError:
                problem = f"Line {line} of the list has no number in the column '{slot.name}': enter one."
    if any(cell.strip() for cell in cells[len(header) :]):
        problem = f"Line {line} of the list has {len(cells)} cells for {len(header)} columns: correct it."
    return CohortCase(line, row.get("case", ""), row.get("patient", ""), inputs, problem=problem)


def _source(slot: Slot, given: list[str], folder: Path) -> Source:
    if slot.kind in VALUES:
        return Source(slot.kind, value=float(given[0]) if slot.kind == "value" else given[0])
    return Source(slot.kind, tuple(Path(_resolved(folder, file)) for file in given))


def _single_image(source: Path, slots: Sequence[Slot]) -> Slot:
    """The image slot that a folder can fill. Raises UserError when a case needs more inputs than one image."""
    needed = [slot for slot in slots if slot.required]
    if len(needed) == 1 and needed[0].kind == "image":
        return needed[0]
    raise UserError(
        f"The folder {source} does not say which files belong together: give a CSV list with the columns "
        f"{', '.join(slot.name for slot in needed)}."
    )


def _resolved(folder: Path, name: str) -> str:
    file, separator, series = name.partition(SEPARATOR)
    return os.path.abspath(folder / Path(file).expanduser()) + separator + series


def _from_folder(folder: Path, slot: Slot, channels: Sequence[str], output: Path) -> list[CohortCase]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not _same(path, output))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read ({error.strerror}): check its permissions.") from None
    images = images_among(path for path in entries if _is_image(path))
    series = [path for path in entries if path.is_dir() and _holds_dicom(path)]
    if not images and not series and _holds_dicom(folder):
        series = [folder]
    if not images and not series:
        raise UserError(
            f"The folder {folder} contains no readable image: give one with {', '.join(IMAGE_ENDINGS[1:])} files "
            "or folders of DICOM files, or a CSV list."
        )
    single = files_per_case(channels, [*images, *series]) <= 1
    groups = [(path,) for path in sorted([*images, *series])] if single else _grouped(images)
    if not groups:
        raise UserError(
            f"The model needs {len(channels)} images per case ({', '.join(channels)}), and the names in {folder} do "
            "not say which belong together: name them a_0000.nii.gz, a_0001.nii.gz, ..., or give a CSV list."
        )
    cases = []
    for number, group in enumerate(groups, start=1):
        problem = ""
        if not single and len(group) != len(channels):
            files = ", ".join(path.name for path in group)
            problem = (
                f"The model needs {len(channels)} images per case, but there are {len(group)} ({files}): add them."
            )
        numbered = None if single else _CHANNEL_NUMBER.fullmatch(stem(group[0]))
        name = numbered.group(1) if numbered else ""
        files = tuple(Path(os.path.abspath(path)) for path in group)
        cases.append(CohortCase(number, name, "", {slot.name: Source(slot.kind, files)}, problem=problem))
    return cases


def _grouped(images: list[Path]) -> list[tuple[Path, ...]]:
    """Files as nnU-Net names them, a_0000 and a_0001, by case."""
    groups: dict[str, list[Path]] = {}
    for path in images:
        match = _CHANNEL_NUMBER.fullmatch(stem(path))
        if match:
            groups.setdefault(match.group(1), []).append(path)
    return [tuple(paths) for paths in groups.values()]


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return path.is_file() and name.endswith(IMAGE_ENDINGS) and not name.endswith(_SEGMENTATION)


def _holds_dicom(folder: Path) -> bool:
    try:
        files = (path for path in sorted(folder.iterdir()) if path.is_file())
        return any(is_dicom(path) for path in islice(files, _LOOKED_AT))
    except OSError:
        return False


def _named(cases: list[CohortCase]) -> list[CohortCase]:
    """Name cases after their images; where that is not unique, add the images' folders."""
    stems: dict[str, set[tuple[str, ...]]] = {}
    for case in cases:
        if not case.name and case.files:
            stems.setdefault(_own_name(case).casefold(), set()).add(case.files)
    named = []
    for case in cases:
        name = case.name
        if not name and case.files:
            own = _own_name(case)
            name = own if len(stems[own.casefold()]) == 1 else _own_name(case, with_folder=True)
        named.append(
            replace(case, name=_NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME].strip(" .") or f"line {case.line}")
        )
    return named


def _own_name(case: CohortCase, with_folder: bool = False) -> str:
    """The joined names of the first file of each image, or of the first input if there is no image."""
    sources = [source for source in case.inputs.values() if source.kind == "image" and source.files]
    sources = sources or [source for source in case.inputs.values() if source.files][:1]
    return "_".join(_file_name(source, with_folder) for source in sources)


def _file_name(source: Source, with_folder: bool) -> str:
    file, _, series = str(source.files[0]).partition(SEPARATOR)
    # DICOM folders keep their whole name, files lose their ending.
    own = Path(file).name if os.path.isdir(file) else stem(file) if source.kind == "image" else Path(file).stem
    own = f"{own}_{series}" if series else own
    return f"{Path(file).parent.name}_{own}" if with_folder else own


def _checked(cases: list[CohortCase], output: Path, endings: Mapping[Slot, str]) -> list[CohortCase]:
    """The cases with their outputs; those that are duplicates or would overwrite a file get a problem."""
    inputs = {_key(file) for case in cases for file in case.files}
    of_inputs: dict[tuple, CohortCase] = {}
    of_name: dict[str, CohortCase] = {}
    checked = []
    for case in cases:
        case = replace(case, outputs=_outputs(case, output, endings))
        if not case.problem:
            given, name = _identity(case), case.name.casefold()
            first = of_inputs.get(given)
            if first is not None:
                same = (
                    f"A duplicate of line {first.line} (case {first.name}), which is computed: delete one of the two."
                )
                case = replace(case, problem=same, duplicate=True)
            elif name in of_name:
                case = replace(
                    case,
                    problem=f"The case name '{case.name}' is that of line {of_name[name].line} already, and both would "
                    "write the same file: give it another name in the column 'case'.",
                )
            elif overwritten := [file for file in case.outputs.values() if _key(file) in inputs]:
                case = replace(
                    case, problem=f"The image {overwritten[0]} would be overwritten: choose another output folder."
                )
            else:
                of_inputs[given] = of_name[name] = case
        checked.append(case)
    return checked


def _outputs(case: CohortCase, output: Path, endings: Mapping[Slot, str]) -> dict[str, str]:
    first, *others = endings
    made = {first.name: str(output / f"{case.name}{endings[first]}")}
    for slot in others:
        if slot.made_from in case.inputs:
            made[slot.name] = str(output / f"{case.name}.{slot.name}{endings[slot]}")
    return made


def _identity(case: CohortCase) -> tuple:
    """A key that is equal for duplicate cases."""
    inputs = case.inputs.items()
    return tuple((name, source.value, *(_key(str(file)) for file in source.files)) for name, source in inputs)


def _key(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _same(one: Path, other: Path) -> bool:
    return _key(str(one)) == _key(str(other))
