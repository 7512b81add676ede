"""The cases of a cohort, from a CSV list or a folder; one bad row costs nothing but its own case."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from MedDeepLib.data.files import IMAGE_ENDINGS, stem
from MedDeepLib.data.formats.dicom import SEPARATOR, is_dicom
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
        line: where it stands in the list (the header is line 1), or its number in the folder.
        name: unique in the cohort, so that its output is.
        images: a file or DICOM folder per channel.
        output: the file to write.
        problem: why it cannot be computed, in a sentence; empty for most.
        duplicate: whether that is because another line asks for the same.
    """

    line: int
    name: str
    patient: str
    images: tuple[str, ...]
    output: str = ""
    problem: str = ""
    duplicate: bool = False


def read_cases(source: str | Path, channels: Sequence[str], output: Path, ending: str) -> list[CohortCase]:
    """All cases in the order of the list, or in that of the names in the folder; reads no image.

    Args:
        source: a CSV file or a folder.
        channels: of the model, in their order.
        output: the folder of the results, which ``source`` may not be.
        ending: of the results, e.g. ".seg.nrrd".

    Raises UserError when there is no case at all, or the columns of the list are not those that it needs.
    """
    source = Path(source)
    if source.is_dir():
        if _same(source, output):
            raise UserError(
                f"The results cannot go into the folder of the images {source}: name another output folder."
            )
        cases = _from_folder(source, channels, output)
    elif source.is_file():
        cases = _from_list(source, channels)
    else:
        raise UserError(f"{source} does not exist: give a CSV list with the column image, or a folder of images.")
    return _checked(_named(cases), output, ending)


def columns_of(channels: Sequence[str]) -> list[list[str]]:
    """The names that the column of each channel may have: "image", "image2" or the channel's own name."""
    numbered = [f"image{number}" if number > 1 else "image" for number in range(1, len(channels) + 1)]
    return [list(dict.fromkeys([name, own.strip().lower()])) for name, own in zip(numbered, channels, strict=True)]


def _from_list(path: Path, channels: Sequence[str]) -> list[CohortCase]:
    lines = _lines_of(path)
    if not lines:
        raise UserError(f"The list {path} is empty: its first line must name the columns, at least image.")
    header = [cell.strip().lower() for cell in lines[0][1]]
    wanted = _check_header(path, header, channels)
    cases = [_from_row(path, number, header, cells, wanted) for number, cells in lines[1:]]
    if not cases:
        raise UserError(f"The list {path} names no case: write a line for each below the names of the columns.")
    return cases


