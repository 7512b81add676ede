"""The targets of a case: its findings in one of three forms, and regions that evaluations leave out."""

from __future__ import annotations

from MedDeepLib.data.slots import Case, Slot

EXCLUDED = "excluded"
TARGETS = (
    Slot("findings", "boxes", required=False, help="boxes around the findings: ROIs, or a table in RAS mm"),
    Slot("points", "points", required=False, help="the middles of the findings, with their diameters"),
    Slot("label", "labels", required=False, help="a label map: each connected piece is a finding"),
    Slot(
        EXCLUDED,
        "boxes",
        required=False,
        classless=True,
        help="boxes around what is neither right nor wrong to find, for evaluations",
    ),
)


def has_findings(case: Case) -> bool:
    """Whether the list names findings of a case, be it that there are none; other cases count as negative, too."""
    return any(slot.name in case.targets for slot in TARGETS if not slot.classless)
