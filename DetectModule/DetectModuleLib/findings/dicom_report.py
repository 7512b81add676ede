"""Findings as a DICOM structured report (TID 1500), for PACS and other viewers; needs the package highdicom.

Each finding is a volumetric region (TID 1411) whose outline is the ellipsoid that fits into its box. The ellipsoid's
six end points hold centre, size and orientation of the box without loss, and viewers show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from DetectModuleLib.findings.finding import Finding


def write(path: Path, findings: Sequence[Finding], series: Path | None) -> None:
    raise NotImplementedError


def read(path: Path) -> list[Finding]:
    raise NotImplementedError
