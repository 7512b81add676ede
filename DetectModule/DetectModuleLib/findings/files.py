"""Writes and reads findings, in whatever format the file's name says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from MedDeepLib.errors import UserError

from DetectModuleLib.findings import dicom_report, roi_file, table
from DetectModuleLib.findings.finding import Finding


def write_findings(path: str | Path, findings: Sequence[Finding], series: Path | None = None) -> None:
    """Write findings so that ``path`` is either complete or untouched.

    Args:
        path: ends in .mrk.json (ROIs that Slicer opens), .csv (a line each, RAS mm) or .dcm (a DICOM structured report,
            TID 1500).
        series: the DICOM folder of the image that they were found in (or ``folder::SeriesInstanceUID``), which a report
            refers to.

    Raises:
        UserError: another ending, an unwritable folder, or a report without a DICOM series.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".mrk.json"):
        roi_file.write(path, findings)
    elif name.endswith(".csv"):
        table.write(path, findings)
    elif name.endswith(".dcm"):
        dicom_report.write(path, findings, series)
    else:
        raise UserError(f"{path} cannot be written as findings: its name must end in .mrk.json, .csv or .dcm.")


def read_findings(path: str | Path) -> list[Finding]:
    """The findings in a file that :func:`write_findings`, Slicer or somebody else has written; there may be none.

    Raises UserError that names the file when it cannot be read.
    """
    path = Path(path)
    readers = {".json": roi_file.read, ".csv": table.read, ".tsv": table.read, ".dcm": dicom_report.read}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path.name} cannot be read as findings: use .mrk.json, .csv or .dcm.")
    return readers[path.suffix.lower()](path)
