"""Text files from spreadsheets and editors: detects the encoding, the separator and the line endings."""

from __future__ import annotations

import codecs
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from MedDeepLib.errors import UserError

_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        number: of the line in the file, from 1.
        cells: stripped of surrounding blanks.
        decimal_comma: whether 1,5 is a number, because another character separates the cells.
    """

    number: int
    cells: tuple[str, ...]
    decimal_comma: bool = False


def decoded(data: bytes) -> str:
    """Decode UTF-8 or UTF-16, with or without a byte order mark, or the encoding of older Windows programs."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read_lines(path: Path, what: str) -> list[Line]:
    """The non-blank lines of a table; the first line determines the separator: comma, semicolon or tab.

    Raises UserError, beginning with ``what``, when the file cannot be read.
    """
    try:
        text = decoded(path.read_bytes())
        separator = _separator_of(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        comma = separator != ","
        lines = [Line(reader.line_num, tuple(cell.strip() for cell in cells), comma) for cells in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{what} cannot be read as CSV: {error}.") from None
    return [line for line in lines if any(line.cells)]


def _separator_of(text: str) -> str:
    """The separator of a table, from its first line."""
    first = text.lstrip("\r\n").partition("\n")[0]
    return max(_SEPARATORS, key=first.count)
