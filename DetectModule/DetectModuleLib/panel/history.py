"""Undo for what users do to findings."""

from __future__ import annotations

from DetectModuleLib.findings import Finding

_LONGEST = 100

Findings = tuple[Finding, ...]


class History:
    """Earlier findings, the last ones at the end. Findings never change, so keeping them costs next to nothing."""

    def __init__(self):
        self._steps: list[tuple[str, Findings]] = []

    def clear(self) -> None:
        self._steps.clear()

    def keep(self, before: Findings, what: str = "") -> None:
        """Keep findings before a change.

        Args:
            what: a change of the same name as the one before is part of it: dragging a box is one step.
        """
        if what and self._steps and self._steps[-1][0] == what:
            return
        self._steps = [*self._steps[1 - _LONGEST :], (what, before)]

    def back(self) -> Findings:
        """Take the last step off."""
        return self._steps.pop()[1]

    def __len__(self) -> int:
        return len(self._steps)