def _lines_of(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, with their numbers. Spreadsheets write other encodings and separators as well."""
    try:
        data = path.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
        first = text.partition("\n")[0]
        reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count))
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, csv.Error) as error:
        raise UserError(f"The list {path} cannot be read as CSV: {error}.") from None


def _check_header(path: Path, header: list[str], channels: Sequence[str]) -> list[str]:
    """The column of each channel."""
    choices = columns_of(channels)
    known = ["case", "patient", *(name for names in choices for name in names)]
    named = [name for name in header if name]
    columns = "case, patient" + "".join(f", {' or '.join(names)}" for names in choices)
    for name in named:
        if name not in known:
            raise UserError(f"The list {path} has the unknown column '{name}': the columns are {columns}.")
        if named.count(name) > 1:
            raise UserError(f"The list {path} has the column '{name}' twice: delete one of them.")
    found = []
    for names in choices:
        present = [name for name in names if name in named]
        if len(present) != 1:
            fault = f"lacks the column '{names[0]}'" if not present else f"has both '{names[0]}' and '{names[1]}'"
            count = f"{len(channels)} images per case ({', '.join(channels)})" if len(channels) > 1 else "an image"
            raise UserError(f"The list {path} {fault}: the model needs {count}, and the columns are {columns}.")
        found += present
    return found


def _from_row(path: Path, line: int, header: list[str], cells: list[str], wanted: list[str]) -> CohortCase:
    row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    missing = [name for name in wanted if not row.get(name)]
    images = tuple(_resolved(path.parent, row[name]) for name in wanted if row.get(name))
    problem = ""
    if any(cell.strip() for cell in cells[len(header) :]):
        problem = f"Line {line} of the list has {len(cells)} cells, but there are {len(header)} columns: correct it."
    elif missing:
        problem = f"Line {line} of the list has nothing in the column '{missing[0]}': name the image there."
    return CohortCase(line, row.get("case", ""), row.get("patient", ""), images, problem=problem)


def _resolved(folder: Path, name: str) -> str:
    file, separator, series = name.partition(SEPARATOR)
    return os.path.abspath(folder / Path(file).expanduser()) + separator + series


def _from_folder(folder: Path, channels: Sequence[str], output: Path) -> list[CohortCase]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not _same(path, output))
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read ({error.strerror}): check its permissions.") from None
    images = [path for path in entries if _is_image(path)]
    series = [path for path in entries if path.is_dir() and _holds_dicom(path)]
    if not images and not series and _holds_dicom(folder):
        series = [folder]
    if not images and not series:
        raise UserError(
            f"The folder {folder} holds no image that can be read: give one with {', '.join(IMAGE_ENDINGS[1:])} files "
            "or folders of DICOM files, or a CSV list."
        )
    groups = [(path,) for path in sorted([*images, *series])] if len(channels) == 1 else _grouped(images, len(channels))
    if not groups:
        raise UserError(
            f"The model needs {len(channels)} images per case ({', '.join(channels)}), and the names in {folder} do "
            "not say which belong together: name them a_0000.nii.gz, a_0001.nii.gz, ..., or give a CSV list."
        )
    cases = []
    for number, group in enumerate(groups, start=1):
        problem = ""
        if len(group) != len(channels):
            files = ", ".join(path.name for path in group)
            problem = (
                f"The model needs {len(channels)} images per case, but there are {len(group)} ({files}): add them."
            )
        name = "" if len(channels) == 1 else _CHANNEL_NUMBER.fullmatch(stem(group[0])).group(1)
        cases.append(CohortCase(number, name, "", tuple(os.path.abspath(path) for path in group), problem=problem))
    return cases


def _grouped(images: list[Path], channels: int) -> list[tuple[Path, ...]]:
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
    """Cases without a name get that of their first image; where that is not unique, with its folder."""
    stems: dict[str, set[str]] = {}
    for case in cases:
        if not case.name and case.images:
            stems.setdefault(_own_name(case).casefold(), set()).add(case.images[0])
    named = []
    for case in cases:
        name = case.name
        if not name and case.images:
            own = _own_name(case)
            parent = Path(case.images[0].partition(SEPARATOR)[0]).parent.name
            name = own if len(stems[own.casefold()]) == 1 else f"{parent}_{own}"
        named.append(
            replace(case, name=_NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME].strip(" .") or f"line {case.line}")
        )
    return named


def _own_name(case: CohortCase) -> str:
    file, _, series = case.images[0].partition(SEPARATOR)
    # DICOM folders keep their whole name, files lose their ending.
    name = Path(file).name if os.path.isdir(file) else stem(file)
    return f"{name}_{series}" if series else name


def _checked(cases: list[CohortCase], output: Path, ending: str) -> list[CohortCase]:
    """The cases with their outputs; those that would be computed twice or overwrite something have a problem."""
    inputs = {_key(image) for case in cases for image in case.images}
    of_images: dict[tuple[str, ...], CohortCase] = {}
    of_name: dict[str, CohortCase] = {}
    checked = []
    for case in cases:
        case = replace(case, output=str(output / f"{case.name}{ending}"))
        if not case.problem:
            images, name = tuple(map(_key, case.images)), case.name.casefold()
            first = of_images.get(images)
            if first is not None:
                same = (
                    f"The same as line {first.line} (case {first.name}), where it is computed: delete one of the two."
                )
                case = replace(case, problem=same, duplicate=True)
            elif name in of_name:
                case = replace(
                    case,
                    problem=f"The case name '{case.name}' is that of line {of_name[name].line} already, and both would "
                    "write the same file: give it another name in the column 'case'.",
                )
            elif _key(case.output) in inputs:
                case = replace(
                    case, problem=f"The image {case.output} would be overwritten: choose another output folder."
                )
            else:
                of_images[images] = of_name[name] = case
        checked.append(case)
    return checked


def _key(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _same(one: Path, other: Path) -> bool:
    return _key(str(one)) == _key(str(other))
