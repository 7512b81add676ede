"""Names of findings: the row of a table, the point of a list and the ROI of one finding are found by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from DetectModuleLib.findings import Finding


def with_names(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The same findings, with names that differ from each other: 'nodule-1', 'nodule-2' ..."""
    taken = {finding.box.name for finding in findings} - {""}
    used: set[str] = set()
    named = []
    for number, finding in enumerate(findings, start=1):
        name = finding.box.name
        if not name or name in used:
            stem = finding.class_name or "finding"
            while (name := f"{stem}-{number}") in taken:
                number += 1
            taken.add(name)
            finding = replace(finding, box=replace(finding.box, name=name))
        used.add(name)
        named.append(finding)
    return tuple(named)
