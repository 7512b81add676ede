"""The findings as rows: class, score, diameter and what the user said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MedDeepLib.panels.fields.table import Cell, Column, Row, Table
from slicer.i18n import tr as _

from DetectModuleLib.findings import Finding


class FindingsTable(Table):
    """A table of findings by their names, the highest score first until a header is clicked."""

    def __init__(self, widget: Any):
        columns = (
            Column("class", _("Class"), "microbleed "),
            Column("score", _("Score"), "0.000"),
            Column("diameter", _("Diameter (mm)"), "100.0"),
            Column("review", _("Review"), _("accepted")),
        )
        super().__init__(widget, columns, "-score")

    def show_findings(self, findings: Sequence[Finding]) -> None:
        self.show([_row(finding) for finding in findings])

    def next_open(self, findings: Sequence[Finding], after: str) -> str:
        """The next row below ``after`` that nobody has reviewed, or else the first one; empty when there is none."""
        is_open = {finding.box.name for finding in findings if not finding.review}
        keys = self.row_keys()
        start = keys.index(after) + 1 if after in keys else 0
        return next((key for key in (*keys[start:], *keys[:start]) if key in is_open), "")


def _row(finding: Finding) -> Row:
    reviews = {"accepted": _("accepted"), "rejected": _("rejected")}
    struck = finding.review == "rejected"
    drawn = finding.box.score is None
    size = " x ".join(f"{edge:.1f}" for edge in finding.box.size)
    facts = "".join(f"\n{name}: {value:g}" for name, value in finding.facts.items())
    cells = (
        Cell(finding.class_name or _("finding"), hint=finding.box.name, struck=struck),
        Cell(_("drawn") if drawn else f"{finding.score:.2f}", finding.score, struck=struck),
        Cell(f"{finding.diameter:.1f}", finding.diameter, hint=_("{size} mm").format(size=size) + facts, struck=struck),
        Cell(reviews.get(finding.review, "")),
    )
    return Row(finding.box.name, cells)
